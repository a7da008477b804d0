"""Sums over days and organizations, as SQL: cost, use and revenue of a span and of the one before.

The statements that read the rollups for many organizations at once. Invariant: a share by time is
rounded in SQL exactly as ``core.margin.recognition.share`` does; every figure is a sum of integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Protocol

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    case,
    cast,
    func,
    literal,
    select,
    union_all,
)

from portal.core.costs import LAYERS
from portal.core.margin.figures import QUALITIES, Span
from portal.core.margin.recognition import EXPIRED, FEES, OVERAGE, REFUNDS, RETURNED, USED
from portal.tables import (
    Whole,
    cost_daily,
    cost_shares,
    revenue_daily,
    tier_fees,
    usage_daily,
)

#: The parts of revenue that stand by day, and the names of their figures.
PARTS = {
    USED: "credits_used",
    EXPIRED: "credits_expired",
    RETURNED: "credits_returned",
    OVERAGE: "overage",
    REFUNDS: "refunds",
    FEES: "payment_fees",
}


class Bill(Protocol):
    """What is asked of a bill of cost: its layer and days, and whether it was shared out."""

    @property
    def bill_id(self) -> str: ...
    @property
    def layer(self) -> str: ...
    @property
    def span(self) -> Span: ...
    @property
    def rule(self) -> str: ...


def _sum_where(condition: ColumnElement[bool], amount: ColumnElement[int]) -> ColumnElement[int]:
    return func.sum(case((condition, amount), else_=0))


def share_of(
    whole: ColumnElement[int], done: ColumnElement[int], of: ColumnElement[int]
) -> ColumnElement[int]:
    """Return ``done`` of ``of`` steps of a whole, rounded half to even; steps within the range."""
    exact = whole * done
    quotient, rest = exact // of, exact % of
    # Both stores divide towards zero and leave the rest with the sign of what was divided.
    away = case((exact < 0, -1), else_=1)
    up = (2 * func.abs(rest) > of) | ((2 * func.abs(rest) == of) & (quotient % 2 != 0))
    return quotient + case((up, away), else_=0)


def of(query: Select[Any], organization_id: str | None) -> Select[Any]:
    """Return a query of sums by organization, of one of them alone where it is named."""
    if organization_id is None:
        return query
    return query.where(query.selected_columns.organization_id == organization_id)


def costs(span: Span) -> Select[Any]:
    """Return the query of each organization's cost: by layer and quality, and of the span before.

    The rollup is read once, and added up by its own labels before they become columns: that is
    several times as fast as asking each row about each of them.
    """
    labels = [cost_daily.c[name] for name in ("organization_id", "layer", "quality")]
    labels.append((cost_daily.c.day >= span.start).label("now"))  # type: ignore[arg-type]
    each = (
        select(
            *labels,
            # Integers again, which are added up a second time in a fraction of the time and room.
            cast(func.sum(cost_daily.c.cost_nano_usd), Whole).label("cost"),
            cast(func.sum(cost_daily.c.lines), Whole).label("lines"),
        )
        .where(cost_daily.c.day >= span.before.start, cost_daily.c.day < span.end)
        .group_by(*labels)
        .subquery()
    )
    now, cost = each.c.now, each.c.cost
    return select(
        each.c.organization_id,
        *(_sum_where(now & (each.c.layer == one), cost).label(one) for one in LAYERS),
        *(_sum_where(now & (each.c.quality == q), cost).label(q) for q in QUALITIES),
        _sum_where(now & (each.c.quality == "unknown"), each.c.lines).label("unknown_lines"),
        _sum_where(~now, cost).label("before"),
    ).group_by(each.c.organization_id)


def uses(span: Span) -> Select[Any]:
    """Return the query of what each organization used of credits, in the span and before it."""
    now = usage_daily.c.day >= span.start
    return (
        select(
            usage_daily.c.organization_id,
            _sum_where(now, usage_daily.c.credits_micro).label("credits_micro"),
            _sum_where(now, usage_daily.c.uncollected_micro).label("uncollected_micro"),
            _sum_where(now, usage_daily.c.events).label("events"),
            _sum_where(~now, usage_daily.c.credits_micro).label("before"),
        )
        .where(
            usage_daily.c.day >= span.before.start,
            usage_daily.c.day < span.end,
            usage_daily.c.action != "",
        )
        .group_by(usage_daily.c.organization_id)
    )


def leaking(span: Span, *where: ColumnElement[bool]) -> Select[Any]:
    """Return the query of work that may not be charged, and what all such work cost, day by day.

    By organization, day and action: the days and actions on which anything was not collected.
    ``where`` says of which organizations.
    """
    labels = ("organization_id", "day", "action")
    # Few days have any: they are found first, and only their work is added up.
    short = (
        select(*(usage_daily.c[name] for name in labels))
        .where(
            usage_daily.c.day >= span.start,
            usage_daily.c.day < span.end,
            usage_daily.c.uncollected_micro != 0,
            *where,
        )
        .distinct()
        .subquery()
    )
    use = (
        select(
            *short.c,
            func.sum(usage_daily.c.credits_micro).label("credits_micro"),
            func.sum(usage_daily.c.uncollected_micro).label("uncollected_micro"),
        )
        .join(short, and_(*(usage_daily.c[name] == short.c[name] for name in labels)))
        .group_by(*short.c)
        .subquery()
    )
    same = and_(*(cost_daily.c[name] == use.c[name] for name in labels))
    return (
        select(*use.c, func.sum(cost_daily.c.cost_nano_usd).label("cost_nano_usd"))
        .join(cost_daily, same)
        .group_by(*use.c)
    )


def revenues(span: Span) -> Select[Any]:
    """Return the query of each organization's revenue by day: its parts, and that before."""
    now = revenue_daily.c.day >= span.start
    amount = revenue_daily.c.amount_minor
    return (
        select(
            revenue_daily.c.organization_id,
            *(
                _sum_where(now & (revenue_daily.c.part == part), amount).label(name)
                for part, name in PARTS.items()
            ),
            _sum_where(~now, amount).label("before"),
        )
        .where(revenue_daily.c.day >= span.before.start, revenue_daily.c.day < span.end)
        .group_by(revenue_daily.c.organization_id)
    )


def fees(span: Span) -> Select[Any]:
    """Return the query of what of each organization's tier fees is revenue, and was before."""
    starts = [one.toordinal() for one in (span.before.start, span.start, span.end)]
    until = [_fee_until(day) for day in starts]
    return (
        select(
            tier_fees.c.organization_id,
            func.sum(until[2] - until[1]).label("tier_fees"),
            func.sum(until[1] - until[0]).label("before"),
            func.count().label("fees"),
        )
        .where(tier_fees.c.until_day > starts[0], tier_fees.c.from_day < starts[2])
        .group_by(tier_fees.c.organization_id)
    )


def _fee_until(day: int) -> ColumnElement[int]:
    fee = tier_fees.c
    within = case(
        (fee.from_day > day, fee.from_day),
        (fee.until_day < day, fee.until_day),
        else_=literal(day, Whole),
    )
    return share_of(fee.amount_minor, within - fee.first_day, fee.days)


def bill_until(bill: Bill, day: date) -> ColumnElement[int]:
    """Return what of an organization's share of a bill is for the days before ``day``."""
    first, days = bill.span.start.toordinal(), bill.span.days
    done = min(max(day.toordinal() - first, 0), days)
    return share_of(cost_shares.c.amount_nano_usd, literal(done, Whole), literal(days, Whole))


def shares(bills: Sequence[Bill], span: Span) -> FromClause | None:
    """Return what each organization has of bills that were shared out, by layer, for a span.

    ``bills`` are those of the span and of the one before. None where nothing was shared out.
    """
    parts = []
    for bill in bills:
        if not bill.rule:
            continue
        until = [bill_until(bill, day) for day in (span.before.start, span.start, span.end)]
        parts.append(
            select(
                cost_shares.c.organization_id,
                literal(bill.layer).label("layer"),
                (until[2] - until[1]).label("amount"),
                (until[1] - until[0]).label("before"),
            ).where(cost_shares.c.bill_id == bill.bill_id)
        )
    if not parts:
        return None
    every = union_all(*parts).subquery()
    return (
        select(
            every.c.organization_id,
            *(_sum_where(every.c.layer == one, every.c.amount).label(one) for one in LAYERS),
            func.sum(every.c.before).label("before"),
        )
        .group_by(every.c.organization_id)
        .subquery()
    )


def nothing() -> ColumnElement[int]:
    """Return zero."""
    return literal(0, Whole)


def added(columns: Iterable[ColumnElement[Any]]) -> ColumnElement[Any]:
    """Return the sum of some columns of a row."""
    first, *more = columns
    for one in more:
        first = first + one
    return first
