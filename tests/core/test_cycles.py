"""Stripe's cycles tile to the second, and the billing periods cut from them tile day by day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.calendars import Calendar
from portal.core.cycles import Cycle
from portal.core.periods import Period, Zone, day_of, local_day

TICK, HOUR, DAY = timedelta(microseconds=1), timedelta(hours=1), timedelta(days=1)
ZONES = [
    "UTC", "Pacific/Kiritimati", "Pacific/Honolulu", "Asia/Kathmandu", "Europe/Berlin",
    "America/Santiago", "Africa/Cairo", "America/New_York",
]  # fmt: skip


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def starts(cycle: Cycle, count: int) -> list[str]:
    return [cycle.start(number).isoformat()[:10] for number in range(count)]


@pytest.mark.parametrize(
    ("interval", "anchor", "days"),
    [
        ("month", utc(2027, 1, 31, 17, 5, 9), ["2027-01-31", "2027-02-28", "2027-03-31"]),
        ("month", utc(2028, 1, 30), ["2028-01-30", "2028-02-29", "2028-03-30", "2028-04-30"]),
        ("month", utc(2028, 2, 29, 23, 59, 59), ["2028-02-29", "2028-03-29", "2028-04-29"]),
        ("year", utc(2028, 2, 29), ["2028-02-29", "2029-02-28", "2030-02-28", "2031-02-28"]),
        ("year", utc(2024, 2, 29), ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28"]),
        ("month", utc(2026, 12, 30), ["2026-12-30", "2027-01-30", "2027-02-28", "2027-03-30"]),
    ],
)
def test_a_cycle_keeps_its_day_and_its_time(
    interval: str, anchor: datetime, days: list[str]
) -> None:
    cycle = Cycle(interval, anchor)
    assert starts(cycle, len(days)) == days
    assert {cycle.start(number).time() for number in range(-30, 30)} == {anchor.time()}


anchors = st.integers(0, 26 * 366 * 86_400).map(
    lambda seconds: utc(2015, 1, 1) + timedelta(seconds=seconds)
)
cycles = st.builds(Cycle, st.sampled_from(["month", "year"]), anchors)


@given(cycles, anchors)
def test_every_instant_lies_in_exactly_one_cycle(cycle: Cycle, instant: datetime) -> None:
    found = cycle.at(instant)
    assert instant in found
    assert cycle.at(found.start) == cycle.at(found.end - TICK) == found
    assert cycle.at(found.end).start == found.end
    assert cycle.at(found.start - TICK).end == found.start


@given(cycles, anchors, st.sampled_from(ZONES))
def test_a_billing_period_runs_from_day_to_day_around_its_cycle(
    cycle: Cycle, instant: datetime, timezone: str
) -> None:
    zone = Zone(timezone)
    period = cycle.period_at(instant, zone)
    assert instant in period
    assert cycle.period_at(period.end, zone).start == period.end
    assert cycle.period_at(period.start - TICK, zone).end == period.start
    exact = cycle.at(period.start + 2 * DAY)
    assert [day_of(edge, zone).start for edge in (exact.start, exact.end)] == [
        period.start, period.end,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Pacific/Honolulu", "Pacific/Kiritimati"),
        ("Pacific/Kiritimati", "Pacific/Honolulu"),
        ("Europe/Berlin", "Asia/Kathmandu"),
    ],
)
@pytest.mark.parametrize("hour", [0, 9, 10, 11, 23])
def test_a_change_of_zone_leaves_no_sliver_of_a_period(before: str, after: str, hour: int) -> None:
    now = utc(2026, 11, 9, hour, 30)
    calendar = Calendar(Zone(before)).billed(Cycle("month", now), since=now, now=now)
    moved = calendar.in_zone(after, now=now)
    change = calendar.period_at(now).end
    at, seen = now, []
    for _ in range(4):
        seen.append(moved.period_at(at))
        at = seen[-1].end
    assert seen[0] == Period(calendar.period_at(now).start, change)
    assert all(one.end == other.start for one, other in pairwise(seen))
    assert all(27 * DAY < one.end - one.start < 33 * DAY for one in seen)
    assert moved.zone.name_at(change) == after


def test_before_the_subscription_and_after_it_periods_are_months() -> None:
    zone = Zone("Europe/Berlin")
    began, ended = utc(2026, 11, 9, 12), utc(2027, 1, 20, 8)
    calendar = Calendar(zone).billed(Cycle("month", began), since=began, now=began)
    assert calendar.billed(Cycle("month", began), since=utc(2026, 12, 9, 12), now=ended) == calendar
    assert calendar.cycle_at(utc(2026, 12, 20)) == Period(utc(2026, 12, 9, 12), utc(2027, 1, 9, 12))
    over = calendar.unsubscribed(since=ended, now=ended)
    assert over.unsubscribed(since=ended, now=ended) == over
    edges, at = [], utc(2026, 11, 5)
    while at < utc(2027, 2, 20):
        edges.append(local_day(over.period_at(at).start, zone).isoformat())
        at = over.period_at(at).end
    assert edges == [
        "2026-11-01", "2026-11-09", "2026-12-09", "2027-01-09", "2027-01-20", "2027-02-01",
    ]  # fmt: skip
    assert over.cycle_at(ended) is None
