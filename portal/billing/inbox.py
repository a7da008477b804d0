"""Stripe's webhooks: written down first, done only in the transaction that has their effect.

Invariant: an event is a hint. The object it names is fetched again from Stripe; a duplicate changes
nothing; what does not fit is kept in quarantine with its reason, never dropped.
"""

from __future__ import annotations

from datetime import datetime

import structlog
from sqlalchemy import Connection, select, update

from portal.billing import checkout
from portal.billing.checkout import Quarantined
from portal.billing.gateway import Gateway, StripeEvent
from portal.db import Database, insert_or_ignore
from portal.tables import stripe_inbox

log = structlog.get_logger()

CHECKOUT_EVENTS = frozenset(
    {
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
        "checkout.session.expired",
    }
)


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
    if event.type not in CHECKOUT_EVENTS:
        return _finish(database, event, "ignored", "", now)
    if event.livemode != payments.livemode:
        return _finish(database, event, "quarantined", "live and test mode are mixed", now)
    session = payments.checkout_session(event.object_id)
    try:
        checkout.fulfil(
            database,
            session,
            livemode=payments.livemode,
            now=now,
            mark=lambda tx: _mark(tx, event, "done", "", now),
        )
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
