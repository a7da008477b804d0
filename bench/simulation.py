"""A simulation over a long history, against one scan of the same events; and the memory it takes.

Once with prices of whole credits, which the daily sums rate as their events do, and once with one
that rounds, so that every event has its say.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial

from sqlalchemy import text

from bench import history
from bench.events import prepare_books
from bench.history import FULL, LONG, SHORT, write_organizations
from bench.machine import Machine
from bench.report import Found, at_most, in_turns, median
from portal import catalog
from portal.core.simulation import Kind
from portal.db import Database
from portal.margin import simulation
from portal.margin.simulation_runs import SimulationRequest

#: The short history to compare memory with is cut among so many organizations.
ORGANIZATIONS = 10
DAYS = 32
#: Prices of a document: of the second every event is rated by itself.
WHOLE, ROUNDING = "5", "5.000001"


def rows(machine: Machine) -> Iterator[Found]:
    """Measure both ways, in turns with a scan, and the memory of the slower one."""
    events = FULL if machine.full else LONG
    _, long = history.store(machine)
    short = _short(machine)
    for words, price in (("sums of days", WHOLE), ("every event", ROUNDING)):
        took, scan = in_turns(_timed(partial(_simulate, long, price)), _timed(partial(_scan, long)))
        what = f"simulation of {events:,} events, by {words}"
        yield at_most(what, median(took), median(scan), "one scan of them", 10, "s")
    peaks = [_peak_mib(partial(_simulate, store, ROUNDING)) for store in (long, short)]
    what = f"memory of a simulation of {events:,} events"
    yield at_most(what, peaks[0], peaks[1], f"of {SHORT * ORGANIZATIONS:,}", 1.2, "MiB")
    for store in (long, short):
        store.close()


def _short(machine: Machine) -> Database:
    database = Database(machine.postgresql())
    prepare_books(database)
    lengths = {f"org-{number}": SHORT for number in range(ORGANIZATIONS)}
    write_organizations(database, lengths, datetime.now(UTC))
    return database


def _simulate(database: Database, price: str) -> None:
    """Replay the last month at another price of a document."""
    now = datetime.now(UTC)
    book = catalog.DEFAULT_FILE.read_text(encoding="utf-8").replace(
        "credits = 5\n", f"credits = {price}\n", 1
    )
    start = now.date() - timedelta(days=DAYS)
    request = SimulationRequest("bench", Kind.BOOK, start, _tomorrow(now), document=book)
    found = simulation.take_on(database, request, actor="bench", now=now)
    if found.status != "done" or found.done != found.total:
        raise RuntimeError(f"the simulation did not run: {found.status} {found.failure}")


def _tomorrow(now: datetime) -> date:
    return now.date() + timedelta(days=1)


def _scan(database: Database) -> None:
    with database.reading(patient=True) as tx:
        tx.execute(text("SELECT sum(quantity_micro) FROM events")).scalar_one()


def _timed(act: Callable[[], None]) -> Callable[[], float]:
    def measure() -> float:
        started = time.perf_counter()
        act()
        return time.perf_counter() - started

    return measure


def _peak_mib(act: Callable[[], None]) -> float:
    act()
    tracemalloc.start()
    act()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1024 / 1024
