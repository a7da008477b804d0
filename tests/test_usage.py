"""Usage: whatever it is grouped and filtered by, it adds up to the ledger."""

from __future__ import annotations

import csv
import io
import itertools
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from portal import usage
from portal.core.costs import LAYERS
from portal.db import Database
from tests import digest
from tests.cast import Api, Customer, make_key, ok, refused
from tests.clock import Clock

GROUPS = ("day", "action", "member", "team", "project", "model", "run")
FIELDS = ("credits", "quantity", "uncollected", "events")
RANGE = "start=2026-10-01&end=2026-12-01"


@pytest.fixture
def used(api: Api, clock: Clock) -> Customer:
    """Acme in Kathmandu, with two days of use of every kind, more than it has credits for."""
    body = {"name": "Acme", "timezone": "Asia/Kathmandu"}
    ok(api.put("/v1/organizations/acme", body), 201)
    acme = Customer(api, "acme")
    ok(api.put(f"{acme.path}/teams/research", {"name": "Research"}), 201)
    person = {"email": "cleo@acme.example", "team": "research"}
    ok(api.put(f"{acme.path}/members/cleo", person), 201)
    acme.grant("99.5")
    kinds = itertools.cycle(["document", "analysis", "image"])
    people = itertools.cycle([
        {"member": "cleo", "run": "run-1"}, {"member": "ben", "project": "atlas", "run": "run-2"},
        {}])  # fmt: skip
    for _ in range(3):
        events = [
            acme.event(
                next(kinds), quantity="0.75", time=clock() - timedelta(hours=7 * n),
                model=f"model-{n % 2}", **next(people),
            )
            for n in range(8)
        ]  # fmt: skip
        ok(acme.capture(acme.hold("image", "1.5", **next(people)), quantity="0.333333"))
        ok(acme.send(*events))
        clock.forward(timedelta(hours=5))
    corrected = acme.event("image", member="cleo", run="run-1")
    ok(acme.send(corrected))
    ok(acme.send(acme.event("image", corrects=corrected["id"], quantity="0.25")))
    ok(acme.send(acme.event("cost.retrieval", member="cleo", costs=[
        {"layer": "retrieval", "amount_usd": "0.000000001"}])))  # fmt: skip
    return acme


def _sheet(used: Customer, query: str) -> list[dict[str, str]]:
    answer = used.api.get(f"{used.path}/usage?{query}", headers={"Accept": "text/csv"})
    assert answer.content_type == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))


def sums(rows: list[dict[str, Any]]) -> dict[str, Decimal]:
    return {name: sum((Decimal(row[name]) for row in rows), Decimal()) for name in FIELDS}


def in_ledger(database: Database) -> tuple[Decimal, Decimal]:
    found = digest.balances(database)
    return (
        Decimal(found["acme", "captured"]).scaleb(-6),
        Decimal(found["acme", "uncollected"]).scaleb(-6),
    )


def test_every_grouping_adds_up_to_the_totals_and_to_the_ledger(
    used: Customer, bystander: Customer, database: Database
) -> None:
    totals = sums([used.usage(RANGE)["totals"]])
    captured, uncollected = in_ledger(database)
    assert totals["credits"] == captured
    assert totals["uncollected"] == uncollected
    assert uncollected > 0
    for size in (1, 2, 3, 7):
        for groups in itertools.combinations(GROUPS, size):
            found = used.usage(f"{RANGE}&group_by={','.join(groups)}")
            assert sums([found["totals"]]) == totals
            assert sums(found["data"]) == totals
            keys = [tuple(row[name] for name in groups) for row in found["data"]]
            assert len(keys) == len(set(keys))


def test_every_filter_is_a_part_and_the_parts_are_the_whole(used: Customer) -> None:
    totals = sums([used.usage(RANGE)["totals"]])
    for group in GROUPS[1:]:
        rows = used.usage(f"{RANGE}&group_by={group}")["data"]
        parts = [used.usage(f"{RANGE}&{group}={row[group] or ''}")["totals"] for row in rows]
        assert [sums([part]) for part in parts] == [sums([row]) for row in rows]
        assert sums(parts) == totals


def test_days_are_the_organizations(used: Customer) -> None:
    rows = used.usage(f"{RANGE}&group_by=day")["data"]
    parts = [
        used.usage(f"start={row['day']}&end={row['day'][:8]}{int(row['day'][8:]) + 1:02}")["totals"]
        for row in rows
    ]
    assert [part["credits"] for part in parts] == [row["credits"] for row in rows]
    # 18:14:59 UTC is the last second of a day in Kathmandu.
    before = used.usage("start=2026-11-09&end=2026-11-10")["totals"]["events"]
    events = [
        used.event("image", quantity=0, time="2026-11-09T18:14:59.999999Z"),
        used.event("image", quantity=0, time="2026-11-09T18:15:00Z"),
    ]
    ok(used.send(*events))
    assert used.usage("start=2026-11-09&end=2026-11-10")["totals"]["events"] == before + 1


def test_the_table_and_the_answer_say_the_same(used: Customer) -> None:
    query = f"{RANGE}&group_by=member,action"
    answer = used.api.get(f"{used.path}/usage?{query}", headers={"Accept": "text/csv"})
    assert answer.status_code == 200
    rows = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True), newline="")))
    expected = used.usage(query)["data"]
    assert rows == [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in expected
    ]


def test_a_name_that_looks_like_a_formula_is_none(acme: Customer) -> None:
    for name in ("=1+1", "+1", "-1", "@sum", "plain"):
        ok(acme.send(acme.event("image", quantity="0.1", member=name)))
    answer = acme.api.get(f"{acme.path}/usage?group_by=member", headers={"Accept": "text/csv"})
    cells = [row[0] for row in csv.reader(io.StringIO(answer.get_data(as_text=True)))][1:]
    assert sorted(cells) == sorted(["'=1+1", "'+1", "'-1", "'@sum", "plain"])


def test_days_and_the_instants_they_begin_with_ask_the_same(used: Customer) -> None:
    days, instants = (
        "start=2026-11-08&end=2026-11-10",
        ("start=2026-11-07T18:15:00Z&end=2026-11-10T00:00:00%2B05:45"),
    )
    assert used.usage(days)["totals"] == used.usage(instants)["totals"]
    listed = [ok(used.api.get(f"{used.path}/events?{query}")) for query in (days, instants)]
    assert listed[0]["data"] == listed[1]["data"] != []
    refused(used.api.get(f"{used.path}/usage?start=2026-11-08T00:00:00Z"), 422, "invalid-request")


def test_events_are_listed_newest_first_and_each_once(used: Customer) -> None:
    whole = ok(used.api.get(f"{used.path}/events?limit=200"))
    assert whole["next_cursor"] is None
    times = [one["time"] for one in whole["data"]]
    assert times == sorted(times, reverse=True)
    found: list[Any] = []
    cursor = ""
    while True:
        page = ok(used.api.get(f"{used.path}/events?limit=4{cursor}"))
        found += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == whole["data"]


def test_a_receipts_grants_add_up_to_what_was_charged(used: Customer, database: Database) -> None:
    charged = paid = Decimal()
    for one in ok(used.api.get(f"{used.path}/events?limit=200"))["data"]:
        receipt = ok(used.api.get(f"{used.path}/events/{one['id']}?source={one['source']}"))
        parts = sum((Decimal(line["credits"]) for line in receipt["paid_by"]), Decimal())
        assert parts == Decimal(one["credits"])
        charged += Decimal(one["credits"])
        paid += parts
    assert (charged, paid) == (in_ledger(database)[0],) * 2


def test_costs_add_up_and_are_the_operators_alone(
    used: Customer, database: Database, clock: Clock
) -> None:
    priced = used.event("document", quantity=0, member="cleo", costs=[
        {"layer": "inference", "amount_usd": "0.0000000375"[:11]},
        {"layer": "storage", "amount_usd": 0.25},
    ])  # fmt: skip
    ok(used.send(priced))
    totals = used.usage(f"{RANGE}&include=cost")["totals"]
    assert Decimal(totals["cost_usd"]) == sum(map(Decimal, totals["cost_by_layer"].values()))
    for group in (*usage.GROUPS, "team,project", "run,model"):
        rows = used.usage(f"{RANGE}&include=cost&group_by={group}")["data"]
        parts = sum((Decimal(row["cost_usd"]) for row in rows), Decimal())
        assert parts == Decimal(totals["cost_usd"])
        sheet = _sheet(used, f"{RANGE}&include=cost&group_by={group}")
        assert sum((Decimal(row["cost_usd"]) for row in sheet), Decimal()) == parts
        layers = sum((Decimal(row[name]) for row in sheet for name in LAYERS), Decimal())
        assert layers == parts
    of_cleos = used.usage(f"{RANGE}&include=cost&member=cleo")["totals"]
    assert used.usage(f"{RANGE}&include=cost&team=research")["totals"] == of_cleos
    own = used.api.holding(make_key(database, clock, organization="acme", scopes=["read"]))
    for path in ("usage?group_by=member", "events", f"events/{priced['id']}", "balance"):
        text = own.get(f"{used.path}/{path}").get_data(as_text=True)
        assert "cost" not in text
        assert "model" not in text
    refused(own.get(f"{used.path}/usage?include=cost"), 403, "not-allowed")


def test_a_filter_that_is_misspelt_is_refused_and_not_ignored(acme: Customer) -> None:
    problem = refused(acme.api.get(f"{acme.path}/usage?memebr=ana"), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "/memebr"
