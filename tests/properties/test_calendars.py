"""Whatever zones an organization passes through and whatever it subscribes to, time is tiled."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from portal.core.calendars import Calendar, read
from portal.core.cycles import Cycle
from portal.core.periods import (
    DAY,
    Period,
    Zone,
    day_of,
    local_day,
    start_of_day,
    week_of,
    zone_names,
)

TICK = timedelta(microseconds=1)
BEGIN = datetime(2015, 1, 1, tzinfo=UTC)
names = st.sampled_from(sorted(zone_names()))
pauses = st.integers(0, 500 * 86_400 * 10**6).map(lambda after: timedelta(microseconds=after))
instants = st.integers(-(10**14), 9 * 10**14).map(lambda at: BEGIN + timedelta(microseconds=at))
kinds = ["month", "year", "monthly cycle", "yearly cycle", "end"]
acts = st.one_of(st.tuples(st.just("zone"), names), st.tuples(st.sampled_from(kinds), st.just("")))


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    """Return the calendar of an organization that lived through a few changes."""
    calendar, now = Calendar(Zone(draw(names))), BEGIN
    for kind, name in draw(st.lists(acts, max_size=5)):
        now += draw(pauses)
        calendar = changed_by(calendar, kind, name, now)
    return calendar


def changed_by(calendar: Calendar, kind: str, name: str, now: datetime) -> Calendar:
    if kind == "zone":
        return calendar.in_zone(name, now=now)
    if kind == "end":
        return calendar.unsubscribed(since=now, now=now)
    interval = kind.partition("ly")[0]
    if kind == interval:
        return calendar.subscribed(interval, now=now)
    return calendar.billed(Cycle(interval, now.replace(microsecond=0)), since=now, now=now)


def assert_tiles(find: Callable[[datetime], Period], instant: datetime) -> Period:
    period = find(instant)
    assert instant in period
    assert find(period.start) == find(period.end - TICK) == period
    assert find(period.end).start == period.end
    assert find(period.start - TICK).end == period.start
    return period


@settings(max_examples=300, deadline=None)
@given(calendars(), instants)
def test_days_weeks_and_periods_tile(calendar: Calendar, instant: datetime) -> None:
    zone = calendar.zone
    day = assert_tiles(lambda at: day_of(at, zone), instant)
    assert_tiles(lambda at: week_of(at, zone), instant)
    assert_tiles(calendar.period_at, instant)
    assert local_day(day.start, zone) == local_day(instant, zone)


@given(calendars())
def test_they_tile_around_every_change(calendar: Calendar) -> None:
    changes = [one.at for one in calendar.zone.changes] + [at for at, _ in calendar.anchors]
    for change in changes:
        for instant in (change - DAY, change - TICK, change, change + DAY):
            assert_tiles(lambda at: day_of(at, calendar.zone), instant)
            assert_tiles(lambda at: week_of(at, calendar.zone), instant)
            assert_tiles(calendar.period_at, instant)
        assert calendar.period_at(change).start == change
        assert day_of(change, calendar.zone).start == change


@given(calendars(), instants, instants)
def test_a_day_never_comes_back(calendar: Calendar, one: datetime, other: datetime) -> None:
    early, late = sorted((one, other))
    first, last = local_day(early, calendar.zone), local_day(late, calendar.zone)
    assert first <= last
    assert start_of_day(first, calendar.zone) <= early
    assert start_of_day(first + DAY, calendar.zone) > early


@given(calendars(), names, instants, st.sampled_from(["zone", *kinds]))
def test_a_change_leaves_what_was_as_it_was(
    calendar: Calendar, name: str, instant: datetime, kind: str
) -> None:
    """What had ended by the change has the bounds, the days and the zone it had."""
    now = max([instant, *(at for at, _ in calendar.anchors)])
    settled = Calendar(calendar.zone.settled(now), calendar.anchors)
    changed = changed_by(settled, kind, name, now)
    today = start_of_day(local_day(now, settled.zone), settled.zone)
    for back in (timedelta(0), DAY, 10 * DAY, 40 * DAY, 400 * DAY):
        at = today - TICK - back
        assert local_day(at, changed.zone) == local_day(at, settled.zone)
        assert day_of(at, changed.zone) == day_of(at, settled.zone)
        assert changed.zone.name_at(at) == settled.zone.name_at(at)
        before = settled.period_at(at)
        if before.end <= today:
            assert changed.period_at(at) == before
        else:
            assert changed.period_at(at).start == before.start


@given(calendars(), names, instants)
def test_a_zone_changes_where_a_period_ends_and_not_before(
    calendar: Calendar, name: str, now: datetime
) -> None:
    changed = calendar.in_zone(name, now=now)
    settled = Calendar(calendar.zone.settled(now), calendar.anchors)
    running = settled.period_at(now)
    assert changed.period_at(now) == running
    assert changed.zone.name_at(running.end - TICK) == settled.zone.name_at(now)
    assert changed.zone.name_at(running.end) == name
    assert changed.period_at(running.end).start == running.end


@given(calendars())
def test_a_calendar_is_read_back_as_it_was_written(calendar: Calendar) -> None:
    assert read(calendar.zone.name, calendar.record()) == calendar
