"""The store: one engine for each dialect, one way to write, one way to read.

Owns connections and transactions. Invariant: ``transaction()`` is the only place that commits; on
SQLite it takes the write lock at its first statement (a deferred transaction that upgrades fails
at once), on PostgreSQL it runs READ COMMITTED and use cases lock the organization's wallet first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import Any, cast

import psycopg
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from portal.core.errors import Unavailable

#: SQLite below this can corrupt a WAL file that two connections reset at once.
FIRST_SAFE_WAL = (3, 51, 3)
STATEMENT_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 3_000
SQLITE_BUSY_MS = 5_000
#: For how long the operator's figures over all customers may be added up while somebody waits.
FIGURES_WITHIN_S = 20
#: PostgreSQL's word for a prepared statement that it does not know.
_FORGOTTEN = b"26000"


_open_transactions: ContextVar[int] = ContextVar("open_transactions", default=0)


def in_transaction() -> bool:
    """Tell whether a transaction of any database is open here, to write or to read.

    Nothing slow may be called then.
    """
    return _open_transactions.get() > 0


@contextmanager
def _one_more_open() -> Iterator[None]:
    depth = _open_transactions.set(_open_transactions.get() + 1)
    try:
        yield
    finally:
        _open_transactions.reset(depth)


class Database:
    """An engine with the two ways to use it."""

    def __init__(self, url: str, *, pool_size: int = 8, express: bool = True) -> None:
        self.url = url
        #: Whether the store's own functions are used where it has them (see express.py).
        self.express = express
        dialect = make_url(url).get_backend_name()
        self.engine = (
            _sqlite_engine(url) if dialect == "sqlite" else _postgres_engine(url, pool_size)
        )
        self.dialect = dialect
        #: SQLite has one writer and makes whoever waits try again, in no order: the threads of
        #: this process wait for each other here instead, and are woken.
        self._turn = Lock() if dialect == "sqlite" else None

    def call(self, statement: str, values: tuple[str | int | datetime | None, ...]) -> str | None:
        """Run one statement of PostgreSQL that is a transaction by itself, in one round trip.

        Straight to the driver's library: what SQLAlchemy and the driver add to each statement would
        cost as much as the statement. Returns the first column of its row as text. Raises what
        SQLAlchemy would.
        """
        pool, entry = cast("_Pool", self.engine.pool), None
        try:
            entry = pool.lend()
            driver = cast("psycopg.Connection[Any]", entry.driver_connection)
            # The driver's types leave out that a value may be NULL.
            sent = cast("list[bytes]", [_as_text(one) for one in values])
            found = _run_prepared(driver.pgconn, entry.info, statement, sent)
        except psycopg.Error as error:
            raise as_sqlalchemy(error, statement, gone=self._lost(error, entry)) from error
        finally:
            if entry is not None:
                pool.take_back(entry)
        return None if found is None else found.decode()

    def _lost(self, error: psycopg.Error, entry: ConnectionPoolEntry | None) -> bool:
        """Tell whether an error cost the connection; then no other one is trusted either."""
        driver = cast("psycopg.Connection[Any] | None", entry and entry.driver_connection)
        gone = driver is not None and driver.closed
        if entry is not None and gone:
            # Where one connection is lost, those at rest are too.
            entry.invalidate(error)
            self.engine.dispose()
        return gone

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open the one kind of transaction that writes; commit at the end, roll back on error."""
        with self._own_turn(), self.engine.connect() as connection:
            if self.dialect == "sqlite":
                connection.info["begin"] = "BEGIN IMMEDIATE"
            with _one_more_open(), connection.begin():
                yield connection

    @contextmanager
    def _own_turn(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=SQLITE_BUSY_MS / 1000):
            raise Unavailable("The store is busy. Nothing was done; try again.")
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def figures(self, *, within_s: int = FIGURES_WITHIN_S) -> Iterator[Connection]:
        """Open a snapshot for the operator's figures over all customers, while somebody waits.

        On PostgreSQL each statement may take so many seconds, on SQLite all of them together.
        Raises Unavailable where they take longer: a worker is never held for good.
        """
        begun = monotonic()
        try:
            with self.reading(patient=True) as connection:
                self._bound(connection, within_s, begun + within_s)
                try:
                    yield connection
                finally:
                    self._unbound(connection)
        except OperationalError as error:
            if not _was_stopped(error):
                raise
            raise Unavailable(
                f"These figures took longer than {within_s} seconds to add up. Ask for fewer days, "
                "or again when there is less to do."
            ) from error

    def _bound(self, connection: Connection, within_s: int, ends: float) -> None:
        if self.dialect != "sqlite":
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(within_s * 1000)}")
            # Sums by customer that fit in memory take half the time of those that go by the disk.
            connection.exec_driver_sql("SET LOCAL work_mem = '32MB'")
            return
        driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        driver.set_progress_handler(lambda: monotonic() > ends, _STEPS)

    def _unbound(self, connection: Connection) -> None:
        if self.dialect == "sqlite":
            driver = cast("sqlite3.Connection", connection.connection.driver_connection)
            driver.set_progress_handler(None, 0)

    @contextmanager
    def reading(self, *, patient: bool = False) -> Iterator[Connection]:
        """Open one consistent snapshot for reading; nothing written in it would be kept.

        A ``patient`` one may read for as long as it takes: for proofs and for jobs, never for a
        request (see ``figures``).
        """
        with self.engine.connect() as connection:
            if self.dialect == "sqlite":
                connection.info["begin"] = "BEGIN"
            else:
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            transaction = connection.begin()
            try:
                if patient and self.dialect != "sqlite":
                    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                with _one_more_open():
                    yield connection
            except BaseException:
                transaction.rollback()
                raise
            # A rollback makes the driver forget the statements it has prepared. PostgreSQL lets
            # nothing be written here, so that a commit keeps nothing either.
            if self.dialect == "sqlite":
                transaction.rollback()
            else:
                transaction.commit()

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """Open a connection for one SELECT: nothing begins and ends a transaction around it."""
        if self.dialect == "sqlite":
            with self.reading() as connection:
                yield connection
            return
        with self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def as_sqlalchemy(error: psycopg.Error, statement: str, *, gone: bool) -> BaseException:
    """Return the driver's error as whoever calls SQLAlchemy expects it."""
    return DBAPIError.instance(statement, None, error, psycopg.Error, connection_invalidated=gone)


class _Pool(QueuePool):
    """The pool, which also lends a connection bare: for a statement that is its own transaction.

    What SQLAlchemy does at both ends of a loan besides is for what may be left open in it.
    """

    def lend(self) -> ConnectionPoolEntry:
        """Return a connection nobody else has. Raises TimeoutError, psycopg.Error."""
        entry = self._do_get()
        try:
            cast("Any", entry).get_connection()
        except BaseException:
            self._do_return_conn(entry)
            raise
        return entry

    def take_back(self, entry: ConnectionPoolEntry) -> None:
        """Let others have what was lent."""
        self._do_return_conn(entry)


def _as_text(value: str | int | datetime | None) -> bytes | None:
    """Return a value as PostgreSQL reads it. Raises DataError for the one letter it cannot hold."""
    if value is None:
        return None
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    if "\0" in text:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return text.encode()


def _run_prepared(
    server: PGconn, known: dict[Any, Any], statement: str, values: list[bytes]
) -> bytes | None:
    """Run a statement that is prepared once for each connection, and again where it is forgotten.

    The driver has every statement forgotten when it rolls back. Raises psycopg.Error.
    """
    if server.transaction_status != TransactionStatus.IDLE:
        raise psycopg.OperationalError("the connection is lost, or in a transaction")
    names = known.setdefault("prepared", {})
    name = names.get(statement)
    if name is not None:
        result = server.exec_prepared(name, values)
        if result.error_field(DiagnosticField.SQLSTATE) != _FORGOTTEN:
            return _only_value(server, result)
    else:
        name = names[statement] = f"clearmeter_{len(names)}".encode()
    prepared = server.prepare(name, statement.encode())
    if prepared.status != ExecStatus.COMMAND_OK:
        return _only_value(server, prepared)
    return _only_value(server, server.exec_prepared(name, values))


def _only_value(server: PGconn, result: PGresult) -> bytes | None:
    """Return the one value of an answer. Raises psycopg.Error where it is none."""
    if result.status == ExecStatus.TUPLES_OK:
        return result.get_value(0, 0) if result.ntuples else None
    if server.status != ConnStatus.OK:
        raise psycopg.OperationalError(result.get_error_message())
    raise psycopg.errors.error_from_result(result)


#: After how many of its steps SQLite asks whether it is to go on: some milliseconds.
_STEPS = 100_000


def _was_stopped(error: OperationalError) -> bool:
    """Tell whether a statement was stopped because its time was over."""
    stopped = isinstance(error.orig, sqlite3.OperationalError) and "interrupted" in str(error.orig)
    return stopped or isinstance(error.orig, psycopg.errors.QueryCanceled)


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_MS / 1000})
    wal_is_safe = sqlite3.sqlite_version_info >= FIRST_SAFE_WAL

    @event.listens_for(engine, "connect")
    def configure(dbapi_connection: Any, _record: Any) -> None:
        # The driver must not open transactions of its own: BEGIN is emitted below.
        dbapi_connection.isolation_level = None
        for pragma in (
            f"journal_mode = {'WAL' if wal_is_safe else 'TRUNCATE'}",
            "synchronous = FULL",
            "foreign_keys = ON",
            "trusted_schema = OFF",
            "temp_store = MEMORY",
            "cache_size = -32000",
        ):
            dbapi_connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.info.get("begin", "BEGIN"))

    return engine


def _postgres_engine(url: str, pool_size: int) -> Engine:
    return create_engine(
        url,
        poolclass=_Pool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=4,
        connect_args={
            "connect_timeout": 4,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS}"
            f" -c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC",
        },
    )


def hasty_setting(tx: Connection) -> str | None:
    """Return the setting by which PostgreSQL answers a commit before it is on the disk, or None.

    Of SQLite there is nothing to ask: every connection of this module waits for the disk.
    """
    if tx.dialect.name == "sqlite":
        return None
    settings = ("fsync", "synchronous_commit")
    return next(
        (name for name in settings if tx.exec_driver_sql(f"SHOW {name}").scalar() == "off"), None
    )
