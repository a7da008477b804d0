"""An organization's calendar: its time zone and its billing periods, as they were and will be.

Invariant: what an instant belonged to stays what it was. A change of zone takes effect where a
billing period ends, a subscription where a local day begins, and the periods before keep their
bounds; every instant lies in exactly one period. A subscription that Stripe bills has its periods
cut from Stripe's cycles (core/cycles.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from portal.core.cycles import Cycle, first_instant_of_day
from portal.core.periods import (
    CALENDAR_MONTH,
    DAY,
    Anchor,
    Period,
    Zone,
    ZoneChange,
    local_day,
    period_of,
    start_of_day,
)

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Calendar:
    """A zone, and the anchors of the subscriptions, each from an instant on, oldest first.

    Before the first subscription a billing period is the calendar month.
    """

    zone: Zone
    anchors: tuple[tuple[datetime, Anchor | Cycle], ...] = ()

    def period_at(self, instant: datetime, running: Period | None = None) -> Period:
        """Return the billing period that holds ``instant``.

        ``running`` is a period as it was begun and stored: it stands. Where the rules of its zone
        were changed since, the period beside it begins or ends where it does, and no sliver of a
        period is left between them.
        """
        if running is None:
            return self._computed(instant)
        if instant in running:
            return running
        return (
            self._after(instant, running)
            if instant >= running.end
            else self._before(instant, running)
        )

    def _computed(self, instant: datetime) -> Period:
        begins, ends = None, None
        anchor: Anchor | Cycle = CALENDAR_MONTH
        for at, one in self.anchors:
            if at > instant:
                ends = at
                break
            begins, anchor = at, one
        if isinstance(anchor, Cycle):
            period = anchor.period_at(instant, self.zone)
        else:
            period = period_of(instant, self.zone, anchor)
        start = period.start if begins is None else max(period.start, begins)
        return Period(start, period.end if ends is None else min(period.end, ends))

    def _after(self, instant: datetime, running: Period) -> Period:
        period = self._computed(instant)
        if period.start == running.end:
            return period
        if period.end - running.end < DAY:
            period = self._computed(period.end)
        return Period(running.end, period.end) if period.start - running.end < DAY else period

    def _before(self, instant: datetime, running: Period) -> Period:
        period = self._computed(instant)
        if period.end == running.start:
            return period
        if running.start - period.start < DAY:
            period = self._computed(period.start - _TICK)
        return Period(period.start, running.start) if running.start - period.end < DAY else period

    def in_zone(self, name: str, *, now: datetime, running: Period | None = None) -> Calendar:
        """Return the calendar with another zone from the next billing period on.

        It replaces a change that has not taken effect yet; the zone in force itself cancels it.
        """
        settled = replace(self, zone=self.zone.settled(now))
        if name == settled.zone.name_at(now):
            return settled
        end = settled.period_at(now, running).end
        return replace(settled, zone=settled.zone.then(name, at=end))

    def subscribed(self, interval: str, *, now: datetime) -> Calendar:
        """Return the calendar with periods that are counted from today's first instant."""
        zone = self.zone.settled(now)
        today = local_day(now, zone)
        anchor = Anchor(interval, today.month, today.day)
        return self._anchored(anchor, start=start_of_day(today, zone), now=now)

    def billed(self, cycle: Cycle, *, since: datetime, now: datetime) -> Calendar:
        """Return the calendar with periods that are cut from Stripe's cycles.

        They are counted from the first instant of the local day of ``since``, where the cycle
        started that is billed now. A calendar that has them already stays as it is.
        """
        found = self._at(since)
        if found is not None and found[1] == cycle:
            return self
        return self._anchored(cycle, start=self._day_at(since, now=now), now=now)

    def unsubscribed(self, *, since: datetime, now: datetime) -> Calendar:
        """Return the calendar with months from the local day of ``since`` on, and nothing else."""
        found = self._at(since)
        if found is None or found[1] == CALENDAR_MONTH:
            return self
        return self._anchored(CALENDAR_MONTH, start=self._day_at(since, now=now), now=now)

    def cycle_at(self, instant: datetime) -> Period | None:
        """Return Stripe's cycle that holds an instant; None where Stripe bills nothing then."""
        found = self._at(instant)
        if found is None or not isinstance(found[1], Cycle):
            return None
        return found[1].at(instant)

    def _at(self, instant: datetime) -> tuple[datetime, Anchor | Cycle] | None:
        found = [one for one in self.anchors if one[0] <= instant]
        return found[-1] if found else None

    def _day_at(self, instant: datetime, *, now: datetime) -> datetime:
        return first_instant_of_day(instant, self.zone.settled(now))

    def _anchored(self, anchor: Anchor | Cycle, *, start: datetime, now: datetime) -> Calendar:
        """Return the calendar with another anchor from the start of a local day on.

        A change of zone that has not taken effect yet waits for the end of the new period.
        """
        coming = self.zone.to_come(now)
        zone = self.zone.settled(now)
        kept = tuple(one for one in self.anchors if one[0] < start)
        calendar = Calendar(zone, (*kept, (start, anchor)))
        return calendar.in_zone(coming.name, now=now) if coming else calendar

    def record(self) -> dict[str, Any]:
        """Return what is to be stored beside the name of the first zone."""
        return {
            "zones": [
                {
                    "from": change.at.isoformat(),
                    "zone": change.name,
                    "first_day": change.first_day.isoformat(),
                }
                for change in self.zone.changes
            ],
            "anchors": [
                {"from": at.isoformat(), "interval": anchor.interval, **_bound(anchor)}
                for at, anchor in self.anchors
            ],
        }


def _bound(anchor: Anchor | Cycle) -> dict[str, Any]:
    if isinstance(anchor, Cycle):
        return {"cycle": anchor.anchor.isoformat()}
    return {"month": anchor.month, "day": anchor.day}


def _anchor(one: Mapping[str, Any]) -> Anchor | Cycle:
    if "cycle" in one:
        return Cycle(one["interval"], datetime.fromisoformat(one["cycle"]))
    return Anchor(one["interval"], one["month"], one["day"])


def read(timezone: str, record: Mapping[str, Any]) -> Calendar:
    """Return a calendar from the name of its first zone and what ``Calendar.record`` returned."""
    changes = tuple(
        ZoneChange(
            datetime.fromisoformat(one["from"]), one["zone"], date.fromisoformat(one["first_day"])
        )
        for one in record["zones"]
    )
    anchors = tuple(
        (datetime.fromisoformat(one["from"]), _anchor(one)) for one in record["anchors"]
    )
    return Calendar(Zone(timezone, changes), anchors)
