"""Every time zone there is, every day, week, month and year from 2015 to 2040, one after another.

Names that share their rules since 2015 are tried once. A period is followed to the next by its
end, so what tiles here has no gap, no overlap and no empty period, and each instant is in one.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from portal.core.periods import (
    DAY,
    Anchor,
    Period,
    Zone,
    day_of,
    days_between,
    local_day,
    period_of,
    start_of_day,
    week_of,
    zone_names,
)
from tests.properties import zonefiles

TICK = timedelta(microseconds=1)
#: Zones are up to 14 hours ahead: their 2015 begins in our 2014.
SINCE, UNTIL = datetime(2014, 12, 30, tzinfo=UTC), datetime(2041, 1, 1, tzinfo=UTC)
DAYS = days_between(date(2015, 1, 1), date(2041, 1, 1))
GROUPS = zonefiles.distinct(zone_names(), SINCE)
every_zone = pytest.mark.parametrize("name", GROUPS)
#: Midnights that do not exist or come twice, half hours, quarters, offsets that changed for good.
ODD = [
    "Africa/Cairo", "Asia/Beirut", "America/Santiago", "Atlantic/Azores", "Asia/Amman",
    "America/Asuncion", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Havana",
    "Africa/Casablanca", "Asia/Pyongyang", "America/Sao_Paulo", "America/Nuuk", "Pacific/Chatham",
    "America/Scoresbysund", "Europe/Volgograd", "America/Caracas", "Pacific/Norfolk",
    "America/New_York", "Europe/Dublin", "Asia/Gaza", "Asia/Tehran", "America/St_Johns",
]  # fmt: skip
ANCHORED = [Anchor(day=day) for day in range(1, 32)]
YEARLY = [
    Anchor("year", month, day)
    for month in range(1, 13)
    for day in (1, 28, 29, 30, 31)
    if day <= calendar.monthrange(2024, month)[1]
]


def changes(name: str) -> bool:
    """Tell whether a zone's offset ever changes: where it never does, a few anchors say it all."""
    _, offsets, rule = zonefiles.rules(name, SINCE)
    return bool(offsets) or b"," in rule


def follow(find: Callable[[datetime], Period], shortest: timedelta, longest: timedelta) -> int:
    """Go from period to period through all the years; return how many there were."""
    period = find(SINCE)
    assert SINCE in period
    count = 0
    while period.end < UNTIL:
        following = find(period.end)
        assert following.start == period.end
        assert shortest < following.end - following.start < longest
        period, count = following, count + 1
    return count


def test_every_name_is_tried() -> None:
    assert {name for group in GROUPS.values() for name in group} == zone_names()
    for name, group in GROUPS.items():
        instants = [SINCE + timedelta(days=25 * number, hours=number) for number in range(380)]
        offsets = [one.astimezone(ZoneInfo(name)).utcoffset() for one in instants]
        for other in group[1:]:
            assert [one.astimezone(ZoneInfo(other)).utcoffset() for one in instants] == offsets


@every_zone
def test_every_day_begins_where_the_one_before_ended(name: str) -> None:
    zone = Zone(name)
    before, last = DAYS[0] - DAY, start_of_day(DAYS[0] - DAY, zone)
    for day in DAYS:
        start = start_of_day(day, zone)
        assert timedelta(hours=20) < start - last < timedelta(hours=28), day
        assert local_day(start, zone) == day
        assert local_day(start - TICK, zone) == before
        before, last = day, start


@every_zone
def test_every_week_begins_on_monday_where_the_one_before_ended(name: str) -> None:
    zone = Zone(name)
    weeks = follow(
        lambda at: week_of(at, zone), timedelta(days=7, hours=-4), timedelta(days=7, hours=4)
    )
    assert weeks in {1356, 1357}
    assert local_day(week_of(UNTIL, zone).start, zone).weekday() == 0


@every_zone
def test_every_anchored_month_begins_where_the_one_before_ended(name: str) -> None:
    zone = Zone(name)
    for anchor in ANCHORED if changes(name) else (ANCHORED[0], *ANCHORED[28:]):
        months = follow(
            lambda at, anchor=anchor: period_of(at, zone, anchor),  # type: ignore[misc]
            timedelta(days=28, hours=-4),
            timedelta(days=31, hours=4),
        )
        assert months in {312, 313}


@every_zone
def test_every_anchored_year_begins_where_the_one_before_ended(name: str) -> None:
    zone = Zone(name)
    for anchor in YEARLY:
        years = follow(
            lambda at, anchor=anchor: period_of(at, zone, anchor),  # type: ignore[misc]
            timedelta(days=365, hours=-4),
            timedelta(days=366, hours=4),
        )
        assert years in {26, 27}


@pytest.mark.parametrize("name", ODD)
def test_the_last_instant_of_a_period_is_still_in_it_and_the_next_is_not(name: str) -> None:
    zone = Zone(name)
    for anchor in (*ANCHORED, *YEARLY):
        period = period_of(SINCE, zone, anchor)
        while period.end < UNTIL:
            assert period_of(period.end - TICK, zone, anchor) == period
            first = local_day(period.start, zone)
            assert first == anchor.around(first)[0]
            period = period_of(period.end, zone, anchor)


@pytest.mark.parametrize("name", ODD)
def test_an_instant_is_in_the_day_its_clocks_show(name: str) -> None:
    zone, at = Zone(name), SINCE
    while at < UNTIL:
        day = day_of(at, zone)
        assert at in day
        assert at.astimezone(zone.at(at)).date() == local_day(at, zone)
        at += timedelta(hours=37, minutes=7)


def test_a_monthly_anchor_never_drifts_whatever_the_day_it_is_asked_on() -> None:
    for anchor in ANCHORED:
        for day in DAYS:
            first, following = anchor.around(day)
            assert first <= day < following
            if first == day:
                last = calendar.monthrange(first.year, first.month)[1]
                assert first.day == min(anchor.day, last)
                assert (following.year - first.year) * 12 + following.month - first.month == 1
                assert anchor.around(following)[0] == following


def test_a_yearly_anchor_never_drifts_whatever_the_day_it_is_asked_on() -> None:
    for anchor in YEARLY:
        for day in DAYS:
            first, following = anchor.around(day)
            assert first <= day < following
            if first == day:
                last = calendar.monthrange(first.year, anchor.month)[1]
                assert (first.month, first.day) == (anchor.month, min(anchor.day, last))
                assert following.year == first.year + 1
                assert anchor.around(following)[0] == following


#: A whole date that is skipped, and midnights that came twice with a day between (RFC 5545's zoo).
@pytest.mark.parametrize(
    ("name", "skipped"),
    [
        ("Pacific/Apia", date(2011, 12, 30)),
        ("Pacific/Kwajalein", date(1993, 8, 21)),
        ("Pacific/Kiritimati", date(1994, 12, 31)),
        ("Pacific/Enderbury", date(1994, 12, 31)),
    ],
)
def test_a_date_that_is_skipped_is_no_day_and_belongs_to_no_period(
    name: str, skipped: date
) -> None:
    zone = Zone(name)
    assert start_of_day(skipped, zone) == start_of_day(skipped + DAY, zone)
    jump = start_of_day(skipped, zone)
    assert day_of(jump, zone) == Period(jump, start_of_day(skipped + 2 * DAY, zone))
    assert local_day(jump, zone) == skipped + DAY
    assert day_of(jump - TICK, zone).end == jump
    assert local_day(jump - TICK, zone) == skipped - DAY
    month = period_of(jump, zone, Anchor(day=skipped.day))
    assert month.start == jump
    assert period_of(jump - TICK, zone, Anchor(day=skipped.day)).end == jump


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("America/St_Johns", date(2006, 10, 29)),
        ("America/Moncton", date(2006, 10, 29)),
        ("America/Goose_Bay", date(2010, 11, 7)),
    ],
)
def test_clocks_that_go_back_over_midnight_never_begin_a_day_again(name: str, day: date) -> None:
    """In eastern Canada they once went from 00:01 back to 23:01 of the day that had ended."""
    zone = Zone(name)
    at = start_of_day(day, zone) - DAY
    shown, last = [], day - DAY
    for _ in range(2 * 24 * 120):
        wall, counted = at.astimezone(zone.at(at)).date(), local_day(at, zone)
        assert counted >= last
        assert at in day_of(at, zone)
        shown.append(wall)
        last, at = counted, at + timedelta(seconds=30)
    assert shown != sorted(shown)
