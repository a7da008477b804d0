"""What becomes of credits: granted, held, spent, given back, carried over, expired.

Invariant: they are spent in burn-down order, and come back to the very grants they came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, bindparam, case, func, insert, or_, select

from portal.core.errors import InvalidRequest
from portal.core.ledger import DEFAULT_PRIORITY, Account, Take, take, way_back
from portal.ids import new_id
from portal.tables import grants, transfers
from portal.wallet.debts import Debts

_ALLOWANCES = (
    select(
        grants.c.grant_id,
        grants.c.granted_micro,
        func.coalesce(
            func.sum(
                case(
                    (transfers.c.kind == "revoke", transfers.c.amount_micro),
                    else_=-transfers.c.amount_micro,
                )
            ),
            0,
        ).label("revoked_micro"),
    )
    .outerjoin(
        transfers,
        and_(
            transfers.c.organization_id == grants.c.organization_id,
            or_(
                and_(
                    transfers.c.from_account == grants.c.grant_id,
                    transfers.c.kind == "revoke",
                ),
                and_(
                    transfers.c.to_account == grants.c.grant_id,
                    transfers.c.kind == "reinstate",
                ),
            ),
        ),
    )
    .where(
        grants.c.organization_id == bindparam("org"),
        grants.c.source == "allowance",
        grants.c.effective_at == bindparam("since_"),
    )
    .group_by(grants.c.grant_id, grants.c.granted_micro)
)


@dataclass(frozen=True)
class Paid:
    """What was paid for a grant: minor units of a currency."""

    amount_minor: int
    currency: str


class Wallet(Debts):
    """One organization's ledger, locked until the transaction ends."""

    def take(self, amount_micro: int) -> tuple[list[Take], int]:
        """Plan a spend in burn-down order: the receipt and what is missing. Moves nothing."""
        return take(self.lots, amount_micro)

    def hold(self, receipt: Iterable[Take], hold_id: str) -> None:
        """Set credits aside for work in flight."""
        for line in receipt:
            self.move("hold", line.account, Account.HELD, line.amount_micro, hold_id)

    def capture_held(self, receipt: Sequence[Take], hold_id: str) -> None:
        """Spend credits that were set aside."""
        amount = sum(line.amount_micro for line in receipt)
        if amount:
            self.move("capture", Account.HELD, Account.CAPTURED, amount, hold_id)

    def give_back(
        self,
        receipt: Iterable[Take],
        reference: str,
        *,
        at: datetime | None = None,
        of: Account = Account.HELD,
    ) -> None:
        """Return credits to the very grants they came from, as of an instant: by default now.

        They are held by work that ended, or were captured for work that a correction takes back.
        What expired by then is gone, and what a refund, a dispute or a void has claimed of them is
        not the customer's to spend.
        """
        kind = "release" if of == Account.HELD else "correct"
        for line in receipt:
            self.move(kind, of, line.account, line.amount_micro, reference)
            if line.account == Account.OVERAGE:
                continue
            self.came_back(line.account, line.amount_micro, at=at or self.now, reference=reference)
        self.settle_debt(at=at)

    def came_back(
        self, grant_id: str, amount_micro: int, *, at: datetime, reference: str = ""
    ) -> None:
        """Send credits on that have just come back to a grant: as far as they may not stay.

        ``reference`` is what they came back from, where it is not the grant's own affair.
        """
        back = way_back(self.lot(grant_id), amount_micro, at=at)
        # They stood elsewhere when the grant ended, and end as they come back: a lapse.
        for target, kind, amount in (
            (Account.REVOKED, "revoke", back.claimed_micro),
            (Account.REVOKED, "revoke", back.revoked_micro),
            (Account.FROZEN, "freeze", back.frozen_micro),
            (Account.EXPIRED, "lapse", back.expired_micro),
        ):
            self.onward(kind, grant_id, target, amount, reference)
        self.note(grant_id, frozen=back.frozen_micro, claimed=-back.claimed_micro)

    def debit(self, receipt: Iterable[Take], reference: str) -> None:
        """Spend credits at once: work that happened without a hold."""
        for line in receipt:
            self.move("debit", line.account, Account.CAPTURED, line.amount_micro, reference)

    def leave_uncollected(self, amount_micro: int, reference: str) -> None:
        """Record work the customer had not allowed to be charged. It costs them nothing."""
        if amount_micro:
            self.move("uncollected", Account.ISSUED, Account.UNCOLLECTED, amount_micro, reference)

    def expire_grants(self) -> int:
        """Book what is left of grants past their instant as expired; returns the millionths."""
        gone = 0
        for account, lot in list(self._lots.items()):
            left = self.balance(account)
            if left and lot.expires_at is not None and lot.expires_at <= self.now:
                self.move("expire", account, Account.EXPIRED, left, account)
                gone += left
        return gone

    def end_allowances(self, *, spent_since: datetime) -> int:
        """Take back what is left of allowances; they were another tier's.

        Returns what was spent or is held of those that began at ``spent_since``, in millionths.
        """
        rows = self.tx.execute(
            _ALLOWANCES, {"org": self.organization_id, "since_": spent_since}
        ).all()
        spent: int = sum(
            row.granted_micro - self.balance(row.grant_id) - int(row.revoked_micro) for row in rows
        )
        for account, lot in list(self._lots.items()):
            left = self.balance(account)
            if lot.source == "allowance" and left and lot.spendable(self.now):
                self.move("revoke", account, Account.REVOKED, left, account)
        return spent

    def roll_over(self, *, ended: datetime, until: datetime) -> int:
        """Carry what is left of the allowances that end at ``ended`` into the next period.

        Returns the millionths carried; the new grant lives until ``until``.
        """
        left = [
            lot
            for lot in map(self.lot, list(self._lots))
            if lot.source == "allowance" and lot.expires_at == ended and lot.remaining_micro
        ]
        total = sum(lot.remaining_micro for lot in left)
        if total:
            grant_id = self._add_grant(
                source="rollover",
                credits_micro=total,
                effective_at=ended,
                expires_at=until,
                reason="Left over from the period before",
            )
            for lot in left:
                self.move("rollover", lot.account, grant_id, lot.remaining_micro, grant_id)
            self.settle_debt(at=ended)
        return total

    def grant(
        self,
        *,
        source: str,
        credits_micro: int,
        effective_at: datetime | None = None,
        expires_at: datetime | None = None,
        priority: int | None = None,
        paid: Paid | None = None,
        reason: str = "",
        external_key: str | None = None,
        settle_at: datetime | None = None,
        continues: str | None = None,
    ) -> str:
        """Add a lot of credits and return its id; debt is settled first.

        ``settle_at`` is the instant whose grants pay a debt, where it is not now. ``continues`` is
        the grant whose credits these were, of which ``paid`` is then a part.
        ``external_key`` names what caused the grant, once and for all: the same key twice returns
        the first grant and adds nothing. Raises InvalidRequest for a lot that could never live.
        """
        if external_key is not None:
            known = self.tx.execute(
                select(grants.c.grant_id).where(
                    grants.c.organization_id == self.organization_id,
                    grants.c.external_key == external_key,
                )
            ).scalar()
            if known is not None:
                return str(known)
        grant_id = self._add_grant(
            source=source,
            credits_micro=credits_micro,
            effective_at=effective_at or self.now,
            expires_at=expires_at,
            priority=priority,
            paid=paid,
            reason=reason,
            external_key=external_key,
            continues=continues,
        )
        self.move("grant", Account.ISSUED, grant_id, credits_micro, grant_id)
        self.settle_debt(at=settle_at)
        return grant_id

    def _add_grant(
        self,
        *,
        source: str,
        credits_micro: int,
        effective_at: datetime,
        expires_at: datetime | None,
        priority: int | None = None,
        paid: Paid | None = None,
        reason: str = "",
        external_key: str | None = None,
        continues: str | None = None,
    ) -> str:
        """Make a grant and its account, with nothing on it yet."""
        if expires_at is not None and expires_at <= effective_at:
            raise InvalidRequest.at("/expires_at", "must be later than effective_at")
        grant_id = new_id("gr")
        row = {
            "organization_id": self.organization_id,
            "grant_id": grant_id,
            "source": source,
            "priority": DEFAULT_PRIORITY[source] if priority is None else priority,
            "granted_micro": credits_micro,
            "effective_at": effective_at,
            "expires_at": expires_at,
            "paid_minor": paid.amount_minor if paid else None,
            "paid_currency": paid.currency if paid else None,
            "reason": reason,
            "external_key": external_key,
            "continues": continues,
            "created_at": self.now,
        }
        self.tx.execute(insert(grants).values(row))
        self._open(grant_id)
        return grant_id
