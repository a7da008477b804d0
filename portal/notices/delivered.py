"""What was delivered and what was not: the record of deliveries, and sending one again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, select, update

from portal.core.errors import NotFound
from portal.notices.outbox import Message, message_of
from portal.tables import deliveries, outbox


@dataclass(frozen=True)
class Delivery:
    """A message on its way to an endpoint, or at its end."""

    delivery_id: str
    target: str
    status: str
    attempts: int
    due_at: datetime
    detail: str
    done_at: datetime | None
    message: Message


_WITH_MESSAGE = select(
    outbox,
    deliveries.c.delivery_id,
    deliveries.c.target,
    deliveries.c.status,
    deliveries.c.attempts,
    deliveries.c.due_at,
    deliveries.c.detail,
    deliveries.c.done_at,
).join(
    deliveries,
    and_(
        outbox.c.organization_id == deliveries.c.organization_id,
        outbox.c.sequence == deliveries.c.sequence,
    ),
)


def to_endpoint(tx: Connection, endpoint_id: str, *, limit: int) -> list[Delivery]:
    """Return the last deliveries to an endpoint, the newest first."""
    query = (
        _WITH_MESSAGE.where(deliveries.c.channel == "webhook", deliveries.c.target == endpoint_id)
        .order_by(outbox.c.at.desc(), outbox.c.sequence.desc(), deliveries.c.delivery_id)
        .limit(limit)
    )
    return [
        Delivery(
            row["delivery_id"],
            row["target"],
            row["status"],
            row["attempts"],
            row["due_at"],
            row["detail"],
            row["done_at"],
            message_of(row),
        )
        for row in tx.execute(query).mappings()
    ]


def replay(tx: Connection, endpoint_id: str, delivery_id: str, *, now: datetime) -> None:
    """Send one again, under the same id, as if for the first time. Raises NotFound."""
    again = tx.execute(
        update(deliveries)
        .where(
            deliveries.c.delivery_id == delivery_id,
            deliveries.c.target == endpoint_id,
            deliveries.c.channel == "webhook",
            deliveries.c.status != "due",
        )
        .values(
            status="due", attempts=0, due_at=now, created_at=now, leased_until=None, done_at=None
        )
    ).rowcount
    if again != 1:
        raise NotFound("delivery", delivery_id)
