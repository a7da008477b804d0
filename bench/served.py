"""The product over HTTP, on the production server, against what bounds it there."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from bench import authorizations as pairs
from bench import clients
from bench import events as batches
from bench.machine import SECRET_KEY, Machine
from bench.report import Found, at_least, at_most, in_turns, median
from portal import keys
from portal.db import Database
from tests.postgresql import free_port

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
THREADS = 4


@contextmanager
def serving(program: str, **settings: str) -> Iterator[tuple[int, int]]:
    """Serve a program from two processes of the production server; gives its port and its pid."""
    port = free_port()
    command = [
        sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1",
        "--port", str(port), "--workers", str(WORKERS), "--blocking-threads", str(THREADS),
        "--no-ws", "--log-level", "warning", program,
    ]  # fmt: skip
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **settings}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while not _ready(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{program} did not start:\n{log.read().decode()}")
                time.sleep(0.1)
            yield port, process.pid
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False


def workers(pid: int) -> list[int]:
    """Return the processes that answer for a server."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(one) for one in children.split()]


def product(url: str) -> dict[str, str]:
    """Return the product's settings on a store."""
    return {
        "DATABASE_URL": url,
        "SECRET_KEY": SECRET_KEY,
        "PORTAL_BASE_URL": "http://127.0.0.1:8000",
    }


def key_for(url: str) -> str:
    """Make a service key."""
    database = Database(url)
    with database.transaction() as tx:
        key = keys.create(tx, name="bench", organization_id=None, scopes=(), now=datetime.now(UTC))
    database.close()
    return key


def authorize(number: int, port: int, key: str) -> Callable[[], None]:
    """Return the act of a client: one authorization of the one organization."""
    names = (f"{os.getpid()}-{number}-{one}" for one in itertools.count())
    body = json.dumps({"organization": "org-0", "action": "document", "member": "ana"}).encode()
    send = _sender(port, "/v1/authorizations", 201)

    def act() -> None:
        send(body, {"Authorization": f"Bearer {key}", "Idempotency-Key": next(names)})

    return act


def take(_number: int, port: int) -> Callable[[], None]:
    """Return the act of the peer's client."""
    send = _sender(port, "/take", 201)
    return lambda: send(b"", {})


def send_batch(number: int, port: int, key: str) -> Callable[[], None]:
    """Return the act of a client that sends batches of events."""
    send = _sender(port, "/v1/events", 200)
    numbers = itertools.count()
    headers = {"Authorization": f"Bearer {key}"}

    def act() -> None:
        now = datetime.now(UTC)
        batch = [
            _cloud_event(f"{os.getpid()}-{number}-{next(numbers)}", index, now)
            for index in range(batches.BATCH)
        ]
        send(json.dumps(batch).encode(), headers)

    return act


def ingest_batch(_number: int, url: str) -> Callable[[], None]:
    """Return the same act within a process."""
    database = Database(url, pool_size=1)
    # As far from what other rounds sent as a process id and the time can make it.
    numbers = itertools.count(time.time_ns() // 1_000 * 1_000)
    return lambda: batches.ingest(database, numbers)


def _cloud_event(event_id: str, index: int, now: datetime) -> dict[str, object]:
    usage = {"input_tokens": 1_000 + index % 997, "output_tokens": 100 + index % 89}
    cost = {"layer": "inference", "provider": "openai", "model": "gpt-4o-mini", "usage": usage}
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "bench",
        "subject": "bench",
        "type": "document",
        "time": (now - timedelta(seconds=index)).isoformat(),
        "data": {"member": f"member-{index % 20}", "costs": [cost]},
    }


def _sender(port: int, path: str, expected: int) -> Callable[[bytes, dict[str, str]], None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def send(body: bytes, headers: dict[str, str]) -> None:
        connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != expected:
            raise RuntimeError(f"{path} answered {answer.status}: {said[:300]!r}")

    return send


def authorizations(machine: Machine) -> Iterator[Found]:
    """Measure authorizations over HTTP against a view that does one guarded UPDATE."""
    url = machine.postgresql()
    database = Database(url)
    pairs.prepare(database, 1)
    database.close()
    key, address = key_for(url), pairs.address(url)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE TABLE bench_balance (id int PRIMARY KEY, balance bigint)")
        connection.execute("INSERT INTO bench_balance VALUES (1, 1000000000)")
    with (
        serving("app:app", **product(url)) as (ours_port, _),
        serving("bench.peer:app", PEER_ADDRESS=address) as (peer_port, _),
    ):
        ours, theirs = in_turns(
            lambda: clients.measure(authorize, pairs.CLIENTS, ours_port, key),
            lambda: clients.measure(take, pairs.CLIENTS, peer_port),
        )
    what, peer = "authorize over HTTP, one organization, 8 clients", "Flask view, one UPDATE"
    rates = [median(one.per_second for one in side) for side in (ours, theirs)]
    slowest = [median(one.p99_ms for one in side) for side in (ours, theirs)]
    yield at_least(what, rates[0], rates[1], peer, 0.6)
    yield at_most(f"{what}, p99", slowest[0], slowest[1], peer, 3.0, "ms")


def events(machine: Machine) -> Iterator[Found]:
    """Measure batches of events over HTTP against the same within a process."""
    url = machine.postgresql()
    database = Database(url)
    batches.prepare(database)
    database.close()
    key = key_for(url)
    with serving("app:app", **product(url)) as (port, _):
        ours, theirs = in_turns(
            lambda: clients.measure(send_batch, 1, port, key).per_second * batches.BATCH,
            lambda: clients.measure(ingest_batch, 1, url).per_second * batches.BATCH,
        )
    what = f"events in batches of {batches.BATCH:,}, over HTTP, postgresql"
    yield at_least(what, median(ours), median(theirs), "in process", 0.8)
