"""`make bench`: every benchmark in one run, each a ratio measured interleaved with its peer.

Medians of five rounds: these figures compare, they do not promise. PostgreSQL is started for the
run where its programs are installed; `--pgledger FOLDER` names a checkout of that ledger in SQL.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from flask_migrate import upgrade
from rich.console import Console
from rich.table import Table

from app import create_app
from bench import authorizations, clients, events
from portal.config import Settings
from portal.db import Database
from tests import postgresql

ROUNDS = 5
BENCHMARKS = ("events", "authorizations")
Work = Callable[[], int]


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, per second, beside what it is compared with."""

    name: str
    ours: float
    peer: float
    goal: float

    @property
    def ratio(self) -> float:
        """Ours for each of the peer's."""
        return self.ours / self.peer


def main() -> int:
    """Run the benchmarks that are asked for on every store at hand and print the table."""
    asked = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    asked.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all without")
    asked.add_argument("--pgledger", type=Path, help="a checkout of pgledger, to compare with")
    options = asked.parse_args()
    wanted = set(options.names) or set(BENCHMARKS)
    if not wanted <= set(BENCHMARKS):
        asked.error(f"there are {', '.join(BENCHMARKS)}")
    table = Table("Benchmark", "Ours, per s", "Peer, per s", "Ratio", "Goal")
    notes: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        binaries = postgresql.programs()
        server = stack.enter_context(postgresql.running(binaries)) if binaries else None
        if server is None:
            notes.append(postgresql.MISSING)
        for row in _rows(wanted, folder, server, options.pgledger, notes):
            met = "met" if row.ratio >= row.goal else "missed"
            table.add_row(
                row.name,
                f"{row.ours:,.0f}",
                f"{row.peer:,.0f}",
                f"{row.ratio:.2f}",
                f"{row.goal} {met}",
            )
    Console().print(table)
    for note in notes:
        print(note)
    return 0


def _rows(
    wanted: set[str],
    folder: Path,
    server: postgresql.Server | None,
    peer: Path | None,
    notes: list[str],
) -> Iterator[Row]:
    if "events" in wanted:
        yield _events(f"sqlite:///{folder / 'bench.db'}")
        if server is not None:
            yield _events(server.url(server.create()))
    if "authorizations" in wanted and server is not None:
        if peer is None:
            notes.append("Authorizations left out: name a checkout of pgledger with --pgledger.")
            return
        for name, organizations in (("one hot organization", 1), ("1,000 organizations", 1_000)):
            yield _pairs(server.url(server.create()), peer, name, organizations)


def _empty(url: str) -> Database:
    application = create_app(Settings(url, "bench " * 8, "http://127.0.0.1:8000"))
    with application.app_context():
        upgrade()
    return Database(url)


def _events(url: str) -> Row:
    database = _empty(url)
    ((name, goal, ours, peer),) = events.pairs(database)
    mine, theirs = _interleaved(ours, peer)
    database.close()
    return Row(f"{name}, {database.dialect}", mine, theirs, goal)


def _pairs(url: str, peer: Path, name: str, organizations: int) -> Row:
    database = _empty(url)
    authorizations.prepare(database, organizations)
    authorizations.load_peer(url, peer, organizations)
    database.close()
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        for side, work in ((mine, authorizations.pair), (theirs, authorizations.transfer)):
            rate = clients.measure(work, authorizations.CLIENTS, url, organizations)
            side.append(rate.per_second)
    title = f"authorize and capture, {authorizations.CLIENTS} clients, {name}"
    return Row(title, statistics.median(mine), statistics.median(theirs), 1.0)


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
