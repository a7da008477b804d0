"""Stores whose commits wait for the disk, and what serves them: one of each for the session."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import digest, postgresql
from tests.conftest import migrate
from tests.faults import soak
from tests.faults.site import Site, opened

EACH_STORE = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@pytest.fixture(scope="session")
def durable_sqlite(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated SQLite store's address."""
    copy = shutil.copy(sqlite_template, tmp_path_factory.mktemp("faults") / "store.db")
    return f"sqlite:///{copy}"


@pytest.fixture(scope="session")
def durable_postgresql(postgresql_server: postgresql.Server) -> str:
    """A migrated PostgreSQL store's address."""
    url = postgresql_server.url(postgresql_server.create())
    migrate(url)
    return url


@pytest.fixture(scope="session")
def sqlite_site(durable_sqlite: str) -> Iterator[Site]:
    with opened(durable_sqlite, processes=soak.size(1, 2)) as site:
        yield site


@pytest.fixture(scope="session")
def postgresql_site(durable_postgresql: str) -> Iterator[Site]:
    with opened(durable_postgresql, processes=soak.size(2, 4)) as site:
        yield site


@pytest.fixture(params=EACH_STORE)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """The same on each store: one process on SQLite, two on PostgreSQL, more under a soak."""
    found: Site = request.getfixturevalue(f"{request.param}_site")
    yield found
    assert digest.faults(found.database) == []
