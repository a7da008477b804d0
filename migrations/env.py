"""How migrations run: on the application's own store, one transaction for each revision."""

from __future__ import annotations

from alembic import context
from flask import current_app
from sqlalchemy import text

from portal.db import Database
from portal.tables import metadata


def run() -> None:
    """Bring the store to the revision that was asked for."""
    database: Database = current_app.extensions["clearmeter"].database
    with database.engine.connect() as connection:
        if database.dialect == "sqlite":
            connection.info["begin"] = "BEGIN IMMEDIATE"
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


run()
