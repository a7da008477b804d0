"""The machine of rules on PostgreSQL: 3,000 steps, or what CLEARMETER_STEPS_POSTGRESQL says."""

from __future__ import annotations

import os

import pytest

from portal.db import Database
from tests import postgresql
from tests.properties import machine

STEPS = int(os.environ.get("CLEARMETER_STEPS_POSTGRESQL", "3000"))


@pytest.mark.postgresql
def test_the_ledger_agrees_with_the_model(
    postgresql_server: postgresql.Server, migrated_postgresql: str
) -> None:
    database = machine.open_store(postgresql_server.url(migrated_postgresql))

    def emptied() -> Database:
        postgresql_server.empty(migrated_postgresql)
        return database

    machine.run(emptied, steps=STEPS)
