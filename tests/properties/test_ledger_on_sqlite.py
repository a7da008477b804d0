"""The machine of rules on SQLite: 12,000 steps, or as many as CLEARMETER_STEPS_SQLITE says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from portal.db import Database
from tests.properties import machine

STEPS = int(os.environ.get("CLEARMETER_STEPS_SQLITE", "12000"))


def test_the_ledger_agrees_with_the_model(sqlite_template: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    database = machine.open_store(f"sqlite:///{store}")

    def emptied() -> Database:
        shutil.copy(sqlite_template, store)
        return database

    machine.run(emptied, steps=STEPS)
