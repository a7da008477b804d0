"""News of money that went back: refunds and disputes, and what reconciliation finds of them.

Invariant: the payment is fetched from Stripe after our row was read, has its effect only where the
row is still the same, and is fetched once more after it: since a refund may fail, a row can come
back to what it was, and yet nothing older ever overwrites what is newer for long.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import Connection

from portal import accounts, audit, notices
from portal.billing import payments as book
from portal.billing import refund_record as record
from portal.billing.effects import Mark, Quarantined, no_mark
from portal.billing.gateway import Gateway, PaymentState, RefundState
from portal.billing.mending import attempt
from portal.billing.money_back import Reversal
from portal.billing.payments import UNKNOWN, Payment, Settled
from portal.core.catalog import money_words
from portal.core.errors import NotFound, Unavailable
from portal.core.units import format_micro
from portal.db import Database
from portal.desk import open_desk
from portal.top_ups import standing
from portal.wallet import Wallet

log = structlog.get_logger()

#: So long after it was made banks may still send a refund back.
FAILS_WITHIN = timedelta(days=45)
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
    changed = None
    for _ in range(ATTEMPTS):
        with database.reading() as tx:
            seen = book.of(tx, organization_id, state.payment_id)
        try:
            state = payments.payment(state.charge_id)
        except Unavailable:
            if changed:
                # It has had its effect, only the look after it is missing.
                return changed
            raise
        with database.transaction() as tx:
            wallet = open_desk(tx, organization_id, now=now).wallet
            known = book.of(tx, organization_id, state.payment_id)
            current = known == seen
            more = _bring(wallet, known, state) if current else None
            if current:
                mark(tx)
            wallet.write()
        if current and more is None:
            return changed
        if current:
            changed, mark = more, no_mark
    raise Unavailable("This payment changes again and again. Try again.")


def mend(database: Database, payments: Gateway, *, since: datetime, now: datetime) -> list[str]:
    """Bring what was paid, refunded or disputed since an instant to what Stripe says of it.

    What a bank has not decided about is looked at as well, however old, and refunds that failed
    within the time a bank has for that. Returns what was mended, in words. Payments of nobody here
    are left alone.
    """
    mended: list[str] = []
    for state in _told_of(database, payments, since, now=now):
        try:
            organization_id = _owner(database, state, livemode=payments.livemode)
        except Quarantined:
            continue
        with database.reading() as tx:
            known = book.of(tx, organization_id, state.payment_id)
            behind = _behind(known, state) or _untold(tx, organization_id, state)
        if not behind:
            continue
        what = f"{organization_id}, payment {state.payment_id}"
        mended += attempt(what, partial(_synced, database, payments, state, organization_id, now))
    return mended


def _synced(
    database: Database, payments: Gateway, state: PaymentState, organization_id: str, now: datetime
) -> str:
    changed = sync(database, payments, state.charge_id, now=now)
    return f"{organization_id}: {changed}" if changed else ""


def _told_of(
    database: Database, payments: Gateway, since: datetime, *, now: datetime
) -> Iterator[PaymentState]:
    """Fetch the payments made, refunded or disputed since, then older ones that may be otherwise.

    Those are payments of which a refund has failed, and what is undecided.
    """
    seen = set()
    for state in payments.payments_since(since):
        seen.add(state.payment_id)
        yield state
    for charge_id in payments.charges_with_failed_refunds(min(since, now - FAILS_WITHIN)):
        with suppress(NotFound):
            state = payments.payment(charge_id)
            if state.payment_id not in seen:
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


def _untold(tx: Connection, organization_id: str, state: PaymentState) -> list[RefundState]:
    """Return the refunds of a payment that failed and do not stand here as such."""
    if not state.failed:
        return []
    orders = record.made_of(tx, organization_id, state.payment_id)
    known = {one.stripe_refund_id for one in orders if one.status == record.FAILED}
    return [one for one in state.failed if one.refund_id not in known]


def _bring(wallet: Wallet, known: Settled | None, state: PaymentState) -> str | None:
    failed = _untold(wallet.tx, wallet.organization_id, state)
    if not failed and not _behind(known, state):
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
    for one in failed:
        _note_failed(wallet, settled, one)
    if after == before and failed:
        return f"payment {state.payment_id}: {len(failed)} of its refunds failed"
    if after == before:
        return f"payment {state.payment_id}: Stripe's fee is {state.fee_minor} minor units"
    _disputed(wallet, settled, before)
    return _note(wallet, settled, before)


def _note_failed(wallet: Wallet, settled: Settled, refund: RefundState) -> None:
    """Write down that a refund failed, for the operator, who has the money again."""
    payment, organization_id = settled.payment, wallet.organization_id
    why = f"It failed at the bank ({refund.failure or refund.status}): the money is yours again."
    orders = record.made_of(wallet.tx, organization_id, payment.payment_id)
    mine = {refund.refund_id, refund.order_id}
    for order in orders:
        if mine & {order.stripe_refund_id, order.refund_id}:
            record.move(
                wallet.tx, order, record.FAILED, answer=why, stripe_refund_id=refund.refund_id
            )
            break
    else:
        made_there = record.RefundOrder(
            organization_id=organization_id,
            refund_id="",
            payment_id=payment.payment_id,
            amount_minor=refund.amount_minor,
            currency=payment.currency,
            part="",
            reason="",
            asked_by="stripe",
            asked_at=refund.created_at,
            expires_at=None,
            status=record.FAILED,
            answer=why,
            stripe_refund_id=refund.refund_id,
        )
        record.add(wallet.tx, made_there)
    audit.note(
        wallet.tx,
        organization_id,
        actor="stripe",
        act="refund.failed",
        target=payment.payment_id,
        detail={"refund": refund.refund_id, "amount_minor": refund.amount_minor, "answer": why},
        now=wallet.now,
    )
    log.error("refund failed", payment_id=payment.payment_id, refund_id=refund.refund_id)


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
    way = "taken" if more >= 0 else "given"
    return (
        f"payment {payment.payment_id} (grant {payment.grant_id or 'none yet'}): "
        f"{after.refunded_minor} of {payment.amount_minor} refunded, dispute {after.dispute}, "
        f"{format_micro(abs(more))} credits {way} back"
    )
