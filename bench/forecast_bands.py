"""Derive ``portal/core/forecast_bands.py``: how far sums of days ended from their forecast.

`python -m bench.forecast_bands` prints the table from the series to develop on alone; with
`--swap` from those that judge, to see how a figure would have come out the other way round.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from statistics import median

from bench import month_ends
from bench.month_ends import Series
from portal.core.forecast import MOST_DAYS, Course, History
from portal.core.forecast_bands import POOLED, Bands

LENGTHS = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 60, 120)
#: Every so many days a forecast is made, once there were four weeks to make it from.
EVERY_DAYS = 7
FEWEST_DAYS = 28
#: One in ten ends below, one in ten above.
SHARES = (0.1, 0.9)


def courses(
    series: Iterable[Series], length: int, bands: Bands = POOLED
) -> Iterator[tuple[Course, float]]:
    """Yield the forecasts of sums of ``length`` days, and by how much each missed."""
    for one in series:
        amounts = one.history.amounts
        for at in range(FEWEST_DAYS, len(amounts) - length + 1, EVERY_DAYS):
            begins = max(0, at - MOST_DAYS)
            before = History(one.history.first_day + timedelta(days=begins), amounts[begins:at])
            course = Course(before, horizon_days=length, bands=bands)
            yield course, sum(amounts[at : at + length]) - course.middle([1.0] * length)


def bounds(found: Iterable[float]) -> list[float]:
    """Return the values below which each share lies: all misses count alike."""
    ordered = sorted(found)
    return [ordered[math.ceil(share * len(ordered)) - 1] for share in SHARES]


def usual_parts(series: Sequence[Series]) -> list[tuple[float, float]]:
    """Return, for each length, how much farther forecasts usually strayed than noise says."""
    return [
        (
            float(length),
            median(part for course, _ in courses(series, length) if (part := course.own_part)),
        )
        for length in LENGTHS
    ]


def bounds_of(series: Sequence[Series], length: int, bands: Bands) -> list[float]:
    """Return low and high without last year's course, and with it."""
    found = [
        (course.knows_last_year, missed / course.spread(length))
        for course, missed in courses(series, length, bands)
        if course.spread(length) > 0
    ]
    return [
        bound
        for with_last_year in (False, True)
        for bound in bounds(miss for known, miss in found if known == with_last_year)
    ]


def main() -> None:
    """Print the table."""
    judging = "--swap" in sys.argv
    series = [one for one in month_ends.read(month_ends.folder()) if one.judges == judging]
    # What is usual comes first: the spread that the bounds are told in rests on it.
    parts = usual_parts(series)
    usual = Bands(tuple((length, part, 0.0, 0.0, 0.0, 0.0) for length, part in parts))
    rows = [(length, part, *bounds_of(series, round(length), usual)) for length, part in parts]
    for one in [(0.0, *rows[0][1:]), *rows]:
        print("        (" + ", ".join(str(round(value, 2)) for value in one) + "),")


if __name__ == "__main__":
    main()
