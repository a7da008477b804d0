"""`make bench`: every benchmark in one run, each a ratio measured interleaved with its peer.

SQLite in a temporary file always; PostgreSQL where BENCH_POSTGRESQL_URL names an empty database.
Medians of five rounds: these figures compare, they do not promise.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flask_migrate import upgrade
from rich.console import Console
from rich.table import Table

from app import create_app
from bench import authorizations, events
from portal.config import Settings
from portal.db import Database

ROUNDS = 5
Work = Callable[[], int]


def main() -> int:
    """Run every benchmark on every store at hand and print the table."""
    table = Table("Benchmark", "Store", "Ours, per s", "Peer, per s", "Ratio", "Goal")
    with tempfile.TemporaryDirectory() as folder:
        urls = [f"sqlite:///{Path(folder) / 'bench.db'}"]
        if os.environ.get("BENCH_POSTGRESQL_URL"):
            urls.append(os.environ["BENCH_POSTGRESQL_URL"])
        for url in urls:
            database = _empty(url)
            for name, goal, ours, peer in (
                *events.pairs(database),
                *authorizations.pairs(database),
            ):
                mine, theirs = _interleaved(ours, peer)
                table.add_row(
                    name,
                    database.dialect,
                    f"{mine:,.0f}",
                    f"{theirs:,.0f}",
                    f"{mine / theirs:.2f}",
                    goal,
                )
            database.close()
    Console().print(table)
    if len(urls) == 1:
        print("PostgreSQL left out: set BENCH_POSTGRESQL_URL to an empty database.")
    return 0


def _empty(url: str) -> Database:
    settings = Settings(url, "bench " * 8, "http://127.0.0.1:8000")
    application = create_app(settings)
    with application.app_context():
        upgrade()
    return Database(url)


def _interleaved(ours: Work, peer: Work) -> tuple[float, float]:
    """Return the median rate of each, taken in turns so that a slow moment meets both."""
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS + 1):
        for side, work in zip(rates, (ours, peer), strict=True):
            started = time.perf_counter()
            done = work()
            side.append(done / (time.perf_counter() - started))
    # The first round fills caches.
    return statistics.median(rates[0][1:]), statistics.median(rates[1][1:])


if __name__ == "__main__":
    sys.exit(main())
