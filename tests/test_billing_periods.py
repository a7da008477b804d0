"""Billing periods as they are lived: month after month and year after year, with a moving clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from portal import catalog, desk, statements
from portal.accounts import find_organization
from portal.core.errors import CatalogError
from portal.core.periods import Period, Zone, day_of, local_day, start_of_day
from portal.core.statement import GRANTED, USED
from portal.db import Database
from tests.cast import Api, Customer, ok
from tests.clock import Clock
from tests.readers import enter

TICK, HOUR, DAY = timedelta(microseconds=1), timedelta(hours=1), timedelta(days=1)
YEARLY = """
[tiers.yearly]
name = "Yearly"
price = 990.00
credits = 6000
interval = "year"
"""
BOOK = catalog.DEFAULT_FILE.read_text(encoding="utf-8") + YEARLY
#: Quarters of an hour, daylight saving both ways round, and midnights that are skipped.
ZONES = ["UTC", "Asia/Kathmandu", "Europe/Berlin", "America/Santiago", "Africa/Cairo"]


def found(api: Api, clock: Clock, day: date, timezone: str, **more: Any) -> Customer:
    """Make Acme at noon of a day in a zone, without any credits but its tier's."""
    clock.set(start_of_day(day, Zone(timezone)) + 12 * HOUR)
    body = {"name": "Acme", "timezone": timezone} | more
    ok(api.put("/v1/organizations/acme", body), 201)
    return Customer(api, "acme")


def load(database: Database, clock: Clock, book: str = BOOK) -> None:
    with database.transaction() as tx:
        catalog.load(tx, book, now=clock())


def period(acme: Customer) -> tuple[datetime, datetime]:
    shown = ok(acme.api.get(acme.path))["period"]
    return datetime.fromisoformat(shown["start"]), datetime.fromisoformat(shown["end"])


def allowance(acme: Customer) -> list[tuple[str, str]]:
    return [
        (one["granted"], one["remaining"])
        for one in acme.balance()["grants"]
        if one["source"] == "allowance"
    ]


def used(acme: Customer, first: date, end: date) -> Decimal:
    return Decimal(acme.usage(f"start={first}&end={end}")["totals"]["credits"])


def statement(database: Database, acme: Customer, clock: Clock) -> tuple[Period, int, int]:
    """Return the last period, what its statement says was given in it, and what was left.

    The statement adds up, and what its lines say was used is what the usage of its days says.
    """
    desk.book_due(database, acme.id, now=clock())
    with database.reading() as tx:
        organization = find_organization(tx, acme.id)
        ended = organization.period_at(organization.period_at(clock()).start - TICK)
        told = statements.statement(tx, organization, ended, now=clock())
    by_kind = {GRANTED: 0, USED: 0}
    for line in told.lines:
        by_kind[line.kind] = by_kind.get(line.kind, 0) + line.credits_micro
    assert told.opening_micro + sum(by_kind.values()) == told.closing_micro
    first, following = (local_day(edge, organization.zone) for edge in (ended.start, ended.end))
    assert Decimal(-by_kind[USED]).scaleb(-6) == used(acme, first, following)
    return ended, by_kind[GRANTED] // 10**6, told.closing_micro


@pytest.mark.parametrize("timezone", ZONES)
def test_a_subscription_of_the_31st_lives_through_a_year(
    api: Api, clock: Clock, database: Database, timezone: str
) -> None:
    zone = Zone(timezone)
    acme = found(api, clock, date(2026, 12, 31), timezone, tier="starter")
    begins, months, spent = [], [], Decimal()
    for month in range(13):
        start, end = period(acme)
        first, following = local_day(start, zone), local_day(end, zone)
        assert start == start_of_day(first, zone)
        begins.append(first.isoformat())
        assert allowance(acme) == [("500", "500")]
        clock.set(start + 15 * DAY)
        ok(acme.send(acme.event("analysis", quantity=month)))
        clock.set(end - TICK)
        ok(acme.send(acme.event("image", quantity=1)))
        assert period(acme) == (start, end)
        assert allowance(acme) == [("500", str(498 - 10 * month))]
        months.append(used(acme, first, following))
        spent += 2 + 10 * month
        clock.set(end)
        assert statement(database, acme, clock) == (Period(start, end), 500, 0)
    assert begins == [
        "2026-12-31", "2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31",
        "2027-06-30", "2027-07-31", "2027-08-31", "2027-09-30", "2027-10-31", "2027-11-30",
        "2027-12-31",
    ]  # fmt: skip
    assert months == [2 + 10 * month for month in range(13)]
    assert sum(months) == spent == used(acme, date(2026, 12, 1), date(2028, 2, 1))


@pytest.mark.parametrize("timezone", ZONES)
def test_an_anchor_is_kept_when_nobody_looked_for_months(
    api: Api, clock: Clock, timezone: str
) -> None:
    zone = Zone(timezone)
    acme = found(api, clock, date(2027, 1, 31), timezone, tier="starter")
    clock.set(start_of_day(date(2027, 10, 31), zone) - TICK)
    assert [local_day(edge, zone) for edge in period(acme)] == [
        date(2027, 9, 30), date(2027, 10, 31),
    ]  # fmt: skip
    assert allowance(acme) == [("500", "500")]


def test_naming_the_tier_again_after_its_period_ended_begins_the_next_and_moves_no_anchor(
    api: Api, clock: Clock
) -> None:
    acme = found(api, clock, date(2027, 1, 31), "UTC", tier="starter")
    clock.set(datetime(2027, 3, 2, 9, tzinfo=UTC))
    body = {"name": "Acme", "tier": "starter", "seats": 3}
    answer = ok(api.put(acme.path, body))
    assert answer["period"] == {
        "start": "2027-02-28T00:00:00+00:00", "end": "2027-03-31T00:00:00+00:00",
    }  # fmt: skip
    assert allowance(acme) == [("500", "500")]


def test_periods_before_a_subscription_keep_their_bounds(
    api: Api, clock: Clock, database: Database
) -> None:
    acme = found(api, clock, date(2026, 11, 9), "Asia/Kathmandu")
    zone = Zone("Asia/Kathmandu")
    instants = [clock() - 50 * DAY, clock() - DAY]
    with database.reading() as tx:
        before = [find_organization(tx, acme.id).period_at(one) for one in instants]
    ok(api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    for _ in range(3):
        with database.reading() as tx:
            after = [find_organization(tx, acme.id).period_at(one) for one in instants]
        assert after[0] == before[0]
        assert (after[1].start, after[1].end) == (
            before[1].start, start_of_day(date(2026, 11, 9), zone),
        )  # fmt: skip
        clock.forward(31 * DAY)
        period(acme)
        ok(acme.send(acme.event("image")))


def test_a_yearly_tier_includes_its_credits_once_a_year(
    api: Api, clock: Clock, database: Database
) -> None:
    load(database, clock)
    zone = Zone("Asia/Kathmandu")
    acme = found(api, clock, date(2028, 2, 29), "Asia/Kathmandu", tier="yearly")
    begins = []
    for _ in range(5):
        start, end = period(acme)
        begins.append(local_day(start, zone).isoformat())
        assert allowance(acme) == [("6000", "6000")]
        clock.set(start + 200 * DAY)
        ok(acme.send(acme.event("analysis")))
        clock.set(end - TICK)
        assert allowance(acme) == [("6000", "5990")]
        clock.set(end)
    assert begins == ["2028-02-29", "2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"]
    total = used(acme, date(2028, 1, 1), date(2034, 1, 1))
    assert total == 50


def test_going_from_a_monthly_to_a_yearly_tier_and_back_tiles_time(
    api: Api, clock: Clock, database: Database
) -> None:
    load(database, clock)
    acme = found(api, clock, date(2027, 1, 31), "UTC", tier="starter")
    seen = [period(acme)]
    for days, tier in ((70, "yearly"), (400, "pro"), (20, "yearly")):
        clock.forward(days * DAY)
        seen.append(period(acme))
        ok(api.put(acme.path, {"name": "Acme", "tier": tier}))
        seen.append(period(acme))
    with database.reading() as tx:
        organization = find_organization(tx, acme.id)
    edges = []
    at = datetime(2027, 1, 1, tzinfo=UTC)
    while at < seen[-1][1]:
        found_period = organization.period_at(at)
        edges.append(local_day(found_period.start, organization.zone).isoformat())
        at = found_period.end
    assert edges == [
        "2027-01-01", "2027-01-31", "2027-02-28", "2027-03-31", "2027-04-11", "2028-04-11",
        "2028-05-15", "2028-06-04",
    ]  # fmt: skip
    assert at == datetime(2029, 6, 4, tzinfo=UTC)


def test_the_catalogue_and_the_plans_say_how_often_a_tier_is_billed(
    api: Api, acme: Customer, application: Flask, clock: Clock, database: Database
) -> None:
    load(database, clock)
    tiers = {one["key"]: one["interval"] for one in ok(api.get("/v1/catalog"))["tiers"]}
    assert (tiers["pro"], tiers["yearly"]) == ("month", "year")
    ok(api.put(acme.path, {"name": "Acme", "tier": "yearly"}))
    ana = enter(application, database, clock, "ana")
    plans = ana.client.get("/plans").text
    assert "$990.00 <small>a year</small>" in plans
    assert "6,000 credits</b> each year" in plans
    assert "$99.00 <small>a month</small>" in plans
    overview = ana.client.get("/").text
    assert "<h1>9 Nov – 8 Nov 2027</h1>" in overview
    assert "364 days left" in overview or "365 days left" in overview


def test_a_year_that_begins_with_january_is_not_called_january(
    api: Api, application: Flask, clock: Clock, database: Database
) -> None:
    load(database, clock)
    acme = found(api, clock, date(2027, 1, 1), "UTC", tier="yearly")
    body = {"email": "ana@acme.example", "name": "Ana", "role": "owner"}
    ok(api.put(f"{acme.path}/members/ana", body), 201)
    ana = enter(application, database, clock, "ana")
    assert "<h1>1 Jan – 31 Dec</h1>" in ana.client.get("/").text


def test_a_tier_keeps_the_interval_it_was_first_sold_with(database: Database, clock: Clock) -> None:
    load(database, clock)
    clock.forward(DAY)
    line = BOOK.splitlines().index('interval = "year"') + 1
    expected = rf"Line {line}, key tiers\.yearly\.interval: is 'month', .*version 2 .*by the year"
    with pytest.raises(CatalogError, match=expected):
        load(database, clock, BOOK.replace('"year"', '"month"'))
    with pytest.raises(CatalogError, match=r"key tiers\.pro\.interval: .*by the month"):
        load(database, clock, BOOK.replace('name = "Pro"', 'name = "Pro"\ninterval = "year"'))
    load(database, clock, BOOK.replace("6000", "7000"))


@pytest.mark.parametrize(
    ("timezone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2027, 3, 28), 23),
        ("America/Santiago", date(2027, 9, 5), 23),
        ("Africa/Cairo", date(2027, 4, 30), 23),
        ("Australia/Lord_Howe", date(2027, 4, 4), 24.5),
        ("Asia/Kathmandu", date(2026, 12, 1), 24),
    ],
)
def test_usage_and_caps_of_a_day_are_those_of_the_whole_local_day(
    api: Api, clock: Clock, timezone: str, day: date, hours: float
) -> None:
    acme = found(api, clock, day - 2 * DAY, timezone)
    acme.grant(1000)
    whole = day_of(start_of_day(day, Zone(timezone)), Zone(timezone))
    assert (whole.end - whole.start) / HOUR == hours
    cap = acme.cap(1000, window="day")
    sent = 0
    at = whole.start - HOUR
    while at < whole.end + HOUR:
        clock.set(at)
        ok(acme.send(acme.event("image")))
        sent += at in whole
        if at in whole:
            shown = acme.caps()[cap]
            assert datetime.fromisoformat(shown["resets_at"]) == whole.end
            assert shown["spent"] == str(2 * sent)
        at += HOUR / 2
    assert sent == hours * 2
    rows = acme.usage(f"start={day - DAY}&end={day + 2 * DAY}&group_by=day")["data"]
    assert [row["events"] for row in rows] == [2, sent, 2]
