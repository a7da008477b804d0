"""Routing: which model did which requests, and what a fitting one would have cost."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from portal import cost_books
from portal.core.costs import ModelUsage
from portal.core.margin.figures import Span
from portal.core.routing import Calls, Route, classify, priced, routed
from portal.db import Database
from portal.margin import routing
from portal.tables import event_costs, events
from tests.cast import Api, Customer, make_key, ok, refused
from tests.clock import Clock

NOVEMBER = "start=2026-11-01&end=2026-12-01"
DAY = date(2026, 11, 9)
#: Dollars for a million tokens: what is small costs a tenth of what is big.
COSTS = """
effective_at = 2026-01-01T00:00:00Z

[models.big]
input = 10
output = 30

[models.small]
input = 1
output = 3

[routing.formatting]
model = "small"

[routing.summary]
model = "small"
provider = "house"

[routing.standard]
model = "nobody-prices-this"
"""


@pytest.fixture
def costs(database: Database, clock: Clock) -> None:
    with database.transaction() as tx:
        cost_books.load(tx, COSTS, now=clock())


def called(
    acme: Customer, model: str, tokens_in: int, tokens_out: int, number: int = 1, **more: Any
) -> None:
    """Send calls of a model, each with so many tokens."""
    usage = {"input_tokens": tokens_in, "output_tokens": tokens_out} | more.pop("usage", {})
    made = [
        acme.event("cost.inference", provider="house", model=model, usage=usage, **more)
        for _ in range(number)
    ]
    assert ok(acme.send(*made))["rejected"] == []


def routes(api: Api) -> dict[tuple[str, str], Any]:
    body = ok(api.get(f"/v1/margin/routing?{NOVEMBER}"))
    return {
        (one["request_type"], model["model"]): model
        for one in body["data"]
        for model in one["models"]
    }


@pytest.mark.usefixtures("costs")
def test_what_was_missed_and_saved_is_what_was_worked_out_by_hand(acme: Customer) -> None:
    # 1,000 in and 200 out cost 1.6 cents on big, 0.16 cents on small.
    called(acme, "big", 1_000, 200, 10)
    called(acme, "small", 1_000, 200, 5)
    called(acme, "big", 50_000, 2_000, 2, request_type="summary")
    found = routes(acme.api)
    assert set(found) == {("formatting", "big"), ("formatting", "small"), ("summary", "big")}
    big, small = found["formatting", "big"], found["formatting", "small"]
    assert (big["cost_usd"], big["fitting_cost_usd"], big["missed_usd"]) == (
        "0.16",
        "0.016",
        "0.144",
    )
    assert (small["cost_usd"], small["missed_usd"]) == ("0.008", "0")
    assert small["realised_usd"] == "0.072"
    # 50,000 in and 2,000 out: 56 cents on big, 5.6 on small, twice.
    assert found["summary", "big"]["missed_usd"] == "1.008"
    body = ok(acme.api.get(f"/v1/margin/routing?{NOVEMBER}"))
    assert (body["missed_usd"], body["realised_usd"]) == ("1.152", "0.072")
    assert body["only_summed_calls"] == 0
    assert body["rules"]
    assert body["assumptions"]


@pytest.mark.usefixtures("costs")
def test_what_has_no_price_on_either_side_is_counted_and_compared_with_nothing(
    acme: Customer,
) -> None:
    called(acme, "big", 50_000, 2_000, 3)
    called(acme, "mystery", 100, 10, 2)
    found = routes(acme.api)
    for key, calls in ((("standard", "big"), 3), (("formatting", "mystery"), 2)):
        model = found[key]
        assert (model["calls"], model["unknown_calls"]) == (calls, calls)
        assert (model["cost_usd"], model["missed_usd"]) == ("0", "0")


@pytest.mark.usefixtures("costs")
def test_the_store_classifies_as_the_rule_does(acme: Customer, database: Database) -> None:
    for tokens_in, tokens_out in ((2_000, 500), (2_001, 500), (2_000, 501), (0, 1)):
        called(acme, "big", tokens_in, tokens_out)
    called(acme, "big", 100, 100, usage={"reasoning_tokens": 1})
    called(acme, "big", 100, 100, request_type="code")
    line = event_costs.c
    same = [events.c[name] == line[name] for name in ("organization_id", "source", "event_id")]
    query = select(
        routing.request_class().label("stored"),
        events.c.request_type, line.input_tokens, line.output_tokens, line.reasoning_tokens,
    ).where(*same)  # fmt: skip
    with database.reading() as tx:
        rows = tx.execute(query).all()
    assert sorted(row.stored for row in rows) == [
        "code", "formatting", "formatting", "reasoning", "standard", "standard",
    ]  # fmt: skip
    for row in rows:
        assert row.stored == classify(
            row.request_type,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            reasoning_tokens=row.reasoning_tokens,
        )


@pytest.mark.usefixtures("costs")
def test_only_the_calls_of_the_days_asked_for_are_read(database: Database) -> None:
    if database.dialect != "sqlite":
        pytest.skip("there the plan follows how many rows there are")
    query = routing.calls_of(Span(DAY, DAY + timedelta(days=1)))
    written = query.compile(database.engine, compile_kwargs={"literal_binds": True})
    with database.reading() as tx:
        plan = [row[3] for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {written}")]
    assert any("SEARCH events" in step and "occurred_at>? AND occurred_at<?" in step
               for step in plan), plan  # fmt: skip


def test_a_call_belongs_to_the_local_day_wherever_that_is(acme: Customer) -> None:
    for zone, at in (("Pacific/Kiritimati", "2026-11-08T10:30:00+00:00"),
                     ("Etc/GMT+12", "2026-11-09T11:59:00+00:00")):  # fmt: skip
        far = Customer(acme.api, zone.replace("/", "-").replace("+", "-"))
        ok(acme.api.put(far.path, {"name": zone, "timezone": zone}), 201)
        called(far, "big", 1000, 1000, time=at)
    days = "start=2026-11-08&end=2026-11-10"
    found = ok(acme.api.get(f"/v1/margin/routing?{days}"))["data"]
    assert sum(one["calls"] for one in found) == 2


def test_calls_that_are_kept_as_sums_alone_are_said_to_be_missing(
    acme: Customer, database: Database
) -> None:
    called(acme, "big", 100, 10, 4)
    with database.transaction() as tx:
        first = select(event_costs.c.event_id).order_by(event_costs.c.event_id).limit(1)
        gone = tx.execute(first).scalar_one()
        tx.execute(event_costs.delete().where(event_costs.c.event_id == gone))
        # Put back at once: what is counted here is one look at the store.
        found = routing.report(tx, Span(date(2026, 11, 1), date(2026, 12, 1)))
        tx.rollback()
    assert found.only_summed == 1
    assert sum(row.calls for row in found.rows) == 3


def test_without_a_cost_book_the_defaults_say_what_fits(acme: Customer) -> None:
    called(acme, "gpt-4o", 1_000, 200, 2)
    body = ok(acme.api.get(f"/v1/margin/routing?{NOVEMBER}"))
    (model,) = body["data"][0]["models"]
    assert model["fitting"] == {"provider": "openai", "model": "gpt-4.1-nano"}


def test_it_is_the_operators_alone(acme: Customer, database: Database, clock: Clock) -> None:
    theirs = acme.api.holding(make_key(database, clock, organization="acme"))
    refused(theirs.get("/v1/margin/routing"), 403, "not-allowed")
    refused(
        acme.api.get("/v1/margin/routing?start=2026-12-01&end=2026-11-01"), 422, "invalid-request"
    )


def test_a_model_cheaper_than_the_fitting_one_has_saved_as_well() -> None:
    prices = {"tiny": 1, "small": 10, "big": 100}
    calls = [
        Calls("standard", "", name, DAY, 1, ModelUsage(10), 10 * price)
        for name, price in prices.items()
    ]
    rows = routed(
        calls,
        lambda _: {"standard": Route("small")},
        lambda _, model, usage, __: usage.input_tokens * prices[model],
    )
    assert {row.model: (row.missed_nano_usd, row.realised_nano_usd) for row in rows} == {
        "tiny": (0, 990), "small": (0, 900), "big": (900, 0),
    }  # fmt: skip


def test_the_operators_word_changes_with_the_day_it_is_given() -> None:
    calls = [
        Calls("standard", "house", "big", date(2026, 11, day), 1, ModelUsage(100), 1_000)
        for day in (9, 10)
    ]
    known = {date(2026, 11, 9): Route("small"), date(2026, 11, 10): Route("big")}
    (row,) = routed(
        calls,
        lambda day: {"standard": known[day]},
        lambda _, model, usage, __: usage.input_tokens if model == "small" else 1_000,
    )
    assert (row.calls, row.missed_nano_usd, row.realised_nano_usd) == (2, 900, 0)


def test_where_long_calls_cost_more_by_the_token_a_sum_is_priced_by_its_mean_call() -> None:
    def price(_: str, __: str, usage: ModelUsage, ___: date) -> int:
        # Twice the price from 200,000 tokens on: ten short calls are no long one.
        return usage.input_tokens * (2 if usage.input_tokens > 200_000 else 1) * 1_000

    calls = Calls("standard", "", "big", DAY, 10, ModelUsage(1_000_000), 1)
    assert priced(calls, "", "tiered", price) == 1_000_000_000
