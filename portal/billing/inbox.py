"""Stripe's webhooks: written down first, done only in the transaction that has their effect.

Invariant: an event is a hint. The object it names is fetched again from Stripe; a duplicate changes
nothing; what does not fit is kept in quarantine with its reason, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection, select, update

from portal.billing import checkout, top_up_news
from portal.billing.effects import Mark, Quarantined
from portal.billing.gateway import Gateway, StripeEvent
from portal.db import Database, insert_or_ignore
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
    checkout.fulfil(
        news.database,
        session,
        livemode=news.payments.livemode,
        now=news.now,
        mark=news.mark,
    )


def _payment(news: News) -> None:
    top_up_news.payment(
        news.database, news.payments, news.event.object_id, now=news.now, mark=news.mark
    )


def _customer(news: News) -> None:
    top_up_news.method(
        news.database, news.payments, news.event.object_id, now=news.now, mark=news.mark
    )


def _method(news: News) -> None:
    owner = news.payments.owner_of_method(news.event.object_id)
    top_up_news.method(news.database, news.payments, owner, now=news.now, mark=news.mark)


#: What is done about each kind of event, by how its type begins. Each fetches the object anew.
EFFECTS: Mapping[str, Callable[[News], None]] = {
    "checkout.session.": _checkout,
    "customer.updated": _customer,
    "payment_intent.": _payment,
    "payment_method.attached": _method,
}


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
    except Quarantined as error:
        log.error("payment quarantined", event_id=event.event_id, reason=error.detail)
        return _finish(database, event, "quarantined", error.detail, now)
    return "done"


def _mark(tx: Connection, event: StripeEvent, status: str, detail: str, now: datetime) -> None:
    tx.execute(
        update(stripe_inbox)
        .where(stripe_inbox.c.stripe_event_id == event.event_id)
        .values(status=status, detail=detail, done_at=now)
    )


def _finish(database: Database, event: StripeEvent, status: str, detail: str, now: datetime) -> str:
    with database.transaction() as tx:
        _mark(tx, event, status, detail, now)
    return status


def finish_pending(database: Database, payments: Gateway, *, now: datetime) -> list[str]:
    """Bring events that were only written down to their end; returns what was done, in words."""
    with database.reading() as tx:
        rows = tx.execute(
            select(stripe_inbox)
            .where(stripe_inbox.c.status == "pending")
            .order_by(stripe_inbox.c.received_at)
        ).all()
    finished = []
    for row in rows:
        event = StripeEvent(row.stripe_event_id, row.type, row.object_id, row.livemode)
        outcome = _act(database, payments, event, now=now)
        finished.append(f"{event.event_id} ({event.type}): {outcome}")
    return finished
