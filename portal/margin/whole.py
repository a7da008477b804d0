"""All customers together: what was recognised, what it cost by layer, and what nobody explains.

Reads only. Invariant: the whole is the sum of the customers of ``margins``, whether the store adds
them up or they are added up here; layers and what is unattributed are the total.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter, itemgetter

from sqlalchemy import Connection, func, select

from portal.core.costs import LAYERS
from portal.core.margin.figures import (
    NO_COST,
    QUALITIES,
    Cost,
    Figures,
    Revenue,
    Span,
    tenths_of_percent,
)
from portal.margin import costs
from portal.margin.margins import OrganizationMargin
from portal.margin.statement import (
    SORTABLE,
    figures_of,
    lost_by_customer,
    rates_of,
    statement,
    terms_at,
)
from portal.rows import among
from portal.tables import cost_daily, organizations

_PARTS = attrgetter(*(one.name for one in fields(Revenue)))
_BY_LAYER, _BY_QUALITY = itemgetter(*LAYERS), itemgetter(*QUALITIES)
_REST = attrgetter("credits_micro", "uncollected_micro", "leaked_nano_usd", "events")


@dataclass(frozen=True)
class Totals:
    """All customers in a span, by currency, and what no customer explains.

    ``figures`` are those of currencies that convert, which the margin counts; ``apart`` those of
    others, each in its own currency. The revenue, the cost and the margin of the span before count
    the same customers as those of this one, at the same rates.
    """

    span: Span
    organizations: int
    figures: Sequence[Figures]
    apart: Sequence[Figures]
    by_tier: Mapping[str, Sequence[Figures]]
    reconciliation: Sequence[costs.Reconciled] = field(default_factory=tuple)
    before_revenue_nano_usd: int = 0
    before_cost_nano_usd: int = 0
    before_margin_nano_usd: int = 0

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
    def apart_cost_nano_usd(self) -> int:
        """What customers cost who stand apart: in the cost, and in no margin."""
        return sum(one.cost.total_nano_usd for one in self.apart)

    @property
    def margin_tenths_percent(self) -> int | None:
        """The margin in tenths of a percent of the revenue; None where there is no revenue."""
        return tenths_of_percent(self.margin_nano_usd, self.revenue_nano_usd)

    @property
    def before_margin_tenths_percent(self) -> int | None:
        """The same of the span before."""
        return tenths_of_percent(self.before_margin_nano_usd, self.before_revenue_nano_usd)

    @property
    def attributed_tenths_percent(self) -> int | None:
        """The share of cost that customers explain, in tenths of a percent; None without cost."""
        return tenths_of_percent(self.cost.total_nano_usd, self.cost_nano_usd)


def totals(tx: Connection, span: Span) -> Totals:
    """Return the sums over all customers, by currency and by tier, and what bills say beside."""
    rates = rates_of(tx, span)
    joined = statement(tx, span, rates)
    lost = _lost_by_tier(tx, span)
    labels = (organizations.c.currency, joined.columns["tier"].label("tier"))
    summed = [
        func.sum(column).label(name)
        for name, column in joined.columns.items()
        if name not in {"tier", *SORTABLE}
    ]
    query = select(*labels, func.count().label("organizations"), *summed)
    sums = _Sums()
    rows = tx.execute(query.select_from(joined.source).group_by(*labels).order_by(*labels))
    for row in rows.mappings():
        figures = figures_of(
            row, row["currency"], rates, lost.get((row["currency"], row["tier"]), 0)
        )
        before = int(row["before_revenue"]), int(row["before_cost"])
        sums.add(row["tier"], figures, before, row["organizations"])
    return sums.totals(tx, span)


def totals_of(tx: Connection, span: Span, customers: Iterable[OrganizationMargin]) -> Totals:
    """Return the same from all customers of a span, for whoever has read them already."""
    groups: dict[tuple[str, str], list[OrganizationMargin]] = defaultdict(list)
    for one in customers:
        groups[one.figures.currency, one.tier].append(one)
    sums = _Sums()
    for (_, tier), group in sorted(groups.items()):
        before = [(one.before.revenue_minor, one.before.cost_nano_usd) for one in group]
        revenue, cost = (sum(each) for each in zip(*before, strict=True))
        sums.add(tier, added_up([one.figures for one in group]), (revenue, cost), len(group))
    return sums.totals(tx, span)


class _Sums:
    """What is added up of customers of one currency and tier at a time."""

    def __init__(self) -> None:
        self._by_tier: dict[str, list[Figures]] = defaultdict(list)
        self._by_currency: dict[str, Figures] = {}
        self._number = 0
        self._before = [0, 0, 0]

    def add(self, tier: str, figures: Figures, before: tuple[int, int], number: int) -> None:
        """Add a group; before it had revenue in minor units, and cost in billionths of a USD."""
        currency, rate = figures.currency, figures.rate_nano_usd
        self._by_tier[tier].append(figures)
        known = self._by_currency.get(currency)
        self._by_currency[currency] = figures if known is None else known + figures
        self._number += number
        revenue, cost = before[0] * (rate or 0), before[1]
        self._before[0] += revenue
        self._before[1] += cost
        self._before[2] += 0 if rate is None else revenue - cost

    def totals(self, tx: Connection, span: Span) -> Totals:
        """Return all of it, beside what bills say."""
        every = self._by_currency.values()
        revenue, cost, margin = self._before
        rest = sum(one.unattributed_nano_usd for one in costs.reconcile(tx, span.before))
        return Totals(
            span,
            self._number,
            [one for one in every if one.rate_nano_usd is not None],
            [one for one in every if one.rate_nano_usd is None],
            self._by_tier,
            costs.reconcile(tx, span),
            revenue,
            cost + rest,
            margin - rest,
        )


def added_up(figures: Sequence[Figures]) -> Figures:
    """Return the sum of one customer's figures or more, all in one currency, column by column."""
    first, costs_ = figures[0], [one.cost for one in figures]
    cost = Cost(
        dict(zip(LAYERS, _columns(_BY_LAYER(one.by_layer) for one in costs_), strict=True)),
        dict(zip(QUALITIES, _columns(_BY_QUALITY(one.by_quality) for one in costs_), strict=True)),
        sum(one.unknown_lines for one in costs_),
    )
    revenue = Revenue(*_columns(_PARTS(one.revenue) for one in figures))
    return Figures(
        first.currency, first.rate_nano_usd, revenue, cost, *_columns(map(_REST, figures))
    )


def _columns(rows: Iterable[tuple[int, ...]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)]


def _lost_by_tier(tx: Connection, span: Span) -> dict[tuple[str, str], int]:
    """Return what work cost that may not be charged, by currency and tier."""
    lost = lost_by_customer(tx, span)
    terms = terms_at(span)
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


def cost_by_layer(tx: Connection, span: Span) -> dict[str, int]:
    """Return what each layer cost, also what no customer explains, in billionths of a USD."""
    day = cost_daily.c.day
    query = (
        select(cost_daily.c.layer, func.sum(cost_daily.c.cost_nano_usd))
        .where(day >= span.start, day < span.end)
        .group_by(cost_daily.c.layer)
    )
    found = dict.fromkeys(LAYERS, 0) | {layer: int(cost) for layer, cost in tx.execute(query)}
    for one in costs.reconcile(tx, span):
        # What was shared out is customers' own cost; with what is left it is the rest of the bill.
        found[one.layer] += one.shared_nano_usd + one.unattributed_nano_usd
    return found
