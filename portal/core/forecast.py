"""Where a period is going: the pace of the last seven days, carried to the period's end.

Deliberately plain: the middle is the mean of the trailing seven whole days, the bounds are the
quietest and the busiest seven days in a row of the last twenty-eight. The page says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WEEK = 7
#: Fewer whole days than this say too little about a month.
FEWEST_DAYS = 7
LOOK_BACK_DAYS = 28


@dataclass(frozen=True)
class Projection:
    """Credits by the period's end, in millionths; floats end here, on whole millionths."""

    spent_micro: int
    low_micro: int
    middle_micro: int
    high_micro: int


def project(
    whole_days_micro: Sequence[int], *, spent_micro: int, days_left: float
) -> Projection | None:
    """Project the period's total, in millionths of a credit.

    ``whole_days_micro`` are the latest whole local days, oldest first; ``days_left`` counts from
    now to the period's end. Returns None where there are fewer than seven whole days.
    """
    if len(whole_days_micro) < FEWEST_DAYS:
        return None
    recent = whole_days_micro[-LOOK_BACK_DAYS:]
    weeks = [sum(recent[i : i + WEEK]) / WEEK for i in range(len(recent) - WEEK + 1)]

    def total(pace: float) -> int:
        return spent_micro + round(pace * days_left)

    return Projection(spent_micro, total(min(weeks)), total(weeks[-1]), total(max(weeks)))
