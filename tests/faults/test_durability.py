"""Nothing is answered before it is on the disk, and a store that would is not accepted.

Killing a process cannot show this: what it wrote outlives it in the machine's memory. So the
server's system calls are read instead.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app import create_app
from portal.db import Database
from tests import postgresql
from tests.cast import Api, refused
from tests.conftest import migrate, settings_for
from tests.faults import tracing
from tests.faults.promises import Told, told
from tests.faults.site import opened
from tests.faults.wire import Line
from tests.servers import Server

STORE = "/x/store.db"


def trace(*calls: str) -> list[Told]:
    return told(calls, store=STORE)


ANSWER = '7 sendto(9<socket:[1]>, "HTTP/1.1 201 Created\\r\\n"..., 80, 0, NULL, 0) = 80'
WRITE = f'7 pwrite64(5<{STORE}>, "..."..., 4096, 0) = 4096'
SYNC = f"7 fdatasync(5<{STORE}>) = 0"
JOURNAL = f"7 ftruncate(6<{STORE}-journal>, 0) = 0"
JOURNAL_SYNC = f"7 fsync(6<{STORE}-journal>) = 0"


def test_the_reader_sees_what_was_answered_too_early() -> None:
    safe, risky = frozenset[str](), frozenset({STORE})
    assert trace(WRITE, SYNC, ANSWER) == [Told(201, 1, safe)]
    assert trace(WRITE, ANSWER, SYNC) == [Told(201, 0, risky)]
    assert trace(SYNC, WRITE, ANSWER) == [Told(201, 1, risky)]
    assert trace(WRITE, SYNC, ANSWER, WRITE, ANSWER) == [Told(201, 1, safe), Told(201, 0, risky)]
    assert trace(WRITE, SYNC.replace("= 0", "= -1 EIO"), ANSWER) == [Told(201, 0, risky)]
    assert trace(WRITE, SYNC, JOURNAL, ANSWER)[0].at_risk == {f"{STORE}-journal"}
    assert trace(WRITE, SYNC, JOURNAL, JOURNAL_SYNC, ANSWER) == [Told(201, 2, safe)]


def test_the_reader_waits_for_a_sync_to_end() -> None:
    begun = f"7 fdatasync(5<{STORE}> <unfinished ...>"
    ended = "7 <... fdatasync resumed>)              = 0"
    other = WRITE.replace("7 ", "8 ", 1)
    assert trace(WRITE, begun, ended, ANSWER)[0].at_risk == set()
    assert trace(WRITE, begun, ANSWER, ended)[0].at_risk == {STORE}
    assert trace(WRITE, begun, other, ended, ANSWER)[0].at_risk == {STORE}


WRITER = """
import os, socket, sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("PRAGMA journal_mode = TRUNCATE")
store.execute("PRAGMA synchronous = " + sys.argv[2])
store.execute("CREATE TABLE t (a)")
input()
store.execute("INSERT INTO t VALUES (1)")
one, other = socket.socketpair()
one.send(b"HTTP/1.1 201 Created")
"""


@pytest.mark.parametrize(
    ("synchronous", "safe"), [("FULL", True), ("NORMAL", False), ("OFF", False)]
)
def test_the_reader_tells_a_careful_writer_from_a_careless_one(
    tmp_path: Path, synchronous: str, safe: bool
) -> None:
    tracing.needed()
    store, log = tmp_path / "store.db", tmp_path / "calls"
    command = [sys.executable, "-c", WRITER, str(store), synchronous]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE)
    with tracing.watched([writer.pid], log):
        writer.communicate(b"\n")
    (answer,) = told(log.read_text(errors="replace").splitlines(), store=str(store))
    assert bool(answer.syncs and not answer.at_risk) is safe


def test_every_good_answer_leaves_after_what_it_tells_of_is_on_the_disk(
    sqlite_template: Path, tmp_path: Path
) -> None:
    tracing.needed()
    store, log = shutil.copy(sqlite_template, tmp_path / "store.db"), tmp_path / "calls"
    with opened(f"sqlite:///{store}", processes=0) as site:
        server = Server(site.url)
        server.start()
        site.ports.append(server.port)
        try:
            acme = site.found()
            acme.grant(1_000_000_000)
            holds = [acme.hold(quantity=2) for _ in range(3)]
            cap = acme.cap(900_000_000)
            events = [
                {
                    "specversion": "1.0", "id": f"{number}", "source": "tests",
                    "subject": acme.id, "type": "image",
                }
                for number in range(100)
            ]  # fmt: skip
            grant = {"credits": "9", "source": "pack", "reason": "a test"}
            asked = [
                ("PUT", f"{acme.path}/members/ben", {"email": "ben@acme.example"}),
                ("POST", f"{acme.path}/grants", grant),
                ("POST", "/v1/authorizations", acme.authorization()),
                ("POST", "/v1/authorizations", acme.authorization(quantity=10_000)),
                ("POST", f"/v1/authorizations/{holds[0]}/increment", {"quantity": 1}),
                ("POST", f"/v1/authorizations/{holds[0]}/capture", {"quantity": 1}),
                ("POST", f"/v1/authorizations/{holds[1]}/capture", {"quantity": 9}),
                ("POST", f"/v1/authorizations/{holds[2]}/release", {}),
                ("PATCH", f"{acme.path}/caps/{cap}", {"limit": {"credits": "7"}}),
                ("POST", "/v1/events", events),
                ("DELETE", f"{acme.path}/caps/{cap}", None),
            ]
            requests = [
                site.request(method, path, body, key=f"key {place}")
                for place, (method, path, body) in enumerate(asked)
            ]
            with tracing.watched(server.pids, log), Line(server.port) as line:
                statuses = [line.exchange(content).status for content in requests]
        finally:
            server.stop()
    assert statuses == [201, 201, 201, 402, 200, 200, 200, 200, 200, 200, 200]
    answers = told(log.read_text(errors="replace").splitlines(), store=str(store))
    assert [answer.status for answer in answers] == statuses
    for (method, path, _), answer in zip(asked, answers, strict=True):
        assert answer.syncs, f"{method} {path} was answered without a sync"
        assert not answer.at_risk, f"{method} {path} was answered before {answer.at_risk} was safe"


# --- PostgreSQL -----------------------------------------------------------------------------------


@pytest.fixture
def own_database(postgresql_server: postgresql.Server) -> str:
    return postgresql_server.create()


@pytest.fixture
def ready(postgresql_server: postgresql.Server, own_database: str) -> Iterator[Flask]:
    url = postgresql_server.url(own_database)
    migrate(url)
    application = create_app(settings_for(url))
    yield application
    application.extensions["clearmeter"].database.close()


def setting(database: Database, name: str) -> str:
    with database.reading() as tx:
        return str(tx.exec_driver_sql(f"SHOW {name}").scalar_one())


@pytest.mark.postgresql
def test_postgresql_as_it_comes_waits_for_the_disk_and_is_accepted(ready: Flask) -> None:
    database = ready.extensions["clearmeter"].database
    assert {setting(database, name) for name in ("fsync", "synchronous_commit")} == {"on"}
    assert ready.test_client().get("/readyz").status_code == 200


@pytest.mark.postgresql
def test_postgresql_that_answers_before_a_commit_is_on_the_disk_is_not_accepted(
    ready: Flask, postgresql_server: postgresql.Server, own_database: str
) -> None:
    postgresql_server.hurry(own_database)
    ready.extensions["clearmeter"].database.close()
    answer = Api(ready, "").get("/readyz")
    detail = refused(answer, 503, "unavailable")["detail"]
    assert "synchronous_commit" in detail
    assert answer.headers["Retry-After"]


@pytest.mark.postgresql
def test_postgresql_that_never_waits_for_the_disk_is_not_accepted(
    postgresql_server: postgresql.Server,
) -> None:
    binaries = postgresql.programs()
    assert binaries is not None
    with postgresql.running(binaries, fsync="off") as careless:
        application = create_app(settings_for(careless.url(careless.create())))
        answer = Api(application, "").get("/readyz")
        application.extensions["clearmeter"].database.close()
    assert "fsync" in refused(answer, 503, "unavailable")["detail"]
