"""Where a period's use is going: the level of the latest days by weekday, and how far it may stray.

Pure, and the one place in the core where amounts are floats: an estimate is no money. Invariant: an
estimate is never below zero nor out of order, scales with its history, and is nothing for no time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import accumulate
from statistics import fmean, median

from portal.core.forecast_bands import POOLED, Bands

#: No more days than these are looked at: a year and what levels its beginning.
MOST_DAYS = 400
WEEK = 7
_FEWEST_WEEKS = 2
#: The weekday pattern is that of the last twelve weeks, the level that of the last six.
_PATTERN_DAYS = 84
_LEVEL_DAYS = 42
_LATELY_DAYS = 28
#: The share of days without use is counted over eight weeks.
_IDLE_DAYS = 56
#: The same weekdays a year ago.
_YEAR_DAYS = 364
#: A weekday with less than this part of an ordinary day's use says nothing of the level.
_TOO_FAINT = 0.02
#: How long a day counts half in the level, in days; longer the more of the days are idle.
_HALF_LIFE_DAYS, _LONGEST_HALF_LIFE_DAYS, _HALF_LIFE_BY_IDLE = 6.0, 21.0, 25.0
_IDLE_FOR_LONGER_LIFE = 0.4
#: The level is the mean of the middle of the days: of a fifth, and of more where many are idle.
_MIDDLE, _WIDEST_MIDDLE = 0.1, 0.42
#: Far ahead outliers come again: from five days ahead on the plain mean, in which a day counts half
#: after eight, begins to count, and is half of the level twenty days later.
_MEAN_HALF_LIFE_DAYS, _MEAN_FROM_DAYS, _MEAN_OVER_DAYS, _MEAN_MOST = 8.0, 5.0, 20.0, 0.5
#: How much last year's course counts: a little tomorrow, half a month ahead; never by more than.
_LAST_YEAR, _LAST_YEAR_BY_DAY, _LAST_YEAR_MOST = 0.15, 0.01, 0.6
_LAST_YEAR_RANGE = (0.4, 2.5)
#: The level itself drifts by this part of a day's use a day.
_DRIFT = 0.03
#: A history of so many days is twice as uncertain as a long one.
_NEWNESS_DAYS = 5
#: At most so many forecasts of one's own past are looked at, and what is usual weighs as
#: much as so many of them.
_MOST_TRIALS, _USUAL_WEIGHT = 40, 4
_FEWEST_DAYS_FOR_TRIAL = 14
#: Eight in ten of them missed by less than the error that tells how far they strayed.
_TRIAL_SHARE = 0.8


@dataclass(frozen=True)
class History:
    """What was used on each whole local day, oldest first, in any one unit; idle days are zero."""

    first_day: date
    amounts: Sequence[float]

    def trimmed(self) -> History:
        """Return the days since the first use, the latest of them: nobody was there before."""
        begins = next((place for place, amount in enumerate(self.amounts) if amount), None)
        if begins is None:
            return History(self.first_day + timedelta(days=len(self.amounts)), ())
        begins = max(begins, len(self.amounts) - MOST_DAYS)
        return History(self.first_day + timedelta(days=begins), tuple(self.amounts[begins:]))


@dataclass(frozen=True)
class Estimate:
    """What is still to come: one in ten ends below ``low``, one in ten above ``high``."""

    low: float
    middle: float
    high: float


class Course:
    """Where a history is going from its last whole day on, until a horizon in days."""

    def __init__(self, history: History, *, horizon_days: float, bands: Bands = POOLED) -> None:
        known = history.trimmed()
        self._amounts = list(known.amounts)
        self._weekday = known.first_day.weekday()
        self._horizon_days = horizon_days
        self._bands = bands
        self.rhythm = _rhythm(self._amounts, self._weekday)
        self._factors = [self._factor(place) for place in range(len(self._amounts))]
        idle = self._idle_share()
        self._half_width = min(_WIDEST_MIDDLE, _MIDDLE + idle / 2)
        half_life = _HALF_LIFE_DAYS + _HALF_LIFE_BY_IDLE * max(0.0, idle - _IDLE_FOR_LONGER_LIFE)
        half_life = min(_LONGEST_HALF_LIFE_DAYS, half_life)
        self._fading = [0.5 ** (age / half_life) for age in range(_LEVEL_DAYS)]
        self._plain = [
            amount / factor if factor > _TOO_FAINT else None
            for amount, factor in zip(self._amounts, self._factors, strict=True)
        ]
        self._means = _fading_means(self._amounts, self._factors)
        self._known = len(self._amounts)
        self._middle = self._middle_before(self._known)

    def ahead(self, days: Sequence[float]) -> Estimate:
        """Estimate the sum of the days to come; ``days`` has the part of each that is left.

        The first is the day after the history's last one.
        """
        length = sum(days)
        if length <= 0:
            return Estimate(0.0, 0.0, 0.0)
        middle, spread = self.middle(days), self.spread(length)
        low, high = self._bands.at(length, with_last_year=self.knows_last_year)
        least, most = middle + low * spread, middle + high * spread
        return Estimate(max(0.0, min(least, middle)), middle, max(most, middle))

    def middle(self, days: Sequence[float]) -> float:
        """Return what the sum of the days to come is as likely to pass as not."""
        length = sum(days)
        parts = enumerate(days, start=self._known)
        weight = sum(part * self._factor(place) for place, part in parts)
        level = self._level(self._known, self._middle, length)
        return level * weight * self._last_year(len(days), length)

    @property
    def knows_last_year(self) -> bool:
        """Whether the history reaches back to what levels last year's course."""
        return self._known >= _YEAR_DAYS + _LATELY_DAYS

    def spread(self, length_days: float) -> float:
        """Return how far the sum of so many days may stray, as a unit of its bounds."""
        newness = 1 + _NEWNESS_DAYS / self._known if self._known else 1.0
        # How a day's use is spread over its hours is not known: part of a day may be all or none.
        part = length_days % 1
        hours = self._middle * math.sqrt(part * (1 - part))
        return math.hypot(self._scale(length_days) * self._part * newness, hours)

    def _factor(self, place: int) -> float:
        return self.rhythm[(self._weekday + place) % WEEK]

    def _idle_share(self) -> float:
        """Return the share of days without use, each counted for what is usual on its weekday."""
        factors = self._factors[-_IDLE_DAYS:]
        latest = zip(self._amounts[-_IDLE_DAYS:], factors, strict=True)
        whole = sum(factors)
        return sum(factor for amount, factor in latest if not amount) / whole if whole else 0.0

    def _level(self, place: int, middle: float, length: float) -> float:
        """Return what an ordinary one of ``length`` days after ``place`` comes to."""
        if self._known < _FEWEST_WEEKS * WEEK:
            # Its weekdays are not known yet: only a whole week has them all alike.
            return fmean(self._amounts[-WEEK:]) if self._amounts else 0.0
        part = min(1.0, max(0.0, (length - _MEAN_FROM_DAYS) / _MEAN_OVER_DAYS)) * _MEAN_MOST
        return middle + part * (self._means[place] - middle)

    def _middle_before(self, place: int) -> float:
        """Return the level that the days before ``place`` agree on."""
        first = max(0, place - _LEVEL_DAYS)
        weighted = [
            (value, self._fading[place - 1 - at] * self._factors[at])
            for at in range(first, place)
            if (value := self._plain[at]) is not None
        ]
        return _middle_mean(weighted, self._half_width)

    def _last_year(self, days: int, length: float) -> float:
        """Return what the same weekdays of last year say of the days to come, held in bounds."""
        if not self.knows_last_year:
            return 1.0
        then = self._known - _YEAR_DAYS
        before = [value for value in self._plain[then - _LATELY_DAYS : then] if value is not None]
        level = median(before) if before else 0.0
        if not level:
            return 1.0
        # Of a day that is half over, half is to come.
        came = self._amounts[then : then + days]
        whole = sum(self._factor(self._known + place) for place in range(len(came)))
        low, high = _LAST_YEAR_RANGE
        ratio = min(high, max(low, sum(came) / whole / level)) if whole else 1.0
        power: float = ratio ** min(_LAST_YEAR_MOST, _LAST_YEAR + _LAST_YEAR_BY_DAY * length)
        return power

    @cached_property
    def _noise(self) -> float:
        """How far a day strays from the level, on average of the latest ones."""
        latest = [value for value in self._plain[-_LATELY_DAYS:] if value is not None]
        return fmean(abs(value - self._middle) for value in latest) if latest else 0.0

    def _scale(self, length: float) -> float:
        """Return how far ``length`` days may stray: noise evens out, a drift adds up."""
        return math.hypot(self._noise * math.sqrt(length), _DRIFT * self._middle * length)

    @cached_property
    def own_part(self) -> float | None:
        """How much farther this history strayed from its own past forecasts than its noise says.

        None where it is too short to have been foretold before.
        """
        common = self._scale(self._trial_days)
        own = _at_share(self._errors, _TRIAL_SHARE)
        return own / common if own and common else None

    @cached_property
    def _part(self) -> float:
        """The same, held to what is usual the more the fewer forecasts it rests on."""
        usual = self._bands.usual_part(self._trial_days)
        if self.own_part is None:
            return usual
        trust = len(self._errors) / (len(self._errors) + _USUAL_WEIGHT)
        found: float = usual * (self.own_part / usual) ** trust
        return found

    @property
    def _trial_days(self) -> int:
        return max(1, round(self._horizon_days))

    @cached_property
    def _errors(self) -> list[float]:
        return self._errors_of_trials(self._trial_days)

    def _errors_of_trials(self, days: int) -> list[float]:
        """Return by how much forecasts of as many days would have missed, at past days."""
        first = max(_FEWEST_DAYS_FOR_TRIAL, min(_LATELY_DAYS, self._known // 3))
        last = self._known - days
        if last < first:
            return []
        used = list(accumulate(self._amounts, initial=0.0))
        weight = list(accumulate(self._factors, initial=0.0))
        step = max(2, math.ceil((last - first) / _MOST_TRIALS))
        errors = []
        for at in range(last, first - 1, -step):
            level = self._level(at, self._middle_before(at), days)
            foretold = level * (weight[at + days] - weight[at])
            errors.append(abs(used[at + days] - used[at] - foretold))
        return errors


def _rhythm(amounts: Sequence[float], first_weekday: int) -> list[float]:
    """Return what each weekday, Monday first, is of an ordinary day.

    Only as far as the weekdays differ by more than each of them does from week to week.
    """
    shares: list[list[float]] = [[] for _ in range(WEEK)]
    oldest = max(0, len(amounts) - _PATTERN_DAYS)
    for end in range(len(amounts), oldest + WEEK - 1, -WEEK):
        week = amounts[end - WEEK : end]
        mean = sum(week) / WEEK
        if mean > 0:
            for place, amount in enumerate(week, start=end - WEEK):
                shares[(first_weekday + place) % WEEK].append(amount / mean)
    weeks = len(shares[0])
    if weeks < _FEWEST_WEEKS:
        return [1.0] * WEEK
    usual = [_without_ends(one) for one in shares]
    mean = fmean(usual)
    if not mean:
        return [1.0] * WEEK
    usual = [one / mean for one in usual]
    pairs = zip(shares, usual, strict=True)
    within = sum((one - middle) ** 2 for found, middle in pairs for one in found)
    chance = within / (WEEK * (weeks - 1)) / weeks
    between = sum((one - 1) ** 2 for one in usual) / (WEEK - 1)
    trust = max(0.0, 1 - chance / between) if between else 0.0
    return [1 + trust * (one - 1) for one in usual]


#: From so many weeks on the highest and the lowest of a weekday are left out.
_WEEKS_WITHOUT_ENDS = 5


def _without_ends(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return fmean(ordered[1:-1] if len(ordered) >= _WEEKS_WITHOUT_ENDS else ordered)


def _fading_means(amounts: Sequence[float], factors: Sequence[float]) -> list[float]:
    """Return the mean of an ordinary day before each day, and before the one to come."""
    keep = 0.5 ** (1 / _MEAN_HALF_LIFE_DAYS)
    total = weight = 0.0
    means = [0.0]
    for amount, factor in zip(amounts, factors, strict=True):
        total, weight = total * keep + amount, weight * keep + factor
        means.append(total / weight if weight else 0.0)
    return means


def _at_share(values: list[float], share: float) -> float:
    """Return the value that ``share`` of all lie below, between its two neighbours."""
    if not values:
        return 0.0
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    before = int(place)
    behind = min(before + 1, len(ordered) - 1)
    return ordered[before] + (place - before) * (ordered[behind] - ordered[before])


def _middle_mean(weighted: list[tuple[float, float]], half_width: float) -> float:
    """Return the mean of the middle of weighted values: outliers do not move it."""
    weighted.sort()
    whole = sum(weight for _, weight in weighted)
    low, high = (0.5 - half_width) * whole, (0.5 + half_width) * whole
    total = taken = passed = 0.0
    for value, weight in weighted:
        part = min(passed + weight, high) - max(passed, low)
        passed += weight
        if part > 0:
            total += value * part
            taken += part
        if passed >= high:
            break
    return total / taken if taken else 0.0
