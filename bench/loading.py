"""Writing many rows at once: without keys and indexes, which are made when all rows are there.

Invariant: a table ends with the very keys and indexes that it began with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, text

from portal.db import Database

#: Keys of tables and references to them; a reference goes before the key that it needs.
_KEYS = text("""
    SELECT conrelid::regclass::text AS owner, conname AS name, contype::text AS kind,
        pg_get_constraintdef(oid) AS definition
    FROM pg_constraint
    WHERE contype = 'p' AND conrelid = ANY(cast(:tables AS regclass[]))
        OR contype = 'f' AND confrelid = ANY(cast(:tables AS regclass[]))
    ORDER BY contype, conname
""")
_INDEXES = text("""
    SELECT indexname AS name, indexdef AS definition FROM pg_indexes
    WHERE schemaname = 'public' AND tablename = ANY(:tables)
        AND indexname NOT IN (SELECT conname FROM pg_constraint)
    ORDER BY indexname
""")


@contextmanager
def in_bulk(tx: Connection, tables: Sequence[str]) -> Iterator[None]:
    """Take keys and indexes off some tables while they are written, in one transaction.

    No trigger runs, and references need no proof: whoever writes makes them of numbers.
    """
    # Sorting in memory what the indexes are made of is most of the gain.
    for setting in ("statement_timeout = 0", "session_replication_role = replica",
                    "maintenance_work_mem = '512MB'"):  # fmt: skip
        tx.execute(text(f"SET LOCAL {setting}"))
    keys = tx.execute(_KEYS, {"tables": list(tables)}).all()
    indexes = tx.execute(_INDEXES, {"tables": list(tables)}).all()
    for key in keys:
        tx.execute(text(f"ALTER TABLE {key.owner} DROP CONSTRAINT {key.name}"))
    for index in indexes:
        tx.execute(text(f"DROP INDEX {index.name}"))
    yield
    for key in reversed(keys):
        proven = " NOT VALID" if key.kind == "f" else ""
        tx.execute(
            text(f"ALTER TABLE {key.owner} ADD CONSTRAINT {key.name} {key.definition}{proven}")
        )
    for index in indexes:
        tx.execute(text(index.definition))


def settle(database: Database) -> None:
    """Have the store know its rows, as after some time at work."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("RESET statement_timeout"))
