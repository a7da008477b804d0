"""What an organization subscribes to, and its running period. Owns ``subscriptions``."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, or_, select, update

from portal.core.periods import Period
from portal.db import insert_or_ignore
from portal.tables import subscriptions


def subscribe(
    tx: Connection,
    organization_id: str,
    *,
    tier: str,
    seats: int | None,
    period: Period,
    now: datetime,
) -> None:
    """Store what the organization subscribes to and its current period."""
    tx.execute(subscriptions.delete().where(subscriptions.c.organization_id == organization_id))
    tx.execute(
        insert(subscriptions).values(
            organization_id=organization_id,
            tier=tier,
            seats=seats,
            period_start=period.start,
            period_end=period.end,
            created_at=now,
        )
    )


def bill(
    tx: Connection,
    organization_id: str,
    *,
    tier: str,
    seats: int | None,
    period: Period,
    cycle_end: datetime,
    stops_at: datetime | None,
    now: datetime,
) -> None:
    """Store what Stripe bills the organization for; what is stored already keeps its beginning."""
    values = {
        "tier": tier,
        "seats": seats,
        "period_start": period.start,
        "period_end": period.end,
        "cycle_end": cycle_end,
        "stops_at": stops_at,
    }
    key = {"organization_id": organization_id}
    if not insert_or_ignore(tx, subscriptions, key | values | {"created_at": now}):
        tx.execute(
            update(subscriptions)
            .where(subscriptions.c.organization_id == organization_id)
            .values(values)
        )


def unsubscribe(tx: Connection, organization_id: str) -> None:
    """Forget the subscription: the organization has no tier any more."""
    tx.execute(subscriptions.delete().where(subscriptions.c.organization_id == organization_id))


def begin_cycle(
    tx: Connection, organization_id: str, *, tier: str, seats: int | None, cycle_end: datetime
) -> None:
    """Move a subscription that Stripe bills on to its next cycle, on the tier it has then."""
    tx.execute(
        update(subscriptions)
        .where(subscriptions.c.organization_id == organization_id)
        .values(tier=tier, seats=seats, cycle_end=cycle_end)
    )


def begin_period(tx: Connection, organization_id: str, period: Period) -> None:
    """Move the subscription on to its next period."""
    tx.execute(
        update(subscriptions)
        .where(
            subscriptions.c.organization_id == organization_id,
            subscriptions.c.period_end <= period.start,
        )
        .values(period_start=period.start, period_end=period.end)
    )


def organizations_due(tx: Connection, *, now: datetime) -> list[str]:
    """Return the organizations whose period or cycle has ended."""
    rows = tx.execute(
        select(subscriptions.c.organization_id).where(
            or_(subscriptions.c.period_end <= now, subscriptions.c.cycle_end <= now)
        )
    )
    return [row.organization_id for row in rows]
