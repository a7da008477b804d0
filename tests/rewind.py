"""A store that can be put back to what it held: the same news told again in another order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from portal.db import Database
from portal.tables import metadata

KEPT = sql.Identifier("kept")


@contextmanager
def rewinding(database: Database) -> Iterator[Callable[[], None]]:
    """Keep what a store holds now; gives the way back to it."""
    url = database.engine.url
    if database.dialect == "sqlite":
        kept = f"{url.database}.kept"
        shutil.copy(str(url.database), kept)

        def copy_back() -> None:
            database.engine.dispose()
            shutil.copy(kept, str(url.database))

        yield copy_back
        return
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(KEPT))
        for name in metadata.tables:
            connection.execute(
                sql.SQL("CREATE TABLE {0}.{1} AS TABLE {1}").format(KEPT, sql.Identifier(name))
            )
        try:
            yield lambda: _put_back(connection)
        finally:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(KEPT))


def _put_back(connection: psycopg.Connection) -> None:
    with connection.transaction():
        # Triggers do not fire for a replica, so that rows which are never deleted are, here alone.
        connection.execute("SET LOCAL session_replication_role = replica")
        for name, table in metadata.tables.items():
            columns = sql.SQL(", ").join(
                sql.Identifier(column.name) for column in table.columns if column.computed is None
            )
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))
            connection.execute(
                sql.SQL("INSERT INTO {0} ({2}) SELECT {2} FROM {1}.{0}").format(
                    sql.Identifier(name), KEPT, columns
                )
            )
