"""A calendar keeps what was: zones change where a period ends, subscriptions count from a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from portal.core.calendars import Calendar, read
from portal.core.periods import Anchor, Period, Zone, day_of, local_day, start_of_day, week_of

TICK, HOUR, DAY = timedelta(microseconds=1), timedelta(hours=1), timedelta(days=1)
BERLIN = Calendar(Zone("Europe/Berlin"))


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


NOW = utc(2026, 11, 9, 12)
#: The first of December begins in Berlin.
CHANGE = utc(2026, 11, 30, 23)


def moved(timezone: str) -> Calendar:
    return BERLIN.in_zone(timezone, now=NOW)


@pytest.mark.parametrize(
    ("timezone", "first_day_ends", "period_ends"),
    [
        ("Asia/Kathmandu", utc(2026, 12, 1, 18, 15), utc(2026, 12, 31, 18, 15)),
        ("America/New_York", utc(2026, 12, 2, 5), utc(2027, 1, 1, 5)),
        ("Pacific/Kiritimati", utc(2026, 12, 1, 10), utc(2026, 12, 31, 10)),
        ("Pacific/Pago_Pago", utc(2026, 12, 2, 11), utc(2027, 1, 1, 11)),
    ],
)
def test_the_first_period_in_a_new_zone_begins_where_the_old_one_ended(
    timezone: str, first_day_ends: datetime, period_ends: datetime
) -> None:
    calendar = moved(timezone)
    zone = calendar.zone
    assert calendar.period_at(CHANGE - TICK) == BERLIN.period_at(CHANGE - TICK)
    assert calendar.period_at(CHANGE) == Period(CHANGE, period_ends)
    assert day_of(CHANGE - TICK, zone) == Period(CHANGE - DAY, CHANGE)
    assert day_of(CHANGE, zone) == Period(CHANGE, first_day_ends)
    assert local_day(CHANGE, zone) == date(2026, 12, 1)
    week = week_of(CHANGE, zone)
    assert week.start == utc(2026, 11, 29, 23)
    assert week_of(week.end - TICK, zone) == week
    assert week_of(week.end, zone).start == week.end


def test_a_zone_across_the_date_line_leaves_out_the_date_it_skips() -> None:
    samoa = Calendar(Zone("Pacific/Pago_Pago"))
    calendar = samoa.in_zone("Pacific/Kiritimati", now=NOW)
    change = utc(2026, 12, 1, 11)
    assert calendar.zone.at(change).key == "Pacific/Kiritimati"
    assert local_day(change - TICK, calendar.zone) == date(2026, 11, 30)
    assert local_day(change, calendar.zone) == date(2026, 12, 2)
    assert start_of_day(date(2026, 12, 1), calendar.zone) == change
    assert day_of(change, calendar.zone) == Period(change, utc(2026, 12, 2, 10))
    assert calendar.period_at(change) == Period(change, utc(2026, 12, 31, 10))


def test_earlier_instants_are_read_in_the_zone_that_was_then_in_force() -> None:
    calendar = moved("Asia/Kathmandu")
    late = utc(2026, 11, 20, 22, 30)
    assert local_day(late, calendar.zone) == date(2026, 11, 20)
    assert local_day(late, Zone("Asia/Kathmandu")) == date(2026, 11, 21)
    assert calendar.zone.name_at(CHANGE - TICK) == "Europe/Berlin"
    assert calendar.zone.name_at(CHANGE) == "Asia/Kathmandu"
    assert calendar.zone.name_on(date(2026, 11, 30)) == "Europe/Berlin"
    assert calendar.zone.name_on(date(2026, 12, 1)) == "Asia/Kathmandu"


def test_a_change_that_has_not_taken_effect_is_replaced_or_taken_back() -> None:
    calendar = moved("Asia/Kathmandu")
    assert calendar.in_zone("Asia/Kathmandu", now=NOW + DAY) == calendar
    other = calendar.in_zone("America/New_York", now=NOW + DAY)
    assert [one.name for one in other.zone.changes] == ["America/New_York"]
    assert other.zone.to_come(NOW) == other.zone.changes[0]
    assert other.in_zone("Europe/Berlin", now=NOW + DAY) == BERLIN
    assert other.zone.to_come(CHANGE) is None


def test_a_change_that_has_taken_effect_stays_in_the_past_when_the_old_zone_is_set_again() -> None:
    calendar = moved("Asia/Kathmandu").in_zone("Europe/Berlin", now=CHANGE)
    names = [(one.name, one.at) for one in calendar.zone.changes]
    assert names == [
        ("Asia/Kathmandu", CHANGE), ("Europe/Berlin", utc(2026, 12, 31, 18, 15)),
    ]  # fmt: skip
    assert local_day(utc(2026, 12, 31, 18, 15), calendar.zone) == date(2027, 1, 1)
    assert calendar.period_at(utc(2027, 1, 5)).end == utc(2027, 1, 31, 23)


def test_a_subscription_counts_from_today_and_the_periods_before_it_stay() -> None:
    before = BERLIN.period_at(utc(2026, 10, 20))
    calendar = BERLIN.subscribed("month", now=utc(2026, 11, 17, 15))
    start = utc(2026, 11, 16, 23)
    assert calendar.period_at(start) == Period(start, utc(2026, 12, 16, 23))
    assert calendar.period_at(start - TICK) == Period(utc(2026, 10, 31, 23), start)
    assert calendar.period_at(utc(2026, 10, 20)) == before
    again = calendar.subscribed("year", now=utc(2026, 12, 30, 15))
    assert again.period_at(utc(2026, 12, 20)) == Period(
        utc(2026, 12, 16, 23), utc(2026, 12, 29, 23)
    )
    assert again.period_at(utc(2027, 1, 20)) == Period(utc(2026, 12, 29, 23), utc(2027, 12, 29, 23))
    assert again.period_at(utc(2026, 10, 20)) == before


def test_two_subscriptions_on_one_day_are_one() -> None:
    first = BERLIN.subscribed("month", now=utc(2026, 11, 17, 15))
    second = first.subscribed("year", now=utc(2026, 11, 17, 16))
    assert second.anchors == ((utc(2026, 11, 16, 23), Anchor("year", 11, 17)),)


def test_a_change_of_zone_waits_for_the_period_that_a_subscription_begins() -> None:
    calendar = moved("Asia/Kathmandu").subscribed("month", now=utc(2026, 11, 17, 15))
    assert calendar.zone.changes[0].at == utc(2026, 12, 16, 23)
    assert calendar.period_at(utc(2026, 12, 17)).end == utc(2027, 1, 16, 18, 15)


@pytest.mark.parametrize(
    ("began", "days"),
    [
        (date(2023, 1, 31), ["01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31"]),
        (date(2024, 1, 31), ["01-31", "02-29", "03-31", "04-30", "05-31", "06-30", "07-31"]),
        (date(2023, 1, 30), ["01-30", "02-28", "03-30", "04-30", "05-30", "06-30", "07-30"]),
        (date(2024, 2, 29), ["02-29", "03-29", "04-29", "05-29", "06-29", "07-29", "08-29"]),
    ],
)
def test_a_monthly_subscription_keeps_its_day(began: date, days: list[str]) -> None:
    at = start_of_day(began, BERLIN.zone)
    calendar = BERLIN.subscribed("month", now=at)
    found = []
    for _ in days:
        period = calendar.period_at(at)
        assert period.start == at
        found.append(local_day(at, calendar.zone).isoformat()[5:])
        at = period.end
    assert found == days


def test_a_year_that_begins_on_29_february_begins_there_again_where_there_is_one() -> None:
    at = start_of_day(date(2024, 2, 29), BERLIN.zone)
    calendar = BERLIN.subscribed("year", now=at)
    found = []
    for _ in range(6):
        found.append(local_day(at, calendar.zone).isoformat())
        at = calendar.period_at(at).end
    assert found == [
        "2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29", "2029-02-28",
    ]  # fmt: skip


@pytest.mark.parametrize("shift", [-HOUR, HOUR])
def test_a_stored_period_stands_where_the_rules_of_its_zone_changed_since(shift: timedelta) -> None:
    """Paraguay gave up its winter time five months before the year that was stored ended."""
    calendar = BERLIN.subscribed("month", now=utc(2026, 11, 17, 15))
    computed = calendar.period_at(NOW + 10 * DAY)
    stored = Period(computed.start + shift, computed.end + shift)
    at = stored.start - 40 * DAY
    while at < stored.end + 90 * DAY:
        period = calendar.period_at(at, stored)
        assert at in period
        assert calendar.period_at(period.end, stored).start == period.end
        assert calendar.period_at(period.start - TICK, stored).end == period.start
        assert timedelta(days=15) < period.end - period.start < timedelta(days=32)
        at += HOUR / 2
    assert calendar.period_at(stored.start, stored) == stored


def test_what_is_stored_is_read_back() -> None:
    calendar = moved("Asia/Kathmandu").subscribed("year", now=utc(2026, 11, 17, 15))
    assert read("Europe/Berlin", calendar.record()) == calendar
    assert read("UTC", Calendar(Zone("UTC")).record()) == Calendar(Zone("UTC"))
    assert replace(calendar, anchors=()) != calendar
