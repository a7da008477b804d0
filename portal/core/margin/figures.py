"""The figures of margin: cost by layer and quality, revenue by part, and what is left.

Pure records that add up. Costs are billionths of a US dollar, revenue is minor units of the
customer's currency; a rate the operator stated makes billionths of a US dollar of it, exactly.
Invariant: layers and what no customer explains are the total; without a rate there is no margin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, timedelta

from portal.core.catalog import minor_places
from portal.core.costs import LAYERS, Quality
from portal.core.units import divide_half_even

#: How a cost became known, as the figures are told; what is unknown has no amount.
QUALITIES = tuple(one.value for one in Quality if one is not Quality.UNKNOWN)
NANO_PLACES = 9
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Span:
    """The local days ``[start, end)``, each organization's own. Raises ValueError where empty."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError("a span has at least one day")

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.end - self.start).days

    @property
    def before(self) -> Span:
        """The span to compare with: as many whole months before, or else as many days."""
        if self.start.day == 1 and self.end.day == 1:
            months = self._months
            number = self.start.year * 12 + self.start.month - 1 - months
            return Span(date(number // 12, number % 12 + 1, 1), self.start)
        return Span(self.start - (self.end - self.start), self.start)

    @property
    def _months(self) -> int:
        return (self.end.year - self.start.year) * 12 + self.end.month - self.start.month

    def by_month(self) -> list[Span]:
        """Return its parts that lie in one calendar month each, in order."""
        parts, start = [], self.start
        while start < self.end:
            following = (start.replace(day=1) + 32 * DAY).replace(day=1)
            parts.append(Span(start, min(following, self.end)))
            start = following
        return parts


@dataclass(frozen=True)
class Cost:
    """What work cost, in billionths of a US dollar; ``unknown_lines`` cost nobody knows what."""

    by_layer: Mapping[str, int] = field(default_factory=dict)
    by_quality: Mapping[str, int] = field(default_factory=dict)
    unknown_lines: int = 0

    @property
    def total_nano_usd(self) -> int:
        """All six layers."""
        return sum(self.by_layer.values())

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            {name: self.by_layer.get(name, 0) + other.by_layer.get(name, 0) for name in LAYERS},
            {
                name: self.by_quality.get(name, 0) + other.by_quality.get(name, 0)
                for name in QUALITIES
            },
            self.unknown_lines + other.unknown_lines,
        )


@dataclass(frozen=True)
class Revenue:
    """What was recognised, in minor units of one currency; the last two are below zero or none.

    ``credits_expired`` nobody used before their end; ``credits_returned`` went back with their
    money, which is among ``refunds``.
    """

    tier_fees_minor: int = 0
    credits_used_minor: int = 0
    credits_expired_minor: int = 0
    credits_returned_minor: int = 0
    overage_minor: int = 0
    refunds_minor: int = 0
    payment_fees_minor: int = 0

    @property
    def total_minor(self) -> int:
        """All parts."""
        return sum(getattr(self, one.name) for one in fields(self))

    def __add__(self, other: Revenue) -> Revenue:
        return Revenue(
            *(getattr(self, one.name) + getattr(other, one.name) for one in fields(self))
        )

    def parts(self) -> list[tuple[str, int]]:
        """Return each part's name, without its unit, and its minor units."""
        return [(one.name.removesuffix("_minor"), getattr(self, one.name)) for one in fields(self)]


@dataclass(frozen=True)
class Rates:
    """What the operator says a minor unit of other currencies is worth, in billionths of a USD."""

    nano_usd_per_minor: Mapping[str, int] = field(default_factory=dict)

    def of(self, currency: str) -> int | None:
        """Return a minor unit's worth, None where nobody stated it. A US cent is a US cent."""
        if currency == "usd":
            return int(10 ** (NANO_PLACES - minor_places("usd")))
        return self.nano_usd_per_minor.get(currency)


@dataclass(frozen=True)
class Figures:
    """Revenue and cost of somebody in a span, all in one currency.

    ``rate_nano_usd`` is what a minor unit of it is worth, None where the operator stated no rate:
    then nobody can tell what is left. ``credits_micro`` is what was used of credits, charged or in
    shadow; ``uncollected_micro`` what was used and may not be charged, ``leaked_nano_usd`` its
    share of what actions cost.
    """

    currency: str
    rate_nano_usd: int | None
    revenue: Revenue
    cost: Cost
    credits_micro: int = 0
    uncollected_micro: int = 0
    leaked_nano_usd: int = 0
    events: int = 0

    @property
    def revenue_nano_usd(self) -> int | None:
        """The revenue, in billionths of a US dollar."""
        if self.rate_nano_usd is None:
            return None
        return self.revenue.total_minor * self.rate_nano_usd

    @property
    def margin_nano_usd(self) -> int | None:
        """What is left of the revenue."""
        revenue = self.revenue_nano_usd
        return None if revenue is None else revenue - self.cost.total_nano_usd

    @property
    def margin_tenths_percent(self) -> int | None:
        """The margin in tenths of a percent of the revenue; None where there is no revenue."""
        return tenths_of_percent(self.margin_nano_usd, self.revenue_nano_usd)

    def waterfall(self) -> list[tuple[str, int]]:
        """Return the steps from nothing to the margin, in billionths of a USD; [] without a rate.

        First each part of revenue, then each layer of cost, which lead down.
        """
        rate = self.rate_nano_usd
        if rate is None:
            return []
        steps = [(name, minor * rate) for name, minor in self.revenue.parts()]
        steps += [(layer, -self.cost.by_layer.get(layer, 0)) for layer in LAYERS]
        return [(name, amount) for name, amount in steps if amount]

    def __add__(self, other: Figures) -> Figures:
        """Add up figures of one currency. Raises ValueError for two."""
        if self.currency != other.currency:
            raise ValueError("amounts of two currencies do not add up")
        return Figures(
            self.currency,
            self.rate_nano_usd,
            self.revenue + other.revenue,
            self.cost + other.cost,
            self.credits_micro + other.credits_micro,
            self.uncollected_micro + other.uncollected_micro,
            self.leaked_nano_usd + other.leaked_nano_usd,
            self.events + other.events,
        )


def tenths_of_percent(part: int | None, whole: int | None) -> int | None:
    """Return what share a part is, in tenths of a percent, half to even; None without a whole."""
    if part is None or whole is None or whole <= 0:
        return None
    return divide_half_even(part * 1000, whole)


NO_COST = Cost(dict.fromkeys(LAYERS, 0), dict.fromkeys(QUALITIES, 0))


def leaked(action_cost_nano_usd: int, *, uncollected_micro: int, credits_micro: int) -> int:
    """Return what work cost that may not be charged, in billionths of a USD: by its credits.

    ``action_cost_nano_usd`` is what all work of an action cost on a day, ``credits_micro`` what of
    it was charged, or in shadow. Rounded once, half to even.
    """
    used = credits_micro + uncollected_micro
    if uncollected_micro <= 0 or used <= 0:
        return 0
    return divide_half_even(action_cost_nano_usd * uncollected_micro, used)
