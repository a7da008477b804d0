"""Where things stand in the operator's pictures. Geometry only; floats begin and end here.

Both axes of cost against revenue have the same range, so that break-even is the diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from portal.margin.margins import OrganizationMargin
from portal.web.customer.charts import percent

HEIGHT = 420.0
#: The part of each axis kept for amounts of nothing, which a logarithm has no place for.
NOTHING = 0.06
NANO = 10**9
#: The most that are named in the picture; the rest is named when it is pointed at.
MOST_NAMED = 8


@dataclass(frozen=True)
class Point:
    """A customer: where, and whether they cost more than they bring."""

    customer: OrganizationMargin
    x: str
    y: float
    under: bool
    named: bool
    leftwards: bool


@dataclass(frozen=True)
class Decade:
    """A power of ten, in whole dollars or a part of one, and where it is on both axes."""

    words: str
    x: str
    y: float


@dataclass(frozen=True)
class Scatter:
    """Cost against revenue: points, the lines of tens, and break-even from corner to corner."""

    height: float
    points: Sequence[Point]
    decades: Sequence[Decade]
    zero_x: str
    zero_y: float


def scatter(customers: Sequence[OrganizationMargin]) -> Scatter:
    """Place customers whose currency converts by what they bring and cost."""
    known = [one for one in customers if one.figures.revenue_nano_usd is not None]
    axis = _axis(known)
    under = sorted(
        (one for one in known if (one.figures.margin_nano_usd or 0) < 0),
        key=lambda one: one.figures.margin_nano_usd or 0,
    )
    named = {one.organization_id for one in under[:MOST_NAMED]}
    points = []
    # Those under water are drawn last, so that nothing hides them.
    for one in sorted(known, key=lambda each: (each.figures.margin_nano_usd or 0) < 0):
        x = axis.place(one.figures.revenue_nano_usd or 0)
        points.append(
            Point(
                one,
                percent(x),
                round(HEIGHT * (1 - axis.place(one.figures.cost.total_nano_usd)), 1),
                (one.figures.margin_nano_usd or 0) < 0,
                one.organization_id in named,
                x > 0.7,
            )
        )
    return Scatter(
        HEIGHT, points, axis.decades(), percent(NOTHING), round(HEIGHT * (1 - NOTHING), 1)
    )


@dataclass(frozen=True)
class _Axis:
    """A scale by powers of ten of a dollar, from ``low`` to ``high``; both axes have the same."""

    low: int
    high: int

    def place(self, amount_nano_usd: int) -> float:
        """Return where an amount stands, from zero to one; one that has no power beside it."""
        if amount_nano_usd <= 0:
            return NOTHING / 2
        place = (math.log10(amount_nano_usd / NANO) - self.low) / (self.high - self.low)
        return NOTHING + (1 - NOTHING) * min(1.0, max(0.0, place))

    def decades(self) -> list[Decade]:
        """Return the powers of ten, lowest first."""
        return [
            Decade(
                _dollars(power), percent(self._at(power)), round(HEIGHT * (1 - self._at(power)), 1)
            )
            for power in range(self.low, self.high + 1)
        ]

    def _at(self, power: int) -> float:
        return NOTHING + (1 - NOTHING) * (power - self.low) / (self.high - self.low)


def _axis(known: Sequence[OrganizationMargin]) -> _Axis:
    amounts = [
        amount
        for one in known
        for amount in (one.figures.revenue_nano_usd or 0, one.figures.cost.total_nano_usd)
        if amount > 0
    ]
    low = math.floor(math.log10(min(amounts) / NANO)) if amounts else 0
    high = math.ceil(math.log10(max(amounts) / NANO)) if amounts else 2
    return _Axis(low, max(high, low + 1))


def _dollars(power: int) -> str:
    return f"${10**power:,}" if power >= 0 else f"${10**power:.{-power}f}"


@dataclass(frozen=True)
class Step:
    """A step of a fall: its words, amount, and where its bar stands across, in percent."""

    name: str
    amount_nano_usd: int
    x: str
    width: str
    kind: str


def waterfall(steps: Sequence[tuple[str, int]]) -> list[Step]:
    """Lay the steps from nothing to the margin beside each other, and the margin last."""
    sums, total = [0], 0
    for _, amount in steps:
        total += amount
        sums.append(total)
    low, high = min(sums), max(sums)
    room = (high - low) or 1

    def bar(name: str, first: int, last: int, kind: str) -> Step:
        left, right = sorted(((first - low) / room, (last - low) / room))
        return Step(name, last - first, percent(left), percent(max(right - left, 0.002)), kind)

    found = [
        bar(name, sums[place], sums[place + 1], "up" if amount >= 0 else "down")
        for place, (name, amount) in enumerate(steps)
    ]
    return [*found, bar("margin", 0, total, "sum" if total >= 0 else "loss")] if found else []
