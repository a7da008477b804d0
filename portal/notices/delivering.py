"""Delivering: what the outbox holds leaves by mail and by webhook, again until it is taken.

Invariant: a delivery is leased before it leaves and marked after, each in a transaction of its own,
and nothing leaves while one is open. One worker never sends twice; after a crash between the two
the same is sent again under the same id, which makes that harmless. After three days it is dead.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, and_, or_, select, update
from standardwebhooks import Webhook

from portal.clock import Clock
from portal.core.errors import InvalidRequest
from portal.core.units import format_micro
from portal.db import Database
from portal.notices import egress, endpoints
from portal.notices.egress import Refused, Resolve
from portal.notices.endpoints import Endpoint
from portal.notices.kinds import type_of
from portal.notices.mail import Mailer
from portal.notices.outbox import Message, message_of
from portal.tables import deliveries, outbox

log = structlog.get_logger()

LEASE = timedelta(minutes=5)
#: How long after each failure it is tried again; the last one until it is dead.
RETRIES = tuple(
    timedelta(seconds=one) for one in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000)
)
DEAD_AFTER = timedelta(days=3)
AT_ONCE = 100
_GONE = 410


@dataclass(frozen=True)
class Post:
    """What delivering needs to know: who sends, whose portal it is, and where it may reach."""

    mailer: Mailer
    base_url: str
    secret_key: str
    brand: str
    loopback: bool = False
    resolve: Resolve = egress.resolve


def next_try(attempts: int, *, now: datetime) -> datetime:
    """Return when something that failed so many times is tried again."""
    return now + RETRIES[min(attempts, len(RETRIES)) - 1]


def due(channel: str, now: datetime) -> Any:
    """Return the condition that a delivery may leave now."""
    return and_(
        deliveries.c.channel == channel,
        deliveries.c.status == "due",
        deliveries.c.due_at <= now,
        or_(deliveries.c.leased_until.is_(None), deliveries.c.leased_until <= now),
    )


@dataclass(frozen=True)
class Leased:
    """A delivery that is ours for a while."""

    delivery_id: str
    attempts: int
    created_at: datetime
    message: Message
    endpoint: Endpoint | None


def deliver_webhooks(database: Database, post: Post, *, clock: Clock) -> int:
    """Send what endpoints are due; returns how many took theirs.

    An endpoint that fails is left alone for the rest of the round, so that one that is slow does
    not keep the others waiting.
    """
    now = clock()
    with database.reading() as tx:
        rows = tx.execute(
            select(deliveries.c.organization_id, deliveries.c.delivery_id, deliveries.c.target)
            .where(due("webhook", now))
            .order_by(deliveries.c.due_at, deliveries.c.organization_id, deliveries.c.sequence)
            .limit(AT_ONCE)
        ).all()
    taken, failing = 0, set()
    for row in rows:
        if row.target in failing:
            continue
        with database.transaction() as tx:
            leased = _lease(tx, row.organization_id, row.delivery_id, now=clock())
        if leased is None:
            continue
        if _send(database, post, leased, clock):
            taken += 1
        else:
            failing.add(row.target)
    return taken


def _lease(
    tx: Connection, organization_id: str, delivery_id: str, *, now: datetime
) -> Leased | None:
    this = (
        deliveries.c.organization_id == organization_id,
        deliveries.c.delivery_id == delivery_id,
    )
    claimed = tx.execute(
        update(deliveries).where(*this, due("webhook", now)).values(leased_until=now + LEASE)
    ).rowcount
    if claimed != 1:
        return None
    of_message = and_(
        outbox.c.organization_id == deliveries.c.organization_id,
        outbox.c.sequence == deliveries.c.sequence,
    )
    row = (
        tx.execute(
            select(
                outbox,
                deliveries.c.delivery_id,
                deliveries.c.attempts,
                deliveries.c.created_at,
                deliveries.c.target,
            )
            .join(deliveries, of_message)
            .where(*this)
        )
        .mappings()
        .one()
    )
    endpoint = endpoints.lookup(tx, row["target"])
    return Leased(delivery_id, row["attempts"], row["created_at"], message_of(row), endpoint)


def _send(database: Database, post: Post, leased: Leased, clock: Clock) -> bool:
    """Send one and mark what became of it; tells whether it was taken."""
    endpoint, status, detail = leased.endpoint, 0, ""
    if endpoint is None or endpoint.disabled_at is not None:
        _end(database, leased, "dropped", "The endpoint is switched off or gone.", now=clock())
        return True
    try:
        status = egress.post(
            endpoint.url,
            *signed(post.secret_key, endpoint, leased.message, now=clock()),
            loopback=post.loopback,
            find=post.resolve,
        )
        detail = f"It answered {status}."
    except InvalidRequest as error:
        detail = error.detail
    except Refused as error:
        detail = str(error)
    now = clock()
    if 200 <= status < 300:
        _end(database, leased, "done", detail, now=now)
        return True
    if status == _GONE:
        with database.transaction() as tx:
            endpoints.switch(
                tx, endpoint.organization_id, endpoint.endpoint_id, on=False,
                why="It answered 410: it is gone.", now=now,
            )  # fmt: skip
    elif 300 <= status < 400:
        detail += " Redirects are not followed."
    _again(database, leased, detail, now=now)
    return False


def signed(
    portal_key: str, endpoint: Endpoint, message: Message, *, now: datetime
) -> tuple[bytes, dict[str, str]]:
    """Return a message's body and headers as Standard Webhooks has them, signed for an endpoint."""
    body = json.dumps(payload(message), separators=(",", ":"), ensure_ascii=False)
    signatures = [
        Webhook(endpoints.secret(portal_key, endpoint.endpoint_id, one)).sign(
            message.message_id, now, body
        )
        for one in endpoint.generations(now)
    ]
    return body.encode(), {
        "Content-Type": "application/json",
        "User-Agent": "Clearmeter-Webhooks",
        "webhook-id": message.message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def payload(message: Message) -> dict[str, Any]:
    """Return a message as a webhook tells it: credits as decimal strings, as everywhere."""
    facts: dict[str, Any] = {}
    for name, value in message.facts.items():
        if name.endswith("_micro"):
            facts[name.removesuffix("_micro")] = None if value is None else format_micro(value)
        else:
            facts[name] = value
    return {
        "type": type_of(message.kind),
        "timestamp": message.at.isoformat(),
        "data": {
            "organization": message.organization_id,
            "sequence": message.sequence,
            "state": message.state,
            "subject": message.subject,
            **facts,
        },
    }


def _this(leased: Leased) -> tuple[Any, ...]:
    return (
        deliveries.c.organization_id == leased.message.organization_id,
        deliveries.c.delivery_id == leased.delivery_id,
        deliveries.c.status == "due",
    )


def _end(database: Database, leased: Leased, status: str, detail: str, *, now: datetime) -> None:
    with database.transaction() as tx:
        tx.execute(
            update(deliveries)
            .where(*_this(leased))
            .values(
                status=status,
                detail=detail,
                attempts=deliveries.c.attempts + 1,
                leased_until=None,
                done_at=now,
            )
        )


def _again(database: Database, leased: Leased, detail: str, *, now: datetime) -> None:
    """Try it again later, or give it up after three days."""
    later = next_try(leased.attempts + 1, now=now)
    if later >= leased.created_at + DEAD_AFTER:
        _end(database, leased, "dead", detail, now=now)
        organization_id = leased.message.organization_id
        log.error("webhook given up", organization=organization_id, reason=detail)
        return
    with database.transaction() as tx:
        tx.execute(
            update(deliveries)
            .where(*_this(leased))
            .values(
                detail=detail,
                attempts=deliveries.c.attempts + 1,
                leased_until=None,
                due_at=later,
            )
        )
