"""What customers pay for and what they cost, side by side, whatever the figures are sorted by."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from flask import Flask

from portal.core.errors import InvalidRequest
from portal.core.margin.figures import Span
from portal.db import Database
from portal.margin import margins, revenue, slices, whole
from tests.cast import Api, ok
from tests.clock import Clock
from tests.margin.operator import (
    NANO,
    NOVEMBER,
    agree,
    bought,
    customer,
    figures,
    open_business,
    recognised,
    used,
)
from tests.test_cli import run
from tests.test_cost_review import send, waiting

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def business(application: Flask, database: Database, clock: Clock) -> None:
    open_business(database, clock)


@pytest.mark.parametrize(
    ("tier", "charging", "fee"), [("seat", "shadow", 49_00), ("starter", "shadow", 29_00)]
)
def test_two_customers_who_pay_the_same_do_not_cost_the_same(
    api: Api, database: Database, clock: Clock, tier: str, charging: str, fee: int
) -> None:
    light = customer(api, "light", tier=tier, seats=1, charging=charging)
    heavy = customer(api, "heavy", tier=tier, seats=1, charging=charging)
    used(light, 40, 500)
    used(heavy, 120, 800_000)
    # The whole of the period they pay for.
    span = Span(date(2026, 11, 9), date(2026, 12, 9))
    found = {name: figures(database, clock, name, span) for name in ("light", "heavy")}
    assert [one.revenue.tier_fees_minor for one in found.values()] == [fee, fee]
    assert found["heavy"].cost.total_nano_usd == 450 * NANO
    share = {49_00: (998, -8184), 29_00: (997, -14517)}[fee]
    assert tuple(one.margin_tenths_percent for one in found.values()) == share
    agree(database, clock)


def test_bought_credits_are_revenue_when_used_or_ended_at_what_that_very_grant_cost(
    api: Api, database: Database, clock: Clock
) -> None:
    acme = customer(api, "acme")
    end = (clock() + 10 * DAY).isoformat()
    bought(acme, 30, "10.00", expires_at=end)
    bought(acme, 100, "20.00")
    assert recognised(database, clock, "acme") == {}
    used(acme, 1, 10)
    # A sixth of 10.00, rounded.
    assert recognised(database, clock, "acme") == {"credits_used": 1_67}
    used(acme, 6, 10)
    # All of the first, and 5 of 100 credits of the second.
    assert recognised(database, clock, "acme") == {"credits_used": 11_00}
    assert recognised(database, clock, "acme", NOVEMBER.before) == {}
    agree(database, clock)


def test_what_ends_unused_is_revenue_of_the_day_it_ended_whoever_looks_when(
    api: Api, database: Database, clock: Clock
) -> None:
    acme = customer(api, "acme")
    bought(acme, 30, "10.00", expires_at="2026-11-20T00:00:00Z")
    used(acme, 2, 10)
    clock.forward(40 * DAY)
    ended = Span(date(2026, 11, 20), date(2026, 11, 21))
    assert recognised(database, clock, "acme", ended) == {"credits_expired": 6_67}
    assert recognised(database, clock, "acme") == {"credits_used": 3_33, "credits_expired": 6_67}
    agree(database, clock)


def test_a_correction_of_what_is_long_spent_moves_its_revenue_too(
    api: Api, database: Database, clock: Clock
) -> None:
    acme = customer(api, "acme")
    bought(acme, 10, "10.00")
    first = acme.event("document")
    ok(acme.send(first, acme.event("document")))
    assert recognised(database, clock, "acme") == {"credits_used": 10_00}
    less = acme.event("document", quantity=0, corrects={"source": "tests", "id": first["id"]})
    ok(acme.send(less))
    assert recognised(database, clock, "acme") == {"credits_used": 5_00}
    agree(database, clock)


def test_what_is_taken_back_is_no_longer_owed_to_anybody(
    api: Api, database: Database, clock: Clock
) -> None:
    acme = customer(api, "acme")
    grant = bought(acme, 40, "10.00")
    used(acme, 1, 10)
    ok(api.post(f"{acme.path}/grants/{grant}/void", {"reason": "a test"}))
    found = {"credits_used": 1_25, "credits_returned": 8_75}
    assert recognised(database, clock, "acme") == found
    agree(database, clock)


def test_included_credits_are_paid_by_time_and_not_again_by_use(
    api: Api, database: Database, clock: Clock
) -> None:
    acme = customer(api, "acme", tier="pro")
    used(acme, 3, 10)
    # 22 of 30 days of 99.00.
    assert recognised(database, clock, "acme") == {"tier_fees": 72_60}
    clock.forward(40 * DAY)
    both = Span(date(2026, 11, 1), date(2027, 1, 9))
    assert recognised(database, clock, "acme", both) == {"tier_fees": 198_00}
    agree(database, clock)


def test_overage_is_revenue_when_used(api: Api, database: Database, clock: Clock) -> None:
    acme = customer(api, "acme", tier="starter")
    ok(api.patch(f"{acme.path}/spending", {"on_empty": "overage", "overage_limit": "100.00"}))
    used(acme, 101, 10)
    clock.forward(DAY)
    used(acme, 1, 10)
    # Twice 5 credits at 0.08, a day apart.
    today = Span(date(2026, 11, 10), date(2026, 11, 11))
    assert recognised(database, clock, "acme", today)["overage"] == 40
    assert recognised(database, clock, "acme")["overage"] == 80
    agree(database, clock)


def test_seats_that_come_and_go_are_paid_for_the_days_they_were_there(
    api: Api, database: Database, clock: Clock
) -> None:
    acme = customer(api, "acme", tier="seat", seats=10, charging="shadow")
    clock.forward(15 * DAY)
    ok(api.put(acme.path, {"name": "Acme", "tier": "seat", "seats": 20}))
    clock.forward(30 * DAY)
    period = Span(date(2026, 11, 9), date(2026, 12, 9))
    assert recognised(database, clock, "acme", period) == {"tier_fees": 735_00}
    agree(database, clock)


def test_work_that_may_not_be_charged_is_told_with_what_it_cost(
    api: Api, database: Database, clock: Clock
) -> None:
    acme = customer(api, "acme")
    bought(acme, 10, "1.00")
    used(acme, 4, 8_000)
    found = figures(database, clock, "acme")
    assert (found.credits_micro, found.uncollected_micro) == (10_000_000, 10_000_000)
    # Half of four times 3.75 cents.
    assert found.leaked_nano_usd == NANO * 75 // 1000
    agree(database, clock)


def test_another_currency_is_converted_by_the_stated_rate_or_stands_apart(
    api: Api, database: Database, clock: Clock
) -> None:
    for name, currency in (("berlin", "eur"), ("tokyo", "jpy"), ("boston", "usd")):
        one = customer(api, name, currency=currency)
        bought(one, 10, "100" if currency == "jpy" else "10.00", currency=currency)
        used(one, 2, 8_000)
    revenue.bring_up_to_date(database, now=clock())
    with database.reading() as tx:
        total = whole.totals(tx, NOVEMBER)
        listed = margins.of_organizations(tx, NOVEMBER, sort="-margin")
    assert [one.organization_id for one in listed] == ["berlin", "boston", "tokyo"]
    assert [one.figures.revenue_nano_usd for one in listed] == [11 * NANO, 10 * NANO, None]
    assert [one.currency for one in total.apart] == ["jpy"]
    assert total.apart[0].revenue.credits_used_minor == 100
    assert total.revenue_nano_usd == 21 * NANO
    assert total.margin_nano_usd == 21 * NANO - 150_000_000
    assert total.cost_nano_usd == 225_000_000
    agree(database, clock)


def test_a_cost_belongs_to_the_action_of_its_run(
    api: Api, database: Database, clock: Clock
) -> None:
    acme = customer(api, "acme")
    acme.grant(100)
    call = {"model": "house", "usage": {"input_tokens": 8_000}}
    ok(
        acme.send(
            acme.event("document", run="one"),
            acme.event("cost.inference", run="one", **call),
            acme.event("cost.inference", run="two", **call),
            acme.event("cost.inference", **call),
        )
    )
    revenue.bring_up_to_date(database, now=clock())
    with database.reading() as tx:
        found = slices.by_action(tx, NOVEMBER, "acme")
    each = {one.label: one.figures.cost.total_nano_usd for one in found}
    assert each == {"document": 37_500_000, "": 75_000_000}
    agree(database, clock)


def test_a_team_has_its_own_use_and_its_share_of_the_fee(
    api: Api, database: Database, clock: Clock
) -> None:
    acme = customer(api, "acme", tier="flat", charging="shadow")
    ok(api.put(f"{acme.path}/teams/red", {"name": "Red"}), 201)
    ok(api.put(f"{acme.path}/teams/blue", {"name": "Blue"}), 201)
    used(acme, 1, 8_000, team="red")
    used(acme, 2, 8_000, team="blue")
    revenue.bring_up_to_date(database, now=clock())
    period = Span(date(2026, 11, 9), date(2026, 12, 9))
    with database.reading() as tx:
        found = {one.label: one.figures for one in slices.by_team(tx, period, "acme")}
    assert found["red"].revenue.tier_fees_minor == 100_00
    assert found["blue"].revenue.tier_fees_minor == 200_00
    assert found["blue"].cost.by_layer["inference"] == 75_000_000
    agree(database, clock)


def test_a_cost_that_nobody_believes_yet_is_not_in_the_margin(
    application: Flask, api: Api, database: Database, clock: Clock
) -> None:
    acme = customer(api, "acme")
    send(acme, "9990.01")
    booked = 25_157_500
    assert figures(database, clock, "acme").cost.total_nano_usd == booked
    (review,) = waiting(application)
    run(application, "costs", "review", "--accept", review)
    assert figures(database, clock, "acme").cost.total_nano_usd == 9_990_010_000_000


def test_every_order_shows_every_customer_once_on_whatever_pages(
    api: Api, database: Database, clock: Clock
) -> None:
    for number in range(7):
        currency = "jpy" if number == 3 else "usd"
        one = customer(api, f"org{number}", currency=currency)
        bought(one, 100, f"{10 + number // 2}", currency=currency)
        used(one, number % 3 + 1, 1000 * (number // 2))
    revenue.bring_up_to_date(database, now=clock())
    for sort in ("name", "-name", "margin", "-revenue", "cost", "-credits", "-growth"):
        with database.reading() as tx:
            whole = margins.of_organizations(tx, NOVEMBER, sort=sort)
            found, after = [], None
            while page := margins.of_organizations(tx, NOVEMBER, sort=sort, after=after, limit=3):
                found += page
                after = margins.place_of(page[-1], sort)
        assert found == whole
        assert len(whole) == 7
        values = [margins.place_of(one, sort)[0] for one in whole]
        if sort not in {"name", "-name"}:
            known = [int(value) for value in values if value]
            assert known == sorted(known, reverse=sort.startswith("-"))
            assert values[len(known) :] == [""] * (7 - len(known))


def test_an_order_that_does_not_exist_is_refused(database: Database) -> None:
    with database.reading() as tx, pytest.raises(InvalidRequest, match="not one of"):
        margins.of_organizations(tx, NOVEMBER, sort="luck")


def test_a_tier_whose_price_nobody_stated_is_told(
    api: Api, database: Database, clock: Clock
) -> None:
    customer(api, "asked", tier="enterprise")
    customer(api, "abroad", tier="seat", seats=1, currency="eur")
    customer(api, "known", tier="seat", seats=1)
    customer(api, "none")
    revenue.bring_up_to_date(database, now=clock())
    with database.reading() as tx:
        found = {one.organization_id: one.fee_stated for one in margins.each(tx, NOVEMBER)}
    assert found == {"asked": False, "abroad": False, "known": True, "none": True}


def test_growth_is_against_the_span_before(api: Api, database: Database, clock: Clock) -> None:
    acme = customer(api, "acme")
    bought(acme, 100, "10.00")
    used(acme, 2, 8_000)
    clock.forward(30 * DAY)
    used(acme, 6, 8_000)
    revenue.bring_up_to_date(database, now=clock())
    december = Span(date(2026, 12, 1), date(2027, 1, 1))
    with database.reading() as tx:
        found = margins.of_organization(tx, "acme", december)
        total = whole.totals(tx, december)
    assert found.before.revenue_minor == 1_00
    assert found.before.cost_nano_usd == 75_000_000
    assert found.figures.margin_nano_usd == 3 * NANO - 225_000_000
    assert found.growth_nano_usd == 2 * NANO - 150_000_000
    assert total.before_revenue_nano_usd == NANO
    assert total.before_cost_nano_usd == 75_000_000
