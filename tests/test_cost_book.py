"""Costs by the operator's own book: the version in force when it happened, and nothing invented."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, text, update
from sqlalchemy.exc import DBAPIError

from portal import cost_books
from portal.core.costs import ModelUsage, Quality
from portal.core.errors import CatalogError
from portal.core.events import StatedCost
from portal.costs import cost_line
from portal.db import Database
from portal.tables import cost_books as cost_books_table
from tests.cast import Customer, ok, refused
from tests.clock import START, Clock
from tests.test_cli import run

DAY = timedelta(days=1)


def book(search: str, *, begins: datetime | None = None, more: str = "") -> str:
    """Return a cost book with the price of one vector search."""
    date = f"effective_at = {begins.isoformat()}\n" if begins else ""
    unit = f'[resources.vector-search]\nlayer = "retrieval"\nprice = {search}\n'
    return date + unit + more


def load(database: Database, document: str, now: datetime) -> int:
    with database.transaction() as tx:
        return cost_books.load(tx, document, now=now)[0].version


def search(quantity: Any = 1, **more: Any) -> dict[str, Any]:
    return {"layer": "retrieval", "resource": "vector-search", "quantity": quantity} | more


def costs_of(acme: Customer, sent: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok(acme.api.get(f"{acme.path}/events/{sent['id']}"))["costs"]
    return found


def cost(acme: Customer, *lines: dict[str, Any], **data: Any) -> dict[str, Any]:
    """Send a cost event and return its first line."""
    sent = acme.event("cost.retrieval", costs=list(lines), **data)
    ok(acme.send(sent))
    return costs_of(acme, sent)[0]


def test_a_resource_is_priced_by_its_quantity(
    acme: Customer, database: Database, clock: Clock
) -> None:
    load(database, book("0.0004"), clock())
    line = cost(acme, search("2.5"))
    assert (line["amount_usd"], line["quality"], line["price_source"]) == (
        "0.001",
        "priced",
        "cost book 1",
    )
    assert acme.usage("include=cost")["totals"]["cost_by_layer"] == {"retrieval": "0.001"}


def test_a_resource_nobody_priced_is_unknown_and_never_zero(
    acme: Customer, database: Database, clock: Clock
) -> None:
    assert cost(acme, search())["quality"] == "unknown"
    load(database, book("0.0004"), clock())
    for line in (search() | {"resource": "other"}, search() | {"layer": "storage"}):
        found = cost(acme, line)
        assert (found["quality"], found["amount_usd"]) == ("unknown", None)
    assert acme.usage("include=cost")["totals"]["unknown_costs"] == 3


def test_the_version_in_force_when_it_happened_decides(
    acme: Customer, database: Database, clock: Clock
) -> None:
    load(database, book("1", begins=clock() - 3 * DAY), clock())
    load(database, book("2", begins=clock() + DAY), clock())
    clock.forward(2 * DAY)
    times = {clock() - 6 * DAY: None, clock() - 2 * DAY: "1", clock() - DAY: "2", clock(): "2"}
    found = {at: cost(acme, search(), time=at)["amount_usd"] for at in times}
    assert found == times


def test_an_event_is_not_repriced_by_a_later_book(
    acme: Customer, database: Database, clock: Clock
) -> None:
    load(database, book("1"), clock())
    sent = acme.event("cost.retrieval", costs=[search()])
    ok(acme.send(sent))
    clock.forward(DAY)
    load(database, book("2"), clock())
    assert ok(acme.send(sent))["duplicates"] == 1
    assert costs_of(acme, sent)[0]["amount_usd"] == "1"


def test_the_operators_price_of_a_model_goes_before_the_public_one(
    acme: Customer, database: Database, clock: Clock
) -> None:
    usage = {"input_tokens": 1_000_000, "output_tokens": 100_000, "cached_input_tokens": 400_000,
             "reasoning_tokens": 50_000}  # fmt: skip
    call = {"layer": "inference", "provider": "openai", "model": "gpt-4o", "usage": usage}
    public = cost(acme, call)
    own = '[models."gpt-4o"]\ninput = 1\noutput = 10\ncached_input = 0.5\nreasoning = 20\n'
    load(database, book("1", more=own), clock())
    line = cost(acme, call)
    # 600,000 fresh at $1, 400,000 cached at $0.50; 50,000 written at $10, as many thought at $20.
    assert Decimal(line["amount_usd"]) == Decimal("0.6") + Decimal("0.2") + Decimal("0.5") + 1
    assert (line["quality"], line["price_source"]) == ("priced", "cost book 1")
    assert public["price_source"].startswith("genai-prices")


def test_a_captures_costs_are_priced_alike(
    acme: Customer, database: Database, clock: Clock
) -> None:
    load(database, book("0.25"), clock())
    captured = ok(acme.capture(acme.hold("document"), costs=[search(3)]))
    line = ok(acme.api.get(f"{acme.path}/events/{captured['event']}"))["costs"][0]
    assert line["amount_usd"] == "0.75"
    clock.forward(DAY)
    load(database, book("0.5"), clock())
    captured = ok(acme.capture(acme.hold("document"), costs=[search(3)]))
    line = ok(acme.api.get(f"{acme.path}/events/{captured['event']}"))["costs"][0]
    assert (line["amount_usd"], line["price_source"]) == ("1.5", "cost book 2")


def test_a_resource_without_a_quantity_is_refused(acme: Customer) -> None:
    sent = acme.event("document", costs=[{"layer": "retrieval", "resource": "vector-search"}])
    problem = refused(acme.send(sent), 422, "invalid-event")
    assert problem["errors"][0]["pointer"] == "/0/data/costs/0/quantity"


def test_a_batch_reads_the_books_once_and_their_documents_never_again(
    acme: Customer, database: Database, clock: Clock
) -> None:
    load(database, book("1"), clock())
    cost(acme, search())
    asked: list[str] = []
    event.listen(
        database.engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, *_: asked.append(statement),
    )
    ok(acme.send(*(acme.event("document", costs=[search()], quantity=0) for _ in range(20))))
    about = [one for one in asked if "cost_books" in one]
    assert len(about) == 1
    assert "document" not in about[0]


def test_a_version_is_never_changed_and_none_begins_before_the_last(
    acme: Customer, database: Database, clock: Clock
) -> None:
    assert load(database, book("1"), clock()) == 1
    assert load(database, book("1"), clock()) == 1
    with pytest.raises(CatalogError):
        load(database, book("2"), clock())
    clock.forward(DAY)
    assert load(database, book("2", begins=clock() - 30 * DAY), clock()) == 2
    assert cost(acme, search(), time=clock() - DAY / 2)["amount_usd"] == "1"
    for change in (update(cost_books_table).values(document="x"), text("DELETE FROM cost_books")):
        with pytest.raises(DBAPIError), database.transaction() as tx:
            tx.execute(change)


def test_the_commands_check_load_and_show_a_book(
    application: Flask, clock: Clock, tmp_path: Path
) -> None:
    assert "No cost book" in run(application, "costs", "show").output
    mine = tmp_path / "mine.toml"
    mine.write_text(book("0.0004").replace("price", "prise"))
    for command in ("check", "load"):
        wrong = run(application, "costs", command, str(mine), status=1)
        assert "Line 1, key resources.vector-search.price" in wrong.output
        assert "Traceback" not in wrong.output
    mine.write_text(book("0.0004"))
    assert "1 resources" in run(application, "costs", "check", str(mine)).output
    assert "Loaded version 1" in run(application, "costs", "load", str(mine)).output
    assert "Unchanged: version 1" in run(application, "costs", "load", str(mine)).output
    clock.forward(DAY)
    assert "Loaded version 2" in run(application, "costs", "load").output
    shown = run(application, "costs", "show").output
    assert "Version 2" in shown
    assert "ocr-page" in shown


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("anthropic/claude-3-7-sonnet-20250219", "anthropic", "claude-3-7-sonnet-20250219"),
        ("openrouter/openai/gpt-4o", "openrouter", "openai/gpt-4o"),
        ("deepseek/deepseek-chat", "deepseek", "deepseek-chat"),
        ("house/of-our-own", "", "of-our-own"),
    ],
)
def test_a_name_that_says_the_provider_too_is_priced_as_that_providers_model(
    name: str, provider: str, model: str
) -> None:
    usage = ModelUsage(1000, 200, cached_input_tokens=5000)
    lines = [
        cost_line(StatedCost("inference", None, *named, usage=usage), at=START)
        for named in (("", name), (provider, model))
    ]
    assert lines[0].amount_nano_usd == lines[1].amount_nano_usd
    assert lines[0].usage == lines[1].usage
    assert (lines[0].quality is Quality.UNKNOWN) is (not provider)
