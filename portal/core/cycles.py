"""The cycles Stripe bills by, and the billing periods that are cut from them at local days.

Stripe counts whole months or years from one instant in UTC, to the second. What caps, pages,
overage and statements count in begins with the local day that holds a cycle's start. Invariant:
cycles tile and do not drift, and so do the periods, one for each cycle.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass, replace
from datetime import datetime

from portal.core.periods import Period, Zone, day_of

_MONTHS = {"month": 1, "year": 12}
INTERVALS = frozenset(_MONTHS)


@dataclass(frozen=True)
class Cycle:
    """Every month or every year from ``anchor`` on, an instant in UTC.

    A month without the anchor's day uses its last one: 31 January, 28 February, 31 March.
    """

    interval: str
    anchor: datetime

    def start(self, number: int) -> datetime:
        """Return the instant at which a cycle starts; number 0 starts at the anchor itself."""
        months = self.anchor.year * 12 + self.anchor.month - 1 + number * _MONTHS[self.interval]
        year, month = months // 12, months % 12 + 1
        day = min(self.anchor.day, calendar.monthrange(year, month)[1])
        return self.anchor.replace(year=year, month=month, day=day)

    def number_at(self, instant: datetime) -> int:
        """Return the number of the cycle that holds an instant."""
        months = (instant.year - self.anchor.year) * 12 + instant.month - self.anchor.month
        number = months // _MONTHS[self.interval]
        if self.start(number) > instant:
            return number - 1
        return number + 1 if self.start(number + 1) <= instant else number

    def at(self, instant: datetime) -> Period:
        """Return the cycle that holds an instant, to the second."""
        number = self.number_at(instant)
        return Period(self.start(number), self.start(number + 1))

    def period_at(self, instant: datetime, zone: Zone) -> Period:
        """Return the billing period that holds an instant: from day to day, one for each cycle."""
        number = self.number_at(instant)
        start = first_instant_of_day(self.start(number), zone)
        end = first_instant_of_day(self.start(number + 1), zone)
        if instant >= end:
            return Period(end, first_instant_of_day(self.start(number + 2), zone))
        return Period(start, end)


def first_instant_of_day(instant: datetime, zone: Zone) -> datetime:
    """Return where the local day begins that holds an instant.

    Where that day's beginning is a change of zone it begins there, though the clocks of the new
    zone may show the next day already at the instant itself.
    """
    for place, change in enumerate(zone.changes):
        before = replace(zone, changes=zone.changes[:place])
        if change.at <= instant and day_of(instant, before).start == change.at:
            return change.at
    return day_of(instant, zone).start
