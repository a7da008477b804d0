"""Where things stand in a chart: percentages across, pixels down. Geometry, no words or colours.

Bars and labels are placed in percent of an SVG without a view box, so text is never scaled; lines
and the band are drawn in a nested one that stretches. Floats begin and end here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from portal.core.units import MICRO

YOf = Callable[[int], float]

#: Part of a column that its bar fills.
BAR_FILL = 0.68
#: The least a non-empty segment is drawn with, so that little is not nothing.
LEAST_PIXELS = 1.5
#: Labels nearer than this would touch.
LABEL_PIXELS = 15
#: Part of the width a day's label takes at most, and how near the edge it turns inwards.
LABEL_SHARE = 0.14
EDGE_SHARE = 0.06
#: A cap further above everything else than this is not drawn: it would flatten the rest.
TALLEST_CAP = 1.6


@dataclass(frozen=True)
class Segment:
    """A part of a bar: which series, where, and how tall."""

    series: int
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    """One column: the slot it stands in, the bar itself, its segments from the bottom up."""

    slot_x: str
    slot_width: str
    x: str
    width: str
    segments: Sequence[Segment]


@dataclass(frozen=True)
class Tick:
    """A line across with its value in millionths."""

    y: float
    value_micro: int


@dataclass(frozen=True)
class Mark:
    """A place on the axis below: a day and how its label is anchored."""

    x: str
    day: date
    anchor: str
    today: bool = False


@dataclass(frozen=True)
class Bars:
    """A pane of stacked bars."""

    height: float
    bars: Sequence[Bar]
    ticks: Sequence[Tick]
    marks: Sequence[Mark]


@dataclass(frozen=True)
class CapMark:
    """A limit drawn across, with its label above or below the line."""

    y: float
    label_y: float
    limit_micro: int
    kind: str


@dataclass(frozen=True)
class Course:
    """A pane with the sum so far and where it is going; paths are in a box 100 wide."""

    height: float
    line: str
    area: str
    ahead: str
    band: str
    now_x: str
    now_y: float
    end_y: float | None
    ticks: Sequence[Tick]
    caps: Sequence[CapMark]


@dataclass(frozen=True)
class Slice:
    """A part of a horizontal bar, in percent."""

    x: str
    width: str


def percent(value: float) -> str:
    """Write a share of the width as SVG takes it."""
    return f"{value * 100:.3f}".rstrip("0").rstrip(".") + "%"


def scale(top_micro: int, *, steps: int) -> tuple[int, list[int]]:
    """Return a round ceiling at or above ``top_micro`` and the values of its lines, from zero."""
    if top_micro <= 0:
        return MICRO, [0]
    wanted = top_micro / steps
    # Steps of whole credits where there are any, else of thousandths.
    unit = MICRO if top_micro >= steps * MICRO else MICRO // 1000
    step = unit
    while step < wanted:
        for factor in (2, 5, 10):
            if step * factor >= wanted or factor == 10:
                step *= factor
                break
    count = -(-top_micro // step)
    return step * count, [step * place for place in range(count + 1)]


def bars(
    columns: Sequence[Sequence[int]],
    days: Sequence[date],
    *,
    slots: int,
    height: float,
    steps: int = 2,
    today: int | None = None,
) -> Bars:
    """Stack each column's series; ``days`` names the slots, of which some may still be empty.

    ``today`` is the slot that is marked as such, in place of the labels near it.
    """
    ceiling, values = scale(max((sum(column) for column in columns), default=0), steps=steps)
    ticks = [Tick(round(height - height * value / ceiling, 2), value) for value in values]
    drawn = [_bar(place, column, slots, height, ceiling) for place, column in enumerate(columns)]
    return Bars(height, drawn, ticks, marks(days, today=today))


def _bar(place: int, column: Sequence[int], slots: int, height: float, ceiling: int) -> Bar:
    slot = 1 / slots
    segments: list[Segment] = []
    y = height
    for series, value in enumerate(column):
        if value > 0:
            tall = max(LEAST_PIXELS, height * value / ceiling)
            y = max(0.0, y - tall)
            segments.append(Segment(series, round(y, 2), round(tall, 2)))
    margin = slot * (1 - BAR_FILL) / 2
    return Bar(
        percent(place * slot),
        percent(slot),
        percent(place * slot + margin),
        percent(slot * BAR_FILL),
        segments,
    )


def marks(days: Sequence[date], *, most: int = 5, today: int | None = None) -> list[Mark]:
    """Choose days to label: the first, and then evenly, never so near the end that they touch."""
    if not days:
        return []
    every = max(1, -(-len(days) // most))
    chosen = [place for place in range(0, len(days), every) if place + every / 2 < len(days)]
    chosen = chosen or [0]
    if today is not None:
        room = LABEL_SHARE * len(days)
        chosen = sorted([today, *(place for place in chosen if abs(place - today) > room)])
    return [_mark(place, days, today) for place in chosen]


def _mark(place: int, days: Sequence[date], today: int | None) -> Mark:
    middle = (place + 0.5) / len(days)
    anchor = "start" if middle < EDGE_SHARE else "end" if middle > 1 - EDGE_SHARE else "middle"
    edge = {"start": place / len(days), "middle": middle, "end": (place + 1) / len(days)}
    return Mark(percent(edge[anchor]), days[place], anchor, place == today)


def course(
    so_far_micro: Sequence[int],
    *,
    slots: int,
    elapsed: float,
    projected: tuple[int, int, int] | None,
    limits: Sequence[tuple[str, int]],
    height: float,
    steps: int = 4,
) -> Course:
    """Draw the sum of each day so far, and the projection (low, middle, high) to the period's end.

    ``elapsed`` is the part of the period that has passed, ``limits`` are kinds and amounts.
    """
    spent = so_far_micro[-1] if so_far_micro else 0
    top = max(spent, projected[2] if projected else 0)
    near = [one for one in limits if not top or one[1] <= top * TALLEST_CAP]
    ceiling, values = scale(max([top, *(limit for _, limit in near)]), steps=steps)

    def y(value: int) -> float:
        return round(height - height * value / ceiling, 2)

    now = min(1.0, max(elapsed, 0.0))
    ends = [
        (min(place / slots, now), y(sum_)) for place, sum_ in enumerate([0, *so_far_micro[:-1]])
    ]
    line = _path([*ends, (now, y(spent))])
    area = f"{line}L{now * 100:.2f} {height:g}L0 {height:g}Z"
    ahead, band = _ahead(projected, (now, y(spent)), y)
    return Course(
        height=height,
        line=line,
        area=area,
        ahead=ahead,
        band=band,
        now_x=percent(now),
        now_y=y(spent),
        end_y=y(projected[1]) if projected else None,
        ticks=[Tick(y(value), value) for value in values],
        caps=_caps(sorted(near, key=lambda one: -one[1]), y),
    )


def _ahead(
    projected: tuple[int, int, int] | None, start: tuple[float, float], y: YOf
) -> tuple[str, str]:
    """Return the paths of the projection's middle and of its band."""
    if projected is None:
        return "", ""
    low, middle, high = (y(value) for value in projected)
    return _path([start, (1.0, middle)]), _path([start, (1.0, high), (1.0, low)]) + "Z"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x * 100:.2f} {y:g}" for x, y in points)


def _caps(limits: Sequence[tuple[str, int]], y: YOf) -> list[CapMark]:
    drawn: list[CapMark] = []
    for kind, limit in limits:
        at = y(limit)
        label = at - 5
        if drawn and label - drawn[-1].label_y < LABEL_PIXELS:
            label = at + 13
        drawn.append(CapMark(at, round(label, 2), limit, kind))
    return drawn


def slices(parts: Sequence[int], *, gap: float = 0.006) -> list[Slice]:
    """Lay parts side by side over the whole width, with small gaps; nothing takes no room."""
    whole = sum(parts)
    present = sum(1 for part in parts if part > 0)
    room = 1 - gap * max(0, present - 1)
    laid, x = [], 0.0
    for part in parts:
        width = room * part / whole if whole else 0.0
        laid.append(Slice(percent(x), percent(width)))
        if part > 0:
            x += width + gap
    return laid


def elapsed_part(passed: timedelta, whole: timedelta) -> float:
    """Return how much of a span has passed, between nothing and all."""
    return min(1.0, max(0.0, passed / whole))
