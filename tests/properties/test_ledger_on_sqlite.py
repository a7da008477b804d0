"""The machine of rules on SQLite: 50,000 steps with every change, a million under a soak."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from portal.db import Database
from tests.faults import soak
from tests.properties import machine

pytestmark = pytest.mark.soak

#: In parts, so that processes can share them.
PARTS = 5
STEPS = soak.rounds(50_000, 1_000_000) // PARTS


@pytest.mark.parametrize("part", range(PARTS))
def test_the_ledger_agrees_with_the_model(sqlite_template: Path, tmp_path: Path, part: int) -> None:
    store = tmp_path / "store.db"
    databases = machine.open_store(f"sqlite:///{store}")

    def emptied() -> Sequence[Database]:
        shutil.copy(sqlite_template, store)
        return databases

    machine.run(emptied, steps=STEPS)
