"""The margin over HTTP: who may ask, what is answered, and two users who pay the same."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from portal.db import Database
from tests import servers
from tests.cast import Api, make_key, ok, refused
from tests.clock import Clock
from tests.margin.operator import bought, customer, open_business, used

DAYS = "start=2026-11-01&end=2026-12-01"


@pytest.fixture
def business(application: Flask, database: Database, clock: Clock) -> None:
    open_business(database, clock)


@pytest.mark.usefixtures("business")
def test_the_operator_is_answered_and_nobody_else(
    api: Api, database: Database, clock: Clock
) -> None:
    customer(api, "acme")
    scopes = ["read", "meter", "manage"]
    theirs = api.holding(make_key(database, clock, organization="acme", scopes=scopes))
    meter = api.holding(make_key(database, clock, scopes=["meter", "manage"]))
    reader = api.holding(make_key(database, clock, scopes=["read"]))
    for path in ("/v1/margin", "/v1/margin/organizations", "/v1/margin/organizations/acme"):
        refused(theirs.get(path), 403, "not-allowed")
        refused(meter.get(path), 403, "not-allowed")
        refused(api.holding("").get(path), 401, "unauthenticated")
        ok(reader.get(path))
    refused(api.get("/v1/margin/organizations/nobody"), 404, "unknown-organization")


@pytest.mark.usefixtures("business")
def test_a_question_that_cannot_be_answered_is_refused_with_its_place(api: Api) -> None:
    for query, pointer in (
        ("start=2026-11-02&end=2026-11-02", "/end"),
        ("start=2016-11-02", "/start"),
        ("start=soon", "/start"),
        ("by=day", "/by"),
    ):
        found = refused(api.get(f"/v1/margin?{query}"), 422, "invalid-request")
        assert found["errors"][0]["pointer"] == pointer
    for query in ("sort=luck", "cursor=abc", "limit=0"):
        refused(api.get(f"/v1/margin/organizations?{query}"), 422, "invalid-request")


@pytest.mark.usefixtures("business")
def test_the_answer_says_what_was_paid_what_it_cost_and_what_is_left(
    api: Api, clock: Clock
) -> None:
    acme = customer(api, "acme", tier="flat", charging="on", currency="usd")
    bought(acme, 10, "10.00")
    berlin = customer(api, "berlin", currency="eur")
    bought(berlin, 10, "10.00", currency="eur")
    tokyo = customer(api, "tokyo", currency="jpy")
    bought(tokyo, 10, "100", currency="jpy")
    for one in (acme, berlin, tokyo):
        used(one, 1, 8_000)
    found = ok(api.get(f"/v1/margin?{DAYS}"))
    # 22 of 30 days of 300.00, half of 10.00 and half of 10.00 euros at 1.1.
    assert found["revenue_usd"] == "230.5"
    assert found["cost"]["total_usd"] == "0.1125"
    assert found["cost"]["cost_by_layer"]["inference"] == "0.1125"
    assert found["cost"]["cost_by_quality"] == {
        "measured": "0", "priced": "0.1125", "allocated": "0",
    }  # fmt: skip
    assert found["margin_usd"] == "230.425"
    assert found["margin_percent"] == "100"
    assert found["rates"] == {"eur": "1.1"}
    (apart,) = found["apart"]
    assert (apart["currency"], apart["revenue"]["total"]) == ("jpy", "50")
    assert (apart["cost_usd"], apart["margin_usd"]) == ("0.0375", None)
    assert found["as_of"] == clock().isoformat()
    assert found["not_up_to_date"] == 0
    (flat,) = [one for one in found["by_tier"] if one["tier"] == "flat"]
    assert flat["revenue"]["tier_fees"] == "220"
    one = ok(api.get(f"/v1/margin/organizations/acme?{DAYS}"))
    assert one["waterfall"] == [
        {"step": "tier_fees", "usd": "220"},
        {"step": "credits_used", "usd": "5"},
        {"step": "inference", "usd": "-0.0375"},
    ]
    assert one["margin_usd"] == "224.9625"
    assert [cut["action"] for cut in one["by_action"]] == ["document"]
    assert len(one["by_month"]) == 1


@pytest.mark.usefixtures("business")
def test_pages_of_customers_follow_each_other(api: Api) -> None:
    for number in range(5):
        used(customer(api, f"org{number}"), 1, 1000 * number)
    path = f"/v1/margin/organizations?{DAYS}&sort=-cost&limit=2"
    names, cursor = [], ""
    while cursor is not None:
        page = ok(api.get(f"{path}{cursor and f'&cursor={cursor}'}"))
        names += [one["organization"] for one in page["data"]]
        cursor = page["next_cursor"]
    assert names == ["org4", "org3", "org2", "org1", "org0"]
    first = ok(api.get(path))["next_cursor"]
    other = f"/v1/margin/organizations?{DAYS}&sort=cost&cursor={first}"
    refused(api.get(other), 422, "invalid-request")


@dataclass
class Client:
    """A client of the running server that holds a service key."""

    address: str
    secret: str

    def call(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.secret}", **more.pop("headers", {})}
        url = f"{self.address}{path}"
        answer = requests.request(method, url, headers=headers, timeout=60, **more)
        assert answer.status_code == status, answer.text
        return answer.json()

    def ask(self, number: int, tokens: int, of: str) -> None:
        """Have a customer make requests, which are told a thousand at a time."""
        made = [
            {
                "specversion": "1.0",
                "id": f"{of}-{one}",
                "source": "product",
                "subject": of,
                "type": "document",
                "data": {"model": "house", "usage": {"input_tokens": tokens}},
            }
            for one in range(number)
        ]
        batch = {"Content-Type": "application/cloudevents-batch+json"}
        for first in range(0, number, 1000):
            sent = made[first : first + 1000]
            answer = self.call("POST", "/v1/events", json=sent, headers=batch)
            assert answer["accepted"] == len(sent)


@pytest.fixture(scope="module")
def served(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A running server with the operator's books."""
    path = shutil.copy(sqlite_template, tmp_path_factory.mktemp("served") / "store.db")
    database = Database(f"sqlite:///{path}")
    clock = Clock(datetime.now(UTC))
    open_business(database, clock)
    secret = make_key(database, clock)
    database.close()
    with servers.serving(f"sqlite:///{path}") as port:
        yield Client(f"http://127.0.0.1:{port}", secret)


def test_two_users_pay_the_same_and_one_costs_nine_times_that(served: Client) -> None:
    """40 requests of 500 tokens, and 12,000 of 8,000 for 450.00, over HTTP from end to end."""
    found = {}
    for name, number, tokens in (("light", 40, 500), ("heavy", 12_000, 8_000)):
        body = {"name": name, "tier": "seat", "seats": 1, "charging": "shadow"}
        made = served.call("PUT", f"/v1/organizations/{name}", 201, json=body)
        served.ask(number, tokens, name)
        start, end = (made["period"][bound][:10] for bound in ("start", "end"))
        asked = f"/v1/margin/organizations/{name}?start={start}&end={end}"
        found[name] = served.call("GET", asked)
    assert found["heavy"]["cost_usd"] == "450"
    assert [one["revenue"]["total"] for one in found.values()] == ["49", "49"]
    assert [one["margin_percent"] for one in found.values()] == ["99.8", "-818.4"]


@pytest.mark.usefixtures("business")
@pytest.mark.parametrize("value", ["9" * 30, str(2**63), "\u0663", "1e5", "NaN", " 1"])
def test_a_place_with_a_number_that_no_store_holds_is_refused(api: Api, value: str) -> None:
    place = json.dumps(["margin:margin:2026-11-01:2026-12-01", value, "acme"])
    cursor = base64.urlsafe_b64encode(place.encode()).decode()
    found = refused(
        api.get(f"/v1/margin/organizations?{DAYS}&cursor={cursor}"), 422, "invalid-request"
    )
    assert found["errors"][0]["pointer"] == "/cursor"


@pytest.mark.usefixtures("business")
def test_the_span_before_counts_the_same_customers_as_the_span(
    api: Api, database: Database, clock: Clock
) -> None:
    for name, currency in (("tokyo", "jpy"), ("boston", "usd")):
        one = customer(api, name, currency=currency)
        bought(one, 10, "100" if currency == "jpy" else "10.00", currency=currency)
        used(one, 2, 8_000)
    days = [ok(api.get(f"/v1/margin?{days}")) for days in (DAYS, "start=2026-12-01&end=2027-01-01")]
    now, then = days[0], days[1]["before"]
    assert then["revenue_usd"] == now["revenue_usd"]
    assert then["cost_usd"] == now["cost"]["total_usd"]
    assert then["margin_usd"] == now["margin_usd"]
