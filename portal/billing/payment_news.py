"""News of money that went back: refunds and disputes, and what reconciliation finds of them.

Invariant: the payment is fetched from Stripe after our row was read, and has its effect only where
the row is still the same: nothing older ever overwrites what is newer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from portal import accounts, audit, notices
from portal.billing import payments as book
from portal.billing.effects import Mark, Quarantined, no_mark
from portal.billing.gateway import Gateway, PaymentState
from portal.billing.money_back import Reversal
from portal.billing.payments import UNKNOWN, Payment, Settled
from portal.core.catalog import money_words
from portal.core.errors import NotFound, Unavailable
from portal.core.units import format_micro
from portal.db import Database
from portal.desk import open_desk
from portal.top_ups import standing
from portal.wallet import Wallet

#: How often a payment is fetched again because somebody else told of it meanwhile.
ATTEMPTS = 8
NOTICE = "dispute"
#: What is told while a payment is disputed, by how it stands.
_TOLD = {
    "inquiry": "The bank of whoever paid {amount} asks what the payment was for. Nothing changes.",
    "open": "The payment of {amount} is disputed: its unused credits wait until that is decided.",
    "withdrawn": "The bank took back the payment of {amount}. Its credits went back as well.",
}


def sync(
    database: Database, payments: Gateway, object_id: str, *, now: datetime, mark: Mark = no_mark
) -> str | None:
    """Bring a payment to what Stripe says of its refunds and disputes; returns what changed.

    ``object_id`` is Stripe's id of the payment, or of a refund or dispute of it. Raises
    Quarantined for a payment that is nobody's here or not as we know it, Unavailable where Stripe
    does not answer.
    """
    state = payments.payment(object_id)
    organization_id = _owner(database, state, livemode=payments.livemode)
    for _ in range(ATTEMPTS):
        with database.reading() as tx:
            seen = book.of(tx, organization_id, state.payment_id)
        state = payments.payment(state.charge_id)
        with database.transaction() as tx:
            wallet = open_desk(tx, organization_id, now=now).wallet
            known = book.of(tx, organization_id, state.payment_id)
            if known == seen:
                changed = _bring(wallet, known, state)
                mark(tx)
            wallet.write()
        if known == seen:
            return changed
    raise Unavailable("This payment changes again and again. Try again.")


def mend(database: Database, payments: Gateway, *, since: datetime, now: datetime) -> list[str]:
    """Bring what was paid, refunded or disputed since an instant to what Stripe says of it.

    What a bank has not decided about is looked at as well, however old. Returns what was mended, in
    words. Payments of nobody here are left alone.
    """
    mended = []
    for state in _told_of(database, payments, since):
        try:
            organization_id = _owner(database, state, livemode=payments.livemode)
        except Quarantined:
            continue
        with database.reading() as tx:
            known = book.of(tx, organization_id, state.payment_id)
        if not _behind(known, state):
            continue
        try:
            changed = sync(database, payments, state.charge_id, now=now)
        except (Quarantined, NotFound) as error:
            changed = f"does not fit: {error.detail}"
        except Unavailable as error:
            changed = f"not yet: {error.detail}"
        if changed:
            mended.append(f"{organization_id}: {changed}")
    return mended


def _told_of(database: Database, payments: Gateway, since: datetime) -> Iterator[PaymentState]:
    """Fetch the payments made, refunded or disputed since, then older ones that are undecided."""
    seen = set()
    for state in payments.payments_since(since):
        seen.add(state.payment_id)
        yield state
    with database.reading() as tx:
        undecided = [settled.payment for _, settled in book.unsettled(tx)]
    for payment in undecided:
        if payment.payment_id not in seen:
            with suppress(NotFound):
                yield payments.payment(payment.charge_id or payment.payment_id)


def _owner(database: Database, state: PaymentState, *, livemode: bool) -> str:
    """Return whose payment it is. Raises Quarantined."""
    if state.livemode != livemode:
        raise Quarantined(f"Payment {state.payment_id}: live and test mode are mixed.")
    if not state.customer_id:
        raise Quarantined(f"Payment {state.payment_id} has no customer.")
    try:
        with database.reading() as tx:
            return accounts.find_customer(tx, state.customer_id).organization_id
    except NotFound as error:
        raise Quarantined(
            f"Payment {state.payment_id}: customer {state.customer_id} is nobody here."
        ) from error


def _told(known: Settled | None, state: PaymentState) -> Reversal:
    before = known.reversal if known else Reversal()
    return before.told(state.refunded, state.disputed)


def _behind(known: Settled | None, state: PaymentState) -> bool:
    """Tell whether our row lacks something that Stripe knows."""
    before = known.reversal if known else Reversal()
    if known and known.payment.fee_minor is None and state.fee_minor is not None:
        return True
    return state.succeeded and _told(known, state) != before


def _bring(wallet: Wallet, known: Settled | None, state: PaymentState) -> str | None:
    if not _behind(known, state):
        return None
    before = known.reversal if known else Reversal()
    payment = Payment(
        payment_id=state.payment_id,
        kind=UNKNOWN,
        amount_minor=state.amount_minor,
        currency=state.currency,
        settled_at=None,
        charge_id=state.charge_id,
        fee_minor=state.fee_minor,
        receipt_url=state.receipt_url,
    )
    settled = book.tell(wallet, known, payment, _told(known, state))
    after = settled.reversal
    if after == before:
        return f"payment {state.payment_id}: Stripe's fee is {state.fee_minor} minor units"
    _disputed(wallet, settled, before)
    return _note(wallet, settled, before)


def _disputed(wallet: Wallet, settled: Settled, before: Reversal) -> None:
    """Tell of a dispute, or that it is over; no real one leaves auto top-up on."""
    tx, organization_id = wallet.tx, wallet.organization_id
    after, payment = settled.reversal.dispute, settled.payment
    if after == before.dispute:
        return
    notices.end(
        tx,
        organization_id,
        NOTICE,
        subject=payment.payment_id,
        quietly=after in _TOLD,
        now=wallet.now,
    )
    if after in _TOLD:
        amount = money_words(payment.amount_minor, payment.currency)
        sentence = _TOLD[after].format(amount=amount)
        notices.raise_notice(
            tx, organization_id, NOTICE, sentence, subject=payment.payment_id, now=wallet.now
        )
    if before.dispute in {"none", "inquiry"} and after not in {"none", "inquiry"}:
        standing.suspend(tx, organization_id, "disputed")


def _note(wallet: Wallet, settled: Settled, before: Reversal) -> str:
    """Write down what went back, and return it in words."""
    after, payment = settled.reversal, settled.payment
    taken = after.refund_revoked_micro + after.dispute_revoked_micro
    more = taken - before.refund_revoked_micro - before.dispute_revoked_micro
    audit.note(
        wallet.tx,
        wallet.organization_id,
        actor="stripe",
        act="payment.reversed",
        target=payment.payment_id,
        detail={
            "grant": payment.grant_id,
            "refunded_minor": after.refunded_minor,
            "dispute": after.dispute,
            "credits_taken": format_micro(more),
        },
        now=wallet.now,
    )
    return (
        f"payment {payment.payment_id} (grant {payment.grant_id or 'none yet'}): "
        f"{after.refunded_minor} of {payment.amount_minor} refunded, dispute {after.dispute}, "
        f"{format_micro(more)} credits taken back"
    )
