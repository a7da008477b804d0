"""The signals and the verdict over HTTP, from what customers really sent and pay."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from portal import catalog
from portal.core.margin.figures import Span
from portal.db import Database
from portal.margin import signals
from tests.cast import Api, Customer, make_key, ok, refused
from tests.clock import Clock
from tests.subscribers import utc

SEATS = """
[tiers.seat]
name = "Seat"
kind = "per_seat"
price = 49.00
"""
QUARTER = "start=2026-11-01&end=2026-12-01"


@pytest.fixture
def seats(database: Database, clock: Clock) -> None:
    """A price book that also sells seats."""
    text = catalog.DEFAULT_FILE.read_text(encoding="utf-8").replace("2020-01-01", "2026-10-01")
    clock.set(utc(2026, 10, 5))
    with database.transaction() as tx:
        catalog.load(tx, text + SEATS, now=clock())


def seated(api: Api, name: str, dollars: str, clock: Clock) -> Customer:
    """Make a customer on one seat who came in October, and whose work costs so much in November."""
    clock.set(utc(2026, 10, 5))
    body = {"name": name, "tier": "seat", "seats": 1, "charging": "shadow"}
    ok(api.put(f"/v1/organizations/{name}", body), 201)
    made = Customer(api, name)
    clock.set(utc(2026, 11, 20))
    costs = [{"layer": "inference", "amount_usd": dollars}]
    ok(made.send(made.event("document", member="ana", costs=costs)))
    return made


def found(api: Api) -> Any:
    return ok(api.get(f"/v1/margin/signals?{QUARTER}"))


@pytest.mark.usefixtures("seats")
def test_seats_of_which_a_few_cost_most_are_told_with_who_they_are(api: Api, clock: Clock) -> None:
    for number in range(20):
        seated(api, f"n{number:02}", "80" if number < 5 else "0.25", clock)
    clock.set(utc(2026, 12, 1, 12))
    body = found(api)
    by_key = {one["key"]: one for one in body["data"]}
    ratio = by_key["cost-p95-p5"]
    assert (ratio["verdict"], ratio["figure"], ratio["threshold"]) == ("act", 320.0, 100.0)
    assert ratio["n"] == 20
    assert ratio["act"]
    assert ratio["range"]["low"] >= 100
    assert set(by_key["cost-top-share"]["customers"]) <= {f"n{number:02}" for number in range(5)}
    assert by_key["cost-attributed"]["figure"] == 1.0
    assert by_key["churn-inverted"]["silent_because"] == "too-few"
    verdict = body["per_seat"]
    assert verdict["works"] == "no"
    conditions = {one["key"]: one for one in verdict["conditions"]}
    assert conditions["affordable"]["holds"] == "no"
    assert set(conditions["affordable"]["customers"]) == {f"n{number:02}" for number in range(5)}
    assert verdict["pattern"]["key"] == "seats-with-tracking"


@pytest.mark.usefixtures("seats")
def test_of_a_handful_of_customers_every_signal_says_that_it_cannot_tell(
    api: Api, clock: Clock
) -> None:
    for name in ("one", "two"):
        seated(api, name, "5", clock)
    clock.set(utc(2026, 12, 1, 12))
    body = found(api)
    silent = {one["key"] for one in body["data"] if one["silent_because"] == "too-few"}
    assert silent == {one["key"] for one in body["data"]} - {"cost-attributed"}
    assert body["per_seat"]["works"] == "unknown"


def test_it_is_the_operators_alone(acme: Customer, database: Database, clock: Clock) -> None:
    theirs = acme.api.holding(make_key(database, clock, organization="acme"))
    refused(theirs.get("/v1/margin/signals"), 403, "not-allowed")


def test_what_is_looked_at_unless_asked_are_three_months_that_have_ended() -> None:
    assert signals.last_quarter(date(2026, 1, 31)) == Span(date(2025, 10, 1), date(2026, 1, 1))
    assert signals.last_quarter(date(2026, 11, 9)).before == Span(
        date(2026, 5, 1), date(2026, 8, 1)
    )
