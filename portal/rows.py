"""Many rows at once: inserted, added to, or skipped where they exist, as each store does it best.

Invariant: one statement for each call. SQLAlchemy goes over every value of every row, which costs
more than the rows themselves: where there are many, they go to the driver as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, cast

import psycopg
from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Table,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from portal.db import as_sqlalchemy


def among(tx: Connection, column: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that a column is one of many values.

    One array where the store has them: a thousand parameters are planned once for all values, and
    compared one by one with every row where the planner has not yet seen how many rows there are.
    """
    if tx.dialect.name == "sqlite":
        return column.in_(values)
    listed = bindparam(None, list(values), type_=postgresql.ARRAY(column.type))
    return column == any_(listed)


def insert_or_ignore(tx: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Insert a row unless its key exists; tells whether it was inserted."""
    statement = _insert(tx, table).values(row).on_conflict_do_nothing()
    # An INSERT keeps its row count only when asked to.
    done = tx.execute(statement, execution_options={"preserve_rowcount": True})
    return done.rowcount == 1


def insert_new_rows(tx: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert those rows whose key does not exist yet."""
    if rows:
        tx.execute(_insert(tx, table).on_conflict_do_nothing(), rows)


def insert_rows(tx: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert many rows, all with the same columns, in one statement."""
    if not rows:
        return
    if tx.dialect.name == "sqlite":
        _execute_many(tx, table, rows)
    else:
        _copy(tx, table, rows)


def _execute_many(tx: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    statement, columns, stored = _plain(table, tuple(rows[0]), tx.dialect)
    values_of = itemgetter(*columns)
    tx.exec_driver_sql(statement, [_stored(values_of(row), stored) for row in rows])


#: How a value of the column at a place becomes what SQLite stores.
_Stored = list[tuple[int, Callable[[Any], Any]]]


@lru_cache(maxsize=128)
def _plain(
    table: Table, columns: tuple[str, ...], dialect: Dialect
) -> tuple[str, Sequence[str], _Stored]:
    """Return the INSERT of some columns, their order in it, and what makes their values fit."""
    compiled = table.insert().inline().compile(dialect=dialect, column_keys=list(columns))
    order = compiled.positiontup or []
    made = [table.c[column].type.dialect_impl(dialect).bind_processor(dialect) for column in order]
    stored: _Stored = [(place, one) for place, one in enumerate(made) if one is not None]
    return str(compiled), order, stored


def _stored(row: tuple[Any, ...], stored: _Stored) -> tuple[Any, ...]:
    values = list(row)
    for place, made in stored:
        values[place] = made(values[place])
    return tuple(values)


def _copy(tx: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Send rows as PostgreSQL's COPY takes them, which it does at a third of an INSERT's cost.

    Straight to the driver: SQLAlchemy has no word for it. Raises what SQLAlchemy would.
    """
    columns = tuple(rows[0])
    statement, types = _copy_statement(table, columns, tx.dialect)
    values_of = itemgetter(*columns)
    driver = cast("psycopg.Connection[Any]", tx.connection.driver_connection)
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(values_of(row))
    except psycopg.Error as error:
        gone = driver.closed
        if gone:
            # Where one connection is lost, those at rest are too.
            tx.invalidate(error)
            tx.engine.dispose()
        raise as_sqlalchemy(error, statement.decode(), gone=gone) from error


@lru_cache(maxsize=128)
def _copy_statement(
    table: Table, columns: tuple[str, ...], dialect: Dialect
) -> tuple[bytes, list[str]]:
    """Return the COPY of some columns, and the types in which it takes them."""
    name = dialect.identifier_preparer.quote
    into = f"{name(table.name)} ({', '.join(name(column) for column in columns)})"
    types = [table.c[column].type.compile(dialect).lower() for column in columns]
    return f"COPY {into} FROM STDIN (FORMAT BINARY)".encode(), types


def add_to_rows(
    tx: Connection, table: Table, rows: Sequence[dict[str, Any]], *, sums: Sequence[str]
) -> None:
    """Insert rows; where the primary key exists, add the ``sums`` columns to what stands there."""
    if not rows:
        return
    columns, embedded = tuple(rows[0]), tx.dialect.name == "sqlite"
    upsert = _upsert(table, columns, tuple(sums), embedded=embedded)
    tx.execute(upsert, rows if embedded else _by_column(columns, rows))


@lru_cache(maxsize=32)
def _upsert(
    table: Table, columns: tuple[str, ...], sums: tuple[str, ...], *, embedded: bool
) -> sqlite.Insert | postgresql.Insert:
    statement = sqlite.insert(table) if embedded else _unnest(table, columns)
    return statement.on_conflict_do_update(
        index_elements=[column.name for column in table.primary_key],
        set_={name: table.c[name] + statement.excluded[name] for name in sums},
    )


@lru_cache(maxsize=128)
def _unnest(table: Table, columns: tuple[str, ...]) -> postgresql.Insert:
    """Return an INSERT whose rows arrive as one array for each column."""
    arrays = (
        func.unnest(bindparam(name, type_=postgresql.ARRAY(table.c[name].type))) for name in columns
    )
    return postgresql.insert(table).from_select(list(columns), select(*arrays))


def _by_column(columns: tuple[str, ...], rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in columns}


def _insert(tx: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if tx.dialect.name == "sqlite" else postgresql.insert(table)
