"""One house for all tests of a file, on SQLite; each test that changes it puts it back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.house import House, open_house


@pytest.fixture(scope="module")
def house(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Acme, Bystander and everybody who may knock."""
    file = tmp_path_factory.mktemp("house") / "store.db"
    shutil.copy(sqlite_template, file)
    with open_house(f"sqlite:///{file}", file) as made:
        yield made
