"""Holds: credits set aside for work in flight, with the receipt of the grants they came from.

The only writer of holds and their pins. Invariant: a hold ends exactly once, captured, released or
expired, and expiry is decided by its deadline inside the SQL.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    bindparam,
    func,
    insert,
    select,
    update,
)

from portal import caps, overage
from portal.core.caps import Spender
from portal.core.errors import NotFound, Unavailable
from portal.core.ledger import Take, beyond_grants
from portal.core.overage import Place
from portal.tables import IS_OPEN, hold_pins, holds
from portal.wallet import Wallet

# The statements of the hot path are built once: building one costs more than running it.
_OF_HOLD = (holds.c.organization_id == bindparam("org"), holds.c.hold_id == bindparam("hold_"))
_PLACE = insert(holds)
_PIN = insert(hold_pins)
_FIND = select(holds).where(*_OF_HOLD)
_OWNER = select(holds.c.organization_id).where(holds.c.hold_id == bindparam("hold_"))
_RECEIPT = (
    select(hold_pins.c.account, hold_pins.c.amount_micro)
    .where(
        hold_pins.c.organization_id == bindparam("org"), hold_pins.c.hold_id == bindparam("hold_")
    )
    .order_by(hold_pins.c.position)
)
_END = (
    update(holds)
    .where(*_OF_HOLD, holds.c.status == bindparam("from_"))
    .values(status=bindparam("to_"), ended_at=bindparam("ended_"), outcome=bindparam("outcome_"))
)
_PAST_DEADLINE = (
    holds.c.organization_id == bindparam("org"),
    IS_OPEN,
    holds.c.expires_at <= bindparam("until"),
)
_LAPSED = select(holds).where(*_PAST_DEADLINE).order_by(holds.c.expires_at, holds.c.hold_id)
_IDS_PAST_DEADLINE = select(holds.c.hold_id).where(*_PAST_DEADLINE)
_LAPSED_RECEIPTS = (
    select(hold_pins.c.hold_id, hold_pins.c.account, hold_pins.c.amount_micro)
    .where(
        hold_pins.c.organization_id == bindparam("org"),
        hold_pins.c.hold_id.in_(_IDS_PAST_DEADLINE),
    )
    .order_by(hold_pins.c.hold_id, hold_pins.c.position)
)
_LAPSE = (
    update(holds)
    .where(*_PAST_DEADLINE)
    .values(
        status="expired",
        lapsed_at=bindparam("now"),
        ended_at=bindparam("now"),
        outcome={"charged_micro": 0},
    )
)


@dataclass(frozen=True)
class Hold:
    """An authorization as it stands; quantities and credits in millionths."""

    hold_id: str
    status: str
    action: str
    quantity_micro: int
    credits_micro: int
    price_micro: int
    price_book_version: int
    overage_price_micro_minor: int
    overage_since: datetime | None
    member: str
    team: str
    project: str
    run: str
    authorized_at: datetime
    expires_at: datetime
    outcome: dict[str, Any] | None

    @property
    def place(self) -> Place | None:
        """Where what it sets aside beyond all grants is counted."""
        if self.overage_since is None:
            return None
        return Place(self.overage_since, self.overage_price_micro_minor)

    @property
    def spender(self) -> Spender:
        """Who the work is for, as caps see it."""
        return Spender(self.member, self.team, self.project, self.action)

    def lapsed(self, now: datetime) -> bool:
        """Whether the deadline has passed without an end."""
        return self.status == "authorized" and self.expires_at <= now


def _hold(row: RowMapping) -> Hold:
    return Hold(
        hold_id=row["hold_id"],
        status=row["status"],
        action=row["action"],
        quantity_micro=row["quantity_micro"],
        credits_micro=row["credits_micro"],
        price_micro=row["price_micro"],
        price_book_version=row["price_book_version"],
        overage_price_micro_minor=row["overage_price_micro_minor"],
        overage_since=row["overage_since"],
        member=row["member_id"],
        team=row["team_id"],
        project=row["project_id"],
        run=row["run_id"],
        authorized_at=row["authorized_at"],
        expires_at=row["expires_at"],
        outcome=row["outcome"],
    )


def place(
    tx: Connection, wallet: Wallet, hold: Hold, receipt: Sequence[Take], *, positions_from: int = 0
) -> None:
    """Store a hold, or more pins of one that exists, and set the credits aside."""
    if positions_from == 0:
        tx.execute(
            _PLACE,
            {
                "organization_id": wallet.organization_id,
                "hold_id": hold.hold_id,
                "status": "authorized",
                "action": hold.action,
                "quantity_micro": hold.quantity_micro,
                "credits_micro": hold.credits_micro,
                "price_micro": hold.price_micro,
                "price_book_version": hold.price_book_version,
                "overage_price_micro_minor": hold.overage_price_micro_minor,
                "overage_since": hold.overage_since,
                "member_id": hold.member,
                "team_id": hold.team,
                "project_id": hold.project,
                "run_id": hold.run,
                "authorized_at": hold.authorized_at,
                "expires_at": hold.expires_at,
            },
        )
    if receipt:
        tx.execute(
            _PIN,
            [
                {
                    "organization_id": wallet.organization_id,
                    "hold_id": hold.hold_id,
                    "position": positions_from + offset,
                    "account": line.account,
                    "amount_micro": line.amount_micro,
                    "at": wallet.now,
                }
                for offset, line in enumerate(receipt)
            ],
        )
    wallet.hold(receipt, hold.hold_id)


def grow(tx: Connection, organization_id: str, larger: Hold) -> None:
    """Set what an open hold now stands for."""
    tx.execute(
        update(holds)
        .where(
            holds.c.organization_id == organization_id,
            holds.c.hold_id == larger.hold_id,
            IS_OPEN,
        )
        .values(
            quantity_micro=larger.quantity_micro,
            credits_micro=larger.credits_micro,
            overage_price_micro_minor=larger.overage_price_micro_minor,
            overage_since=larger.overage_since,
        )
    )


def find(tx: Connection, organization_id: str, hold_id: str) -> Hold:
    """Return a hold. Raises NotFound."""
    row = tx.execute(_FIND, {"org": organization_id, "hold_": hold_id}).mappings().first()
    if row is None:
        raise NotFound("authorization", hold_id)
    return _hold(row)


def organization_of(tx: Connection, hold_id: str, *, only: str | None) -> str:
    """Return whose hold this is; ``only`` limits the search to a key's own organization.

    Raises NotFound, the same for another organization's hold as for one that does not exist.
    """
    found = tx.execute(_OWNER, {"hold_": hold_id}).scalar()
    if found is None or (only is not None and found != only):
        raise NotFound("authorization", hold_id)
    return str(found)


def receipt_of(tx: Connection, organization_id: str, hold_id: str) -> list[Take]:
    """Return the grants a hold took its credits from, first taken first."""
    rows = tx.execute(_RECEIPT, {"org": organization_id, "hold_": hold_id})
    return [Take(row.account, row.amount_micro) for row in rows]


def end(
    tx: Connection, wallet: Wallet, hold_id: str, *, status: str, outcome: dict[str, Any]
) -> None:
    """End a hold, once. Raises Unavailable where it had ended already."""
    _end(tx, wallet, hold_id, "authorized", status, outcome)


def end_late(
    tx: Connection, wallet: Wallet, hold_id: str, *, status: str, outcome: dict[str, Any]
) -> None:
    """Say how a hold ended after all: work that was reported past the deadline."""
    _end(tx, wallet, hold_id, "expired", status, outcome)


def _end(
    tx: Connection, wallet: Wallet, hold_id: str, was: str, becomes: str, outcome: dict[str, Any]
) -> None:
    ended = tx.execute(
        _END,
        {
            "org": wallet.organization_id,
            "hold_": hold_id,
            "from_": was,
            "to_": becomes,
            "ended_": wallet.now,
            "outcome_": outcome,
        },
    ).rowcount
    if ended != 1:
        raise Unavailable("The authorization ended underneath. Ask for its state and try again.")


def expire_lapsed(tx: Connection, wallet: Wallet, *, until: datetime | None = None) -> int:
    """Give back what holds past their deadline still pin, in the order of their deadlines.

    In as many statements for thousands as for one: nobody else gets at the wallet meanwhile.
    ``until`` leaves out deadlines after that instant. Returns how many ended.
    """
    past = {"org": wallet.organization_id, "until": until or wallet.now}
    lapsed = [_hold(row) for row in tx.execute(_LAPSED, past).mappings()]
    if not lapsed:
        return 0
    receipts: dict[str, list[Take]] = defaultdict(list)
    for row in tx.execute(_LAPSED_RECEIPTS, past):
        receipts[row.hold_id].append(Take(row.account, row.amount_micro))
    beyond: dict[Place, int] = defaultdict(int)
    for hold in lapsed:
        receipt = receipts[hold.hold_id]
        wallet.give_back(receipt, hold.hold_id, at=hold.expires_at)
        if hold.place is not None:
            beyond[hold.place] += beyond_grants(receipt)
    credits_micro = {hold.hold_id: hold.credits_micro for hold in lapsed}
    caps.settle_all(tx, wallet.organization_id, credits_micro, of=_IDS_PAST_DEADLINE, asked=past)
    for place, held_micro in beyond.items():
        _settle_overage(tx, wallet.organization_id, place, held_micro=held_micro, spent_micro=0)
    ended = tx.execute(_LAPSE, {**past, "now": wallet.now}).rowcount
    if ended != len(lapsed):
        raise Unavailable("Authorizations ended underneath. Nothing was done; try again.")
    return ended


def leave_limits(
    tx: Connection,
    organization_id: str,
    hold: Hold,
    pinned: Sequence[Take],
    *,
    used: Sequence[Take],
) -> None:
    """Take an ending hold off the caps and the overage it counts in; add what of it was used."""
    spent = sum(line.amount_micro for line in used)
    caps.settle(
        tx,
        organization_id,
        hold.hold_id,
        held_micro=hold.credits_micro,
        spent_micro=spent,
    )
    if hold.place is not None:
        held_micro, spent_micro = beyond_grants(pinned), beyond_grants(used)
        _settle_overage(
            tx, organization_id, hold.place, held_micro=held_micro, spent_micro=spent_micro
        )


def _settle_overage(
    tx: Connection, organization_id: str, place: Place, *, held_micro: int, spent_micro: int
) -> None:
    overage.settle(
        tx,
        organization_id,
        since=place.since,
        price_micro_minor=place.price_micro_minor,
        held_micro=held_micro,
        spent_micro=spent_micro,
    )


def in_progress(
    tx: Connection, organization_id: str, *, now: datetime
) -> dict[str, tuple[int, int]]:
    """Return, by member, how many holds are open at ``now`` and the credits in millionths."""
    rows = tx.execute(
        select(holds.c.member_id, func.count(), func.sum(holds.c.credits_micro))
        .where(
            holds.c.organization_id == organization_id,
            IS_OPEN,
            holds.c.expires_at > now,
        )
        .group_by(holds.c.member_id)
    )
    return {member: (count, int(credits_micro)) for member, count, credits_micro in rows}


def organizations_with_lapsed(tx: Connection, *, now: datetime) -> list[str]:
    """Return the organizations that have holds past their deadline."""
    rows = tx.execute(
        select(holds.c.organization_id).where(IS_OPEN, holds.c.expires_at <= now).distinct()
    )
    return [row.organization_id for row in rows]
