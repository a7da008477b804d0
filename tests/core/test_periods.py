"""Days, weeks and months tile time in every zone there is, and never drift."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portal.core.periods import (
    Anchor,
    Zone,
    day_of,
    days_between,
    local_day,
    period_of,
    start_of_day,
    week_of,
    zone_names,
)

zones = st.sampled_from(sorted(zone_names())).map(Zone)
microseconds = st.integers(0, 25 * 365 * 86_400 * 10**6)
instants = microseconds.map(lambda after: utc(2015, 1, 1) + timedelta(microseconds=after))
anchors = st.integers(1, 31)
TICK = timedelta(microseconds=1)
AMMAN, ASUNCION = Zone("Asia/Amman"), Zone("America/Asuncion")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@given(zones, instants)
@example(AMMAN, utc(2016, 3, 31, 22))
@example(Zone("Pacific/Apia"), utc(2011, 12, 30, 12))
@example(Zone("Australia/Lord_Howe"), utc(2026, 4, 4, 15))
def test_days_tile(zone: Zone, instant: datetime) -> None:
    day = day_of(instant, zone)
    assert instant in day
    assert day.start < day.end
    assert day_of(day.end, zone).start == day.end
    assert day_of(day.start - TICK, zone).end == day.start
    assert day_of(day.end - TICK, zone) == day


@given(zones, instants)
def test_a_day_begins_with_its_first_instant(zone: Zone, instant: datetime) -> None:
    day = day_of(instant, zone)
    name = local_day(instant, zone)
    assert local_day(day.start, zone) == name
    assert local_day(day.start - TICK, zone) < name
    assert local_day(day.end - TICK, zone) == name


@given(zones, instants)
def test_weeks_tile_and_begin_on_monday(zone: Zone, instant: datetime) -> None:
    week = week_of(instant, zone)
    assert instant in week
    assert local_day(week.start, zone).weekday() == 0
    assert week_of(week.end, zone).start == week.end
    assert week_of(week.start - TICK, zone).end == week.start


@given(zones, instants, anchors)
@example(AMMAN, utc(2016, 4, 1), 1)
@example(ASUNCION, utc(2017, 10, 1, 12), 1)
@example(Zone("UTC"), utc(2024, 2, 29), 29)
@example(Zone("UTC"), utc(2023, 2, 28), 31)
def test_anchored_months_tile(zone: Zone, instant: datetime, anchor: int) -> None:
    month = period_of(instant, zone, Anchor(day=anchor))
    assert instant in month
    assert timedelta(days=27) < month.end - month.start < timedelta(days=32)
    following = period_of(month.end, zone, Anchor(day=anchor))
    assert following.start == month.end
    assert period_of(month.start - TICK, zone, Anchor(day=anchor)).end == month.start
    assert period_of(month.end - TICK, zone, Anchor(day=anchor)) == month


@given(anchors, st.integers(2015, 2039))
def test_an_anchor_does_not_drift_through_short_months(anchor: int, year: int) -> None:
    instant = start_of_day(date(year, 1, anchor), Zone("Europe/Berlin"))
    for month in range(1, 13):
        period = period_of(instant, Zone("Europe/Berlin"), Anchor(day=anchor))
        last = calendar.monthrange(year, month)[1]
        began = local_day(period.start, Zone("Europe/Berlin"))
        assert began == date(year, month, min(anchor, last))
        instant = period.end


@pytest.mark.parametrize(
    ("anchor", "months"),
    [
        (31, [(1, 31), (2, 28), (3, 31), (4, 30), (5, 31)]),
        (30, [(1, 30), (2, 28), (3, 30), (4, 30), (5, 30)]),
        (29, [(1, 29), (2, 28), (3, 29), (4, 29), (5, 29)]),
    ],
)
def test_a_short_month_uses_its_last_day(anchor: int, months: list[tuple[int, int]]) -> None:
    begins = [Anchor(day=anchor).around(date(2026, month, day))[0] for month, day in months]
    assert [(first.month, first.day) for first in begins] == months
    assert Anchor(day=anchor).around(date(2028, 2, 29))[0] == date(2028, 2, 29)


def test_kathmandu_begins_its_day_at_a_quarter_past() -> None:
    day = day_of(utc(2026, 11, 9, 12), Zone("Asia/Kathmandu"))
    assert (day.start, day.end) == (utc(2026, 11, 8, 18, 15), utc(2026, 11, 9, 18, 15))


def test_amman_has_no_midnight_on_the_first_of_april_2016() -> None:
    month = period_of(utc(2016, 4, 10), AMMAN)
    assert month.start == utc(2016, 3, 31, 22)
    assert month.start.astimezone(AMMAN.at(month.start)).hour == 1
    assert day_of(month.start, AMMAN).end - month.start == timedelta(hours=23)


@pytest.mark.parametrize("year", [2017, 2023])
def test_asuncion_has_no_midnight_on_the_first_of_october(year: int) -> None:
    month = period_of(utc(year, 10, 10), ASUNCION)
    assert month.start == utc(year, 10, 1, 4)
    assert period_of(month.start - TICK, ASUNCION).end == month.start


def test_lord_howe_changes_by_half_an_hour() -> None:
    zone = Zone("Australia/Lord_Howe")
    spring, autumn = day_of(utc(2026, 10, 3, 20), zone), day_of(utc(2026, 4, 4, 20), zone)
    assert spring.end - spring.start == timedelta(hours=23, minutes=30)
    assert autumn.end - autumn.start == timedelta(hours=24, minutes=30)


def test_new_york_has_days_of_23_and_25_hours() -> None:
    zone = Zone("America/New_York")
    short, long = day_of(utc(2026, 3, 8, 12), zone), day_of(utc(2026, 11, 1, 12), zone)
    assert (short.end - short.start, long.end - long.start) == (
        timedelta(hours=23), timedelta(hours=25),
    )  # fmt: skip


def test_a_midnight_that_comes_twice_begins_the_day_the_first_time() -> None:
    zone = Zone("America/Havana")
    day = day_of(utc(2026, 11, 1, 12), zone)
    assert day.start == utc(2026, 11, 1, 4)
    assert day.end - day.start == timedelta(hours=25)


def test_days_between_leaves_the_last_one_out() -> None:
    assert days_between(date(2024, 2, 28), date(2024, 3, 1)) == [
        date(2024, 2, 28), date(2024, 2, 29),
    ]  # fmt: skip
    assert days_between(date(2024, 3, 1), date(2024, 3, 1)) == []


def test_a_jump_over_midnight_from_half_past_eleven_begins_the_day_where_it_lands() -> None:
    """Toronto, 30 March 1919: from 23:30 to 00:30, the one such jump there ever was."""
    zone = Zone("America/Toronto")
    jump = utc(1919, 3, 31, 4, 30)
    assert start_of_day(date(1919, 3, 31), zone) == jump
    assert (local_day(jump - TICK, zone), local_day(jump, zone)) == (
        date(1919, 3, 30), date(1919, 3, 31),
    )  # fmt: skip
    assert day_of(jump, zone).end - jump == timedelta(hours=23, minutes=30)
