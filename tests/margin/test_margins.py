"""What customers pay for and what they cost, side by side, whatever the figures are sorted by."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from portal import catalog, cost_books
from portal.core.margin.figures import Span
from portal.db import Database
from portal.margin import margins, revenue
from tests.cast import Api, Customer, ok
from tests.clock import Clock

NOVEMBER = Span(date(2026, 11, 1), date(2026, 12, 1))
NANO = 10**9
CENT = 10**7

SEATS = """
[tiers.seat]
name = "Seat"
kind = "per_seat"
price = 49.00
"""
#: 0.45 cents for a thousand tokens in: 8,000 of them cost 3.75 cents.
COSTS = """
effective_at = 2026-01-01T00:00:00Z

[models.house]
input = 4.6875
output = 4.6875
"""


@pytest.fixture
def seats(database: Database, clock: Clock) -> None:
    """A price book that also sells seats, and a cost book with the operator's own model."""
    text = catalog.DEFAULT_FILE.read_text(encoding="utf-8")
    text = text.replace("2020-01-01", "2026-11-01") + SEATS
    with database.transaction() as tx:
        catalog.load(tx, text, now=clock())
        cost_books.load(tx, COSTS, now=clock())


def customer(api: Api, name: str, **more: Any) -> Customer:
    ok(api.put(f"/v1/organizations/{name}", {"name": name.title()} | more), 201)
    return Customer(api, name)


def used(one: Customer, number: int, tokens: int, **more: Any) -> None:
    """Send requests with so much context each."""
    made = [
        one.event("document", model="house", usage={"input_tokens": tokens}, **more)
        for _ in range(number)
    ]
    for first in range(0, number, 1000):
        assert ok(one.send(*made[first : first + 1000]))["rejected"] == []


def recognised(database: Database, clock: Clock) -> None:
    assert revenue.bring_up_to_date(database, now=clock()) == 0


@pytest.mark.usefixtures("seats")
def test_two_seats_that_pay_the_same_do_not_cost_the_same(
    api: Api, database: Database, clock: Clock
) -> None:
    light = customer(api, "light", tier="seat", seats=1, charging="shadow")
    heavy = customer(api, "heavy", tier="seat", seats=1, charging="shadow")
    used(light, 40, 500)
    used(heavy, 120, 800_000)
    recognised(database, clock)
    span = Span(date(2026, 11, 9), date(2026, 12, 9))
    with database.reading() as tx:
        found = margins.of_organizations(tx, span)
        whole = margins.totals(tx, span)
    assert [one.organization_id for one in found] == ["heavy", "light"]
    figures = {one.organization_id: one.figures for one in found}
    assert figures["heavy"].revenue.tier_fees_minor == 49_00
    assert figures["heavy"].cost.total_nano_usd == 450 * NANO
    assert figures["heavy"].margin_tenths_percent == -8184
    assert figures["light"].margin_tenths_percent == 998
    assert whole.margin_nano_usd == sum(one.margin_nano_usd or 0 for one in figures.values())
