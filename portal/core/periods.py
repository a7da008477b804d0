"""Days, weeks and billing periods in an organization's time zone, also where the zone changes.

Invariant: all intervals are half-open ``[start, end)`` in UTC, tile without gap or overlap, and
begin at the first instant of a local day, also where local midnight does not exist or comes twice.
It rests on one rule: the local day of an instant never goes back as time goes on.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_SHORTEST_MONTH = 28


@dataclass(frozen=True)
class Period:
    """A half-open interval of aware UTC instants."""

    start: datetime
    end: datetime

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Return the IANA names this machine knows."""
    return frozenset(available_timezones())


@dataclass(frozen=True)
class ZoneChange:
    """From ``at`` on the zone is ``name``; no later instant has a day before ``first_day``."""

    at: datetime
    name: str
    first_day: date


@dataclass(frozen=True)
class Zone:
    """An organization's time zone: the one it began in, and its changes, oldest first.

    At a change the day that begins there in the old zone begins, and lasts until it ends in the
    new one: that day is longer or shorter, the days before it stay what they were.
    """

    name: str
    changes: tuple[ZoneChange, ...] = ()

    def last_change(self, instant: datetime) -> ZoneChange | None:
        """Return the change that brought the zone in force at an instant."""
        for change in reversed(self.changes):
            if change.at <= instant:
                return change
        return None

    def name_at(self, instant: datetime) -> str:
        """Return the IANA name in force at an instant."""
        change = self.last_change(instant)
        return change.name if change else self.name

    def at(self, instant: datetime) -> ZoneInfo:
        """Return the zone in force at an instant."""
        return ZoneInfo(self.name_at(instant))

    def name_on(self, day: date) -> str:
        """Return the IANA name that a local day was cut in."""
        names = [change.name for change in self.changes if change.first_day <= day]
        return names[-1] if names else self.name

    def to_come(self, now: datetime) -> ZoneChange | None:
        """Return the change that has not taken effect yet."""
        return next((change for change in self.changes if change.at > now), None)

    def settled(self, now: datetime) -> Zone:
        """Return the zone without the change that has not taken effect yet."""
        return replace(self, changes=tuple(one for one in self.changes if one.at <= now))

    def then(self, name: str, *, at: datetime) -> Zone:
        """Return the zone with one more change, which lies after all the others."""
        change = ZoneChange(at, name, local_day(at, self))
        return replace(self, changes=(*self.changes, change))


@lru_cache(maxsize=8192)
def _start_in(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant, in UTC, at which the zone's clocks show ``day`` or a later one.

    A midnight that comes twice is its first one (PEP 495, fold=0). One that is skipped lies
    between what the offsets before and after the jump make of it; the jump is searched for.
    """
    wall = datetime.combine(day, time.min, tzinfo=zone)
    start, other = wall.astimezone(UTC), wall.replace(fold=1).astimezone(UTC)
    if other >= start:
        return start
    low, high = 0, (start - other) // _SECOND
    while low < high:
        middle = (low + high) // 2
        if (other + middle * _SECOND).astimezone(zone).date() >= day:
            high = middle
        else:
            low = middle + 1
    return other + high * _SECOND


def _day_in(instant: datetime, zone: ZoneInfo) -> date:
    wall = instant.astimezone(zone)
    day = wall.date()
    # Clocks that go back over midnight show a day again that has ended.
    if wall.fold and _start_in(day + DAY, zone) <= instant:
        return day + DAY
    return day


def start_of_day(day: date, zone: Zone) -> datetime:
    """Return the first instant of a local day, in UTC; of a day that is skipped, the next one's."""
    part, begins = zone.name, None
    for change in zone.changes:
        start = _start_in(day, ZoneInfo(part))
        start = start if begins is None else max(start, begins)
        if start < change.at:
            return start
        if day <= change.first_day:
            return change.at
        part, begins = change.name, change.at
    start = _start_in(day, ZoneInfo(part))
    return start if begins is None else max(start, begins)


def local_day(instant: datetime, zone: Zone) -> date:
    """Return the calendar day of an instant as the organization sees it."""
    change = zone.last_change(instant)
    if change is None:
        return _day_in(instant, ZoneInfo(zone.name))
    return max(_day_in(instant, ZoneInfo(change.name)), change.first_day)


def day_of(instant: datetime, zone: Zone) -> Period:
    """Return the local day that holds ``instant``."""
    day = local_day(instant, zone)
    return Period(start_of_day(day, zone), start_of_day(day + DAY, zone))


def week_of(instant: datetime, zone: Zone) -> Period:
    """Return the local week, Monday to Sunday, that holds ``instant``."""
    day = local_day(instant, zone)
    monday = day - timedelta(days=day.weekday())
    return Period(start_of_day(monday, zone), start_of_day(monday + timedelta(days=7), zone))


@dataclass(frozen=True)
class Anchor:
    """The day on which periods begin: of every month, or of one month of every year.

    A month without that day uses its last one, and the anchor does not drift: 31 January,
    28 February, 31 March; 29 February, 28 February a year later, and 29 February again.
    """

    interval: str = "month"
    month: int = 1
    day: int = 1

    def around(self, day: date) -> tuple[date, date]:
        """Return the first day of the period that holds ``day``, and that of the next period."""
        yearly = self.interval == "year"
        step, months = (12, self.month) if yearly else (1, day.month)
        months += day.year * 12 - 1
        if day < self._day_of(months):
            months -= step
        return self._day_of(months), self._day_of(months + step)

    def _day_of(self, months: int) -> date:
        year, month = months // 12, months % 12 + 1
        if self.day <= _SHORTEST_MONTH:
            return date(year, month, self.day)
        return date(year, month, min(self.day, calendar.monthrange(year, month)[1]))


#: The billing period of an organization without a subscription.
CALENDAR_MONTH = Anchor()


def period_of(instant: datetime, zone: Zone, anchor: Anchor = CALENDAR_MONTH) -> Period:
    """Return the period that holds ``instant`` among those that begin on the anchor's days."""
    first, following = anchor.around(local_day(instant, zone))
    return Period(start_of_day(first, zone), start_of_day(following, zone))


def days_between(start: date, end: date) -> list[date]:
    """Return the days of ``[start, end)``."""
    return [start + timedelta(days=offset) for offset in range((end - start).days)]
