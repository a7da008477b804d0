"""What projected use turns into under the rules: how far it can go, when credits end, its price.

Pure: a projection, the grants in burn-down order, caps and the overage's terms go in. Invariant:
nothing projected passes a hard cap, nor what is there where work stops when credits end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from portal.core.burn_down import BurnDown, Stretch, burn_along, pace_of
from portal.core.caps import Cap
from portal.core.ledger import Lot
from portal.core.overage import Rate
from portal.core.projection import Outlook, Projection
from portal.core.units import money_for


@dataclass(frozen=True)
class Room:
    """How much more may be spent until the period's end, in millionths; None where nothing binds.

    ``by_action`` has the actions with a cap of their own.
    """

    whole_micro: int | None
    by_action: Mapping[str, int]


@dataclass(frozen=True)
class Terms:
    """What happens beyond the grants: the price of a credit, what was used at which price, room.

    The price is in millionths of the minor unit; None where nothing may be used beyond them.
    """

    price_micro_minor: int | None
    rates: Sequence[Rate]
    room_micro: int


@dataclass(frozen=True)
class Beyond:
    """What the period's use beyond all grants comes to, in minor units."""

    middle_minor: int
    high_minor: int


@dataclass(frozen=True)
class RunsOut:
    """When credits run out: one in ten before ``early``, one in ten after ``late``.

    None where they last until the period's end.
    """

    early: datetime
    middle: datetime | None
    late: datetime | None


def room_of_caps(
    caps: Iterable[Cap],
    spent_micro: Mapping[tuple[date, str], int],
    *,
    first_day: date,
    today: date,
    last_day: date,
    raised_micro: Mapping[str, int],
) -> Room:
    """Return what the hard caps on the whole organization leave for the rest of the period.

    ``spent_micro`` is by local day and action, of the period and of today's week. Caps on a team,
    a member or a project bind a part that is not projected, and are left out. ``raised_micro`` is
    by cap what its window of today is raised by.
    """
    whole: list[int] = []
    by_action: dict[str, int] = {}
    for cap in caps:
        if not cap.hard or cap.scope != "organization":
            continue
        start, windows = _windows(cap.window, first_day, today, last_day)
        used = sum(
            amount
            for (day, action), amount in spent_micro.items()
            if day >= start and cap.action in {"", action}
        )
        limit = cap.limit_micro + raised_micro.get(cap.cap_id, 0)
        left = max(0, limit - used) + (windows - 1) * cap.limit_micro
        if cap.action:
            by_action[cap.action] = min(left, by_action.get(cap.action, left))
        else:
            whole.append(left)
    return Room(min(whole, default=None), by_action)


def _windows(window: str, first_day: date, today: date, last_day: date) -> tuple[date, int]:
    """Return the first day of the window that runs, and how many windows begin until the end."""
    days_left = (last_day - today).days
    if window == "day":
        return today, 1 + days_left
    if window == "week":
        return today - timedelta(days=today.weekday()), 1 + (today.weekday() + days_left) // 7
    return first_day, 1


def bounded(found: Outlook, room: Room) -> Outlook:
    """Return the projection within what may be spent: each action first, then the whole."""
    parts = {
        key: part.at_most(part.spent_micro + room.by_action[key]) if key in room.by_action else part
        for key, part in found.by_action.items()
    }
    cut = [
        sum(
            getattr(found.by_action[key], name) - getattr(part, name) for key, part in parts.items()
        )
        for name in ("low_micro", "middle_micro", "high_micro")
    ]
    whole = found.whole.less(*cut)
    held_back = whole
    if room.whole_micro is not None:
        held_back = whole.at_most(whole.spent_micro + room.whole_micro)
    steps = [step.within(held_back) for step in found.course]
    return Outlook(held_back, _in_proportion(parts, whole, held_back), steps)


def _in_proportion(
    parts: Mapping[str, Projection], whole: Projection, held_back: Projection
) -> dict[str, Projection]:
    """Return the parts of a whole that is held back: each gets its share of what is still left."""
    rest, left = whole.middle_micro - whole.spent_micro, held_back.middle_micro - whole.spent_micro
    if left >= rest:
        most = held_back.high_micro - held_back.spent_micro
        return {key: part.at_most(part.spent_micro + most) for key, part in parts.items()}
    found: dict[str, Projection] = {}
    asked = given = 0
    for key, part in parts.items():
        # Rounded as a running sum, so that the shares add up to what is left.
        asked += part.middle_micro - part.spent_micro
        share = left * asked // rest - given
        given += share
        middle = part.spent_micro + share
        low = min(part.low_micro, middle)
        high = max(middle, min(part.high_micro, part.spent_micro + left))
        found[key] = Projection(part.spent_micro, low, middle, high)
    return found


def burn(
    lots: Sequence[Lot],
    spent_micro: int,
    sums_micro: Sequence[int],
    ends: Sequence[datetime],
    *,
    now: datetime,
    until: datetime,
) -> BurnDown:
    """Spend the lots as a projected sum grows from day to day.

    ``sums_micro`` is what the period comes to by each of ``ends``; after the last it goes on at
    the mean pace until ``until``.
    """
    stretches = []
    begins, so_far = now, spent_micro
    for total, end in zip(sums_micro, ends, strict=True):
        stretches.append(Stretch(pace_of(total - so_far, end - begins), end))
        begins, so_far = end, total
    stretches.append(Stretch(pace_of(so_far - spent_micro, begins - now), until))
    return burn_along(lots, stretches, now=now)


def runs_out(early: BurnDown, middle: BurnDown, late: BurnDown, *, end: datetime) -> RunsOut | None:
    """Return when credits run out before ``end``; None where not even the busiest course does."""
    instants = [
        one.runs_out_at if one.runs_out_at is not None and one.runs_out_at < end else None
        for one in (early, middle, late)
    ]
    if instants[0] is None:
        return None
    return RunsOut(instants[0], instants[1], instants[2])


def beyond(terms: Terms, middle_micro: int, high_micro: int) -> Beyond:
    """Price what the period uses beyond its grants: so much more than so far, in millionths."""
    return Beyond(_priced(terms, middle_micro), _priced(terms, high_micro))


def _priced(terms: Terms, more_micro: int) -> int:
    """Return the overage of the period with more of it, in minor units; each price rounds once."""
    spent = {rate.price_micro_minor: rate.spent_micro for rate in terms.rates}
    if terms.price_micro_minor is not None:
        more = max(0, min(more_micro, terms.room_micro))
        spent[terms.price_micro_minor] = spent.get(terms.price_micro_minor, 0) + more
    return sum(money_for(amount, price) for price, amount in spent.items())
