"""What an organization subscribes to, and its running period. Owns ``subscriptions``."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, or_, select, update

from portal.core.periods import Period
from portal.rows import insert_or_ignore
from portal.tables import subscriptions, tier_terms


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
    _note_term(tx, organization_id, since=now)


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
    _note_term(tx, organization_id, since=now)


def unsubscribe(tx: Connection, organization_id: str, *, since: datetime) -> None:
    """Forget the subscription: the organization has no tier from ``since`` on."""
    tx.execute(subscriptions.delete().where(subscriptions.c.organization_id == organization_id))
    _note_term(tx, organization_id, since=since)


def begin_cycle(
    tx: Connection,
    organization_id: str,
    *,
    tier: str,
    seats: int | None,
    since: datetime,
    cycle_end: datetime,
) -> None:
    """Move a subscription that Stripe bills on to its next cycle, on the tier it has then."""
    tx.execute(
        update(subscriptions)
        .where(subscriptions.c.organization_id == organization_id)
        .values(tier=tier, seats=seats, cycle_end=cycle_end)
    )
    _note_term(tx, organization_id, since=since)


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
    _note_term(tx, organization_id, since=period.start)


def _note_term(tx: Connection, organization_id: str, *, since: datetime) -> None:
    """Keep what the organization subscribes to from an instant on, for whoever asks later.

    The last of several at one instant stands; what says nothing new is not kept.
    """
    mine = tier_terms.c.organization_id == organization_id
    row = tx.execute(
        select(
            subscriptions.c.tier,
            subscriptions.c.seats,
            subscriptions.c.period_start,
            subscriptions.c.period_end,
            subscriptions.c.cycle_end.is_not(None).label("billed"),
        ).where(subscriptions.c.organization_id == organization_id)
    ).first()
    stated = (*row[:4], bool(row.billed)) if row else ("", None, None, None, False)
    names = ("tier", "seats", "period_start", "period_end", "billed")
    before = tx.execute(
        select(*(tier_terms.c[name] for name in names))
        .where(mine, tier_terms.c.since <= since)
        .order_by(tier_terms.c.since.desc())
        .limit(1)
    ).first()
    if before is not None and tuple(before) == stated:
        return
    values = dict(zip(names, stated, strict=True))
    key = {"organization_id": organization_id, "since": since}
    if not insert_or_ignore(tx, tier_terms, key | values):
        tx.execute(update(tier_terms).where(mine, tier_terms.c.since == since).values(values))


def organizations_due(tx: Connection, *, now: datetime) -> list[str]:
    """Return the organizations whose period or cycle has ended."""
    rows = tx.execute(
        select(subscriptions.c.organization_id).where(
            or_(subscriptions.c.period_end <= now, subscriptions.c.cycle_end <= now)
        )
    )
    return [row.organization_id for row in rows]
