"""Stores that are written as in production, and what serves them: one of each for the session."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import digest, postgresql
from tests.conftest import migrate
from tests.faults import soak
from tests.faults.site import Site, opened

EACH_STORE = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@pytest.fixture(scope="session")
def sqlite_site(sqlite_template: Path) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="clearmeter-", dir=postgresql.memory()) as folder:
        copy = shutil.copy(sqlite_template, Path(folder) / "store.db")
        with opened(f"sqlite:///{copy}", processes=soak.size(1, 4)) as site:
            yield site


@pytest.fixture(scope="session")
def postgresql_site(postgresql_server: postgresql.Server) -> Iterator[Site]:
    url = postgresql_server.url(postgresql_server.create())
    migrate(url)
    with opened(url, processes=soak.size(2, 4)) as site:
        yield site


@pytest.fixture(params=EACH_STORE)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """The same on each store: one process on SQLite, two on PostgreSQL, more under a soak."""
    found: Site = request.getfixturevalue(f"{request.param}_site")
    yield found
    assert digest.faults(found.database) == []
