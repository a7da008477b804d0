"""What an organization has: now, and as it was at any past instant. Reads the ledger only.

Grants past their expiry and holds past their deadline count as gone and as given back at that very
instant, whether or not a job has booked it yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, bindparam, or_, select

from portal.core.ledger import (
    Account,
    Lot,
    WayBack,
    in_burn_down_order,
    settling_order,
    take,
    way_back,
)
from portal.tables import IS_OPEN, accounts, entries, grants, hold_pins, holds, transfers, wallets
from portal.wallet import EVERY_STANDING, FIXED_ACCOUNTS, STANDING, lot_of

_MOVED_AT = select(wallets.c.moved_at).where(wallets.c.organization_id == bindparam("org"))
_PINS = (
    select(
        holds.c.hold_id,
        holds.c.lapsed_at,
        holds.c.expires_at,
        hold_pins.c.account,
        hold_pins.c.amount_micro,
    )
    .join(
        holds,
        and_(
            holds.c.organization_id == hold_pins.c.organization_id,
            holds.c.hold_id == hold_pins.c.hold_id,
        ),
    )
    .where(holds.c.organization_id == bindparam("org"), holds.c.expires_at <= bindparam("now"))
    .order_by(holds.c.expires_at, holds.c.hold_id, hold_pins.c.position)
)


def _of_those(*which: ColumnElement[bool]) -> Select[Any]:
    """Return the pins of holds whose deadline has passed and that are such.

    Their ids are asked for by themselves: SQLite would else begin with all pins there ever were.
    """
    ids = select(holds.c.hold_id).where(
        holds.c.organization_id == bindparam("org"), holds.c.expires_at <= bindparam("now"), *which
    )
    return _PINS.where(*which, hold_pins.c.hold_id.in_(ids))


_LAPSED = _of_those(IS_OPEN)
#: Holds whose deadline had passed at an instant and was booked after it, or is not booked yet.
_LAPSED_THEN = _of_those(or_(IS_OPEN, holds.c.lapsed_at > bindparam("now"))).where(
    hold_pins.c.at <= bindparam("now")
)
#: What was written at the instants at which those holds were booked.
_BOOKED = select(
    transfers.c.kind,
    transfers.c.from_account,
    transfers.c.to_account,
    transfers.c.amount_micro,
    transfers.c.reference,
).where(
    transfers.c.organization_id == bindparam("org"),
    transfers.c.at.in_(bindparam("instants_", expanding=True)),
)
#: How credits come back to a grant, and go on from it at once.
_BOOKS = frozenset({"release", "revoke", "freeze", "lapse"})
_SOME_STANDING = EVERY_STANDING.where(
    accounts.c.account.in_(bindparam("accounts_", expanding=True))
)
_THEN = (
    select(entries.c.after_micro)
    .where(
        entries.c.organization_id == accounts.c.organization_id,
        entries.c.account == accounts.c.account,
        entries.c.at <= bindparam("now"),
    )
    .order_by(entries.c.at.desc(), entries.c.version.desc())
    .limit(1)
    .scalar_subquery()
)
#: The accounts as they stood at an instant, of grants that could still be alive then.
_STANDING_THEN = EVERY_STANDING.add_columns(_THEN.label("then_micro")).where(
    or_(
        accounts.c.account.in_(FIXED_ACCOUNTS),
        and_(
            grants.c.created_at <= bindparam("now"),
            or_(grants.c.expires_at.is_(None), grants.c.expires_at > bindparam("now")),
        ),
        accounts.c.account.in_(bindparam("accounts_", expanding=True)),
    )
)


@dataclass(frozen=True)
class Balance:
    """What an organization has, as of an instant; millionths of a credit."""

    as_of: datetime
    available_micro: int
    held_micro: int
    debt_micro: int
    frozen_micro: int
    uncollected_micro: int
    lots: Sequence[Lot]


def ever_granted(tx: Connection, organization_id: str, *, until: datetime) -> bool:
    """Tell whether any credits had been granted by an instant."""
    found = select(grants.c.grant_id).where(
        grants.c.organization_id == organization_id, grants.c.created_at <= until
    )
    return tx.execute(found.limit(1)).first() is not None


def allowance_of(tx: Connection, organization_id: str, *, start: datetime, now: datetime) -> int:
    """Return what the plan has given since a period's start, in millionths.

    That is less than the tier's figure where it was taken within the period. What began earlier
    and still lives counts too, where nothing began in it.
    """
    alive = or_(grants.c.expires_at.is_(None), grants.c.expires_at > now)
    rows = tx.execute(
        select(grants.c.granted_micro, (grants.c.effective_at >= start).label("within")).where(
            grants.c.organization_id == organization_id,
            grants.c.source == "allowance",
            grants.c.voided_at.is_(None),
            grants.c.effective_at <= now,
            or_(grants.c.effective_at >= start, alive),
        )
    ).all()
    within: int = sum(row.granted_micro for row in rows if row.within)
    return within or sum(int(row.granted_micro) for row in rows)


@dataclass(frozen=True)
class _Pins:
    """What the holds of one deadline pin: by account, in millionths, and what became of it.

    None where that is yet to be decided, as the grants stand.
    """

    deadline: datetime
    parts: Sequence[tuple[str, int, WayBack | None]]


def balance(tx: Connection, organization_id: str, *, now: datetime) -> Balance:
    """Return the balance at ``now``.

    Where the ledger has written later than that (the clock of another server is ahead), the balance
    is that of its last instant: never half of what it wrote.
    """
    moved_at = tx.execute(_MOVED_AT, {"org": organization_id}).scalar()
    now = now if moved_at is None else max(now, moved_at)
    fixed: dict[str, int] = {}
    lots: dict[str, Lot] = {}
    for row in tx.execute(STANDING, {"org": organization_id}).mappings():
        if row["grant_id"] is None:
            fixed[row["account"]] = row["balance_micro"]
        else:
            lots[row["account"]] = lot_of(row)
    lapsed = _by_deadline(tx.execute(_LAPSED, {"org": organization_id, "now": now}))
    spent = _grants_of(lapsed) - set(lots)
    if spent:
        again = tx.execute(_SOME_STANDING, {"org": organization_id, "accounts_": sorted(spent)})
        lots.update({row["account"]: lot_of(row) for row in again.mappings()})
    return _balance(fixed, lots, lapsed, at=now)


def balance_at(tx: Connection, organization_id: str, *, at: datetime) -> Balance:
    """Return the balance as it was at a past instant, replayed from the ledger's entries."""
    pins = tx.execute(_LAPSED_THEN, {"org": organization_id, "now": at}).all()
    lapsed = _by_deadline(pins, _booked(tx, organization_id, pins))
    named = {"org": organization_id, "now": at, "accounts_": sorted(_grants_of(lapsed))}
    fixed: dict[str, int] = dict.fromkeys(FIXED_ACCOUNTS, 0)
    lots: dict[str, Lot] = {}
    for row in tx.execute(_STANDING_THEN, named).mappings():
        stood = row["then_micro"] or 0
        if row["grant_id"] is None:
            fixed[row["account"]] = stood
        else:
            lots[row["account"]] = _lot_then(row, stood, at=at)
    return _balance(fixed, lots, lapsed, at=at)


def _booked(
    tx: Connection, organization_id: str, pins: Iterable[Any]
) -> dict[tuple[str, str], WayBack]:
    """Return what became, once it was booked, of what lapsed holds had pinned: by hold and grant.

    A grant may have been frozen, or claimed by a refund, then and not now: the ledger remembers.
    What went on from the grant because of the hold says so; what else was taken then does not.
    """
    instants = {row.hold_id: row.lapsed_at for row in pins if row.lapsed_at is not None}
    if not instants:
        return {}
    named = {"org": organization_id, "instants_": sorted(set(instants.values()))}
    parts: dict[tuple[str, str], dict[str, int]] = {}
    for row in tx.execute(_BOOKED, named):
        if row.reference in instants and row.kind in _BOOKS:
            account = row.to_account if row.kind == "release" else row.from_account
            found = parts.setdefault((row.reference, account), {})
            found[row.kind] = found.get(row.kind, 0) + row.amount_micro
    return {
        key: WayBack(
            kept_micro=amounts.pop("release") - sum(amounts.values()),
            revoked_micro=amounts.get("revoke", 0),
            frozen_micro=amounts.get("freeze", 0),
            expired_micro=amounts.get("lapse", 0),
        )
        for key, amounts in parts.items()
    }


def _lot_then(row: RowMapping, stood_micro: int, *, at: datetime) -> Lot:
    """Return a grant's lot as it was."""
    return replace(
        lot_of(row),
        remaining_micro=stood_micro,
        frozen=row["frozen_at"] is not None and row["frozen_at"] <= at,
        voided=row["voided_at"] is not None and row["voided_at"] <= at,
    )


def _by_deadline(
    rows: Iterable[Any], booked: Mapping[tuple[str, str], WayBack] | None = None
) -> list[_Pins]:
    found: dict[datetime, list[tuple[str, int, WayBack | None]]] = {}
    left = dict(booked or {})
    for row in rows:
        became = left.get((row.hold_id, row.account))
        if became is not None:
            # A hold that was extended pins a grant more than once: all of it came back together.
            left[row.hold_id, row.account] = WayBack()
        found.setdefault(row.expires_at, []).append((row.account, row.amount_micro, became))
    return [_Pins(deadline, parts) for deadline, parts in found.items()]


def _grants_of(lapsed: Iterable[_Pins]) -> set[str]:
    return {account for one in lapsed for account, _, _ in one.parts} - {Account.OVERAGE.value}


def _balance(
    fixed: Mapping[str, int], lots: dict[str, Lot], lapsed: Iterable[_Pins], *, at: datetime
) -> Balance:
    """Return what stands once everything that fell due by itself has happened."""
    frozen, owed, returned = fixed[Account.FROZEN], -fixed[Account.DEBT], 0
    for one in lapsed:
        for account, amount, became in one.parts:
            returned += amount
            if account != Account.OVERAGE:
                back = became or way_back(lots[account], amount, at=one.deadline)
                frozen += back.frozen_micro
                lots[account] = lots[account].after(back)
        settled, owed = take(settling_order(lots.values(), now=one.deadline), owed)
        for line in settled:
            lots[line.account] = lots[line.account].plus(-line.amount_micro)
    # What a refund claims of work in flight is no part of what there is to spend.
    spendable = [replace(lot, claimed_micro=0) for lot in in_burn_down_order(lots.values(), now=at)]
    return Balance(
        as_of=at,
        available_micro=sum(lot.remaining_micro for lot in spendable),
        held_micro=fixed[Account.HELD] - returned,
        debt_micro=owed,
        frozen_micro=frozen,
        uncollected_micro=fixed[Account.UNCOLLECTED],
        lots=spendable,
    )
