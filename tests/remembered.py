"""What a deed wrote to a store, written again: tests find the same cast, and it is founded once.

A deed is done in the first store of a session, and the rows that it added are kept; later stores
get these rows. So it must be one that any store takes alike: it adds rows, and the only row it
changes is that of the key it was done by, which was used. At another time than the start, at which
rows would say something else, it is done anew.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, cast

import psycopg
from sqlalchemy import Connection, Table

from portal import catalog, keys
from portal.db import Database
from portal.tables import api_keys, metadata
from tests.cast import Api, Customer, found_acme, found_bystander, make_key
from tests.clock import START, Clock

#: Rows as the store's own driver takes them: tuples on SQLite, lines of COPY on PostgreSQL.
Rows = dict[Table, list[Any]]

_kept: dict[Hashable, tuple[Any, Rows]] = {}


def price_book(database: Database, clock: Clock, text: str = "") -> None:
    """Load a price book, the one that ships unless another is given."""
    book = text or catalog.DEFAULT_FILE.read_text(encoding="utf-8")

    def load() -> None:
        with database.transaction() as tx:
            catalog.load(tx, book, now=clock())

    _again(database, clock, ("a book", book), load)


def service_key(database: Database, clock: Clock) -> str:
    """Make the service key of the operator's backend."""
    return str(_again(database, clock, "a key", lambda: make_key(database, clock)))


def acme(api: Api, database: Database, clock: Clock) -> Customer:
    """Make Acme, by a key."""
    _again(database, clock, ("Acme", api.secret), lambda: found_acme(api), by=api.secret)
    return Customer(api, "acme")


def bystander(api: Api, database: Database, clock: Clock) -> Customer:
    """Make Bystander, by a key."""
    _again(database, clock, ("Bystander", api.secret), lambda: found_bystander(api), by=api.secret)
    return Customer(api, "bystander")


def _again(
    database: Database, clock: Clock, deed: Hashable, do: Callable[[], Any], *, by: str = ""
) -> Any:
    """Do a deed, or write again what it wrote; returns what it returned the first time."""
    if clock() != START:
        return do()
    name = (database.dialect, deed)
    if name not in _kept:
        before = _rows(database)
        done = do()
        _kept[name] = done if isinstance(done, str) else None, _added(before, _rows(database), by)
        return done
    told, rows = _kept[name]
    with database.transaction() as tx:
        for table, added in rows.items():
            _write(tx, table, added)
        if by:
            keys.used(tx, keys.id_of(by), now=clock())
    return told


def _added(before: Rows, after: Rows, by: str) -> Rows:
    """Return the rows that are new. No other than that of the key may have changed."""
    added = {}
    for table, rows in after.items():
        known = set(before[table])
        if by and table is api_keys:
            continue
        assert known <= set(rows), f"the deed changed what stood in {table.name}"
        if new := [row for row in rows if row not in known]:
            added[table] = new
    return added


def _columns(table: Table) -> str:
    return ", ".join(f'"{one.name}"' for one in table.columns if one.computed is None)


def _rows(database: Database) -> Rows:
    with database.reading() as tx:
        return {table: _read(tx, table) for table in metadata.sorted_tables}


def _read(tx: Connection, table: Table) -> list[Any]:
    if tx.dialect.name == "sqlite":
        statement = f"SELECT {_columns(table)} FROM {table.name}"  # noqa: S608 # our own names
        return [tuple(row) for row in tx.exec_driver_sql(statement)]
    with _driver(tx).cursor().copy(f"COPY {table.name} ({_columns(table)}) TO STDOUT") as copy:
        return b"".join(copy).splitlines(keepends=True)


def _write(tx: Connection, table: Table, rows: list[Any]) -> None:
    if tx.dialect.name == "sqlite":
        places = ", ".join("?" for _ in rows[0])
        statement = f"INSERT INTO {table.name} ({_columns(table)}) VALUES ({places})"  # noqa: S608
        tx.exec_driver_sql(statement, rows)
        return
    with _driver(tx).cursor().copy(f"COPY {table.name} ({_columns(table)}) FROM STDIN") as copy:
        copy.write(b"".join(rows))


def _driver(tx: Connection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", tx.connection.driver_connection)
