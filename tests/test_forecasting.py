"""The forecast of an organization's period through grants, caps and overage, now and then."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from portal import accounts, forecast_record, forecasting, jobs
from portal.billing.gateway import Gateway
from portal.core.forecast import MOST_DAYS
from portal.db import Database
from portal.jobs import Workshop
from portal.recommendation import recommended
from portal.web.formats import rounded
from tests.cast import Customer, make_key, ok, refused
from tests.clock import Clock
from tests.readers import enter

DAY = timedelta(days=1)
#: The end of the clock's ninth of November, as seen from the tenth day.
TENTH = datetime(2026, 11, 10, tzinfo=UTC)


@pytest.fixture
def import_days(acme: Customer, database: Database, clock: Clock) -> Callable[..., None]:
    """Bring in history that was never charged: a quantity of an action on each day before now."""

    def act(quantities: list[int], action: str = "image", **more: Any) -> None:
        secret = make_key(database, clock, scopes=("read", "meter", "manage", "backfill"))
        first = clock() - len(quantities) * DAY
        events = [
            acme.event(action, time=first + place * DAY, quantity=one, charge=False, **more)
            for place, one in enumerate(quantities)
            if one
        ]
        for begin in range(0, len(events), 500):
            ok(acme.send(*events[begin : begin + 500], api=acme.api.holding(secret)))

    return act


def told(acme: Customer, query: str = "") -> Any:
    return ok(acme.api.get(f"{acme.path}/forecast{query}"))


def figures(projected: Any) -> tuple[Decimal, ...]:
    return tuple(Decimal(projected[name]) for name in ("p10", "p50", "p90"))


def test_a_steady_month_is_carried_to_its_end(
    acme: Customer, import_days: Callable[..., None], clock: Clock
) -> None:
    acme.grant(10_000)
    import_days([5] * 60)
    found = told(acme)
    # Image: 2 credits. Nine days of November so far, the ninth by noon; 21.5 to come.
    assert found["spent"] == "80"
    low, middle, high = figures(found["projected"])
    assert middle == pytest.approx(80 + Decimal("21.5") * 10, rel=Decimal("0.001"))
    assert 80 < low < middle < high < 500
    assert found["by_action"]["image"]["projected"]["p50"] == found["projected"]["p50"]
    assert found["overage"] == {"p50": "0", "p90": "0", "currency": "usd"}
    assert found["runs_out_at"] is None
    assert "refused" not in found


def test_a_first_day_is_too_early_and_says_why(acme: Customer) -> None:
    ok(acme.send(acme.event("document")))
    found = told(acme)
    assert found["projected"] is None
    assert found["overage"] is None
    assert found["refused"] == "nothing was used on a whole day yet, and a projection needs three"
    assert found["by_action"] == {"document": {"spent": found["spent"], "projected": None}}


def test_where_work_stops_at_zero_no_more_is_projected_than_is_there(
    acme: Customer, import_days: Callable[..., None]
) -> None:
    import_days([5] * 60)
    found = told(acme)
    assert figures(found["projected"]) == (180, 180, 180)
    out = found["runs_out_at"]
    assert out["p10"] < out["p50"] < out["p90"]
    assert out["p50"].startswith("2026-11-19T")


def test_what_was_only_brought_in_to_be_measured_is_not_stopped_at_zero(
    acme: Customer, import_days: Callable[..., None]
) -> None:
    import_days([5] * 60)
    found = told(acme, "?at=2026-11-05T00:00:00Z")
    assert found["runs_out_at"] is None
    assert figures(found["projected"])[1] > 200


def test_a_hard_cap_bounds_the_projection(acme: Customer, import_days: Callable[..., None]) -> None:
    acme.grant(10_000)
    import_days([5] * 60)
    acme.cap(150)
    assert figures(told(acme)["projected"]) == (150, 150, 150)


def test_beyond_the_credits_it_is_priced_up_to_the_limit(
    api: Any, import_days: Callable[..., None], acme: Customer
) -> None:
    ok(api.put(acme.path, {"name": "Acme", "tier": "pro"}))
    ok(api.patch(f"{acme.path}/spending", {"on_empty": "overage", "overage_limit": "20.00"}))
    import_days([500] * 60)
    found = told(acme)
    assert Decimal(found["overage"]["p50"]) == Decimal("20.00")
    assert Decimal(found["overage"]["p90"]) == Decimal("20.00")


def test_a_past_instant_knows_what_was_used_until_then_and_no_more(
    acme: Customer, import_days: Callable[..., None], clock: Clock
) -> None:
    import_days([5] * 60 + [300, 300, 300])
    then = clock() - 3 * DAY
    at = (then - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    found = told(acme, f"?at={at}")
    assert found["as_of"] == (then - timedelta(hours=1)).isoformat()
    assert found["spent"] == "50"
    assert figures(found["projected"])[1] < 350
    later = (then + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert told(acme, f"?at={later}")["spent"] == "650"


def test_an_instant_to_come_is_refused(acme: Customer) -> None:
    refused(acme.api.get(f"{acme.path}/forecast?at=2027-01-01T00:00:00Z"), 422, "invalid-request")


def test_a_long_history_is_read_for_some_four_hundred_days(
    acme: Customer, import_days: Callable[..., None], database: Database, clock: Clock
) -> None:
    acme.grant(10**6)
    import_days([1000] * 100 + [5] * (MOST_DAYS + 1))
    assert figures(told(acme)["projected"])[1] < 320


def test_what_was_said_is_kept_once_a_day_and_told_against_what_came(
    acme: Customer,
    import_days: Callable[..., None],
    application: Flask,
    database: Database,
    clock: Clock,
) -> None:
    acme.grant(10_000)
    import_days([5] * 60)
    shop = Workshop(database, Gateway(""), clock)
    assert jobs.keep_forecasts(shop) == 1
    assert jobs.keep_forecasts(shop) == 0
    ok(acme.send(acme.event("image", quantity=5)))
    clock.set(TENTH)
    while clock() < datetime(2026, 12, 1, tzinfo=UTC):
        assert jobs.keep_forecasts(shop) == 1
        clock.forward(timedelta(hours=12))
        assert jobs.keep_forecasts(shop) == 0
        ok(acme.send(acme.event("image", quantity=5)))
        clock.forward(timedelta(hours=12))
    assert jobs.keep_forecasts(shop) == 1
    with database.reading() as tx:
        organization = accounts.find_organization(tx, acme.id)
        november = organization.period_at(datetime(2026, 11, 15, tzinfo=UTC))
        found = forecast_record.record(tx, organization, november, now=clock())
        running = forecast_record.record(
            tx, organization, organization.period_at(clock()), now=clock()
        )
    assert found.came_micro == 300 * 10**6
    assert [one.day.day for one in found.days] == list(range(9, 31))
    assert found.held_days == len(found.days)
    assert (running.came_micro, running.days[0].held) == (None, None)
    page = enter(application, database, clock, "ana").client.get("/").text
    said = next(one for one in found.days if one.day.day == 10).projection
    told_range = f"{rounded(said.low_micro)} to {rounded(said.high_micro)}"
    assert f'On 10 November we said {told_range}; it came to <b class="num">300</b>' in page
    assert '<b class="num">22 of 22</b> days' in page
    cleos = enter(application, database, clock, "cleo").client.get("/").text
    assert "we said" not in cleos


def test_the_page_says_where_it_goes_and_what_moves_it(
    acme: Customer,
    import_days: Callable[..., None],
    application: Flask,
    database: Database,
    clock: Clock,
) -> None:
    acme.grant(10_000)
    import_days([5] * 53 + [10] * 7, member="cleo", team="research")
    import_days([1] * 60, "document", member="ana")
    page = enter(application, database, clock, "ana").client.get("/").text
    assert "On course for" in page
    assert "are up 100%" in page
    with database.reading() as tx:
        organization = accounts.find_organization(tx, acme.id)
        found = forecasting.moved_by(tx, organization, now=clock())
    assert found is not None
    assert (found.action, found.change_percent) == ("image", 100)


def test_a_plan_is_advised_for_the_work_that_is_wanted_where_the_credits_run_out(
    acme: Customer, import_days: Callable[..., None], database: Database, clock: Clock
) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    import_days([40] * 60)
    ok(acme.send(acme.event("image", quantity=350)))
    assert acme.standing == ("0", "0")
    with database.reading() as tx:
        organization = accounts.find_organization(tx, acme.id)
        found = recommended(tx, organization, now=clock())
    assert found is not None
    assert found.best is not None
    assert found.best.tier == "pro"
    assert found.projected_micro > 2_000 * 10**6


def test_the_day_the_credits_run_out_stands_in_the_sentence_and_in_the_picture(
    acme: Customer,
    import_days: Callable[..., None],
    application: Flask,
    database: Database,
    clock: Clock,
) -> None:
    import_days([5] * 60)
    ana = enter(application, database, clock, "ana")
    page = ana.client.get("/").text
    (day,) = re.findall(r"At this pace credits run out on (\d+ Nov)", page)
    assert f">Credits run out {day}</text>" in page
    (x,) = re.findall(r'class="out-line" x1="([\d.]+)%"', page)
    assert float(x) == pytest.approx((int(day.split()[0]) - 0.5) * 100 / 30, abs=2)
    acme.grant(10_000)
    assert "out-line" not in ana.client.get("/").text
