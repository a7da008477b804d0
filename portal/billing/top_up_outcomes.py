"""What becomes of an attempt of auto top-up, whoever brings the news and however often.

Invariant: an attempt is brought to what Stripe's payment intent says, in one transaction under the
wallet's lock. Credits come with money that arrived, once, whatever was thought of the attempt
before; a decline counts once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from portal import audit, notices
from portal.billing.effects import Mark, Quarantined, no_mark
from portal.billing.gateway import TopUpIntent
from portal.billing.payments import Payment, record
from portal.core.errors import NotFound
from portal.core.top_up import WHILE_PROCESSING, ask_again_at
from portal.core.units import format_micro
from portal.db import Database
from portal.desk import Desk, open_desk
from portal.notices import outbox
from portal.top_ups import attempts, standing
from portal.top_ups.attempts import Attempt
from portal.top_ups.standing import AUTHENTICATION, FAILED, MADE
from portal.wallet import Paid


def settle(
    database: Database,
    intent: TopUpIntent,
    *,
    livemode: bool,
    now: datetime,
    mark: Mark = no_mark,
) -> Attempt:
    """Bring an attempt to what Stripe says of its payment, which must just have been fetched.

    ``mark`` runs in the transaction that has the effect. Raises Quarantined where the payment does
    not fit what was to be bought.
    """
    with database.transaction() as tx:
        try:
            desk = open_desk(tx, intent.organization_id, now=now)
        except NotFound as error:
            raise Quarantined(f"Payment {intent.intent_id} names no organization here.") from error
        attempt = _checked(desk, intent, livemode)
        if intent.paid:
            _succeed(desk, attempt, intent)
        elif intent.needs_authentication:
            _needs_authentication(desk, attempt, intent)
        elif intent.declined:
            _decline(desk, attempt, intent)
        elif intent.status == "canceled":
            attempts.fail(
                tx, attempt, "failed", "canceled", intent_id=intent.intent_id, now=desk.now
            )
        else:
            waits = intent.status == "processing"
            attempts.keep_unknown(
                tx,
                attempt,
                intent_id=intent.intent_id,
                ask_at=desk.now + WHILE_PROCESSING
                if waits
                else ask_again_at(started_at=attempt.started_at, now=desk.now),
            )
        desk.wallet.write()
        mark(tx)
        return _as_it_is(tx, attempt)


def stays_unknown(database: Database, attempt: Attempt, *, ask_at: datetime) -> Attempt:
    """Say that it is not known what became of an attempt, and when Stripe is asked again."""
    with database.transaction() as tx:
        attempts.keep_unknown(tx, attempt, intent_id=None, ask_at=ask_at)
        return _as_it_is(tx, attempt)


def never_reached(database: Database, attempt: Attempt, *, now: datetime) -> Attempt:
    """End an attempt that Stripe knows nothing of, so long after the last call."""
    with database.transaction() as tx:
        attempts.fail(tx, attempt, "failed", "never_reached", intent_id=None, now=now)
        return _as_it_is(tx, attempt)


def lacks_method(database: Database, organization_id: str, *, now: datetime) -> None:
    """Suspend it where there is nothing to charge, until there is."""
    with database.transaction() as tx:
        desk = open_desk(tx, organization_id, now=now)
        desk.wallet.write()
        if standing.suspend(tx, organization_id, "declined", method_id=""):
            _tell_failed(
                desk, "Credits are low, and there is no payment method to buy more with. Save one."
            )


def _as_it_is(tx: Connection, attempt: Attempt) -> Attempt:
    return attempts.find(tx, attempt.organization_id, attempt.top_up_id) or attempt


def _checked(desk: Desk, intent: TopUpIntent, livemode: bool) -> Attempt:
    attempt = attempts.find(desk.tx, intent.organization_id, intent.top_up_id)
    if attempt is None:
        raise Quarantined(f"Payment {intent.intent_id} names a top-up that was never begun.")
    expected = {
        "mode": (livemode, intent.livemode),
        "customer": (desk.organization.stripe_customer_id, intent.customer_id),
        "amount": (attempt.amount_minor, intent.amount_minor),
        "currency": (attempt.currency, intent.currency),
    }
    for what, (ours, theirs) in expected.items():
        if ours != theirs:
            raise Quarantined(
                f"Payment {intent.intent_id}: the {what} is {theirs!r}, we expected {ours!r}."
            )
    return attempt


def _succeed(desk: Desk, attempt: Attempt, intent: TopUpIntent) -> None:
    days = attempt.expires_after_days
    grant_id = desk.wallet.grant(
        source="pack",
        credits_micro=attempt.credits_micro,
        expires_at=desk.now + timedelta(days=days) if days else None,
        paid=Paid(attempt.amount_minor, attempt.currency),
        reason=attempt.pack_name,
        external_key=f"stripe:intent:{intent.intent_id}",
    )
    news = attempts.succeed(
        desk.tx, attempt, intent_id=intent.intent_id, grant_id=grant_id, now=desk.now
    )
    record(
        desk.wallet,
        Payment(
            payment_id=intent.intent_id,
            kind="top_up",
            amount_minor=intent.amount_minor,
            currency=intent.currency,
            settled_at=intent.paid_at or desk.now,
            grant_id=grant_id,
            charge_id=intent.charge_id,
            fee_minor=intent.fee_minor,
            receipt_url=intent.receipt_url,
        ),
    )
    if news:
        _tell_made(desk, attempt, intent)


def _tell_made(desk: Desk, attempt: Attempt, intent: TopUpIntent) -> None:
    notices.end_all(desk.tx, attempt.organization_id, notices.PACK_FAILED, now=desk.now)
    audit.note(
        desk.tx,
        attempt.organization_id,
        actor="stripe",
        act="top_up.made",
        target=attempt.top_up_id,
        detail={"credits": format_micro(attempt.credits_micro), "payment": intent.intent_id},
        now=desk.now,
    )
    outbox.tell(
        desk.tx,
        attempt.organization_id,
        MADE,
        subject=attempt.top_up_id,
        facts={
            "pack": attempt.pack_name,
            "credits_micro": attempt.credits_micro,
            "amount_minor": attempt.amount_minor,
            "currency": attempt.currency,
            "available_micro": desk.wallet.available_micro,
        },
        now=desk.now,
    )


def _needs_authentication(desk: Desk, attempt: Attempt, intent: TopUpIntent) -> None:
    news = attempts.fail(
        desk.tx,
        attempt,
        "needs_authentication",
        intent.failure or intent.status,
        intent_id=intent.intent_id,
        now=desk.now,
    )
    if not news:
        return
    standing.suspend(
        desk.tx, attempt.organization_id, "authentication", method_id=attempt.method_id
    )
    notices.raise_notice(
        desk.tx,
        attempt.organization_id,
        AUTHENTICATION,
        f"Your bank asks you to confirm the payment for {attempt.pack_name}. Buy the pack here "
        "and confirm it; from then on credits are bought by themselves again.",
        url="/plans",
        now=desk.now,
    )


def _decline(desk: Desk, attempt: Attempt, intent: TopUpIntent) -> None:
    news = attempts.fail(
        desk.tx, attempt, "failed", intent.failure, intent_id=intent.intent_id, now=desk.now
    )
    if not news:
        return
    standing.declined(desk.tx, attempt.organization_id, method_id=attempt.method_id)
    _tell_failed(
        desk,
        f"The payment for {attempt.pack_name} was declined. Nothing was charged. "
        "Save another payment method to go on.",
    )


def _tell_failed(desk: Desk, sentence: str) -> None:
    organization_id = desk.organization.organization_id
    notices.end(desk.tx, organization_id, FAILED, quietly=True, now=desk.now)
    notices.raise_notice(desk.tx, organization_id, FAILED, sentence, url="/plans", now=desk.now)
