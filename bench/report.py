"""What a benchmark found: a figure, what it stands against, and whether the goal is met."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.table import Table

#: How often each side is measured, in turns.
ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """One ratio, both of its sides measured in this run."""

    what: str
    figure: str
    against: str
    ratio: float
    goal: str
    met: bool


@dataclass(frozen=True)
class LeftOut:
    """A benchmark that could not be measured here, and why."""

    what: str
    reason: str


Found = Row | LeftOut
T = TypeVar("T")


def at_least(what: str, ours: float, theirs: float, peer: str, goal: float) -> Row:
    """Compare two rates, per second: the more the better."""
    ratio = ours / theirs
    figures = (f"{ours:,.0f}/s", f"{peer} {theirs:,.0f}/s")
    return Row(what, *figures, ratio, f">= {goal}", ratio >= goal)


def at_most(what: str, ours: float, theirs: float, peer: str, goal: float, unit: str) -> Row:
    """Compare two sizes or times, both in ``unit``: the less the better."""
    ratio = ours / theirs
    figures = (f"{ours:,.1f} {unit}", f"{peer} {theirs:,.1f} {unit}")
    return Row(what, *figures, ratio, f"<= {goal}", ratio <= goal)


def in_turns(*sides: Callable[[], T]) -> list[list[T]]:
    """Measure each side in turn, so that a slow moment of the machine meets all of them."""
    found: list[list[T]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for measured, side in zip(found, sides, strict=True):
            measured.append(side())
    return found


def percentile(times: Iterable[float], share: float) -> float:
    """Return the time that ``share`` (above 0, at most 1) of all stayed under, or at."""
    ordered = sorted(times)
    return ordered[math.ceil(len(ordered) * share) - 1]


def median(figures: Iterable[float]) -> float:
    """Return the middle of the rounds' figures."""
    return float(statistics.median(figures))


def show(found: Iterable[Found]) -> None:
    """Print each benchmark's finding as it comes, then all of them as one table."""
    table = Table("What", "Figure", "Against", "Ratio", "Goal", "Met")
    missing = []
    for one in found:
        if isinstance(one, LeftOut):
            missing.append(f"Left out: {one.what}. {one.reason}")
            continue
        cells = (one.what, one.figure, one.against, f"{one.ratio:.2f}", one.goal)
        table.add_row(*cells, "yes" if one.met else "NO")
        print(f"{one.what}: {one.ratio:.2f}", flush=True)
    Console(width=150).print(table)
    for line in missing:
        print(line)
