"""What a sample can say of its population: quantiles, ranges and p-values, all repeatable.

Standard library only, and the only place of the core where figures are floats: what comes out is
never money. Invariant: the same sample gives the same answer, since every draw is seeded by it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import mul
from statistics import NormalDist

#: Ranges hold 90 %: one in twenty lies below, one in twenty above.
TAIL = 0.05
RESAMPLES = 200
#: The most draws that one range costs, so that 100,000 customers take seconds and not minutes.
_MOST_DRAWS = 4_000_000
_FEWEST_RESAMPLES = 40
#: From here on a rank statistic is as good as normal, and shuffling it would only take longer.
_NORMAL_FROM = 100
_SHUFFLES = 2_000
#: So many shuffles as extreme as what was seen settle that it is nothing special.
_ENOUGH = 20
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Range:
    """A figure with what it may lie between, 90 times in 100."""

    figure: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranked:
    """A rank statistic with its one-sided p-value, and how that was found."""

    figure: float
    p_value: float
    method: str


def generator(*what: object) -> random.Random:
    """Return the generator of a sample: the same for the same figures."""
    return random.Random(repr(what))  # noqa: S311 # a repeatable sample, nothing secret


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of an ascending sample lies, drawn straight between.

    Raises ValueError for an empty sample.
    """
    if not ordered:
        raise ValueError("nothing has no quantile")
    place = (len(ordered) - 1) * share
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def quantile_ratio(ordered: Sequence[float], high: float, low: float) -> Range:
    """Return how many times the upper quantile is the lower one, of an ascending positive sample.

    The bootstrap of two order statistics needs no resampling: where the k-th smallest of n draws
    with replacement stands among n is n times a beta variate.
    """
    size = len(ordered)
    lower, upper = (round((size - 1) * share) + 1 for share in (low, high))
    chance = generator("ratio", size, ordered[0], ordered[-1], high, low)
    drawn = []
    for _ in range(2 * RESAMPLES):
        first = chance.betavariate(lower, size - lower + 1)
        then = first
        if upper > lower:
            then += (1 - first) * chance.betavariate(upper - lower, size - upper + 1)
        places = (min(size - 1, int(size * one)) for one in (then, first))
        above, below = (ordered[place] for place in places)
        drawn.append(above / below)
    drawn.sort()
    figure = quantile(ordered, high) / quantile(ordered, low)
    return Range(figure, quantile(drawn, TAIL), quantile(drawn, 1 - TAIL))


def top_count(size: int, share: float) -> int:
    """Return how many make the top ``share`` of a sample: one at least, rounded up."""
    return max(1, math.ceil(size * share))


def top_share(values: Sequence[float], share: float) -> Range:
    """Return what part of the whole the largest ``share`` of a sample makes.

    The range is the Bayesian bootstrap's (Rubin): each of the sample stands for a random part of
    the population, one for one on average. Where the largest are one or two, drawing them with
    replacement would leave them out every third time. Raises ValueError where the whole is nothing.
    """
    ordered = sorted(values, reverse=True)
    size, count = len(ordered), top_count(len(ordered), share)
    whole = math.fsum(ordered)
    if whole <= 0:
        raise ValueError("nothing has no parts")
    chance = generator("share", size, ordered[0], whole, share)
    drawn = []
    for _ in range(max(_FEWEST_RESAMPLES, min(RESAMPLES, _MOST_DRAWS // size))):
        weights = [-math.log(1 - chance.random()) for _ in range(size)]
        drawn.append(_share_of_top(ordered, weights, share))
    drawn.sort()
    figure = math.fsum(ordered[:count]) / whole
    return Range(figure, quantile(drawn, TAIL), quantile(drawn, 1 - TAIL))


def _share_of_top(ordered: Sequence[float], weights: Sequence[float], share: float) -> float:
    """Return what the first ``share`` of the weight holds of a weighted descending sample."""
    room = sum(weights) * share
    top = 0.0
    for value, weight in zip(ordered, weights, strict=True):
        taken = min(weight, room)
        top += value * taken
        room -= taken
        if room <= 0:
            break
    whole: float = sum(map(mul, ordered, weights))
    return top / whole


def mean_range(figure: float, influences: Sequence[float]) -> Range:
    """Return the range of a figure from what each of the sample adds to its error.

    The delta method with Student's t; ``influences`` sum to about nothing.
    """
    size = len(influences)
    if size <= 1:
        return Range(figure, -math.inf, math.inf)
    error = math.sqrt(math.fsum(one * one for one in influences) * size / (size - 1))
    reach = _student(1 - TAIL, size - 1) * error
    return Range(figure, figure - reach, figure + reach)


def _student(share: float, freedom: int) -> float:
    """Return Student's quantile from the normal one (Cornish and Fisher's expansion)."""
    z = _NORMAL.inv_cdf(share)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def doubled_ranks(values: Sequence[float]) -> list[int]:
    """Return twice the rank of each value; those that tie share the middle of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0] * len(values)
    done = 0
    for _, ties in groupby(order, key=values.__getitem__):
        places = list(ties)
        for place in places:
            found[place] = 2 * done + len(places) + 1
        done += len(places)
    return found


def spearman(one: Sequence[float], other: Sequence[float]) -> Ranked | None:
    """Return the rank correlation of two samples, and how likely one so low is where there is none.

    None where either is the same throughout, so that there is no order to compare.
    """
    first, second = doubled_ranks(one), doubled_ranks(other)
    size = len(first)
    middle = size + 1
    spread = [math.fsum((rank - middle) ** 2 for rank in ranks) for ranks in (first, second)]
    if not all(spread):
        return None
    scale = math.sqrt(spread[0] * spread[1])
    seen = sum(a * b for a, b in zip(first, second, strict=True))
    figure = (seen - size * middle * middle) / scale
    if size > _NORMAL_FROM:
        return Ranked(
            figure,
            _NORMAL.cdf(figure * math.sqrt(size - 1)),
            "Spearman's rank correlation with ties, normal approximation",
        )

    def as_low(chance: random.Random) -> bool:
        chance.shuffle(second)
        drawn: int = sum(map(mul, first, second))
        return drawn <= seen

    p_value = _shuffled(as_low, generator("spearman", first, second))
    return Ranked(figure, p_value, "Spearman's rank correlation with ties, permutation test")


def higher(one: Sequence[float], other: Sequence[float]) -> Ranked | None:
    """Return how often a value of one sample lies above one of the other, and its p-value.

    Mann and Whitney's test, one-sided, with ties. 0.5 is what equal populations come to. None where
    all values are the same.
    """
    together = [*one, *other]
    ranks = doubled_ranks(together)
    mine, theirs, size = len(one), len(other), len(together)
    if min(ranks) == max(ranks):
        return None
    seen = sum(ranks[:mine])
    least = mine * (mine + 1)
    figure = (seen - least) / (2 * mine * theirs)
    if size > _NORMAL_FROM:
        middle = math.fsum((rank - size - 1) ** 2 for rank in ranks) / size
        error = math.sqrt(mine * theirs * middle / (size - 1))
        z = (seen - 1 - mine * (size + 1)) / error
        return Ranked(figure, 1 - _NORMAL.cdf(z), "Mann-Whitney with ties, normal approximation")

    def as_high(chance: random.Random) -> bool:
        return sum(chance.sample(ranks, mine)) >= seen

    p_value = _shuffled(as_high, generator("higher", mine, ranks))
    return Ranked(figure, p_value, "Mann-Whitney with ties, permutation test")


def _shuffled(as_extreme: Callable[[random.Random], bool], chance: random.Random) -> float:
    """Return the p-value by shuffling, given up early where nothing special shows.

    Besag and Clifford's sequential test: exact at every level, and quick where there is nothing.
    """
    found = 0
    for drawn in range(1, _SHUFFLES + 1):
        found += as_extreme(chance)
        if found == _ENOUGH:
            return found / drawn
    return (found + 1) / (_SHUFFLES + 1)
