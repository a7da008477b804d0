"""What is owed: credits that were taken back after they were spent, and claims on held ones.

Invariant: debt is paid as soon as there is anything to pay it with, so that what is available and
what is owed are never both above zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from sqlalchemy import and_, bindparam, func, select, update

from portal.core.ledger import Account, Take, settling_order, take
from portal.tables import IS_OPEN, Whole, entries, grants, hold_pins, holds, transfers
from portal.wallet.ledger import Ledger

_NOTE_ON_GRANT = (
    update(grants)
    .where(grants.c.organization_id == bindparam("org"), grants.c.grant_id == bindparam("account_"))
    .values(
        frozen_micro=grants.c.frozen_micro + bindparam("frozen_", type_=Whole),
        claimed_micro=grants.c.claimed_micro + bindparam("claimed_", type_=Whole),
        owed_micro=grants.c.owed_micro + bindparam("owed_", type_=Whole),
    )
)
_PINNED = (
    select(func.coalesce(func.sum(hold_pins.c.amount_micro), 0))
    .join(
        holds,
        and_(
            holds.c.organization_id == hold_pins.c.organization_id,
            holds.c.hold_id == hold_pins.c.hold_id,
        ),
    )
    .where(
        holds.c.organization_id == bindparam("org"),
        IS_OPEN,
        hold_pins.c.hold_id.in_(
            select(holds.c.hold_id).where(holds.c.organization_id == bindparam("org"), IS_OPEN)
        ),
        holds.c.hold_id != bindparam("but_"),
        hold_pins.c.account == bindparam("account_"),
    )
)
_SETTLED = (
    select(func.coalesce(func.sum(transfers.c.amount_micro), 0))
    .join(
        entries,
        and_(
            entries.c.organization_id == transfers.c.organization_id,
            entries.c.transfer_id == transfers.c.transfer_id,
        ),
    )
    .where(
        entries.c.organization_id == bindparam("org"),
        entries.c.account == bindparam("account_"),
        entries.c.amount_micro < 0,
        transfers.c.kind == "settle",
    )
)


class Debts(Ledger):
    """A ledger that remembers of each grant what is frozen, claimed and owed, and settles it."""

    def note(self, grant_id: str, *, frozen: int = 0, claimed: int = 0, owed: int = 0) -> None:
        """Add to what a grant remembers: frozen, claimed of its pins, owed for what it paid."""
        if not (frozen or claimed or owed):
            return
        self.tx.execute(
            _NOTE_ON_GRANT,
            {
                "org": self.organization_id,
                "account_": grant_id,
                "frozen_": frozen,
                "claimed_": claimed,
                "owed_": owed,
            },
        )
        lot = self._lots[grant_id]
        self._lots[grant_id] = replace(lot, claimed_micro=lot.claimed_micro + claimed)

    def mark(self, grant_id: str, *, frozen: bool = False, voided: bool = False) -> None:
        """Remember that a grant is frozen or voided from now on."""
        self._lots[grant_id] = replace(self.lot(grant_id), frozen=frozen, voided=voided)

    def settle_debt(self, *, at: datetime | None = None) -> None:
        """Pay what is owed out of what there is, as of an instant: by default now.

        Available and debt are never both above zero.
        """
        owed = self.debt_micro
        if not owed:
            return
        standing = [self.lot(account) for account in list(self._lots)]
        receipt, _ = take(settling_order(standing, now=at or self.now), owed)
        for line in receipt:
            self.move("settle", line.account, Account.DEBT, line.amount_micro, line.account)

    def owe(self, grant_id: str, amount_micro: int) -> None:
        """Turn into debt what was taken back of a grant after it was spent."""
        if amount_micro:
            self.move("owe", Account.DEBT, Account.REVOKED, amount_micro, grant_id)
            self.note(grant_id, owed=amount_micro)

    def owe_claims(self, receipt: Iterable[Take], hold_id: str) -> None:
        """Turn into debt what a refund claimed of credits that a capture has spent after all."""
        for account in dict.fromkeys(line.account for line in receipt):
            lot = self._lots.get(account)
            if lot is None or not lot.claimed_micro:
                continue
            pinned = self.pinned(account, but=hold_id)
            owed = lot.claimed_micro - min(lot.claimed_micro, pinned)
            self.owe(account, owed)
            self.note(account, claimed=-owed)
        self.settle_debt()

    def pinned(self, grant_id: str, *, but: str = "") -> int:
        """Return what open holds pin of a grant, leaving out the hold ``but``, in millionths."""
        found = self.tx.execute(
            _PINNED, {"org": self.organization_id, "account_": grant_id, "but_": but}
        ).scalar_one()
        return int(found)

    def settled_from(self, grant_id: str) -> int:
        """Return what of a grant has paid debts, in millionths: written, or moved just now."""
        written = self.tx.execute(
            _SETTLED, {"org": self.organization_id, "account_": grant_id}
        ).scalar_one()
        moved: int = sum(
            move["amount_micro"]
            for move in self._moves
            if move["kind"] == "settle" and move["from_account"] == grant_id
        )
        return int(written) + moved
