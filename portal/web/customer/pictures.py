"""The pages' charts: figures of a read model handed to the geometry, nothing computed twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from portal.breakdown import Breakdown
from portal.core.caps import Cap
from portal.core.periods import days_between, start_of_day
from portal.overview import DAY, Overview, Standing
from portal.web.customer import charts

COURSE_PIXELS = 160.0
DAYS_PIXELS = 84.0
USAGE_PIXELS = 190.0


@dataclass(frozen=True)
class Month:
    """The overview's chart: the sum so far above, the days below.

    ``out_x`` is where the credits run out, None where they do not within the period.
    """

    course: charts.Course
    days: charts.Bars
    out_x: str | None


def month(page: Overview) -> Month:
    """Draw the period day by day."""
    slots = (page.last_day - page.first_day).days + 1
    projected = page.outlook.projection if page.outlook else None
    limits = [
        ("hard" if line.cap.hard else "soft", line.limit_micro)
        for line in page.spending.lines
        if _counts_this_sum(line.cap, own_only=page.own_only)
    ]
    if page.outlook and page.outlook.included_micro:
        limits.append(("included", page.outlook.included_micro))
    course = charts.course(
        [day.so_far_micro for day in page.days],
        slots=slots,
        elapsed=_elapsed(page),
        projected=(projected.low_micro, projected.middle_micro, projected.high_micro)
        if projected
        else None,
        limits=limits,
        height=COURSE_PIXELS,
    )
    days = charts.bars(
        [day.parts_micro for day in page.days],
        days_between(page.first_day, page.last_day + DAY),
        slots=slots,
        height=DAYS_PIXELS,
        steps=3,
        today=len(page.days) - 1,
    )
    return Month(course, days, _out_x(page))


def _elapsed(page: Overview) -> float:
    """Return how much of the period has passed, counted from the first instant of its first day."""
    return _part_until(page, page.as_of)


def _part_until(page: Overview, instant: datetime) -> float:
    start = start_of_day(page.first_day, page.organization.zone)
    return charts.elapsed_part(instant - start, page.period.end - start)


def _out_x(page: Overview) -> str | None:
    out = page.outlook.runs_out if page.outlook else None
    if out is None or out.middle is None or not page.standing.balance.available_micro:
        return None
    if not page.as_of < out.middle < page.period.end:
        return None
    return charts.percent(_part_until(page, out.middle))


def _counts_this_sum(cap: Cap, *, own_only: bool) -> bool:
    """Tell whether a cap limits the very sum that the chart shows."""
    scope = "member" if own_only else "organization"
    return cap.window == "period" and not cap.action and cap.scope == scope


def usage(page: Breakdown) -> charts.Bars:
    """Draw the selected usage by day, week or four weeks."""
    return charts.bars(
        [column.parts_micro for column in page.columns],
        [column.start for column in page.columns],
        slots=len(page.columns),
        height=USAGE_PIXELS,
        steps=4,
    )


def lots(standing: Standing) -> list[charts.Slice]:
    """Draw the grants side by side: what is gone, what is held, then in burn-down order."""
    parts = [
        standing.gone_micro,
        standing.balance.held_micro,
        *(line.lot.remaining_micro for line in standing.lots),
        standing.more_lots_micro,
    ]
    return charts.slices(parts)
