"""Margin by customer, tier, action, team and month: what was recognised less what it cost.

Reads only, and set by set: a page of customers is one statement whatever their number. Call
``revenue.bring_up_to_date`` before. Invariant: every figure is a sum of stored integers, so that
customers add up to tiers, tiers to the total, actions and months to the customer; customers whose
currency has no rate stand apart with their own amounts and no margin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    case,
    func,
    null,
    or_,
    select,
)

from portal.core.costs import LAYERS
from portal.core.errors import InvalidRequest, NotFound
from portal.core.margin.figures import (
    NO_COST,
    QUALITIES,
    Cost,
    Figures,
    Rates,
    Revenue,
    Span,
    leaked,
    tenths_of_percent,
)
from portal.cost_books import cost_books_of
from portal.db import among
from portal.margin import costs, sums
from portal.tables import organizations, tier_terms, usage_daily

_TICK = timedelta(microseconds=1)
_PARTS = ("tier_fees", *sums.PARTS.values())
#: What customers can be sorted by; a minus before it: the largest first.
SORTS = ("name", "margin", "revenue", "cost", "credits", "growth")


@dataclass(frozen=True)
class Before:
    """What the span before came to; revenue in minor units, cost in billionths of a USD."""

    revenue_minor: int
    cost_nano_usd: int
    credits_micro: int
    margin_nano_usd: int | None


@dataclass(frozen=True)
class OrganizationMargin:
    """A customer's figures of a span, and those of the span before.

    ``tier`` is the one in force at the span's end, "" where there was none.
    """

    organization_id: str
    name: str
    tier: str
    charging: str
    figures: Figures
    before: Before

    @property
    def growth_nano_usd(self) -> int | None:
        """By how much more is left than in the span before."""
        now, before = self.figures.margin_nano_usd, self.before.margin_nano_usd
        return None if now is None or before is None else now - before


@dataclass(frozen=True)
class Slice:
    """A part of somebody's figures by label: an action, a team, a tier. "" is for none of them."""

    label: str
    figures: Figures


def rates_of(tx: Connection, span: Span) -> Rates:
    """Return what the cost book in force at the end of a span says of other currencies."""
    end = datetime.combine(span.end, time(), UTC) - _TICK
    book = cost_books_of(tx).in_force(end)
    return Rates(book.rates if book else {})


@dataclass(frozen=True)
class _Joined:
    """The one statement behind every figure of customers, and its columns by name."""

    source: FromClause
    columns: Mapping[str, ColumnElement[Any]]


def _joined(
    tx: Connection, span: Span, rates: Rates, organization_id: str | None = None
) -> _Joined:
    cost, use, revenue, fee = (
        sums.of(query, organization_id).subquery()
        for query in (sums.costs(span), sums.uses(span), sums.revenues(span), sums.fees(span))
    )
    share = sums.shares(costs.overlapping(tx, Span(span.before.start, span.end)), span)
    terms = _terms_at(span)
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
        **{one: got(revenue, one) for one in sums.PARTS.values()},
        **{one: got(use, one) for one in ("credits_micro", "uncollected_micro", "events")},
        "before_cost": got(cost, "before") + got(share, "before"),
        "before_revenue": got(revenue, "before") + got(fee, "before"),
        "before_credits": got(use, "before"),
        "tier": func.coalesce(terms.c.tier, ""),
    }
    return _Joined(source, columns | _sortable(columns, rates))


_ZERO = sums.nothing()
_SORTABLE = ("cost", "revenue", "margin", "growth", "credits")


def _sortable(
    columns: Mapping[str, ColumnElement[Any]], rates: Rates
) -> dict[str, ColumnElement[Any]]:
    """Return the columns that customers are sorted by."""
    minor = sums.added(columns[name] for name in _PARTS)
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


def _terms_at(span: Span) -> FromClause:
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


def _figures(row: Any, currency: str, rates: Rates, leaked_nano_usd: int) -> Figures:
    number = {name: int(row[name]) for name in (*LAYERS, *QUALITIES, *_PARTS)}
    layers = {name: number[name] for name in LAYERS}
    qualities = {name: number[name] for name in QUALITIES}
    # What was shared out of bills is no line of any event: it is what the layers have beyond them.
    qualities["allocated"] += sum(layers.values()) - sum(qualities.values())
    return Figures(
        currency,
        rates.of(currency),
        Revenue(*(number[name] for name in _PARTS)),
        Cost(layers, qualities, int(row["unknown_lines"])),
        int(row["credits_micro"]),
        int(row["uncollected_micro"]),
        leaked_nano_usd,
        int(row["events"]),
    )


def _organization(row: Any, rates: Rates, lost: Mapping[str, int]) -> OrganizationMargin:
    leaked_nano_usd = lost.get(row["organization_id"], 0)
    figures = _figures(row, row["currency"], rates, leaked_nano_usd)
    minor, cost = int(row["before_revenue"]), int(row["before_cost"])
    rate = figures.rate_nano_usd
    before = Before(
        minor, cost, int(row["before_credits"]), None if rate is None else minor * rate - cost
    )
    return OrganizationMargin(
        row["organization_id"], row["name"], row["tier"], row["charging"], figures, before
    )


def _each(joined: _Joined) -> Select[Any]:
    known = organizations.c
    return select(
        known.organization_id,
        known.name,
        known.currency,
        known.charging,
        *(column.label(name) for name, column in joined.columns.items()),
    ).select_from(joined.source)


def of_organizations(
    tx: Connection,
    span: Span,
    *,
    sort: str = "margin",
    after: tuple[str, str] | None = None,
    limit: int = 50,
) -> list[OrganizationMargin]:
    """Return customers in the order of one of SORTS, those after a place that ``place_of`` gave.

    Without a rate, or a figure, they come last. Raises InvalidRequest for another order or place.
    """
    rates = rates_of(tx, span)
    joined = _joined(tx, span, rates)
    name, falling = sort.removeprefix("-"), sort.startswith("-")
    if name not in SORTS:
        raise InvalidRequest.at("/sort", f"is not one of {', '.join(SORTS)}, with or without a -")
    by = organizations.c.name if name == "name" else joined.columns[name]
    query = _each(joined)
    if after is not None:
        query = query.where(_beyond(by, name, after, falling=falling))
    order = by.desc() if falling else by.asc()
    query = query.order_by(order.nulls_last(), organizations.c.organization_id).limit(limit)
    rows = tx.execute(query).mappings().all()
    lost = _lost(tx, span, [row["organization_id"] for row in rows])
    return [_organization(row, rates, lost) for row in rows]


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


def _lost(tx: Connection, span: Span, named: Sequence[str] | None = None) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for (organization_id, _), amount in lost_by_action(tx, span, named).items():
        found[organization_id] += amount
    return found


def _beyond(
    by: ColumnElement[Any], name: str, after: tuple[str, str], *, falling: bool
) -> ColumnElement[bool]:
    value, organization_id = after
    later = organizations.c.organization_id > organization_id
    if not value and name != "name":
        return and_(by.is_(None), later)
    try:
        place: Any = value if name == "name" else int(value)
    except ValueError as error:
        raise InvalidRequest.at("/cursor", "is not one that this list gave") from error
    further = by < place if falling else by > place
    return or_(further, and_(by == place, later), by.is_(None))


def place_of(one: OrganizationMargin, sort: str) -> tuple[str, str]:
    """Return the place of a customer in an order, for ``after``."""
    figures = one.figures
    value = {
        "name": one.name,
        "margin": figures.margin_nano_usd,
        "revenue": figures.revenue_nano_usd,
        "cost": figures.cost.total_nano_usd,
        "credits": figures.credits_micro,
        "growth": one.growth_nano_usd,
    }[sort.removeprefix("-")]
    return "" if value is None else str(value), one.organization_id


def each(tx: Connection, span: Span) -> Iterator[OrganizationMargin]:
    """Go through every customer, by id, without keeping them all."""
    rates = rates_of(tx, span)
    query = _each(_joined(tx, span, rates)).order_by(organizations.c.organization_id)
    lost = _lost(tx, span)
    for row in tx.execute(query.execution_options(yield_per=1000)).mappings():
        yield _organization(row, rates, lost)


def of_organization(tx: Connection, organization_id: str, span: Span) -> OrganizationMargin:
    """Return one customer's figures. Raises NotFound."""
    rates = rates_of(tx, span)
    query = _each(_joined(tx, span, rates, organization_id)).where(
        organizations.c.organization_id == organization_id
    )
    row = tx.execute(query).mappings().first()
    if row is None:
        raise NotFound("organization", organization_id)
    return _organization(row, rates, _lost(tx, span, [organization_id]))


def by_month(tx: Connection, organization_id: str, span: Span) -> list[tuple[Span, Figures]]:
    """Return one customer's figures by calendar month, in order. Raises NotFound."""
    return [
        (month, of_organization(tx, organization_id, month).figures) for month in span.by_month()
    ]


@dataclass(frozen=True)
class Totals:
    """All customers in a span, by currency, and what no customer explains.

    ``figures`` are those of currencies that convert, which the margin counts; ``apart`` those of
    others, each in its own currency.
    """

    span: Span
    organizations: int
    figures: Sequence[Figures]
    apart: Sequence[Figures]
    by_tier: Mapping[str, Sequence[Figures]]
    reconciliation: Sequence[costs.Reconciled] = field(default_factory=tuple)
    before_revenue_nano_usd: int = 0
    before_cost_nano_usd: int = 0

    @property
    def unattributed_by_layer(self) -> dict[str, int]:
        """What bills say that no customer explains; below zero where customers explain more."""
        found = dict.fromkeys(LAYERS, 0)
        for one in self.reconciliation:
            found[one.layer] += one.unattributed_nano_usd
        return found

    @property
    def unattributed_nano_usd(self) -> int:
        """All of that."""
        return sum(self.unattributed_by_layer.values())

    @property
    def cost(self) -> Cost:
        """What all customers cost, also those that stand apart."""
        whole = NO_COST
        for one in (*self.figures, *self.apart):
            whole = whole + one.cost
        return whole

    @property
    def cost_nano_usd(self) -> int:
        """All layers, and what no customer explains."""
        return self.cost.total_nano_usd + self.unattributed_nano_usd

    @property
    def revenue_nano_usd(self) -> int:
        """What was recognised of customers whose currency converts."""
        return sum(one.revenue_nano_usd or 0 for one in self.figures)

    @property
    def margin_nano_usd(self) -> int:
        """What is left of it, once also paid is what no customer explains."""
        counted = sum(one.cost.total_nano_usd for one in self.figures)
        return self.revenue_nano_usd - counted - self.unattributed_nano_usd

    @property
    def margin_tenths_percent(self) -> int | None:
        """The margin in tenths of a percent of the revenue; None where there is no revenue."""
        return tenths_of_percent(self.margin_nano_usd, self.revenue_nano_usd)

    @property
    def attributed_tenths_percent(self) -> int | None:
        """The share of cost that customers explain, in tenths of a percent; None without cost."""
        return tenths_of_percent(self.cost.total_nano_usd, self.cost_nano_usd)


def totals(tx: Connection, span: Span) -> Totals:
    """Return the sums over all customers, by currency and by tier, and what bills say beside."""
    rates = rates_of(tx, span)
    joined = _joined(tx, span, rates)
    lost = _lost_by_tier(tx, span)
    labels = (organizations.c.currency, joined.columns["tier"].label("tier"))
    summed = [
        func.sum(column).label(name)
        for name, column in joined.columns.items()
        if name not in {"tier", *_SORTABLE}
    ]
    query = select(*labels, func.count().label("organizations"), *summed)
    by_tier: dict[str, list[Figures]] = defaultdict(list)
    by_currency: dict[str, Figures] = {}
    number = before_revenue = before_cost = 0
    rows = tx.execute(query.select_from(joined.source).group_by(*labels).order_by(*labels))
    for row in rows.mappings():
        currency = row["currency"]
        found = _figures(row, currency, rates, lost.get((currency, row["tier"]), 0))
        by_tier[row["tier"]].append(found)
        known = by_currency.get(currency)
        by_currency[currency] = found if known is None else known + found
        number += row["organizations"]
        before_revenue += int(row["before_revenue"]) * (found.rate_nano_usd or 0)
        before_cost += int(row["before_cost"]) if found.rate_nano_usd is not None else 0
    every = by_currency.values()
    return Totals(
        span,
        number,
        [one for one in every if one.rate_nano_usd is not None],
        [one for one in every if one.rate_nano_usd is None],
        by_tier,
        costs.reconcile(tx, span),
        before_revenue,
        before_cost + sum(one.unattributed_nano_usd for one in costs.reconcile(tx, span.before)),
    )


def _lost_by_tier(tx: Connection, span: Span) -> dict[tuple[str, str], int]:
    """Return what work cost that may not be charged, by currency and tier."""
    lost = _lost(tx, span)
    terms = _terms_at(span)
    query = (
        select(organizations.c.organization_id, organizations.c.currency, terms.c.tier)
        .select_from(
            organizations.outerjoin(
                terms, terms.c.organization_id == organizations.c.organization_id
            )
        )
        .where(among(tx, organizations.c.organization_id, list(lost)))
    )
    found: dict[tuple[str, str], int] = defaultdict(int)
    for row in tx.execute(query) if lost else ():
        found[row.currency, row.tier or ""] += lost[row.organization_id]
    return found
