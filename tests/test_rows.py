"""Many rows at once: each value in its column, all or none, on each store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import Column, Connection, MetaData, Table, Text, func, select
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from portal import events
from portal.db import Database
from portal.rows import insert_rows
from portal.tables import metadata
from portal.tables.columns import Day, Document, Flag, Instant, Whole
from tests.cast import Customer

#: One column of each kind.
SHELF = Table(
    "shelf",
    MetaData(),
    Column("name", Text, primary_key=True),
    Column("amount", Whole, nullable=False),
    Column("at", Instant),
    Column("day", Day),
    Column("fit", Flag),
    Column("more", Document),
    sqlite_strict=True,
)
NOW = datetime(2026, 3, 29, 1, 30, 0, 1, UTC)
BOOK: dict[str, Any] = {
    "name": "a \t tab, a \\ stroke, a ' quote, ünï",
    "amount": -(2**62),
    "at": NOW,
    "day": date(2026, 3, 29),
    "fit": True,
    "more": {"words": ["\\N", None, 'a "b"'], "half": 0.5},
}
BARE: dict[str, Any] = {"more": None, "fit": None, "day": None, "at": None, "amount": 0, "name": ""}


@pytest.fixture
def shelf(store: str) -> Iterator[Database]:
    database = Database(store)
    with database.transaction() as tx:
        SHELF.create(tx)
    yield database
    with database.transaction() as tx:
        SHELF.drop(tx)
    database.close()


def _standing(database: Database) -> list[dict[str, Any]]:
    with database.reading() as tx:
        rows = tx.execute(select(SHELF).order_by(SHELF.c.name)).mappings()
        return [dict(row) for row in rows]


def test_each_value_stands_in_its_column_in_whatever_order_a_row_names_them(
    shelf: Database,
) -> None:
    with shelf.transaction() as tx:
        insert_rows(tx, SHELF, [])
        insert_rows(tx, SHELF, [BOOK, BARE])
    assert _standing(shelf) == [BARE, BOOK]


def test_columns_that_no_row_names_have_their_default(shelf: Database) -> None:
    with shelf.transaction() as tx:
        insert_rows(tx, SHELF, [{"name": "short", "amount": 3}])
    assert _standing(shelf) == [BARE | {"name": "short", "amount": 3}]


def test_of_rows_of_which_one_exists_none_is_inserted(shelf: Database) -> None:
    with shelf.transaction() as tx:
        insert_rows(tx, SHELF, [BOOK])
    with pytest.raises(IntegrityError), shelf.transaction() as tx:
        insert_rows(tx, SHELF, [BARE, BOOK])
    assert _standing(shelf) == [BOOK]


def test_an_instant_without_a_zone_is_refused(shelf: Database) -> None:
    with pytest.raises((ValueError, TypeError)), shelf.transaction() as tx:
        insert_rows(tx, SHELF, [BARE, BOOK | {"at": NOW.replace(tzinfo=None)}])
    assert _standing(shelf) == []


#: For what only a server can do.
on_postgresql = pytest.mark.parametrize(
    "store", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)


@on_postgresql
def test_a_letter_that_postgresql_cannot_hold_is_an_error_as_any_other(shelf: Database) -> None:
    with pytest.raises(DataError), shelf.transaction() as tx:
        insert_rows(tx, SHELF, [BARE, BOOK | {"name": "a\0b"}])
    assert _standing(shelf) == []


@on_postgresql
def test_a_connection_lost_on_the_way_is_told_as_one_and_the_next_is_sound(
    shelf: Database,
) -> None:
    with pytest.raises(OperationalError) as told:
        _lose_while_inserting(shelf)
    assert told.value.connection_invalidated
    with shelf.transaction() as tx:
        insert_rows(tx, SHELF, [BARE])
    assert _standing(shelf) == [BARE]


def _lose_while_inserting(shelf: Database) -> None:
    other = Database(shelf.url)
    with shelf.transaction() as tx:
        number = tx.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with other.transaction() as theirs:
            theirs.execute(select(func.pg_terminate_backend(number, 5_000)))
        other.close()
        insert_rows(tx, SHELF, [BOOK])


#: What grows with usage and is referred to by what grows with it.
PARENTS = ("wallets", "accounts", "transfers", "holds", "events", "event_costs")


@on_postgresql
def test_a_reference_is_looked_up_by_its_key_also_before_the_store_has_statistics(
    shelf: Database,
) -> None:
    keys = {
        (key.referred_table.name, tuple(one.column.name for one in key.elements))
        for table in metadata.tables.values()
        for key in table.foreign_key_constraints
        if key.referred_table.name in PARENTS
    }
    assert {name for name, _ in keys} == set(PARENTS)
    with shelf.reading() as tx:
        tx.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
        # Which index it is: a table of a few rows may well be read whole.
        tx.exec_driver_sql("SET LOCAL enable_seqscan = off")
        for number, (parent, columns) in enumerate(sorted(keys)):
            where = " AND ".join(f"{name} = ${place}" for place, name in enumerate(columns, 1))
            tx.exec_driver_sql(f"PREPARE check_{number} AS SELECT FROM {parent} WHERE {where}")
            values = ", ".join(["'1'"] * len(columns))
            plan = tx.exec_driver_sql(f"EXPLAIN EXECUTE check_{number}({values})").scalars().all()
            found = [line for line in plan if "Index Cond" in line and columns[-1] in line]
            assert found, f"{parent}: {plan}"


@on_postgresql
def test_whether_events_are_known_is_looked_up_one_by_one_from_the_first_day_on(
    acme: Customer, database: Database
) -> None:
    sent = [acme.event("image", quantity="0.01") for _ in range(500)]
    acme.send(*sent)
    asked = [one["id"] for one in sent[:9]] + ["never sent"]
    rounds = 15  # enough for the driver to prepare the statement, and the server to keep its plan
    with database.transaction() as tx:
        fetched = _fetched(tx)
        for _ in range(rounds):
            known = events.fingerprints(tx, acme.id, sent[0]["source"], asked)
            assert known.keys() == set(asked) - {"never sent"}
        assert _fetched(tx) - fetched <= rounds * len(asked)


def _fetched(tx: Connection) -> int:
    """Return how many events this connection has looked at of late, whatever the plan."""
    found: int = tx.exec_driver_sql(
        "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) "
        "FROM pg_stat_xact_user_tables WHERE relname = 'events'"
    ).scalar_one()
    return found
