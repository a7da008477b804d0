"""The machine of rules on PostgreSQL: 10,000 steps with every change, 200,000 under a soak."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from portal.db import Database
from tests import postgresql
from tests.faults import soak
from tests.properties import machine

pytestmark = [pytest.mark.postgresql, pytest.mark.soak]

#: In parts, so that processes can share them.
PARTS = 2
STEPS = soak.rounds(10_000, 200_000) // PARTS


@pytest.mark.parametrize("part", range(PARTS))
def test_the_ledger_agrees_with_the_model(
    postgresql_server: postgresql.Server, migrated_postgresql: str, part: int
) -> None:
    databases = machine.open_store(postgresql_server.url(migrated_postgresql))

    def emptied() -> Sequence[Database]:
        postgresql_server.empty(migrated_postgresql)
        return databases

    machine.run(emptied, steps=STEPS)
