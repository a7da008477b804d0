"""What a period comes to: what was spent and the forecast of the rest, in all and for each action.

Pure. Invariant: spent <= low <= middle <= high, whole millionths; the actions' middles add up to
the whole's. Their bounds do not: what one action uses more another may use less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portal.core.forecast import Course, Estimate, History
from portal.core.units import MICRO, apportion

#: From three days of use on the range holds what it says; of fewer it is a guess.
FEWEST_DAYS_OF_USE = 3
#: With use on fewer than one day in ten of eight weeks, four in ten months end outside the range.
SELDOM_OF_DAYS, SELDOM_SHARE, FEWEST_DAYS_TO_CALL_SELDOM = 56, 10, 14
#: A range of more than four times what it is about says nothing.
WIDEST_RANGE = 4


@dataclass(frozen=True)
class Projection:
    """Credits by the period's end, in millionths; one in ten ends below ``low``, above ``high``."""

    spent_micro: int
    low_micro: int
    middle_micro: int
    high_micro: int

    def at_most(self, most_micro: int) -> Projection:
        """Return the projection where no more than this can be spent; what was spent stays."""
        most = max(most_micro, self.spent_micro)
        return Projection(
            self.spent_micro,
            min(self.low_micro, most),
            min(self.middle_micro, most),
            min(self.high_micro, most),
        )

    def within(self, whole: Projection) -> Projection:
        """Return the projection of a part of the time, where no figure passes the whole's."""
        return Projection(
            self.spent_micro,
            min(self.low_micro, whole.low_micro),
            min(self.middle_micro, whole.middle_micro),
            min(self.high_micro, whole.high_micro),
        )

    def less(self, low_micro: int, middle_micro: int, high_micro: int) -> Projection:
        """Return the projection without what is left out of each figure, still in order."""
        middle = max(self.spent_micro, self.middle_micro - middle_micro)
        low = min(middle, max(self.spent_micro, self.low_micro - low_micro))
        return Projection(self.spent_micro, low, middle, max(middle, self.high_micro - high_micro))


@dataclass(frozen=True)
class Outlook:
    """Where a period is going: in all, by action, and as of the end of each day to come."""

    whole: Projection
    by_action: Mapping[str, Projection]
    course: Sequence[Projection]


def why_not(history: History) -> str | None:
    """Return why nothing can be said from a history, None where something can."""
    amounts = history.trimmed().amounts
    used = sum(1 for amount in amounts if amount)
    if used < FEWEST_DAYS_OF_USE:
        days = {0: "nothing was used on a whole day yet", 1: "there is one whole day of use so far"}
        told = days.get(used, f"there are {used} whole days of use so far")
        return f"{told}, and a projection needs three"
    latest = amounts[-SELDOM_OF_DAYS:]
    lately = sum(1 for amount in latest if amount)
    if len(latest) >= FEWEST_DAYS_TO_CALL_SELDOM and lately * SELDOM_SHARE < len(latest):
        days_used = "one day" if lately == 1 else f"{lately} days" if lately else "none"
        return f"credits were used on {days_used} of the last {len(latest)}, too seldom to foresee"
    return None


def too_wide(found: Projection) -> str | None:
    """Return why a projection says nothing, None where it does."""
    if found.high_micro - found.low_micro <= WIDEST_RANGE * found.middle_micro:
        return None
    return "use differs so much from day to day that the period could come to almost anything"


def project(
    history: History,
    by_action: Mapping[str, History],
    days_left: Sequence[float],
    spent_micro: Mapping[str, int],
) -> Outlook:
    """Project a period from what was used on each whole day, in millionths of a credit.

    ``days_left`` has the part of each day to come, today's first; ``spent_micro`` what each action
    has spent in the period, today's part among it.
    """
    spent = sum(spent_micro.values())
    course = Course(history, horizon_days=sum(days_left))
    steps = [
        _projection(spent, course.ahead(days_left[: place + 1])) for place in range(len(days_left))
    ]
    steps = _never_back(steps)
    whole = steps[-1] if steps else Projection(spent, spent, spent, spent)
    return Outlook(whole, _parts(whole, by_action, days_left, spent_micro), steps)


def _projection(spent_micro: int, rest: Estimate) -> Projection:
    low, middle, high = (spent_micro + round(one) for one in (rest.low, rest.middle, rest.high))
    return Projection(spent_micro, low, middle, high)


def _never_back(steps: Sequence[Projection]) -> list[Projection]:
    """Return the steps of a sum: it never falls, and none passes what it comes to at the end."""
    found: list[Projection] = []
    for step in reversed(steps):
        found.append(step.within(found[-1]) if found else step)
    return found[::-1]


def _parts(
    whole: Projection,
    by_action: Mapping[str, History],
    days_left: Sequence[float],
    spent_micro: Mapping[str, int],
) -> dict[str, Projection]:
    """Share the whole's middle out by what each action alone would come to."""
    keys = sorted({*by_action, *spent_micro})
    length = sum(days_left)
    alone = {
        key: Course(by_action[key], horizon_days=length).ahead(days_left)
        if key in by_action
        else Estimate(0.0, 0.0, 0.0)
        for key in keys
    }
    rest = whole.middle_micro - whole.spent_micro
    weights = [round(alone[key].middle) for key in keys]
    if not any(weights):
        weights = [round(sum(by_action[key].amounts)) if key in by_action else 0 for key in keys]
    shares = apportion(rest, weights if any(weights) else [1] * len(keys)) if keys else []
    return {
        key: _part(spent_micro.get(key, 0), share, alone[key])
        for key, share in zip(keys, shares, strict=True)
    }


def _part(spent_micro: int, share_micro: int, alone: Estimate) -> Projection:
    """Return an action's projection about its share: its own bounds, moved with the middle."""
    scale = share_micro / alone.middle if alone.middle else 1.0
    low, high = round(alone.low * scale), round(alone.high * scale)
    middle = spent_micro + share_micro
    return Projection(
        spent_micro,
        min(spent_micro + low, middle),
        middle,
        max(spent_micro + high, middle),
    )


#: Smaller changes from week to week are not worth a word, in percent and in credits.
NOTABLE_PERCENT, NOTABLE_MICRO = 10, MICRO
#: Whoever made so much of a change is the one who made it, in percent.
CLEAR_PERCENT = 60


@dataclass(frozen=True)
class Driver:
    """What changed most on the week before, by how many millionths, and in percent.

    Not a percentage where there was nothing before. ``team`` and ``member`` where one of them made
    most of it.
    """

    action: str
    change_micro: int
    change_percent: int | None
    team: str = ""
    member: str = ""


#: Credits of a week by action, team and member, in millionths.
Week = Mapping[tuple[str, str, str], int]


def driver(last: Week, before: Week) -> Driver | None:
    """Return what moved the last seven whole days most against the seven before, if anything did.

    A week before without any use has nothing to be compared with.
    """
    if not any(before.values()):
        return None
    changes = {key: last.get(key, 0) - before.get(key, 0) for key in {*last, *before}}
    by_action = _sums(changes, 0)
    action = max(by_action, key=lambda key: (abs(by_action[key]), key))
    change, was = by_action[action], _sums(before, 0).get(action, 0)
    percent = round(change * 100 / was) if was else None
    small = percent is not None and abs(percent) < NOTABLE_PERCENT
    if small or abs(change) < NOTABLE_MICRO:
        return None
    own = {key: amount for key, amount in changes.items() if key[0] == action}
    return Driver(action, change, percent, _clear(_sums(own, 1)), _clear(_sums(own, 2)))


def _sums(week: Mapping[tuple[str, str, str], int], label: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, amount in week.items():
        found[key[label]] = found.get(key[label], 0) + amount
    return found


def _clear(changes: Mapping[str, int]) -> str:
    """Return who made most of a change, where it was one among others."""
    change = sum(changes.values())
    if len(changes) < 2 or not change:
        return ""
    name = max(changes, key=lambda key: (changes[key] / change, key))
    return name if changes[name] / change * 100 >= CLEAR_PERCENT else ""
