"""The one statement behind every figure of customers: their revenue, cost and use, side by side.

Read by ``margins`` row by row and by ``whole`` added up, so that both say the same. Invariant:
every column is a sum of stored integers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, and_, case, func, null, select

from portal.core.costs import LAYERS
from portal.core.margin.figures import (
    QUALITIES,
    Cost,
    Figures,
    Rates,
    Revenue,
    Span,
    leaked,
)
from portal.cost_books import cost_books_of
from portal.margin import costs, sums
from portal.rows import among
from portal.tables import organizations, tier_terms, usage_daily

_TICK = timedelta(microseconds=1)
PARTS = ("tier_fees", *sums.PARTS.values())


def rates_of(tx: Connection, span: Span) -> Rates:
    """Return what the cost book in force at the end of a span says of other currencies."""
    end = datetime.combine(span.end, time(), UTC) - _TICK
    book = cost_books_of(tx).in_force(end)
    return Rates(book.rates if book else {})


@dataclass(frozen=True)
class Statement:
    """The one statement behind every figure of customers, and its columns by name."""

    source: FromClause
    columns: Mapping[str, ColumnElement[Any]]


def statement(
    tx: Connection, span: Span, rates: Rates, organization_id: str | None = None
) -> Statement:
    """Return the statement of a span, of one customer alone where one is named."""
    cost, use, revenue, fee = (
        sums.of(query, organization_id).subquery()
        for query in (sums.costs(span), sums.uses(span), sums.revenues(span), sums.fees(span))
    )
    share = sums.shares(costs.overlapping(tx, Span(span.before.start, span.end)), span)
    terms = terms_at(span)
    source: FromClause = organizations
    for one in (cost, use, revenue, fee, share, terms):
        if one is not None:
            source = source.outerjoin(one, one.c.organization_id == organizations.c.organization_id)

    def got(table: FromClause | None, name: str) -> ColumnElement[Any]:
        # The stores add integers up to a type of their own; here they stay exact and comparable.
        return func.coalesce(table.c[name], 0) if table is not None else _ZERO

    columns: dict[str, ColumnElement[Any]] = {
        **{one: got(cost, one) + got(share, one) for one in LAYERS},
        **{one: got(cost, one) for one in QUALITIES},
        "unknown_lines": got(cost, "unknown_lines"),
        "tier_fees": got(fee, "tier_fees"),
        "fees": got(fee, "fees"),
        **{one: got(revenue, one) for one in sums.PARTS.values()},
        **{one: got(use, one) for one in ("credits_micro", "uncollected_micro", "events")},
        "before_cost": got(cost, "before") + got(share, "before"),
        "before_revenue": got(revenue, "before") + got(fee, "before"),
        "before_credits": got(use, "before"),
        "tier": func.coalesce(terms.c.tier, ""),
    }
    return Statement(source, columns | _sortable(columns, rates))


_ZERO = sums.nothing()
SORTABLE = ("cost", "revenue", "margin", "growth", "credits")


def _sortable(
    columns: Mapping[str, ColumnElement[Any]], rates: Rates
) -> dict[str, ColumnElement[Any]]:
    """Return the columns that customers are sorted by."""
    minor = sums.added(columns[name] for name in PARTS)
    cost = sums.added(columns[name] for name in LAYERS)
    worth = case(
        *(
            (organizations.c.currency == currency, rates.of(currency))
            for currency in ("usd", *rates.nano_usd_per_minor)
        ),
        else_=null(),
    )
    margin = minor * worth - cost
    return {
        "cost": cost,
        "revenue": minor * worth,
        "margin": margin,
        "growth": margin - (columns["before_revenue"] * worth - columns["before_cost"]),
        "credits": columns["credits_micro"],
    }


def terms_at(span: Span) -> FromClause:
    """Return the tier that each organization had at the end of a span."""
    end = datetime.combine(span.end, time(), UTC)
    last = (
        select(tier_terms.c.organization_id, func.max(tier_terms.c.since).label("since"))
        .where(tier_terms.c.since < end)
        .group_by(tier_terms.c.organization_id)
        .subquery()
    )
    return (
        select(tier_terms.c.organization_id, tier_terms.c.tier)
        .join(
            last,
            and_(
                last.c.organization_id == tier_terms.c.organization_id,
                last.c.since == tier_terms.c.since,
            ),
        )
        .subquery()
    )


def figures_of(row: Any, currency: str, rates: Rates, leaked_nano_usd: int) -> Figures:
    """Return the figures of a row of the statement, or of a sum of its rows."""
    number = {name: int(row[name]) for name in (*LAYERS, *QUALITIES, *PARTS)}
    layers = {name: number[name] for name in LAYERS}
    qualities = {name: number[name] for name in QUALITIES}
    # What was shared out of bills is no line of any event: it is what the layers have beyond them.
    qualities["allocated"] += sum(layers.values()) - sum(qualities.values())
    return Figures(
        currency,
        rates.of(currency),
        Revenue(*(number[name] for name in PARTS)),
        Cost(layers, qualities, int(row["unknown_lines"])),
        int(row["credits_micro"]),
        int(row["uncollected_micro"]),
        leaked_nano_usd,
        int(row["events"]),
    )


def lost_by_action(
    tx: Connection, span: Span, named: Sequence[str] | None = None
) -> dict[tuple[str, str], int]:
    """Return what work cost that may not be charged, by customer and action, where there is any.

    In billionths of a US dollar; of all customers unless some are named.
    """
    mine = () if named is None else (among(tx, usage_daily.c.organization_id, named),)
    found: dict[tuple[str, str], int] = defaultdict(int)
    for row in tx.execute(sums.leaking(span, *mine)):
        found[row.organization_id, row.action] += leaked(
            int(row.cost_nano_usd),
            uncollected_micro=int(row.uncollected_micro),
            credits_micro=int(row.credits_micro),
        )
    return found


def lost_by_customer(
    tx: Connection, span: Span, named: Sequence[str] | None = None
) -> dict[str, int]:
    """Return what work cost that may not be charged, by customer, where there is any."""
    found: dict[str, int] = defaultdict(int)
    for (organization_id, _), amount in lost_by_action(tx, span, named).items():
        found[organization_id] += amount
    return found
