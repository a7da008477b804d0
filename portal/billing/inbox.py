"""Stripe's webhooks: written down first, done only in the transaction that has their effect.

Invariant: an event is a hint. The object it names is fetched again from Stripe; a duplicate changes
nothing; what does not fit is kept in quarantine with its reason, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row, and_, func, literal, or_, select, update

from portal import audit
from portal.billing import checkout, payment_news, tier_checkout, top_up_news
from portal.billing.effects import Mark
from portal.billing.gateway import Gateway, StripeEvent
from portal.billing.invoice_news import invoice_deleted, sync_invoice
from portal.billing.mending import MISFIT, NOT_YET
from portal.billing.subscriptions import sync_subscription
from portal.core.errors import ClearmeterError, NotFound, Unavailable
from portal.db import Database
from portal.rows import insert_or_ignore
from portal.tables import stripe_inbox

log = structlog.get_logger()


@dataclass(frozen=True)
class News:
    """An event with what its effect is had with."""

    database: Database
    payments: Gateway
    event: StripeEvent
    now: datetime
    mark: Mark


def _checkout(news: News) -> None:
    session = news.payments.checkout_session(news.event.object_id)
    if session.tier_checkout_id:
        tier_checkout.fulfil(news.database, news.payments, session, now=news.now, mark=news.mark)
        return
    checkout.fulfil(
        news.database,
        session,
        livemode=news.payments.livemode,
        now=news.now,
        mark=news.mark,
    )


def _money_back(news: News) -> None:
    payment_news.sync(
        news.database, news.payments, news.event.object_id, now=news.now, mark=news.mark
    )


def _payment(news: News) -> None:
    top_up_news.payment(
        news.database, news.payments, news.event.object_id, now=news.now, mark=news.mark
    )


def _subscription(news: News) -> None:
    sync_subscription(
        news.database, news.payments, news.event.object_id, now=news.now, mark=news.mark
    )


def _customer(news: News) -> None:
    top_up_news.method(
        news.database, news.payments, news.event.object_id, now=news.now, mark=news.mark
    )


def _schedule(news: News) -> None:
    subscription_id = news.payments.subscription_of_schedule(news.event.object_id)
    if not subscription_id:
        # It is yet to begin one, which is news of its own then.
        with news.database.transaction() as tx:
            news.mark(tx)
        return
    sync_subscription(news.database, news.payments, subscription_id, now=news.now, mark=news.mark)


def _invoice(news: News) -> None:
    if news.event.type == "invoice.upcoming":
        # There is none yet.
        with news.database.transaction() as tx:
            news.mark(tx)
        return
    if news.event.type == "invoice.deleted":
        invoice_deleted(
            news.database, news.payments, news.event.object_id, now=news.now, mark=news.mark
        )
        return
    sync_invoice(news.database, news.payments, news.event.object_id, now=news.now, mark=news.mark)


def _method(news: News) -> None:
    owner = news.payments.owner_of_method(news.event.object_id)
    top_up_news.method(news.database, news.payments, owner, now=news.now, mark=news.mark)


#: What is done about each kind of event, by how its type begins. Each fetches the object anew.
EFFECTS: Mapping[str, Callable[[News], None]] = {
    "charge.dispute.": _money_back,
    "charge.refund": _money_back,
    "checkout.session.": _checkout,
    "customer.subscription.": _subscription,
    "customer.updated": _customer,
    "invoice.": _invoice,
    "payment_intent.": _payment,
    "payment_method.attached": _method,
    "refund.": _money_back,
    "subscription_schedule.": _schedule,
}

_KEPT = select(stripe_inbox).order_by(stripe_inbox.c.received_at, stripe_inbox.c.stripe_event_id)


def receive(database: Database, payments: Gateway, event: StripeEvent, *, now: datetime) -> str:
    """Take a verified event; returns what became of it: done, ignored or quarantined.

    Raises Unavailable where Stripe does not answer the refetch: the event stays pending and both
    Stripe's retry and the next reconciliation will bring it to its end.
    """
    with database.transaction() as tx:
        insert_or_ignore(
            tx,
            stripe_inbox,
            {
                "stripe_event_id": event.event_id,
                "type": event.type,
                "object_id": event.object_id,
                "livemode": event.livemode,
                "status": "pending",
                "received_at": now,
            },
        )
        status = tx.execute(
            select(stripe_inbox.c.status).where(stripe_inbox.c.stripe_event_id == event.event_id)
        ).scalar_one()
    if status != "pending":
        return str(status)
    return _act(database, payments, event, now=now)


def _act(database: Database, payments: Gateway, event: StripeEvent, *, now: datetime) -> str:
    effect = next((act for begin, act in EFFECTS.items() if event.type.startswith(begin)), None)
    if effect is None:
        return _finish(database, event, "ignored", "", now)
    if event.livemode != payments.livemode:
        return _finish(database, event, "quarantined", "live and test mode are mixed", now)

    def mark(tx: Connection) -> None:
        _mark(tx, event, "done", "", now)

    try:
        effect(News(database, payments, event, now, mark))
    except Unavailable:
        raise
    except NotFound as error:
        reason = f"Stripe has nothing like it any more: {error.detail}"
    except ClearmeterError as error:
        # What does not fit: whoever sends it again would have the same answer.
        reason = error.detail
    else:
        return "done"
    log.error("payment quarantined", event_id=event.event_id, reason=reason)
    return _finish(database, event, "quarantined", reason, now)


def _mark(tx: Connection, event: StripeEvent, status: str, detail: str, now: datetime) -> None:
    # What is done stays done, whatever somebody who began earlier found.
    tx.execute(
        update(stripe_inbox)
        .where(
            stripe_inbox.c.stripe_event_id == event.event_id,
            (stripe_inbox.c.status != "done") | (literal(status) == "done"),
        )
        .values(status=status, detail=detail, done_at=now)
    )


def _finish(database: Database, event: StripeEvent, status: str, detail: str, now: datetime) -> str:
    with database.transaction() as tx:
        _mark(tx, event, status, detail, now)
    return status


def finish_pending(database: Database, payments: Gateway, *, now: datetime) -> list[str]:
    """Bring events that were only written down to their end; returns what was done, in words.

    One that Stripe does not answer for, or that fails here, stays pending and keeps no other from
    its end.
    """
    with database.reading() as tx:
        waiting = tx.execute(_KEPT.where(stripe_inbox.c.status == "pending")).all()
    return [_again(database, payments, _event(row), now=now) for row in waiting]


@dataclass(frozen=True)
class InboxLine:
    """An event of Stripe's as it was written down, and what became of it."""

    stripe_event_id: str
    type: str
    object_id: str
    livemode: bool
    status: str
    detail: str
    received_at: datetime
    done_at: datetime | None


def listed(
    tx: Connection,
    *,
    status: str = "",
    before: tuple[datetime, str] | None = None,
    limit: int,
) -> list[InboxLine]:
    """Return events, the latest first, in one state or in any."""
    came, key = stripe_inbox.c.received_at, stripe_inbox.c.stripe_event_id
    query = select(stripe_inbox).order_by(came.desc(), key.desc()).limit(limit)
    if status:
        query = query.where(stripe_inbox.c.status == status)
    if before is not None:
        at, last = before
        query = query.where(or_(came < at, and_(came == at, key < last)))
    return [InboxLine(**row) for row in tx.execute(query).mappings()]


def by_status(tx: Connection) -> dict[str, int]:
    """Return how many events are in each state."""
    rows = tx.execute(select(stripe_inbox.c.status, func.count()).group_by(stripe_inbox.c.status))
    return {row[0]: int(row[1]) for row in rows}


def set_aside(
    database: Database, event_ids: Sequence[str], *, reason: str, actor: str, now: datetime
) -> int:
    """Decide that quarantined events need nothing; returns how many. They can be tried again."""
    with database.transaction() as tx:
        done = tx.execute(
            update(stripe_inbox)
            .where(
                stripe_inbox.c.stripe_event_id.in_(event_ids),
                stripe_inbox.c.status == "quarantined",
            )
            .values(status="ignored", detail=reason, done_at=now)
        ).rowcount
        if done:
            detail = {"events": list(event_ids), "reason": reason}
            audit.note(tx, "", actor=actor, act="inbox.set_aside", detail=detail, now=now)
    return done


def quarantined(database: Database) -> list[tuple[StripeEvent, str]]:
    """Return the events that were set aside, each with why, the oldest first."""
    with database.reading() as tx:
        rows = tx.execute(_KEPT.where(stripe_inbox.c.status == "quarantined")).all()
    return [(_event(row), row.detail) for row in rows]


def replay(
    database: Database, payments: Gateway, event_ids: Sequence[str], *, now: datetime
) -> list[str]:
    """Try events again that were set aside or ignored, once the cause is mended.

    Returns what became of each, in words. Raises NotFound for an event that never came, before
    any is tried.
    """
    found = []
    with database.reading() as tx:
        for event_id in event_ids:
            row = tx.execute(_KEPT.where(stripe_inbox.c.stripe_event_id == event_id)).first()
            if row is None:
                raise NotFound("event", event_id)
            found.append((_event(row), row.status))
    return [
        f"{event.event_id} ({event.type}): done already"
        if status == "done"
        else _again(database, payments, event, now=now)
        for event, status in found
    ]


def _event(row: Row[Any]) -> StripeEvent:
    return StripeEvent(row.stripe_event_id, row.type, row.object_id, row.livemode)


def _again(database: Database, payments: Gateway, event: StripeEvent, *, now: datetime) -> str:
    named = f"{event.event_id} ({event.type}, {event.object_id})"
    try:
        outcome = _act(database, payments, event, now=now)
    except Unavailable as error:
        return f"{NOT_YET}{named}: {error.detail}"
    except Exception:
        log.exception("news failed", event_id=event.event_id)
        return f"{NOT_YET}{named}: failed, see the log"
    return f"{MISFIT if outcome == 'quarantined' else ''}{named}: {outcome}"
