"""The replay of traces: what it sends adds up wherever the product counts it."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from bench.replay import Report, Server, Trace, replay
from portal.db import Database
from tests.cast import make_key
from tests.clock import Clock


class Served(Server):
    """The product without a network between."""

    def __init__(self, application: Flask, key: str) -> None:
        self._client = application.test_client()
        self._key = {"Authorization": f"Bearer {key}"}

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        sent = {
            {"params": "query_string"}.get(name, name): value for name, value in arguments.items()
        }
        sent["headers"] = self._key | arguments.get("headers", {})
        answer = self._client.open(path, method=method, **sent)
        assert answer.status_code < 300, answer.text
        return answer.get_json()


@pytest.fixture
def served(application: Flask, database: Database, clock: Clock) -> Served:
    scopes = ("read", "meter", "manage", "backfill")
    return Served(application, make_key(database, clock, scopes=scopes))


def _trace(first: datetime, *, model: str, logged: str) -> Trace:
    trace = Trace("traced", "analysis", Decimal(10))
    for number in range(3):
        usage = (100_000, 10_000)
        trace.add(number, first + timedelta(hours=number), usage, model, "openai")
        trace.logged_usd[model] += Decimal(logged)
    return trace


@pytest.mark.parametrize("days", [1, 700])
def test_a_trace_adds_up_whether_its_periods_are_open_or_long_closed(
    served: Served, clock: Clock, days: int
) -> None:
    report = Report()
    trace = _trace(clock() - timedelta(days=days), model="gpt-4o", logged="0.35")
    replay(served, trace, report, now=clock())
    assert report.held


@pytest.mark.parametrize(("model", "logged"), [("gpt-4o", "0.40"), ("nobody-knows-it", "0.35")])
def test_a_trace_whose_price_is_off_or_unknown_is_said_to_be_off(
    served: Served, clock: Clock, model: str, logged: str
) -> None:
    report = Report()
    trace = _trace(clock() - timedelta(days=1), model=model, logged=logged)
    replay(served, trace, report, now=clock())
    assert not report.held
