"""What is asked while work goes on, and for a page, never goes over all that there ever was.

The plan of each statement is SQLite's own, of a store that has no statistics. On PostgreSQL see
``tests/test_rows.py``: there it is the plans of a new store that go wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from portal.db import Database
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.readers import enter

#: What gains rows for as long as an organization works.
GROWING = ("holds", "hold_pins", "hold_caps", "events", "entries", "transfers", "event_debits",
           "event_costs", "idempotency_keys")  # fmt: skip
_STEP = re.compile(r"(SCAN|SEARCH) (\w+)(?: USING (?:COVERING )?INDEX \w+(?: \((.*)\))?)?")

on_sqlite = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


class Plans:
    """The statements that were sent, each with the steps that go over too much."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget what was heard."""
        self.too_much: dict[str, list[str]] = {}
        self._known: set[str] = set()

    def hear(
        self, connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool
    ) -> None:
        if statement in self._known or not statement.startswith(
            ("SELECT", "UPDATE", "DELETE", "WITH")
        ):
            return
        self._known.add(statement)
        driver = connection.connection.driver_connection
        steps = driver.execute("EXPLAIN QUERY PLAN " + statement, values[0] if many else values)
        found = [step[3] for step in steps if _goes_over_all(step[3])]
        if len(found) > statement.count(_NEXT_SOURCE):
            self.too_much[statement] = found


def _goes_over_all(step: str) -> bool:
    """Tell whether a step reads all rows of a growing table, or all of an organization's."""
    found = _STEP.match(step)
    if found is None or found[2] not in GROWING:
        return False
    return found[1] == "SCAN" or found[3] in (None, "organization_id=?")


#: Asks for the next source there is: its steps read as if they went over all, and read one row.
_NEXT_SOURCE = "min(events.source)"


@pytest.fixture
def plans(database: Database) -> Iterator[Plans]:
    heard = Plans()
    event.listen(database.engine, "before_cursor_execute", heard.hear)
    yield heard
    event.remove(database.engine, "before_cursor_execute", heard.hear)


def _one_by_one(acme: Customer, clock: Clock) -> None:
    """Authorize, extend, capture, release, and leave work to its deadline."""
    first, second, third = (acme.hold("document", member="cleo") for _ in range(3))
    ok(acme.increment(first, 1))
    ok(acme.capture(first, quantity=1, key="once"))
    ok(acme.release(second))
    clock.forward(timedelta(hours=2))
    ok(acme.capture(third))


def _in_batches(acme: Customer, _clock: Clock) -> None:
    """Report events, again and otherwise, of two sources; correct one."""
    sent = [
        acme.event("image", id="one", member="cleo", run="night", model="gpt-4o-mini",
                   usage={"input_tokens": 9, "output_tokens": 9}),
        acme.event("image", id="two", source="others", run="night"),
    ]  # fmt: skip
    ok(acme.send(*sent))
    ok(acme.send(*sent, acme.event("image", id="one")))
    ok(acme.send(acme.event("image", quantity=0, corrects="one")))


def _looked_at(acme: Customer, clock: Clock) -> None:
    """Ask for what stands, stood, and happened."""
    then = (clock() - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for path in (
        *("/balance", f"/balance?at={then}", "/usage?group_by=action", "/usage?group_by=member"),
        *("/events", "/events?limit=1", "/events?run=night", "/events/two", "/caps", "/statement"),
        "/events/one?source=tests",
    ):
        ok(acme.api.get(acme.path + path))


@on_sqlite
@pytest.mark.parametrize("asks", [_one_by_one, _in_batches, _looked_at])
def test_the_meter_goes_over_nothing_that_grows(
    acme: Customer,
    clock: Clock,
    plans: Plans,
    asks: Callable[[Customer, Clock], None],
) -> None:
    acme.cap(90)
    acme.cap(80, "member", target="cleo", window="day")
    _one_by_one(acme, clock)
    _in_batches(acme, clock)
    plans.begin()
    asks(acme, clock)
    assert plans.too_much == {}


@on_sqlite
@pytest.mark.parametrize("path", ["/", "/usage", "/usage/events", "/usage/events/two", "/spending"])
def test_a_page_goes_over_nothing_that_grows(
    acme: Customer,
    clock: Clock,
    application: Flask,
    database: Database,
    plans: Plans,
    path: str,
) -> None:
    _one_by_one(acme, clock)
    _in_batches(acme, clock)
    ana = enter(application, database, clock, "ana")
    plans.begin()
    assert ana.client.get(path).status_code == 200
    assert plans.too_much == {}
