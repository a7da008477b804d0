"""The memory of the web workers at the end of a long load, against that at its beginning."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

from bench import authorizations as pairs
from bench import served
from bench.machine import Machine
from bench.report import Found, at_most, median
from portal.db import Database

FULL_SECONDS = 600
SHORT_SECONDS = 60
CLIENTS = 4


def rows(machine: Machine) -> Iterator[Found]:
    """Load the server, and look at its workers every second."""
    seconds = FULL_SECONDS if machine.full else SHORT_SECONDS
    url = machine.postgresql()
    database = Database(url)
    pairs.prepare(database, 1)
    database.close()
    key = served.key_for(url)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with served.serving("app:app", **served.product(url)) as (port, pid):
        loads = [
            context.Process(target=_load, args=(number, port, key, stop))
            for number in range(CLIENTS)
        ]
        for load in loads:
            load.start()
        # Every worker has its connections and its caches before the first look.
        time.sleep(seconds / 10)
        seen = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(1)
            seen.append(_workers_mib(pid))
        stop.set()
        for load in loads:
            load.join()
    tenth = max(1, len(seen) // 10)
    what = f"memory of the web workers, last {tenth} s of {seconds} s of load"
    last, first = median(seen[-tenth:]), median(seen[:tenth])
    yield at_most(what, last, first, f"first {tenth} s", 1.1, "MiB")


def _load(number: int, port: int, key: str, stop: Event) -> None:
    act = served.authorize(number, port, key)
    while not stop.is_set():
        act()


def _workers_mib(pid: int) -> float:
    return sum(map(_resident_kib, served.workers(pid))) / 1024


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
