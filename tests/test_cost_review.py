"""A stated cost far from the book is not believed until the operator decides."""

from __future__ import annotations

import csv
import gzip
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import select

from portal.core.costs import ModelUsage
from portal.core.events import StatedCost
from portal.core.units import NANO
from portal.costs import cost_line
from portal.db import Database
from portal.tables import audit_log, cost_daily, event_costs
from tests.cast import Customer, make_key, ok
from tests.clock import Clock
from tests.test_cli import run

# 10,023 tokens read and 10 written cost $0.0251575 by the public price of November 2026.
CALL = {
    "layer": "inference", "provider": "openai", "model": "gpt-4o",
    "usage": {"input_tokens": 10_023, "output_tokens": 10},
}  # fmt: skip
BOOKED = "0.0251575"


def send(acme: Customer, amount: str, **more: Any) -> str:
    """Send a cost event with a stated amount and return its id."""
    sent = acme.event("cost.inference", costs=[CALL | {"amount_usd": amount}], **more)
    ok(acme.send(sent))
    return str(sent["id"])


def lines(acme: Customer, event_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok(acme.api.get(f"{acme.path}/events/{event_id}"))["costs"]
    return found


def totals(acme: Customer, query: str = "") -> Any:
    return acme.usage(f"include=cost{query}")["totals"]


def waiting(application: Flask, *words: str) -> list[str]:
    """Return the ids that the operator's list shows."""
    listed = run(application, "costs", "review", *words).output.splitlines()
    assert listed[-1] == f"{len(listed) - 1} to decide."
    return [line.split()[0] for line in listed[:-1]]


def rollup_is_the_sum_of_the_lines(database: Database) -> bool:
    with database.reading() as tx:
        stored = tx.execute(select(cost_daily.c.cost_nano_usd, cost_daily.c.lines)).all()
        each = tx.execute(select(event_costs.c.amount_nano_usd)).scalars().all()
    return [sum(one[0] for one in stored), sum(one[1] for one in stored)] == [
        sum(one or 0 for one in each),
        len(each),
    ]


def test_a_message_of_ten_thousand_tokens_does_not_cost_ten_thousand_dollars(
    acme: Customer,
) -> None:
    line = lines(acme, send(acme, "9990.01"))[0]
    assert (line["amount_usd"], line["quality"]) == (BOOKED, "priced")
    assert (line["stated_usd"], line["suspect"], line["decision"]) == ("9990.01", True, None)
    found = totals(acme)
    assert (found["cost_usd"], found["suspect_costs"]) == (BOOKED, 1)
    assert found["suspect_stated_usd"] == "9990.01"


def test_a_stated_cost_near_the_book_is_believed(acme: Customer) -> None:
    for amount in ("0.251574999", "0.002515751", "0.0251575", "0.03"):
        line = lines(acme, send(acme, amount))[0]
        assert (line["amount_usd"], line["quality"]) == (amount, "measured")
        assert (line["stated_usd"], line["suspect"]) == (amount, False)
    assert totals(acme)["suspect_costs"] == 0


def test_a_cost_with_nothing_to_compare_it_to_is_believed(acme: Customer) -> None:
    alone = [
        {"layer": "inference", "amount_usd": "9990"},
        {"layer": "inference", "amount_usd": "9990", "model": "gpt-4o"},
        {"layer": "inference", "amount_usd": "9990", "model": "gpt-4o", "usage": {}},
        CALL | {"amount_usd": "9990", "model": "nobody/knows-this"},
        {"layer": "retrieval", "amount_usd": "9990", "resource": "unpriced", "quantity": 1},
    ]
    sent = acme.event("document", costs=alone)
    ok(acme.send(sent))
    assert [line["quality"] for line in lines(acme, sent["id"])] == ["measured"] * 5


def test_accepting_books_the_difference_and_rejecting_books_nothing(
    application: Flask, acme: Customer, bystander: Customer, database: Database, clock: Clock
) -> None:
    sent = acme.event("document", member="cleo", costs=[
        CALL | {"amount_usd": "9990.01"}, CALL | {"amount_usd": "0.000001"},
        CALL | {"amount_usd": "5"},
    ])  # fmt: skip
    ok(acme.send(sent))
    ids = {one["stated_usd"]: one for one in lines(acme, sent["id"])}
    assert waiting(application, "--org", "bystander") == []
    dear, cheap, wrong = _in_order(application, ids)
    run(application, "costs", "review", "--accept", dear, cheap)
    assert totals(acme)["cost_usd"] == str(
        Decimal("9990.01") + Decimal("0.000001") + Decimal(BOOKED)
    )
    assert rollup_is_the_sum_of_the_lines(database)
    run(application, "costs", "review", "--reject", wrong, "--org", "acme")
    assert waiting(application) == []
    found = lines(acme, sent["id"])
    assert [one["decision"] for one in found] == ["accepted", "accepted", "rejected", None, None]
    assert [one["amount_usd"] for one in found[:3]] == [BOOKED] * 3
    added = {one["amount_usd"] for one in found[3:]}
    assert added == {str(Decimal("9990.01") - Decimal(BOOKED)), "-0.0251565"}
    assert {one["quality"] for one in found[3:]} == {"measured"}
    assert totals(acme, "&member=cleo") == totals(acme)
    assert totals(acme)["suspect_costs"] == 0
    assert rollup_is_the_sum_of_the_lines(database)
    with database.reading() as tx:
        acts = tx.execute(select(audit_log.c.act, audit_log.c.target)).all()
    assert {tuple(one) for one in acts if one.act.startswith("cost.")} == {
        ("cost.accepted", dear), ("cost.accepted", cheap), ("cost.rejected", wrong),
    }  # fmt: skip


def _in_order(application: Flask, ids: dict[str, Any]) -> list[str]:
    """Return the ids of the list in the order of what was stated: 9990.01, 0.000001, 5."""
    listed = run(application, "costs", "review", "--org", "acme").output.splitlines()[:-1]
    return [
        next(line.split()[0] for line in listed if f"stated ${stated}," in line) for stated in ids
    ]


def test_a_decision_is_made_once_and_all_or_nothing(
    application: Flask, acme: Customer, database: Database
) -> None:
    first, second = send(acme, "100"), send(acme, "200")
    one, two = waiting(application)
    before = totals(acme)
    run(application, "costs", "review", "--accept", one, "cost_nobody", status=1)
    run(application, "costs", "review", "--accept", one, "--org", "other", status=1)
    assert totals(acme) == before
    run(application, "costs", "review", "--reject", one)
    for decision in ("--accept", "--reject"):
        again = run(application, "costs", "review", decision, two, one, status=1)
        assert "was decided before" in again.output
    assert waiting(application) == [two]
    assert (len(lines(acme, first)), len(lines(acme, second))) == (1, 1)
    run(application, "costs", "review", "--accept", status=2)
    run(application, "costs", "review", two, status=2)
    assert rollup_is_the_sum_of_the_lines(database)


def test_suspects_are_told_by_every_group_of_costs(acme: Customer) -> None:
    send(acme, "100", member="cleo")
    send(acme, "0.03", member="ben")
    for group, expected in (("member", "cleo"), ("model", "gpt-4o"), ("day", "2026-11-09")):
        rows = acme.usage(f"include=cost&group_by={group}")["data"]
        found = [row[group] for row in rows if row.get("suspect_costs")]
        assert found == [expected]


def test_a_customer_never_sees_what_was_stated(
    acme: Customer, database: Database, clock: Clock
) -> None:
    sent = acme.event("document", costs=[CALL | {"amount_usd": "9990.01"}])
    ok(acme.send(sent))
    own = acme.api.holding(make_key(database, clock, organization="acme", scopes=["read"]))
    for path in ("usage", "events", f"events/{sent['id']}", "balance"):
        body = own.get(f"{acme.path}/{path}").get_data(as_text=True)
        for word in ("9990", "suspect", "stated", "cost", "gpt"):
            assert word not in body


def test_a_recorded_history_raises_no_false_alarm_and_one_wrong_price_does(data: Path) -> None:
    path = data / "aider" / "messages_2024-11_2025-03.csv.gz"
    suspects = []
    with gzip.open(path, "rt", newline="") as opened:
        rows = list(csv.DictReader(opened))
    wrong = {"time": rows[-1]["time"], "model": "gpt-4o", "prompt_tokens": "10023",
             "completion_tokens": "10", "cost_usd": "9990.01"}  # fmt: skip
    for row in [*rows, wrong]:
        stated = StatedCost(
            "inference",
            int(Decimal(row["cost_usd"]) * NANO),
            model=row["model"],
            usage=ModelUsage(int(row["prompt_tokens"]), int(row["completion_tokens"])),
        )
        line = cost_line(stated, at=datetime.fromisoformat(row["time"]))
        if line.suspect:
            suspects.append((Decimal(row["cost_usd"]), line))
    # Besides the wrong one only calls that were logged as free of models that have a price: nearly
    # all of them previews, which the list prices as what they became.
    assert len(rows) > 4000
    assert [said for said, _ in suspects if said] == [Decimal("9990.01")]
    assert suspects[-1][1].amount_nano_usd == 25_157_500
    of_no_preview = [line for _, line in suspects[:-1] if "-exp" not in line.model]
    assert len(of_no_preview) < 10
    assert len(suspects) < len(rows) // 25
