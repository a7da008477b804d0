"""The signals and the verdict on pricing by the seat, from what customers cost, pay and do.

Reads only. Invariant: the customers compared are those of the margin, with the same figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Connection, func, select

from portal import catalog
from portal.core.margin.figures import Figures, Span
from portal.core.signal_kinds import Customer, Signal, for_sale_by_use
from portal.core.signals import all_signals
from portal.core.verdict import PerSeat, Selling, per_seat
from portal.margin import margins, whole
from portal.margin.margins import OrganizationMargin
from portal.margin.whole import Totals
from portal.tables import organizations, subscriptions, usage_daily

#: Who has no plan and did nothing for so long has left.
GONE_AFTER = timedelta(days=30)


@dataclass(frozen=True)
class Report:
    """All signals of a span beside the span before it, and the verdict on pricing by the seat."""

    span: Span
    signals: tuple[Signal, ...]
    per_seat: PerSeat


def last_quarter(today: date) -> Span:
    """Return the three calendar months before the one that runs."""
    end = today.replace(day=1)
    months = end.year * 12 + end.month - 1 - 3
    return Span(date(months // 12, months % 12 + 1, 1), end)


def report(tx: Connection, span: Span, *, now: datetime) -> Report:
    """Return what the signals say of a span. Bring revenue up to date before."""
    found = list(margins.each(tx, span))
    return report_of(tx, found, whole.totals_of(tx, span, found), now=now)


def report_of(
    tx: Connection, found: Sequence[OrganizationMargin], totals: Totals, *, now: datetime
) -> Report:
    """Return the same from all customers of a span and their totals, read already."""
    span = totals.span
    active = _active_since(tx, Span(span.end - GONE_AFTER, span.end))
    came = _came_since(tx, span)
    customers = [
        _customer(one, left=one.organization_id not in active, newcomer=one.organization_id in came)
        for one in found
    ]
    signals = all_signals(
        customers,
        attributed_nano_usd=totals.cost.total_nano_usd,
        total_nano_usd=totals.cost_nano_usd,
        unknown_lines=totals.cost.unknown_lines,
        span=span,
        earlier=span.before,
    )
    selling = _selling(tx, found, now=now)
    if selling.by_use:
        signals = tuple(for_sale_by_use(one) for one in signals)
    verdict = per_seat(customers, _uses_of_members(tx, span), selling, span)
    return Report(span, signals, verdict)


def _customer(one: OrganizationMargin, *, left: bool, newcomer: bool) -> Customer:
    figures = one.figures
    return Customer(
        one.organization_id,
        figures.cost.total_nano_usd,
        figures.revenue_nano_usd,
        figures.events,
        one.before.cost_nano_usd,
        _earlier_revenue(one, figures),
        newcomer=newcomer,
        left=left and not one.tier and one.before.revenue_minor > 0,
    )


def _earlier_revenue(one: OrganizationMargin, figures: Figures) -> int | None:
    rate = figures.rate_nano_usd
    return None if rate is None else one.before.revenue_minor * rate


def _active_since(tx: Connection, span: Span) -> set[str]:
    query = (
        select(usage_daily.c.organization_id)
        .where(usage_daily.c.day >= span.start, usage_daily.c.day < span.end)
        .distinct()
    )
    return set(tx.execute(query).scalars())


def _came_since(tx: Connection, span: Span) -> set[str]:
    began = datetime.combine(span.start, time(), UTC)
    query = select(organizations.c.organization_id).where(organizations.c.created_at >= began)
    return set(tx.execute(query).scalars())


def _uses_of_members(tx: Connection, span: Span) -> list[int]:
    """Return how many credits' worth of work each person did, charged or not, in millionths."""
    query = (
        select(func.sum(usage_daily.c.credits_micro + usage_daily.c.uncollected_micro))
        .where(
            usage_daily.c.day >= span.start,
            usage_daily.c.day < span.end,
            usage_daily.c.member_id != "",
            usage_daily.c.action != "",
        )
        .group_by(usage_daily.c.organization_id, usage_daily.c.member_id)
    )
    return [int(one) for one in tx.execute(query).scalars()]


def _selling(tx: Connection, found: Sequence[OrganizationMargin], *, now: datetime) -> Selling:
    """Return how customers are sold to today, and who of them has sent any use in the span."""
    book = catalog.in_force(tx, at=now)
    rows = tx.execute(
        select(
            subscriptions.c.organization_id,
            subscriptions.c.tier,
            organizations.c.on_empty,
            organizations.c.overage_limit_minor,
        ).join(organizations, organizations.c.organization_id == subscriptions.c.organization_id)
    ).all()
    used = {one.organization_id for one in found if one.figures.events}
    plans = [book.plan_of(row.tier) for row in rows]
    kinds = [plan.kind if plan else "custom" for plan in plans]
    return Selling(
        per_seat=kinds.count("per_seat"),
        flat=kinds.count("flat"),
        credits=kinds.count("credits"),
        custom=kinds.count("custom"),
        metered=sum(row.organization_id in used for row in rows),
        open_ended=sum(
            row.on_empty == "overage" and row.overage_limit_minor is None for row in rows
        ),
    )
