"""A PostgreSQL server of the tests' own: made from the system's binaries, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

USER = "clearmeter"
MISSING = (
    "PostgreSQL's server programs are not installed: apt-get install postgresql "
    "(initdb and pg_ctl are looked for on PATH and in /usr/lib/postgresql/*/bin)"
)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    """A running server, and the databases made on it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._made = 0

    def url(self, database: str) -> str:
        """Return a database's address as the product takes it."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def _execute(self, command: str, *names: str) -> None:
        address = f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(address, autocommit=True) as connection:
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

        Much faster than a new copy, which writes some nine hundred files to the disk. Triggers do
        not fire for a replica, so that rows which are never deleted are deleted here alone.
        """
        address = f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"
        with psycopg.connect(address) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("SET LOCAL session_replication_role = replica")
            tables = connection.execute(
                "SELECT tablename FROM pg_tables "
                "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            ).fetchall()
            for (table,) in tables:
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


@contextmanager
def running(binaries: Path) -> Iterator[Server]:
    """Start a server on a free port of the loopback, with its data in a folder of its own."""
    home = Path(tempfile.mkdtemp(prefix="clearmeter-postgresql-"))
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(home, owner.pw_uid, owner.pw_gid)
    data, port = home / "data", free_port()
    settings = (
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= "
        "-c max_connections=150 -c jit=off -c checkpoint_timeout=1h"
    )
    try:
        _run(
            str(binaries / "initdb"), f"--pgdata={data}", "--auth=trust", f"--username={USER}",
            "--encoding=UTF8", "--locale=C.UTF-8",
        )  # fmt: skip
        control = [str(binaries / "pg_ctl"), f"--pgdata={data}", "--silent", "--wait"]
        _run(*control, f"--log={home / 'log'}", f"--options={settings}", "start")
        try:
            yield Server(port)
        finally:
            _run(*control, "--mode=immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)
