"""Margin by customer and month: what was recognised less what it cost.

Reads only, and set by set: a page of customers is one statement whatever their number. Call
``revenue.bring_up_to_date`` before. Invariant: every figure is a sum of stored integers, so that
customers add up to the whole, actions and months to the customer; customers whose currency has no
rate stand apart with their own amounts and no margin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select

from portal import catalog
from portal.core.catalog import PriceBook
from portal.core.errors import InvalidRequest, NotFound
from portal.core.margin.figures import Figures, Rates, Span
from portal.core.units import NotExact, parse_int64
from portal.margin.statement import Statement, figures_of, lost_by_customer, rates_of, statement
from portal.tables import organizations

_TICK = timedelta(microseconds=1)
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

    ``tier`` is the one in force at the span's end, "" where there was none. Where it costs
    something that nobody stated here, ``fee_stated`` is False, and the margin is less than it is.
    """

    organization_id: str
    name: str
    tier: str
    charging: str
    fee_stated: bool
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


@dataclass(frozen=True)
class _Known:
    """What is known beside the sums: rates, prices, and what customers' work lost."""

    rates: Rates
    book: PriceBook
    lost: Mapping[str, int]

    def states_fee(self, tier: str, currency: str) -> bool:
        """Tell whether the price book says what a tier costs, in that currency."""
        found = self.book.plan_of(tier)
        priced = found is not None and found.price_minor is not None
        return priced and self.book.currency == currency


def _known(tx: Connection, span: Span, rates: Rates, named: Sequence[str] | None = None) -> _Known:
    book = catalog.in_force(tx, at=datetime.combine(span.end, time(), UTC) - _TICK)
    return _Known(rates, book, lost_by_customer(tx, span, named))


def _organization(row: Any, known: _Known) -> OrganizationMargin:
    rates, lost = known.rates, known.lost
    leaked_nano_usd = lost.get(row["organization_id"], 0)
    figures = figures_of(row, row["currency"], rates, leaked_nano_usd)
    minor, cost = int(row["before_revenue"]), int(row["before_cost"])
    rate = figures.rate_nano_usd
    before = Before(
        minor, cost, int(row["before_credits"]), None if rate is None else minor * rate - cost
    )
    tier, currency = row["tier"], row["currency"]
    stated = not tier or row["fees"] > 0 or known.states_fee(tier, currency)
    return OrganizationMargin(
        row["organization_id"], row["name"], tier, row["charging"], stated, figures, before
    )


def _each(found: Statement) -> Select[Any]:
    known = organizations.c
    return select(
        known.organization_id,
        known.name,
        known.currency,
        known.charging,
        *(column.label(name) for name, column in found.columns.items()),
    ).select_from(found.source)


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
    joined = statement(tx, span, rates)
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
    known = _known(tx, span, rates, [row["organization_id"] for row in rows])
    return [_organization(row, known) for row in rows]


def _beyond(
    by: ColumnElement[Any], name: str, after: tuple[str, str], *, falling: bool
) -> ColumnElement[bool]:
    value, organization_id = after
    later = organizations.c.organization_id > organization_id
    if not value and name != "name":
        return and_(by.is_(None), later)
    place: Any = value if name == "name" else _number(value)
    further = by < place if falling else by > place
    return or_(further, and_(by == place, later), by.is_(None))


def _number(value: str) -> int:
    try:
        return parse_int64(value)
    except NotExact as error:
        raise InvalidRequest.at("/cursor", "is not one that this list gave") from error


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
    query = _each(statement(tx, span, rates)).order_by(organizations.c.organization_id)
    known = _known(tx, span, rates)
    for row in tx.execute(query.execution_options(yield_per=1000)).mappings():
        yield _organization(row, known)


def of_organization(tx: Connection, organization_id: str, span: Span) -> OrganizationMargin:
    """Return one customer's figures. Raises NotFound."""
    rates = rates_of(tx, span)
    query = _each(statement(tx, span, rates, organization_id)).where(
        organizations.c.organization_id == organization_id
    )
    row = tx.execute(query).mappings().first()
    if row is None:
        raise NotFound("organization", organization_id)
    return _organization(row, _known(tx, span, rates, [organization_id]))


def by_month(tx: Connection, organization_id: str, span: Span) -> list[tuple[Span, Figures]]:
    """Return one customer's figures by calendar month, in order. Raises NotFound."""
    return [
        (month, of_organization(tx, organization_id, month).figures) for month in span.by_month()
    ]
