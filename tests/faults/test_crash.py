"""Killed at any system call, an act has happened or has not; asked again, it has happened once.

The act is performed by a process of its own, which is killed as it begins a chosen write, sync or
send. Then its organizations must be as they were before or as an undisturbed act leaves them, row
by row; and the same request again must bring them there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, insert, select

from portal import jobs
from portal.billing.gateway import Gateway
from portal.db import Database
from portal.jobs import Workshop
from portal.tables import metadata
from tests import digest
from tests.cast import Api, Customer, ok
from tests.clock import START, Clock
from tests.faults import soak, tracing
from tests.servers import ROOT

pytestmark = pytest.mark.soak

#: How many of an act's calls are tried: some, or all there are.
POINTS = soak.size(15, 100_000)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Order:
    """An act to perform, as a request or as a job, and the organizations it touches."""

    organizations: tuple[str, ...]
    now: datetime
    path: str = ""
    body: Any = None
    key: str | None = None
    job: str = ""

    def words(self, secret: str) -> dict[str, Any]:
        """Return what the victim needs to know of it."""
        words: dict[str, Any] = {"now": self.now.isoformat()}
        if self.job:
            return words | {"job": self.job}
        return words | {"secret": secret, "path": self.path, "body": self.body, "key": self.key}


class Victim:
    """The process that performs orders and may be killed at it."""

    def __init__(self, log: Path, module: str = "tests.faults.victim") -> None:
        self.log = log
        gate, self._gate = os.pipe()
        self._told, told = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(gate), str(told)],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            pass_fds=(gate, told),
        )  # fmt: skip
        os.close(gate)
        os.close(told)
        os.set_blocking(self._told, False)

    def _say(self, order: dict[str, Any], *, rehearse: bool) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order | {"rehearse": rehearse}) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def rehearse(self, order: dict[str, Any]) -> None:
        """Have an order performed undisturbed, so that the others find warm caches."""
        self._say(order, rehearse=True)
        assert self._hear() == 0

    def perform(
        self, order: dict[str, Any], *, kill_at: tuple[str, int] | None = None
    ) -> tuple[int, str] | None:
        """Have an order performed; return what was answered, None where it was killed before."""
        self._say(order, rehearse=False)
        with tracing.attached(self._hear(), self.log, kill_at=kill_at):
            os.write(self._gate, b"!")
            ended = self._hear()
        assert ended in {0, -9}, ended
        if ended:
            return None
        status, body = json.loads(os.read(self._told, 1 << 20))
        return status, body

    def close(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0
        os.close(self._gate)
        os.close(self._told)


Contents = list[tuple[Table, list[dict[str, Any]]]]


@dataclass
class Stage:
    """A store, organizations on it that are alike, and the victim."""

    url: str
    api: Api
    database: Database
    clock: Clock
    victim: Victim
    copies: int = 0

    def found(self, name: str) -> Customer:
        """Make an organization with grants of each kind and caps."""
        made = Customer(self.api, name)
        ok(self.api.put(made.path, {"name": "Acme"}), 201)
        ok(self.api.put(f"{made.path}/teams/research", {"name": "Research"}), 201)
        cleo = {"email": "cleo@acme.example", "team": "research"}
        ok(self.api.put(f"{made.path}/members/cleo", cleo), 201)
        made.grant(7, expires_at=(START + HOUR).isoformat())
        made.grant(11, source="pack")
        made.grant(200, source="pack", priority=90)
        made.cap(500, "member", target="cleo")
        made.cap(400, "team", target="research")
        return made

    def contents(self, order: Order) -> Contents:
        """Return every row of an order's organizations, to be copied."""
        with self.database.reading() as tx:
            found = []
            for table in metadata.sorted_tables:
                if "organization_id" in table.c:
                    mine = table.c.organization_id.in_(order.organizations)
                    rows = tx.execute(select(table).where(mine)).mappings()
                    found.append((table, [dict(row) for row in rows]))
            return found

    def copied(self, order: Order, contents: Contents) -> Order:
        """Return the same order for new organizations with the same contents."""
        self.copies += 1
        number = self.copies
        with self.database.transaction() as tx:
            for table, rows in contents:
                if rows:
                    given = [name for name in rows[0] if table.c[name].computed is None]
                    new = [{name: _renamed(row[name], number) for name in given} for row in rows]
                    tx.execute(insert(table), new)
        names: tuple[str, ...] = tuple(_renamed(one, number) for one in order.organizations)
        path, body = _renamed(order.path, number), _renamed(order.body, number)
        return replace(order, organizations=names, path=path, body=body)

    def rows(self, order: Order) -> list[dict[str, list[str]]]:
        """Return every row of an order's organizations, the same for all with that history."""
        return [
            {table: sorted(map(_anonymous, rows)) for table, rows in found.items()}
            for found in (digest.of_organization(self.database, one) for one in order.organizations)
        ]

    def ordered(self, order: Order) -> dict[str, Any]:
        """Return an order's words for the victim."""
        return {"url": self.url, **order.words(self.api.secret)}

    def again(self, order: Order) -> tuple[int, str]:
        """Perform an order in this process."""
        if order.job:
            shop = Workshop(self.database, Gateway(""), lambda: order.now)
            return 200, str(getattr(jobs, order.job)(shop))
        reply = self.api.post(order.path, order.body, key=order.key)
        return reply.status_code, reply.get_data(as_text=True)


def _renamed(value: Any, number: int) -> Any:
    """Name organizations and authorizations otherwise: all else is theirs alone."""
    if isinstance(value, dict | list):
        return json.loads(_renamed(json.dumps(value), number))
    if not isinstance(value, str):
        return value
    text = re.sub(r"\b(acme|birch)\b(?!\.)", rf"\1-{number}", value)
    return re.sub(r"\b(auth_[0-9a-z]{14})[0-9a-z]{6}\b", rf"\g<1>{number:06}", text)


def _anonymous(text: str) -> str:
    """Take out what chance chose: numbers of copies, ids but for their kind, hashes."""
    text = re.sub(r"\b(acme|birch)-\d+\b", r"\1", text)
    text = re.sub(r"\b([a-z]+)_[0-9a-hjkmnp-tv-z]{20}\b", r"\1", text)
    return re.sub(r"\b[0-9a-f]{64}\b", "hash", text)


# --- the acts -------------------------------------------------------------------------------------


def authorize(stage: Stage) -> Order:
    acme = stage.found("acme")
    body = {"organization": acme.id, "action": "document", "quantity": 4, "member": "cleo"}
    return Order((acme.id,), START, "/v1/authorizations", body, "key")


def capture(stage: Stage) -> Order:
    """Capture a part, so that credits go each way."""
    acme = stage.found("acme")
    hold = acme.hold("document", 4, member="cleo")
    return Order((acme.id,), START, f"/v1/authorizations/{hold}/capture", {"quantity": 1}, "key")


def events(stage: Stage) -> Order:
    """A hundred events of two organizations, more than they can pay."""
    both = stage.found("acme").id, stage.found("birch").id
    batch = [
        {
            "specversion": "1.0", "id": f"event-{number}", "source": "tests",
            "subject": both[number % 2], "type": "document",
            "data": {"member": "cleo", "run": f"run-{number % 5}"},
        }
        for number in range(100)
    ]  # fmt: skip
    return Order(both, START, "/v1/events", batch)


def sweep_holds(stage: Stage) -> Order:
    both = stage.found("acme"), stage.found("birch")
    for one in both:
        for quantity in (1, 2):
            one.hold("document", quantity, member="cleo", expires_in=60)
    return Order((both[0].id, both[1].id), START + HOUR / 2, job="end_lapsed_holds")


def sweep_grants(stage: Stage) -> Order:
    both = stage.found("acme").id, stage.found("birch").id
    return Order(both, START + HOUR, job="expire_grants")


ACTS: dict[str, Callable[[Stage], Order]] = {
    "authorize": authorize,
    "capture": capture,
    "a batch of a hundred events": events,
    "the job that ends lapsed holds": sweep_holds,
    "the job that expires grants": sweep_grants,
}


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    tracing.needed()
    victim = Victim(tmp_path_factory.mktemp("victim") / "calls")
    yield victim
    victim.close()


@pytest.fixture
def stage(victim: Victim, store: str, api: Api, database: Database, clock: Clock) -> Stage:
    return Stage(store, api, database, clock, victim)


def whole(database: Database) -> bool:
    """Tell whether the store's file is sound, where it is one."""
    if database.dialect != "sqlite":
        return True
    with database.reading() as tx:
        return tx.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


@pytest.mark.parametrize("act", ACTS)
def test_an_act_that_is_killed_happened_or_not_and_asked_again_happened_once(
    stage: Stage, act: str
) -> None:
    pattern = ACTS[act](stage)
    stage.clock.set(pattern.now)
    before, contents = stage.rows(pattern), stage.contents(pattern)
    stage.victim.rehearse(stage.ordered(stage.copied(pattern, contents)))
    order = stage.copied(pattern, contents)
    answered = stage.victim.perform(stage.ordered(order))
    assert answered is not None
    assert answered[0] in {200, 201}, answered
    after = stage.rows(order)
    assert before != after

    calls = tracing.made(stage.victim.log)
    points = tracing.points(calls, most=POINTS)
    killed = 0
    for point in points:
        order = stage.copied(pattern, contents)
        answer = stage.victim.perform(stage.ordered(order), kill_at=point)
        killed += answer is None
        for rows, then, now in zip(stage.rows(order), before, after, strict=True):
            assert rows in (then, now), point
        assert answer is None or stage.rows(order) == after, point
        assert whole(stage.database), point
        status, _ = stage.again(order)
        assert status == answered[0], point
        assert stage.rows(order) == after, point
    # A page more or less of a grown file moves the last calls a little.
    assert killed >= len(points) * 0.8
    print(f"\n{stage.database.dialect}, {act}: {len(calls)} calls, killed at {killed}")
