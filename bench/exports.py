"""All events of an organization as CSV over HTTP, against COPY of the same columns; and its memory.

The peak is that of a worker of the production server in all its life, exports included.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from bench import served
from bench.events import prepare_books
from bench.history import write_organizations
from bench.machine import Machine
from bench.report import Found, at_least, at_most, in_turns, median
from portal.db import Database

FULL, FEW = 1_000_000, 200_000
MOST_MIB = 200
_BLOCK = 1 << 16
_COPY = """
    COPY (
        SELECT occurred_at, event_id, source, type, member_id, team_id, project_id, run_id,
            quantity_micro, credits_micro - uncollected_micro, uncollected_micro
        FROM events WHERE organization_id = 'long' ORDER BY occurred_at DESC
    ) TO STDOUT (FORMAT csv)
"""


def rows(machine: Machine) -> Iterator[Found]:
    """Measure the rate of both, in turns, and the peak of the workers' memory."""
    many = FULL if machine.full else FEW
    url = machine.postgresql()
    database = Database(url)
    prepare_books(database)
    write_organizations(database, {"long": many}, datetime.now(UTC))
    database.close()
    key = served.key_for(url)
    with served.serving("app:app", **served.product(url)) as (port, pid):
        export, copy = in_turns(
            _rate(lambda: _export(port, key), many), _rate(lambda: _copy(url), many)
        )
        peak_mib = max(map(_peak_mib, served.workers(pid)))
    what = f"CSV of {many:,} events over HTTP"
    yield at_least(what, median(export), median(copy), "COPY TO", 0.2)
    yield at_most(f"{what}, peak memory of a worker", peak_mib, MOST_MIB, "at most", 1.0, "MiB")


def _rate(act: Callable[[], int], many: int) -> Callable[[], float]:
    def measure() -> float:
        started = time.perf_counter()
        seen = act()
        if seen != many:
            raise RuntimeError(f"{seen} records came, not {many}")
        return many / (time.perf_counter() - started)

    return measure


def _export(port: int, key: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    headers = {"Authorization": f"Bearer {key}", "Accept": "text/csv"}
    connection.request("GET", "/v1/organizations/long/events", headers=headers)
    answer, found = connection.getresponse(), 0
    if answer.status != 200:
        raise RuntimeError(f"the export answered {answer.status}")
    while block := answer.read(_BLOCK):
        found += block.count(b"\n")
    connection.close()
    # The first line names the columns.
    return found - 1


def _copy(url: str) -> int:
    found = 0
    address = url.replace("+psycopg", "")
    with psycopg.connect(address) as connection, connection.cursor().copy(_COPY) as copied:
        for block in copied:
            found += bytes(block).count(b"\n")
    return found


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024
