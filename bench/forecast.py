"""The forecast of month ends against plainer ones, on real series that had no part in choosing it.

A figure is the median absolute percentage error of the month's total, over the months of a group
cut after the same day. Beside it stand the range's coverage and its width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console
from rich.table import Table

from bench import month_ends
from bench.machine import Machine
from bench.month_ends import CUTS, Cut
from bench.report import Found, LeftOut, Row, at_most, median
from portal.core.forecast import WEEK, Course, Estimate

GOAL = 0.95
#: Eight in ten are to end inside the range.
FORETOLD, COVERED = 0.8, (0.77, 0.83)
#: What pooled and scaled residuals reach for regular tenants, in percent of the month's total.
WIDTHS_PERCENT = {5: 38.0, 10: 27.0, 15: 19.0, 20: 14.0, 25: 6.0}
#: The plain weekday mean takes four weeks.
_WEEKDAY_MEAN_DAYS = 28

REGULAR = "regular tenants"
GROUPS: dict[str, Callable[[Cut], bool]] = {
    REGULAR: lambda cut: not cut.series.single_user,
    "single users": lambda cut: cut.series.single_user,
    "all series": lambda _: True,
}


@dataclass(frozen=True)
class Outcome:
    """A cut month, what each method missed its total by (as a share of it), and the range."""

    cut: Cut
    error: float
    plain_errors: dict[str, float]
    covered: bool
    width: float
    took_ms: float


@dataclass(frozen=True)
class Finding:
    """A group of months cut after one day; errors, coverage and width are shares of one."""

    group: str
    day: int
    months: int
    error: float
    plain_errors: dict[str, float]
    coverage: float
    width: float
    mean_width: float
    took_ms: float

    @property
    def ratio(self) -> float:
        """The error against that of the trailing seven days."""
        return self.error / self.plain_errors["trailing 7 days"]


def straight_line(cut: Cut) -> float:
    """Return what is to come at the pace of the month so far."""
    return cut.spent / cut.day * cut.days_left


def trailing_week(cut: Cut) -> float:
    """Return what is to come at the pace of the last seven days."""
    latest = cut.before.amounts[-WEEK:]
    return fmean(latest) * cut.days_left


def weekday_mean(cut: Cut) -> float:
    """Return what is to come where each day is the mean of its weekday in four weeks."""
    latest = cut.before.amounts[-_WEEKDAY_MEAN_DAYS:]
    same = [latest[-1 - back :: -WEEK] for back in range(WEEK - 1, -1, -1)]
    means = [fmean(one) if one else fmean(latest) for one in same]
    return sum(means[place % WEEK] for place in range(cut.days_left))


PLAIN: dict[str, Callable[[Cut], float]] = {
    "straight line": straight_line,
    "trailing 7 days": trailing_week,
    "weekday mean": weekday_mean,
}


def forecast(cut: Cut) -> Estimate:
    """Return what is to come as the product says it."""
    course = Course(cut.before, horizon_days=cut.days_left)
    return course.ahead([1.0] * cut.days_left)


def outcome(cut: Cut) -> Outcome:
    """Forecast one cut month and compare with what came."""
    started = time.perf_counter()
    found = forecast(cut)
    took_ms = (time.perf_counter() - started) * 1000
    came = cut.total - cut.spent
    return Outcome(
        cut,
        abs(found.middle - came) / cut.total,
        {name: abs(method(cut) - came) / cut.total for name, method in PLAIN.items()},
        found.low <= came <= found.high,
        (found.high - found.low) / cut.total,
        took_ms,
    )


def findings(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    """Yield what each group comes to at each cut."""
    for group, belongs in GROUPS.items():
        for day in CUTS:
            found = [one for one in outcomes if one.cut.day == day and belongs(one.cut)]
            if found:
                yield Finding(
                    group,
                    day,
                    len(found),
                    median(one.error for one in found),
                    {name: median(one.plain_errors[name] for one in found) for name in PLAIN},
                    fmean(one.covered for one in found),
                    median(one.width for one in found),
                    fmean(one.width for one in found),
                    median(one.took_ms for one in found),
                )


def rows(machine: Machine) -> Iterator[Found]:  # noqa: ARG001 # it needs no store
    """Compare the forecast on the series that judge; print every figure, then the ratios."""
    where = month_ends.folder()
    if not where.is_dir():
        reason = f"No real series in {where}: set {month_ends.FOLDER} to the folder that has them."
        yield LeftOut("forecast of month ends", reason)
        return
    judging = [one for one in month_ends.read(where) if one.judges]
    found = list(findings([outcome(cut) for cut in month_ends.cuts(judging)]))
    show(found)
    for one in found:
        figures = one.error * 100, one.plain_errors["trailing 7 days"] * 100
        yield Row(
            f"forecast of month ends, {one.group}, day {one.day}, median error",
            f"{figures[0]:.1f} %",
            f"trailing 7 days {figures[1]:.1f} %",
            one.ratio,
            f"<= {GOAL}",
            one.ratio <= GOAL,
        )
    for one in found:
        if one.group == REGULAR:
            yield _coverage(one)
            yield _width(one)


def _coverage(found: Finding) -> Row:
    low, high = COVERED
    return Row(
        f"forecast of month ends, {found.group}, day {found.day}, inside the range",
        f"{found.coverage:.0%}",
        f"foretold {FORETOLD:.0%}",
        found.coverage / FORETOLD,
        f"{low:.0%} to {high:.0%}",
        low <= found.coverage <= high,
    )


def _width(found: Finding) -> Row:
    limit = WIDTHS_PERCENT[found.day]
    what = f"forecast of month ends, {found.group}, day {found.day}, mean width of the range"
    return at_most(what, found.mean_width * 100, limit, "pooled residuals", 1.0, "%")


def show(found: Sequence[Finding]) -> None:
    """Print the table of all figures."""
    table = Table("Group", "Day", "Months", "Forecast", *PLAIN, "Ratio", "Covered", "Width", "ms")
    for one in found:
        table.add_row(
            one.group,
            str(one.day),
            str(one.months),
            f"{one.error:.1%}",
            *(f"{error:.1%}" for error in one.plain_errors.values()),
            f"{one.ratio:.2f}",
            f"{one.coverage:.0%}",
            f"{one.width:.0%} (mean {one.mean_width:.0%})",
            f"{one.took_ms:.1f}",
        )
    Console(width=150).print(table)
