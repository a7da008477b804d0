"""What was told long ago: finding and forgetting messages whose every delivery is over.

Invariant: a message goes only once it was spread and with all its deliveries; none goes that is on
its way, or that was given up by an endpoint which still stands, for those can be sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_, select

from portal.tables import deliveries, outbox, webhook_endpoints


def _kept(before: datetime) -> ColumnElement[bool]:
    """Return the condition that a delivery stays."""
    stands = exists().where(
        webhook_endpoints.c.endpoint_id == deliveries.c.target,
        webhook_endpoints.c.removed_at.is_(None),
    )
    undelivered = and_(deliveries.c.channel == "webhook", deliveries.c.status == "dead", stands)
    return or_(deliveries.c.status == "due", deliveries.c.done_at >= before, undelivered)


def _is_old(before: datetime) -> ColumnElement[bool]:
    """Return the condition that a message goes."""
    stays = exists().where(
        deliveries.c.organization_id == outbox.c.organization_id,
        deliveries.c.sequence == outbox.c.sequence,
        _kept(before),
    )
    return and_(outbox.c.at < before, outbox.c.spread_at.is_not(None), ~stays)


def organizations_with_old(tx: Connection, before: datetime) -> Sequence[str]:
    """Return the organizations that were told of something before an instant."""
    query = select(outbox.c.organization_id).where(_is_old(before)).distinct()
    return tx.execute(query).scalars().all()


def find_old(tx: Connection, organization_id: str, before: datetime, limit: int) -> Sequence[int]:
    """Return the numbers of messages that go, the oldest first."""
    query = (
        select(outbox.c.sequence)
        .where(outbox.c.organization_id == organization_id, _is_old(before))
        .order_by(outbox.c.sequence)
        .limit(limit)
    )
    return tx.execute(query).scalars().all()


def forget(tx: Connection, organization_id: str, sequences: Sequence[int], before: datetime) -> int:
    """Take away those of some messages that still go, and their deliveries; returns how many."""
    gone = tx.execute(
        delete(deliveries).where(
            deliveries.c.organization_id == organization_id,
            deliveries.c.sequence.in_(sequences),
            ~_kept(before),
        )
    ).rowcount
    # One that was sent again meanwhile keeps its message.
    left = exists().where(
        deliveries.c.organization_id == outbox.c.organization_id,
        deliveries.c.sequence == outbox.c.sequence,
    )
    return (
        gone
        + tx.execute(
            delete(outbox).where(
                outbox.c.organization_id == organization_id,
                outbox.c.sequence.in_(sequences),
                outbox.c.spread_at.is_not(None),
                outbox.c.at < before,
                ~left,
            )
        ).rowcount
    )
