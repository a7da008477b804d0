"""Real traffic: a recorded hour of model calls, metered, adds up to the token."""

from __future__ import annotations

import csv
import gzip
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from portal.db import Database
from tests import digest
from tests.cast import Customer, ok
from tests.clock import Clock

CALLS = 2000


def _calls(data: Path) -> Iterator[tuple[datetime, int, int]]:
    path = data / "azure" / "AzureLLMInferenceTrace_conv.csv.gz"
    with gzip.open(path, "rt", newline="") as lines:
        for row in itertools.islice(csv.DictReader(lines), CALLS):
            at = datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC)
            yield at, int(row["ContextTokens"]), int(row["GeneratedTokens"])


def test_an_hour_of_model_calls_adds_up_however_it_arrives(
    data: Path, acme: Customer, database: Database, clock: Clock
) -> None:
    calls = list(_calls(data))
    # The hour is told as if it had just ended: a ledger does not go back in time.
    later = clock() - calls[-1][0]
    events = [
        acme.event(
            "image", quantity="0.05", time=at + later, model="gpt-4o", provider="openai",
            usage={"input_tokens": read, "output_tokens": written},
        )
        for at, read, written in calls
    ]  # fmt: skip
    half = len(events) // 2
    # Late ones first, and the overlap twice: the order and the repetition must not matter.
    accepted = duplicates = 0
    for batch in (events[half:], events[half - 200 : half + 200], events[:half]):
        answer = ok(acme.send(*batch))
        accepted += answer["accepted"]
        duplicates += answer["duplicates"]
        assert answer["rejected"] == []
    assert (accepted, duplicates) == (CALLS, 400)
    first, last = (calls[0][0] + later).date(), clock().date() + timedelta(days=1)
    totals = acme.usage(f"start={first}&end={last}&include=cost")["totals"]
    assert totals["events"] == CALLS
    assert totals["input_tokens"] == sum(read for _, read, _ in calls)
    assert totals["output_tokens"] == sum(written for _, _, written in calls)
    # The hundred credits cover a part, and not a millionth is lost of the rest.
    assert (totals["credits"], totals["uncollected"]) == ("100", "100")
    found = digest.balances(database)
    assert (found["acme", "captured"], found["acme", "uncollected"]) == (100 * 10**6, 100 * 10**6)
