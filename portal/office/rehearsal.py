"""What an act would do, found by doing it and taking it back: the preview is the path that acts.

Invariant: nothing of a rehearsal is kept; its transaction is always rolled back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from portal import metering, reversals
from portal.billing import approvals, money_back, refunds
from portal.billing.payments import Settled
from portal.billing.refund_record import RefundOrder
from portal.core.errors import InvalidRequest
from portal.core.events import UsageEvent
from portal.core.ledger import Account
from portal.db import Database
from portal.desk import Desk, open_desk
from portal.metering import Sent
from portal.onboarding import GrantRequest
from portal.wallet import Wallet

T = TypeVar("T")


@dataclass(frozen=True)
class Standing:
    """What an organization has at an instant, in millionths of a credit."""

    available_micro: int
    held_micro: int
    debt_micro: int
    uncollected_micro: int


@dataclass(frozen=True)
class Change:
    """How an organization stands before an act and after it."""

    before: Standing
    after: Standing

    @property
    def available_micro(self) -> int:
        """What the act adds to what may be spent."""
        return self.after.available_micro - self.before.available_micro

    @property
    def debt_micro(self) -> int:
        """What the act adds to what is owed."""
        return self.after.debt_micro - self.before.debt_micro

    @property
    def uncollected_micro(self) -> int:
        """What the act adds to what was never charged."""
        return self.after.uncollected_micro - self.before.uncollected_micro


@dataclass(frozen=True)
class Refund:
    """What a refund would do: the money, in minor units, and the credits it takes back.

    ``left_minor`` is the most that can go back, ``unspent_minor`` what one operator may decide.
    """

    settled: Settled
    amount_minor: int
    left_minor: int
    unspent_minor: int
    taken_micro: int
    change: Change

    @property
    def needs_another(self) -> bool:
        """Whether another operator has to approve it."""
        return self.amount_minor > self.unspent_minor


class _TakenBack(Exception):
    """Carries what was found out of the transaction that is rolled back."""

    def __init__(self, found: object) -> None:
        super().__init__()
        self.found = found


def _rehearse(database: Database, act: Callable[[Connection], T]) -> T:
    try:
        with database.transaction() as tx:
            raise _TakenBack(act(tx))
    except _TakenBack as done:
        found: T = done.found  # type: ignore[assignment] # what ``act`` returned
        return found


def _standing(wallet: Wallet) -> Standing:
    return Standing(
        wallet.available_micro,
        wallet.balance(Account.HELD),
        wallet.debt_micro,
        wallet.balance(Account.UNCOLLECTED),
    )


def _change(
    database: Database, organization_id: str, now: datetime, act: Callable[[Desk], None]
) -> Change:
    def done(tx: Connection) -> Change:
        desk = open_desk(tx, organization_id, now=now)
        before = _standing(desk.wallet)
        act(desk)
        return Change(before, _standing(desk.wallet))

    return _rehearse(database, done)


def grant(
    database: Database, organization_id: str, request: GrantRequest, *, now: datetime
) -> Change:
    """Return what a grant would do. Raises NotFound, InvalidRequest as granting does."""

    def act(desk: Desk) -> None:
        desk.wallet.grant(
            source=request.source,
            credits_micro=request.credits_micro,
            effective_at=request.effective_at,
            expires_at=request.expires_at,
            priority=request.priority,
            reason=request.reason,
        )

    return _change(database, organization_id, now, act)


def void(database: Database, organization_id: str, grant_id: str, *, now: datetime) -> Change:
    """Return what voiding a grant would do. Raises NotFound."""
    return _change(database, organization_id, now, lambda desk: _void(desk.wallet, grant_id))


def _void(wallet: Wallet, grant_id: str) -> None:
    reversals.void(wallet, grant_id)


def correct(database: Database, event: UsageEvent, *, now: datetime) -> Change:
    """Return what a correction would give back. Raises InvalidRequest as taking it would."""

    def act(desk: Desk) -> None:
        answer = metering.take(desk, [Sent(0, None, event=event)])
        if answer.rejected:
            raise InvalidRequest(answer.rejected[0].detail)

    return _change(database, event.organization_id, now, act)


def refund(
    database: Database,
    organization_id: str,
    payment_id: str,
    amount: str | None,
    *,
    now: datetime,
) -> Refund:
    """Return what a refund would take back. Raises NotFound, InvalidRequest.

    Stripe is not asked: what it would refuse it refuses when the refund is made.
    """

    def act(tx: Connection) -> Refund:
        wallet, settled = _payment(tx, organization_id, payment_id, now=now)
        part = refunds.part_of(settled, amount, "")
        unspent = refunds.free_minor(wallet, settled)
        wanted = unspent if amount is None else refunds.amount_of(settled, amount)
        return _refunded(wallet, settled, wanted, part, refunds.left_of(settled))

    return _rehearse(database, act)


def ordered(database: Database, order: RefundOrder, *, now: datetime) -> Refund:
    """Return what a refund that waits would do. Raises InvalidRequest where it fits no more."""

    def act(tx: Connection) -> Refund:
        wallet, settled = _payment(tx, order.organization_id, order.payment_id, now=now)
        if why := approvals.misfit(settled, order):
            raise InvalidRequest(why)
        left = refunds.left_of(settled, order.part)
        return _refunded(wallet, settled, order.amount_minor, order.part, left)

    return _rehearse(database, act)


def _payment(
    tx: Connection, organization_id: str, payment_id: str, *, now: datetime
) -> tuple[Wallet, Settled]:
    wallet = open_desk(tx, organization_id, now=now).wallet
    return wallet, refunds.known(wallet, payment_id)


def _refunded(
    wallet: Wallet, settled: Settled, wanted_minor: int, part: str, left_minor: int
) -> Refund:
    unspent = refunds.free_minor(wallet, settled, part)
    before, taken = _standing(wallet), 0
    payment, was = settled.payment, settled.reversal
    if payment.grant_id is not None and payment.for_grant_minor and wanted_minor:
        done = money_back.bring(
            wallet,
            payment.grant_id,
            payment.amount_minor,
            grant_part_minor=payment.for_grant_minor,
            before=was,
            told=was.refunded_by(wanted_minor, part),
        )
        taken = done.refund_revoked_micro - was.refund_revoked_micro
    change = Change(before, _standing(wallet))
    return Refund(settled, wanted_minor, left_minor, unspent, taken, change)
