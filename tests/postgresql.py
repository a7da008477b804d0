"""A PostgreSQL server of the tests' own: made from the system's binaries, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql

from tests.processes import children

USER = "clearmeter"
#: What a run of all tests writes at most, logs and all.
ROOM_BYTES = 6 * 2**30
MISSING = (
    "PostgreSQL's server programs are not installed: apt-get install postgresql "
    "(initdb and pg_ctl are looked for on PATH and in /usr/lib/postgresql/*/bin)"
)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def memory() -> Path | None:
    """Return a folder in memory with room for stores that nobody pulls the plug of, or None.

    A soak does without: its figures are to be those of a disk.
    """
    folder = Path("/dev/shm")  # noqa: S108 # the tests' own folders are made in it
    if os.environ.get("CLEARMETER_SOAK") or not os.access(folder, os.W_OK):
        return None
    return folder if shutil.disk_usage(folder).free > ROOM_BYTES else None


def programs() -> Path | None:
    """Return the folder of the newest initdb and pg_ctl, or None."""
    found = shutil.which("initdb")
    if found and shutil.which("pg_ctl"):
        return Path(found).parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(versions, key=lambda path: int(path.parts[-3]))
    return newest[-1].parent if newest else None


def _as_somebody(command: list[str]) -> list[str]:
    """Run as the user postgres where the tests run as root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return command
    return ["runuser", "-u", "postgres", "--", *command]


def _run(*command: str) -> None:
    done = subprocess.run(
        _as_somebody(list(command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}")


class Server:
    """A server with its data in a folder of its own, and the databases made on it."""

    def __init__(self, binaries: Path, home: Path) -> None:
        self.port = free_port()
        self._data, self._log = home / "data", home / "log"
        self._control = [str(binaries / "pg_ctl"), f"--pgdata={self._data}", "--silent", "--wait"]
        self._check = str((binaries / "initdb").resolve().parent / "pg_amcheck")
        self._made = 0
        self._emptying: dict[str, psycopg.Connection[tuple[object, ...]]] = {}
        _run(
            str(binaries / "initdb"), f"--pgdata={self._data}", "--auth=trust",
            f"--username={USER}", "--encoding=UTF8", "--locale=C.UTF-8",
        )  # fmt: skip

    def start(self, **settings: str) -> None:
        """Start, with more settings where they are given."""
        given = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "150",
            "jit": "off",
            "checkpoint_timeout": "1h",
        } | settings
        options = " ".join(f"-c {name}={value}" for name, value in given.items())
        _run(*self._control, f"--log={self._log}", f"--options=-p {self.port} {options}", "start")

    def stop(self) -> None:
        """Stop without ceremony."""
        while self._emptying:
            self._emptying.popitem()[1].close()
        _run(*self._control, "--mode=immediate", "stop")

    def crash(self) -> None:
        """Kill every process of the server at once, as when the machine's memory runs out."""
        postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        assert str(self._data) in Path(f"/proc/{postmaster}/cmdline").read_text()
        every = [postmaster, *children(postmaster)]
        for pid in every:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while any(Path(f"/proc/{pid}").exists() for pid in every):
            time.sleep(0.01)

    def check(self, database: str) -> None:
        """Read every table and index of a database. Raises RuntimeError where one is damaged."""
        _run(
            self._check, "--install-missing", "--heapallindexed", "--host=127.0.0.1",
            f"--port={self.port}", f"--username={USER}", database,
        )  # fmt: skip

    def backends(self, database: str) -> list[int]:
        """Return the processes that serve a database's clients."""
        with psycopg.connect(f"{self._address}/postgres") as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s", [database]
            ).fetchall()
        return [pid for (pid,) in rows]

    @property
    def _address(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}"

    def url(self, database: str) -> str:
        """Return a database's address as the product takes it."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def _execute(self, command: str, *names: str) -> None:
        with psycopg.connect(f"{self._address}/postgres", autocommit=True) as connection:
            connection.execute(sql.SQL(command).format(*map(sql.Identifier, names)))

    def create(self, template: str | None = None) -> str:
        """Make a database, a copy of ``template`` where one is named; return its name."""
        self._made += 1
        name = f"store_{self._made}"
        if template is None:
            self._execute("CREATE DATABASE {}", name)
        else:
            self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return name

    def hurry(self, database: str) -> None:
        """Let commits on a database answer before they are on the disk: nobody pulls the plug."""
        self._execute("ALTER DATABASE {} SET synchronous_commit = off", database)

    def empty(self, database: str) -> None:
        """Take every row out of a database, whoever still uses it.

        Much faster than a new copy, which writes some nine hundred files to the disk; and by a
        connection that stays, which knows every table already.
        """
        if database not in self._emptying:
            self._emptying[database] = self._ready_to_empty(database)
        self._emptying[database].execute("SELECT pg_temp.empty()")

    def _ready_to_empty(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection that has a function of its own, which empties the database.

        Triggers do not fire for a replica, so that rows which are never deleted are deleted here
        alone.
        """
        connection = psycopg.connect(f"{self._address}/{database}", autocommit=True)
        connection.execute("SET session_replication_role = replica")
        tables = connection.execute(
            "SELECT tablename FROM pg_tables "
            "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        ).fetchall()
        deletes = [
            sql.SQL("DELETE FROM public.{};").format(sql.Identifier(one)) for (one,) in tables
        ]
        others = sql.SQL(
            "PERFORM pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid();"
        )
        body = sql.SQL(" ").join([sql.SQL("BEGIN"), others, *deletes, sql.SQL("END")])
        connection.execute(
            sql.SQL("CREATE FUNCTION pg_temp.empty() RETURNS void LANGUAGE plpgsql AS {}").format(
                sql.Literal(body.as_string(connection))
            )
        )
        return connection


@contextmanager
def running(binaries: Path, *, on_disk: bool = False, **settings: str) -> Iterator[Server]:
    """Start a server on a free port of the loopback, with its data in a folder of its own.

    ``on_disk``: not in memory, also where there is room.
    """
    folder = None if on_disk else memory()
    home = Path(tempfile.mkdtemp(prefix="clearmeter-postgresql-", dir=folder))
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(home, owner.pw_uid, owner.pw_gid)
    try:
        server = Server(binaries, home)
        server.start(**settings)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)
