"""How migrations run: on the application's own store, one transaction for each revision."""

from __future__ import annotations

from alembic import context
from flask import current_app
from sqlalchemy import Connection, text

from portal.db import Database
from portal.tables import metadata


def run() -> None:
    """Bring the store to the revision that was asked for."""
    database: Database = current_app.extensions["clearmeter"].database
    with database.engine.connect() as connection:
        if database.dialect == "sqlite":
            connection.info["begin"] = "BEGIN IMMEDIATE"
            _hold_back_foreign_keys(connection, hold=True)
        context.configure(
            connection=connection,
            target_metadata=metadata,
            compare_type=True,
            render_as_batch=database.dialect == "sqlite",
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            if database.dialect == "postgresql":
                # A migration waits a second for a lock, then gives way to the traffic.
                connection.execute(text("SET LOCAL lock_timeout = '1s'"))
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(text("SELECT pg_advisory_xact_lock(7201946)"))
            context.run_migrations()
        if database.dialect == "sqlite":
            _hold_back_foreign_keys(connection, hold=False)


def _hold_back_foreign_keys(connection: Connection, *, hold: bool) -> None:
    """Let a table be made anew while others refer to it, and prove afterwards that they still do.

    SQLite takes this only between transactions.
    """
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA foreign_keys = {'OFF' if hold else 'ON'}")
    if not hold and cursor.execute("PRAGMA foreign_key_check").fetchall():
        raise RuntimeError("After the migration there are rows that refer to nothing.")


run()
