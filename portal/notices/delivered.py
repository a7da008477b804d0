"""What was delivered and what was not: the record of deliveries, and sending one again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, and_, func, or_, select, update

from portal.core.errors import NotFound
from portal.notices.outbox import Message, message_of
from portal.rows import among
from portal.tables import deliveries, outbox, webhook_endpoints


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
    return [_delivery(row) for row in tx.execute(query).mappings()]


def _delivery(row: RowMapping) -> Delivery:
    return Delivery(
        row["delivery_id"],
        row["target"],
        row["status"],
        row["attempts"],
        row["due_at"],
        row["detail"],
        row["done_at"],
        message_of(row),
    )


@dataclass(frozen=True)
class GivenUp:
    """A delivery that was given up: whose endpoint it was for ("" is the operator's), and where."""

    delivery: Delivery
    owner: str
    url: str
    on: bool


def given_up(
    tx: Connection, *, before: tuple[datetime, str] | None = None, limit: int
) -> list[GivenUp]:
    """Return deliveries of all endpoints that were given up, the latest first.

    ``before`` is the end and the id of the last one seen. Of endpoints that were removed none.
    """
    endpoint = webhook_endpoints.c
    here = select(endpoint.endpoint_id).where(endpoint.removed_at.is_(None))
    query = (
        _WITH_MESSAGE.add_columns(
            endpoint.organization_id.label("owner"), endpoint.url, endpoint.disabled_at
        )
        .join(webhook_endpoints, endpoint.endpoint_id == deliveries.c.target)
        .where(deliveries.c.target.in_(here), deliveries.c.status == "dead")
        .order_by(deliveries.c.done_at.desc(), deliveries.c.delivery_id.desc())
        .limit(limit)
    )
    if before is not None:
        done, delivery_id = before
        earlier = and_(deliveries.c.done_at == done, deliveries.c.delivery_id < delivery_id)
        query = query.where(or_(deliveries.c.done_at < done, earlier))
    return [
        GivenUp(_delivery(row), row["owner"] or "", row["url"], row["disabled_at"] is None)
        for row in tx.execute(query).mappings()
    ]


def dead_among(tx: Connection, chosen: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return those of some deliveries that were given up: id, endpoint, and whose that is."""
    rows = tx.execute(
        select(
            deliveries.c.delivery_id,
            deliveries.c.target,
            func.coalesce(webhook_endpoints.c.organization_id, "").label("owner"),
        )
        .join(webhook_endpoints, webhook_endpoints.c.endpoint_id == deliveries.c.target)
        .where(
            among(tx, deliveries.c.delivery_id, list(chosen)),
            deliveries.c.channel == "webhook",
            deliveries.c.status == "dead",
            webhook_endpoints.c.removed_at.is_(None),
        )
        .order_by("owner", deliveries.c.delivery_id)
    )
    return [(row.delivery_id, row.target, row.owner) for row in rows]


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
