"""How far sums of days end from their forecast: bounds for eight in ten of them.

``bench/forecast_bands.py`` derives the table from real daily series, pooled, and prints it as it
stands here. In units of a history's own spread (see ``core/forecast.py``), by the days summed.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

#: Days ahead; how much farther forecasts usually strayed than noise says; then low and high without
#: last year's course, and with it.
Row = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Bands:
    """The table, by days ahead from the fewest on."""

    rows: tuple[Row, ...]

    def at(self, length_days: float, *, with_last_year: bool) -> tuple[float, float]:
        """Return the low and the high bound for a sum of so many days, in spreads."""
        first = 4 if with_last_year else 2
        return self._between(length_days, first), self._between(length_days, first + 1)

    def usual_part(self, length_days: float) -> float:
        """Return how much farther a sum of so many days usually strays than its noise says."""
        return self._between(length_days, 1)

    def _between(self, length_days: float, column: int) -> float:
        """Return a column at so many days, between its two neighbours; the end's beyond them."""
        after = bisect_right(self.rows, length_days, key=lambda row: row[0])
        if after in {0, len(self.rows)}:
            return self.rows[max(0, after - 1)][column]
        before, behind = self.rows[after - 1], self.rows[after]
        part = (length_days - before[0]) / (behind[0] - before[0])
        return before[column] + part * (behind[column] - before[column])


#: From the series to develop on.
POOLED = Bands(
    (
        (0.0, 1.19, -0.86, 1.38, -0.81, 1.02),
        (1.0, 1.19, -0.86, 1.38, -0.81, 1.02),
        (2.0, 1.48, -0.99, 1.2, -0.97, 1.1),
        (3.0, 1.65, -0.93, 1.18, -0.93, 0.96),
        (5.0, 1.83, -1.03, 1.18, -1.08, 0.87),
        (7.0, 1.96, -1.09, 1.19, -1.0, 0.88),
        (10.0, 2.18, -0.99, 1.15, -1.17, 0.88),
        (15.0, 2.41, -1.13, 1.2, -1.13, 0.85),
        (20.0, 2.67, -1.08, 1.18, -1.08, 0.83),
        (25.0, 2.9, -1.2, 1.19, -0.97, 0.79),
        (30.0, 3.17, -1.37, 1.24, -0.97, 0.85),
        (60.0, 4.28, -1.11, 1.62, -0.83, 0.79),
        (120.0, 5.03, -0.9, 2.15, -0.87, 0.9),
    )
)
