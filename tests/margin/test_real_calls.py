"""Real calls of one developer, November 2024 to March 2025: what they cost, and what was logged.

Compared are all calls that were logged at a price and have one in our books. The public model
prices date some prices only from when they were cut, so the operator's cost book says what was in
force before. And the log was written by a list of its own, which named some prices long after they
had been cut: those are told here, so that every call is either what was logged or explained.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from flask import Flask

from bench.replay import aider
from portal import cost_books
from portal.core.cost_book import parse_cost_book
from portal.core.costs import ModelUsage
from portal.core.events import StatedCost
from portal.cost_books import CostBooks
from portal.costs import cost_line
from portal.db import Database
from tests.cast import Api, make_key, ok
from tests.clock import Clock
from tests.margin.operator import customer
from tests.test_cli import run
from tests.test_cost_review import send, waiting

NANO = 10**9
SPAN = "start=2024-11-01&end=2025-04-01"

_REASONER = """
[models.deepseek-reasoner]
provider = "deepseek"
input = 0.55
output = 2.19
"""
_CHAT_OFFERED = """
[models.deepseek-chat]
provider = "deepseek"
input = 0.14
output = 0.28
"""
#: What was charged and what the public model prices do not date, version by version.
IN_FORCE = (
    # Anthropic launched Claude 3.5 Haiku at 1 and 5 dollars and cut that within a month: on
    # 4 December its page said 0.80 and 4. DeepSeek kept V2.5's price for V3 for a while.
    f"""
effective_at = 2024-11-01T00:00:00Z

[models.claude-3-5-haiku-20241022]
input = 1.00
output = 5.00
{_CHAT_OFFERED}{_REASONER}""",
    f"effective_at = 2024-12-03T00:00:00Z\n{_CHAT_OFFERED}{_REASONER}",
    # The offer of V3 ended on 8 February.
    f"""
effective_at = 2025-02-08T16:00:00Z

[models.deepseek-chat]
provider = "deepseek"
input = 0.27
output = 1.10
{_REASONER}""",
    # DeepSeek's discount at night began on 26 February: the public prices know it from here on.
    "effective_at = 2025-02-26T16:30:00Z\n[rates]\neur = 1.1\n",
)
_CUT = datetime(2024, 12, 3, tzinfo=UTC)
_NIGHTS = datetime(2025, 2, 26, 16, 30, tzinfo=UTC)
_FIRST, _LAST = datetime(2024, 11, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC)
#: What the log's own list had instead, in dollars for a million tokens in and out: from when, until
#: when. Beside each what was in force.
LISTED = {
    # 0.80 and 4: the log follows in March.
    "claude-3-5-haiku-20241022": (_CUT, datetime(2025, 3, 1, tzinfo=UTC), "1", "5"),
    "bedrock/us.anthropic.claude-3-5-haiku-20241022-v1:0": (_CUT, _LAST, "1", "5"),
    # 1.25 and 5 since October 2024; the name ending in latest had a slip of the point as well.
    "gemini/gemini-1.5-pro": (_FIRST, _LAST, "3.5", "10.5"),
    "gemini/gemini-1.5-pro-001": (_FIRST, _LAST, "3.5", "10.5"),
    "gemini/gemini-1.5-pro-002": (_FIRST, _LAST, "3.5", "10.5"),
    "gemini/gemini-1.5-pro-exp-0801": (_FIRST, _LAST, "3.5", "10.5"),
    "gemini/gemini-1.5-pro-latest": (_FIRST, _LAST, "3.5", "1.05"),
    "gemini/gemini-pro": (_FIRST, _LAST, "0.35", "1.05"),
    # 0.30 and 0.90; 2 and 6.
    "mistral/codestral-latest": (_FIRST, _LAST, "1", "3"),
    "openrouter/mistralai/mistral-large": (_FIRST, _LAST, "8", "24"),
    # 2.50 and 10 since October 2024: the log has the price of May 2024.
    "openrouter/openai/gpt-4o": (_FIRST, _LAST, "5", "15"),
    # OpenRouter passes on what the cheapest host asks, and nobody dates that.
    "openrouter/deepseek/deepseek-chat": (_FIRST, _LAST, "0.14", "0.28"),
    "openrouter/deepseek/deepseek-r1": (_FIRST, _LAST, "0.55", "2.19"),
    "openrouter/qwen/qwen-2.5-coder-32b-instruct": (_FIRST, _LAST, "0.18", "0.18"),
    # Half, and a quarter, at night.
    "deepseek/deepseek-chat": (_NIGHTS, _LAST, "0.27", "1.10"),
    "deepseek/deepseek-reasoner": (_NIGHTS, _LAST, "0.55", "2.19"),
}


@dataclass(frozen=True)
class Call:
    """One call: what it cost by the prices in force, what its log's list said, what was logged."""

    priced_usd: Decimal
    listed_usd: Decimal
    logged_usd: Decimal
    #: Whether the log's list had another price than the one in force.
    outdated: bool

    @property
    def agrees(self) -> bool:
        """Whether the log's list says what was logged, within 1 %."""
        return abs(self.listed_usd - self.logged_usd) <= self.logged_usd / 100


def _logged(data: Path) -> list[Decimal]:
    with gzip.open(next((data / "aider").glob("*.csv.gz")), "rt", newline="") as opened:
        return [Decimal(row["cost_usd"]) for row in csv.DictReader(opened)]


def _names(data: Path) -> list[str]:
    with gzip.open(next((data / "aider").glob("*.csv.gz")), "rt", newline="") as opened:
        return [row["model"] for row in csv.DictReader(opened)]


def _calls(data: Path) -> list[Call]:
    """Return every call that was logged at a price and has one in our books."""
    books = CostBooks(tuple(map(parse_cost_book, IN_FORCE)))
    found = []
    for event, name, logged in zip(aider(data).events, _names(data), _logged(data), strict=True):
        at = datetime.fromisoformat(event["time"])
        sent = event["data"]
        usage = ModelUsage(**sent["usage"])
        stated = StatedCost(
            "inference", None, sent.get("provider", ""), sent.get("model", ""), usage=usage
        )
        line = cost_line(stated, at=at, book=books.in_force(at))
        if not logged or line.amount_nano_usd is None:
            continue
        priced = Decimal(line.amount_nano_usd) / NANO
        listed = _listed(name, at, usage)
        outdated = listed is not None
        found.append(Call(priced, priced if listed is None else listed, logged, outdated))
    return found


def _listed(name: str, at: datetime, usage: ModelUsage) -> Decimal | None:
    since, until, per_input, per_output = LISTED.get(name, (_LAST, _LAST, "0", "0"))
    if not since <= at < until:
        return None
    exact = usage.input_tokens * Decimal(per_input) + usage.output_tokens * Decimal(per_output)
    return exact / 10**6


def _sums(calls: Sequence[Call]) -> tuple[Decimal, Decimal, Decimal]:
    """Return what calls cost by the prices in force, by the log's list, and as logged, in USD."""
    nothing = Decimal(0)
    return (
        sum((one.priced_usd for one in calls), nothing),
        sum((one.listed_usd for one in calls), nothing),
        sum((one.logged_usd for one in calls), nothing),
    )


def test_real_calls_cost_what_was_logged_within_a_thousandth(data: Path) -> None:
    calls = _calls(data)
    assert len(calls) == 3541
    _, listed, logged = _sums(calls)
    # 148.01 of 147.99. Nothing is left out.
    assert abs(listed - logged) < logged * Decimal("0.001")
    strange = [one for one in calls if not one.agrees]
    # 36 calls: their prompts were partly read from a cache or written to one, and the log does not
    # tell how many tokens.
    assert len(strange) < len(calls) / 50
    alike = [one for one in calls if one.agrees]
    _, listed, logged = _sums(alike)
    assert abs(listed - logged) < Decimal("0.0001")


def test_where_the_log_had_the_price_in_force_its_calls_agree_without_its_list(data: Path) -> None:
    current = [one for one in _calls(data) if not one.outdated]
    priced, _, logged = _sums(current)
    # 147.32 of 147.31: all but 127 of the calls.
    assert abs(priced - logged) < logged * Decimal("0.001")
    assert len(current) > 3_350
    assert logged > 147
    assert sum(one.agrees for one in current) > len(current) * Decimal("0.98")


def test_what_the_log_made_of_outdated_prices_is_all_that_is_left(data: Path) -> None:
    calls = _calls(data)
    priced, listed, logged = _sums([one for one in calls if one.outdated])
    assert abs(listed - logged) < logged * Decimal("0.002")
    # 0.29 of 0.69 dollars: the one difference in the sum of all calls that is worth a cent.
    assert Decimal("0.28") < logged - priced < Decimal("0.30")


def test_real_calls_sent_in_come_to_the_sum_of_what_each_costs(
    application: Flask, database: Database, clock: Clock, data: Path, store: str, api: Api
) -> None:
    if not store.startswith("sqlite"):
        pytest.skip("what calls cost does not depend on the store")
    for book in IN_FORCE:
        with database.transaction() as tx:
            cost_books.load(tx, book, now=datetime(2024, 11, 1, tzinfo=UTC))
    scopes = ("read", "meter", "manage", "backfill")
    backfill = api.holding(make_key(database, clock, scopes=scopes))
    developer = customer(api, "aider")
    # What was logged as free says nothing about a price.
    events = [one for one, cost in zip(aider(data).events, _logged(data), strict=True) if cost]
    for event in events:
        event["data"]["charge"] = False
    for first in range(0, len(events), 1000):
        ok(developer.send(*events[first : first + 1000], api=backfill))
    rows = developer.usage(f"{SPAN}&include=cost&group_by=model")["data"]
    total = sum(Decimal(one["cost_usd"]) for one in rows)
    assert total == _sums(_calls(data))[0]
    found = ok(api.get(f"/v1/margin/organizations/aider?{SPAN}"))
    assert Decimal(found["cost_usd"]) == total
    # One message of 10,023 tokens is logged at 9,990.01 dollars.
    send(developer, "9990.01")
    (alarm,) = waiting(application)
    today = ok(api.get("/v1/margin/organizations/aider?start=2026-11-09&end=2026-11-10"))
    assert today["cost_usd"] == "0.0251575"
    run(application, "costs", "review", "--reject", alarm)
    again = ok(api.get("/v1/margin/organizations/aider?start=2026-11-09&end=2026-11-10"))
    assert again["cost_usd"] == "0.0251575"
