"""Send real traces through POST /v1/events of a running server, twice, and check every figure.

    python -m bench.replay --base-url http://127.0.0.1:8000 --key cm_… --data ../shared/data

The key needs the scopes read, meter, manage and backfill. Exit status 1 where a figure is off.

Traces (not part of this project, see --data):
- azure: requests of two production services in one hour (Azure LLM inference traces 2023), which
  name no model: their cost must stay unknown. They are moved to end now.
- aider: model calls of one developer, November 2024 to March 2025, at their own times.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests

BATCH = 1_000
#: How far the priced sum may be from what was logged.
PRICE_TOLERANCE = Decimal("0.01")

#: How the traces' model names say who served the model.
PROVIDERS = {
    "gemini": "google",
    "vertex_ai": "google",
    "fireworks_ai": "fireworks",
    "bedrock": "aws",
}


@dataclass
class Trace:
    """One organization's events, and what they must add up to."""

    organization: str
    action: str
    credits_each: Decimal
    events: list[dict[str, Any]] = field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int = 0
    logged_usd: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def add(
        self, number: int, at: datetime, usage: tuple[int, int], model: str, provider: str
    ) -> None:
        """Add one request as an event."""
        data: dict[str, Any] = {"usage": {"input_tokens": usage[0], "output_tokens": usage[1]}}
        if model:
            data["model"] = model
        if provider:
            data["provider"] = provider
        self.events.append(
            {
                "specversion": "1.0",
                "id": f"{self.organization}-{number}",
                "source": "replay",
                "subject": self.organization,
                "type": self.action,
                "time": at.isoformat(),
                "data": data,
            }
        )
        self.input_tokens += usage[0]
        self.output_tokens += usage[1]


def azure(folder: Path, name: str, action: str, credits_each: str, now: datetime) -> Trace:
    """Read one of the two services' hours, moved to end a minute ago."""
    trace = Trace(f"azure-{name}", action, Decimal(credits_each))
    path = folder / "azure" / f"AzureLLMInferenceTrace_{name}.csv.gz"
    rows = [
        (datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC), row)
        for row in _rows(path)
    ]
    moved = now - timedelta(minutes=1) - max(at for at, _ in rows)
    for number, (at, row) in enumerate(rows):
        usage = (int(row["ContextTokens"]), int(row["GeneratedTokens"]))
        trace.add(number, at + moved, usage, "", "")
    return trace


def aider(folder: Path) -> Trace:
    """Read the developer's model calls at their own times."""
    trace = Trace("aider", "analysis", Decimal(10))
    path = next((folder / "aider").glob("*.csv.gz"))
    for number, row in enumerate(_rows(path)):
        provider, model = _served_by(row["model"])
        usage = (int(row["prompt_tokens"]), int(row["completion_tokens"]))
        trace.add(number, datetime.fromisoformat(row["time"]), usage, model, provider)
        trace.logged_usd[model] += Decimal(row["cost_usd"])
    return trace


def _served_by(name: str) -> tuple[str, str]:
    """Split names such as openrouter/anthropic/claude-3.7-sonnet into provider and model."""
    provider, slash, model = name.partition("/")
    if not slash:
        return "", name
    if provider == "fireworks_ai":
        return "fireworks", model
    return PROVIDERS.get(provider, provider), model


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


class Server:
    """The running server, as its clients see it."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url.rstrip("/")
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {key}"

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Return a JSON answer; stop with the server's own words where it refuses."""
        answer = self.http.request(method, f"{self.base_url}{path}", timeout=120, **arguments)
        if not answer.ok:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text[:600]}")
        return answer.json()

    def send(self, events: list[dict[str, Any]]) -> dict[str, int]:
        """Send events in batches; returns the sums of the answers."""
        sums = {"accepted": 0, "duplicates": 0, "rejected": 0}
        for first in range(0, len(events), BATCH):
            answer = self.call(
                "POST",
                "/v1/events",
                json=events[first : first + BATCH],
                headers={"Content-Type": "application/cloudevents-batch+json"},
            )
            sums["accepted"] += answer["accepted"]
            sums["duplicates"] += answer["duplicates"]
            sums["rejected"] += len(answer["rejected"])
        return sums


class Report:
    """What was checked, and whether it held."""

    def __init__(self) -> None:
        self.held = True

    def check(self, what: str, found: Any, expected: Any, *, fits: bool | None = None) -> None:
        """Print one figure beside what it must be."""
        good = found == expected if fits is None else fits
        self.held = self.held and good
        print(f"  {'ok ' if good else 'OFF'}  {what}: {found} (expected {expected})")


def replay(server: Server, trace: Trace, report: Report, *, now: datetime) -> None:
    """Send a trace twice and compare usage, balance and cost with what the file adds up to."""
    path = f"/v1/organizations/{trace.organization}"
    server.call("PUT", path, json={"name": trace.organization.title()})
    count = len(trace.events)
    cost = trace.credits_each * count
    server.call(
        "POST",
        f"{path}/grants",
        json={"credits": str(cost + 1000), "source": "adjustment", "reason": "replay"},
        headers={"Idempotency-Key": f"replay-{trace.organization}"},
    )
    before = Decimal(server.call("GET", f"{path}/balance")["available"])
    started = time.perf_counter()
    first = server.send(trace.events)
    took = time.perf_counter() - started
    print(f"{trace.organization}: {count:,} events, {count / took:,.0f} a second over HTTP")
    report.check("accepted", first, {"accepted": count, "duplicates": 0, "rejected": 0})
    again = server.send(trace.events)
    report.check("sent again", again, {"accepted": 0, "duplicates": count, "rejected": 0})
    balance = Decimal(server.call("GET", f"{path}/balance")["available"])
    report.check("balance", balance, before - cost)
    _check_usage(server, trace, report, now)


def _check_usage(server: Server, trace: Trace, report: Report, now: datetime) -> None:
    path = f"/v1/organizations/{trace.organization}"
    cost = trace.credits_each * len(trace.events)
    # Up to now: what came after its period closed is counted on the day it came.
    start = min(event["time"] for event in trace.events)[:10]
    end = (now + timedelta(days=1)).date().isoformat()
    span = {"start": start, "end": end, "include": "cost"}
    totals = server.call("GET", f"{path}/usage", params=span)["totals"]
    report.check("usage events", totals["events"], len(trace.events))
    report.check("usage credits", Decimal(totals["credits"]), cost)
    report.check("input", totals["input_tokens"], trace.input_tokens)
    report.check("output", totals["output_tokens"], trace.output_tokens)
    if not trace.logged_usd:
        report.check("unknown costs stay unknown", totals["unknown_costs"], len(trace.events))
        report.check("cost", totals["cost_usd"], "0")
        return
    rows = server.call("GET", f"{path}/usage", params={**span, "group_by": "model"})["data"]
    priced = logged = Decimal(0)
    models = 0
    for row in rows:
        paid = trace.logged_usd[row["model"] or ""]
        if row["unknown_costs"] or not paid:
            continue
        models += 1
        priced += Decimal(row["cost_usd"])
        logged += paid
    off = abs(priced - logged) / logged if logged else Decimal(1)
    report.check(
        f"priced cost of {models} models",
        f"${priced:.4f}",
        f"${logged:.4f} within 1 %, off by {off:.3%}",
        fits=off <= PRICE_TOLERANCE,
    )


def main() -> int:
    """Replay what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base-url", default="http://127.0.0.1:8000")
    parser.add_argument("--key", required=True, help="a service key, also with backfill")
    parser.add_argument("--data", type=Path, required=True, help="the folder of the traces")
    parser.add_argument("--trace", choices=["azure", "aider", "all"], default="all")
    arguments = parser.parse_args()
    server = Server(arguments.base_url, arguments.key)
    now = datetime.now(UTC)
    traces = []
    if arguments.trace in {"azure", "all"}:
        traces.append(azure(arguments.data, "code", "document", "5", now))
        traces.append(azure(arguments.data, "conv", "image", "2", now))
    if arguments.trace in {"aider", "all"}:
        traces.append(aider(arguments.data))
    report = Report()
    for trace in traces:
        replay(server, trace, report, now=now)
    print("Every figure agrees." if report.held else "Some figures are off.")
    return 0 if report.held else 1


if __name__ == "__main__":
    sys.exit(main())
