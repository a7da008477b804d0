"""A change of time zone: from the next billing period on, and nothing before it moves."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from portal.accounts import find_organization
from portal.core.periods import local_day
from portal.db import Database
from portal.tables import audit_log, cap_windows, events, usage_daily
from tests.cast import Api, Customer, ok, refused
from tests.clock import Clock
from tests.readers import enter
from tests.test_billing_periods import statement

TICK, HOUR, DAY = timedelta(microseconds=1), timedelta(hours=1), timedelta(days=1)
#: The first of December begins in Berlin.
CHANGE = datetime(2026, 11, 30, 23, tzinfo=UTC)
#: Where that day ends in the zone that is new.
FIRST_DAY_ENDS = {
    "Asia/Kathmandu": datetime(2026, 12, 1, 18, 15, tzinfo=UTC),
    "America/New_York": datetime(2026, 12, 2, 5, tzinfo=UTC),
    "Pacific/Kiritimati": datetime(2026, 12, 1, 10, tzinfo=UTC),
}


@pytest.fixture
def berlin(api: Api) -> Customer:
    """Acme in Berlin, with Ana and with credits to spend."""
    ok(api.put("/v1/organizations/acme", {"name": "Acme", "timezone": "Europe/Berlin"}), 201)
    acme = Customer(api, "acme")
    body = {"email": "ana@acme.example", "name": "Ana", "role": "owner"}
    ok(api.put(f"{acme.path}/members/ana", body), 201)
    acme.grant(1000)
    return acme


def move(acme: Customer, timezone: str) -> Any:
    return ok(acme.api.put(acme.path, {"name": "Acme", "timezone": timezone}))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def bounds(period: dict[str, str]) -> tuple[datetime, datetime]:
    return at(period["start"]), at(period["end"])


def acts(database: Database) -> list[tuple[str, str, str]]:
    with database.reading() as tx:
        rows = tx.execute(
            select(audit_log)
            .where(audit_log.c.organization_id == "acme", audit_log.c.act.like("timezone.%"))
            .order_by(audit_log.c.at, audit_log.c.audit_id)
        )
        return [(row.act, row.target, row.detail["effective_at"]) for row in rows]


def test_a_new_zone_waits_for_the_next_period_and_the_answer_says_so(
    berlin: Customer, bystander: Customer, clock: Clock
) -> None:
    period = berlin.balance()["period"]
    answer = move(berlin, "Asia/Kathmandu")
    assert (answer["timezone"], answer["timezone_next"]) == ("Europe/Berlin", "Asia/Kathmandu")
    assert at(answer["timezone_changes_at"]) == CHANGE
    assert answer["period"] == period
    clock.set(CHANGE - TICK)
    assert ok(berlin.api.get(berlin.path)) == answer
    clock.set(CHANGE)
    after = ok(berlin.api.get(berlin.path))
    assert (after["timezone"], after["timezone_next"]) == ("Asia/Kathmandu", None)
    assert after["timezone_changes_at"] is None
    assert bounds(after["period"]) == (CHANGE, datetime(2026, 12, 31, 18, 15, tzinfo=UTC))
    clock.set(datetime(2026, 12, 31, 18, 15, tzinfo=UTC))
    following = ok(berlin.api.get(berlin.path))["period"]
    assert following["start"] == after["period"]["end"]


def test_a_change_is_replaced_or_taken_back_while_it_waits_and_each_is_written_down(
    berlin: Customer, database: Database, clock: Clock
) -> None:
    for timezone in ("Asia/Kathmandu", "Asia/Kathmandu", "America/New_York", "Europe/Berlin"):
        answer = move(berlin, timezone)
        clock.forward(HOUR)
    assert (answer["timezone_next"], answer["timezone_changes_at"]) == (None, None)
    ok(berlin.api.put(berlin.path, {"name": "Acme & Co"}))
    assert acts(database) == [
        ("timezone.changed", "Asia/Kathmandu", CHANGE.isoformat()),
        ("timezone.changed", "America/New_York", CHANGE.isoformat()),
        ("timezone.change_cancelled", "Europe/Berlin", answer_at(3)),
    ]
    clock.set(CHANGE + DAY)
    assert ok(berlin.api.get(berlin.path))["timezone"] == "Europe/Berlin"


def answer_at(hours: int) -> str:
    return datetime(2026, 11, 9, 12 + hours, tzinfo=UTC).isoformat()


def test_a_zone_that_is_none_changes_nothing(berlin: Customer) -> None:
    answer = berlin.api.put(berlin.path, {"name": "Acme", "timezone": "Europe/Atlantis"})
    assert refused(answer, 422, "invalid-request")["errors"][0]["pointer"] == "/timezone"
    assert ok(berlin.api.get(berlin.path))["timezone_next"] is None


@pytest.mark.parametrize("timezone", FIRST_DAY_ENDS)
def test_every_day_of_usage_is_one_day_and_the_day_of_the_change_is_longer_or_shorter(
    berlin: Customer, database: Database, clock: Clock, timezone: str
) -> None:
    move(berlin, timezone)
    first_day_ends = FIRST_DAY_ENDS[timezone]
    edges = {
        date(2026, 11, 29): CHANGE - 2 * DAY,
        date(2026, 11, 30): CHANGE - DAY,
        date(2026, 12, 1): CHANGE,
        date(2026, 12, 2): first_day_ends,
        date(2026, 12, 3): first_day_ends + DAY,
    }
    sent = [
        berlin.event("image", time=edge + step)
        for edge in edges.values()
        for step in (-TICK, timedelta(0), 2 * HOUR, timedelta(hours=9, minutes=59))
    ]
    # Each comes soon after it happened: what comes too late for its period counts when it came.
    for edge in (CHANGE, first_day_ends + DAY):
        clock.set(edge + DAY)
        now = clock()
        ok(berlin.send(*(one for one in sent if at(one["time"]) <= now)))
        sent = [one for one in sent if at(one["time"]) > now]
    assert not sent
    rows = berlin.usage("start=2026-11-01&end=2026-12-10&group_by=day")["data"]
    assert {row["day"]: row["events"] for row in rows} == {
        "2026-11-28": 1, "2026-11-29": 4, "2026-11-30": 4, "2026-12-01": 4, "2026-12-02": 4,
        "2026-12-03": 3,
    }  # fmt: skip
    november = berlin.usage("start=2026-11-01&end=2026-12-01")
    december = berlin.usage("start=2026-12-01&end=2026-12-10")
    both = berlin.usage("start=2026-11-01&end=2026-12-10")
    assert november["totals"]["events"] + december["totals"]["events"] == both["totals"]["events"]
    assert november["timezone"] == "Europe/Berlin"
    assert december["timezone"] == both["timezone"] == timezone
    assert november["timezone_changes"] == december["timezone_changes"] == []
    assert both["timezone_changes"] == [{"at": CHANGE.isoformat(), "timezone": timezone}]
    assert_rolled_up_where_it_happened(database)


def assert_rolled_up_where_it_happened(database: Database) -> None:
    """Every event lies on the day its instant had, and the days add up to the events."""
    with database.reading() as tx:
        zone = find_organization(tx, "acme").zone
        counted: dict[date, int] = {}
        for row in tx.execute(select(events).where(events.c.organization_id == "acme")):
            assert row.day == local_day(row.occurred_at, zone)
            counted[row.day] = counted.get(row.day, 0) + 1
        rolled: dict[date, int] = {}
        for row in tx.execute(select(usage_daily).where(usage_daily.c.organization_id == "acme")):
            rolled[row.day] = rolled.get(row.day, 0) + row.events
        assert rolled == counted


def test_what_arrives_late_lies_on_the_day_of_the_zone_it_happened_in(
    berlin: Customer, database: Database, clock: Clock
) -> None:
    move(berlin, "Asia/Kathmandu")
    clock.set(CHANGE + DAY)
    # 23:30 of 20 November in Berlin; in Kathmandu it was 21 November long since.
    happened = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
    ok(berlin.send(berlin.event("image", time=happened)))
    assert_rolled_up_where_it_happened(database)
    event = ok(berlin.api.get(f"{berlin.path}/events"))["data"][0]
    assert at(event["time"]) == happened


@pytest.mark.parametrize("timezone", FIRST_DAY_ENDS)
@pytest.mark.parametrize("window", ["day", "week", "period"])
def test_cap_windows_tile_across_a_change(
    berlin: Customer, clock: Clock, database: Database, timezone: str, window: str
) -> None:
    cap = berlin.cap(6, window=window)
    ok(berlin.send(berlin.event("image")))
    move(berlin, timezone)
    seen: dict[datetime, datetime] = {}
    clock.set(CHANGE - 3 * DAY)
    while clock() < CHANGE + 10 * DAY:
        ok(berlin.send(berlin.event("image")))
        resets_at = at(berlin.caps()[cap]["resets_at"])
        assert resets_at > clock()
        seen[resets_at] = clock()
        clock.forward(timedelta(hours=3, minutes=7))
    with database.reading() as tx:
        rows = tx.execute(
            select(cap_windows)
            .where(cap_windows.c.cap_id == cap)
            .order_by(cap_windows.c.window_start)
        ).all()
    stored = [row for row in rows if row.window_end > CHANGE - 3 * DAY]
    assert [row.window_end for row in stored] == sorted(seen)
    for row, following in pairwise(stored):
        assert row.window_end == following.window_start
    assert all(row.spent_micro <= 6_000_000 for row in rows)
    assert any(row.spent_micro == 6_000_000 for row in rows)


def test_late_work_counts_in_the_window_of_its_own_time_while_the_period_is_open(
    berlin: Customer, clock: Clock
) -> None:
    move(berlin, "America/New_York")
    clock.set(FIRST_DAY_ENDS["America/New_York"] + HOUR)
    cap = berlin.cap(10, window="day")
    # 20:00 of 30 November in New York, and yet the first of December: the change cut the day.
    ok(berlin.send(berlin.event("image", time=CHANGE + 2 * HOUR)))
    assert berlin.caps()[cap]["spent"] == "0"
    ok(berlin.send(berlin.event("image", time=FIRST_DAY_ENDS["America/New_York"])))
    assert berlin.caps()[cap]["spent"] == "2"


def test_an_allowance_ends_with_the_old_zones_period_and_the_next_begins_there(
    berlin: Customer, clock: Clock
) -> None:
    ok(berlin.api.put(berlin.path, {"name": "Acme", "tier": "starter"}))
    ends = datetime(2026, 12, 8, 23, tzinfo=UTC)
    assert at(move(berlin, "America/New_York")["timezone_changes_at"]) == ends
    ok(berlin.send(berlin.event("analysis")))
    for instant in (ends - TICK, ends, ends + 5 * HOUR, ends + DAY):
        clock.set(instant)
        allowance = [one for one in berlin.balance()["grants"] if one["source"] == "allowance"]
        assert [one["granted"] for one in allowance] == ["500"]
        renewed = instant >= ends
        assert allowance[0]["remaining"] == ("500" if renewed else "490")
        expires_at = datetime(2027, 1, 9, 5, tzinfo=UTC) if renewed else ends
        assert at(allowance[0]["expires_at"]) == expires_at
        assert bounds(berlin.balance()["period"])[1] == expires_at


def test_a_change_of_tier_takes_a_waiting_change_of_zone_along(
    berlin: Customer, clock: Clock
) -> None:
    move(berlin, "Asia/Kathmandu")
    answer = ok(berlin.api.put(berlin.path, {"name": "Acme", "tier": "starter"}))
    ends = datetime(2026, 12, 8, 23, tzinfo=UTC)
    assert at(answer["timezone_changes_at"]) == at(answer["period"]["end"]) == ends
    clock.set(CHANGE + DAY)
    assert ok(berlin.api.get(berlin.path))["timezone"] == "Europe/Berlin"
    clock.set(ends)
    period = ok(berlin.api.get(berlin.path))["period"]
    assert bounds(period) == (ends, datetime(2027, 1, 8, 18, 15, tzinfo=UTC))


def test_the_pages_read_every_instant_in_the_zone_it_had(
    berlin: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    move(berlin, "Asia/Kathmandu")
    old = CHANGE - 7 * HOUR
    clock.set(old)
    ok(berlin.send(berlin.event("image", member="ana", id="old")))
    clock.set(CHANGE + DAY)
    ok(berlin.send(berlin.event("image", member="ana", id="new")))
    ana = enter(application, database, clock, "ana")
    assert "17:00, Berlin time" in ana.client.get("/usage/events/old?source=tests").text
    assert "04:45, Kathmandu time" in ana.client.get("/usage/events/new?source=tests").text
    overview = ana.client.get("/").text
    assert "As of 04:45, Kathmandu time" in overview
    assert "<h1>December</h1>" in overview
    day = "range=own&group=day&from={0}&to={0}"
    for name, count in (("2026-11-30", 1), ("2026-12-01", 0), ("2026-12-02", 1)):
        for page in ("/usage", "/usage/events"):
            shown = ana.client.get(f"{page}?{day.format(name)}").text
            assert len(re.findall(r'<th scope="row"><a', shown)) == count, (page, name)


def test_a_forecast_across_a_change_counts_every_day_once(berlin: Customer, clock: Clock) -> None:
    move(berlin, "Asia/Kathmandu")
    for day in range(12):
        clock.set(CHANGE + (day - 8) * DAY + 6 * HOUR)
        ok(berlin.send(berlin.event("image", quantity=5)))
    found = ok(berlin.api.get(f"{berlin.path}/forecast"))
    totals = berlin.usage("start=2026-12-01&end=2026-12-05")["totals"]
    assert found["spent"] == totals["credits"]
    assert Decimal(found["spent"]) > 0
    assert bounds(found["period"]) == (CHANGE, datetime(2026, 12, 31, 18, 15, tzinfo=UTC))


@pytest.mark.parametrize("timezone", FIRST_DAY_ENDS)
def test_the_statements_on_both_sides_of_a_change_say_what_the_usage_of_their_days_says(
    berlin: Customer, database: Database, clock: Clock, timezone: str
) -> None:
    move(berlin, timezone)
    clock.set(CHANGE - 2 * DAY)
    while clock() < CHANGE + 3 * DAY:
        ok(berlin.send(berlin.event("image")))
        clock.forward(timedelta(hours=2, minutes=30))
    november, given, left = statement(database, berlin, clock)
    assert (november.end, given) == (CHANGE, 1000)
    clock.set(datetime(2027, 1, 2, tzinfo=UTC))
    december, given, _ = statement(database, berlin, clock)
    assert (december.start, given) == (CHANGE, 0)
    assert left < 1000 * 10**6
