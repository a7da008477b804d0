"""What every test stands on: both stores from one set of tests, a clock, an application, a cast."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import Connection, event

from app import configure_logging, create_app
from portal import audit
from portal.access import passwords
from portal.config import Settings
from portal.db import Database
from portal.web.security import limiter
from tests import digest, postgresql, remembered
from tests.cast import Api, Customer
from tests.clock import START, Clock
from tests.words import without_words

if TYPE_CHECKING:
    from tests.shop import SandboxClock, Shop

ROOT = Path(__file__).resolve().parent.parent
SECRET_KEY = "0123456789abcdefghijklmnopqrstuvwxyz"


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks and send the product's log to standard error."""
    config.addinivalue_line("markers", "tampers: breaks the ledger on purpose")
    configure_logging()


def settings_for(url: str, **more: object) -> Settings:
    """Return the settings of an application on a store."""
    given = {"stripe_webhook_secrets": ("whsec_tests",), "portal_base_url": "http://127.0.0.1:8000"}
    return Settings(database_url=url, secret_key=SECRET_KEY, **(given | more))  # type: ignore[arg-type]


def migrate(url: str) -> None:
    """Bring a store to the newest revision."""
    application = create_app(settings_for(url))
    with application.app_context():
        upgrade()
    application.extensions["clearmeter"].database.close()


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    """Hash passwords as ever, but cheaply: most tests ask whether they fit, not what they cost."""
    dear = passwords._hasher, passwords._NOBODY
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    passwords._NOBODY = passwords._hasher.hash("a password nobody has")
    yield
    passwords._hasher, passwords._NOBODY = dear


@pytest.fixture(scope="session", autouse=True)
def _acts_have_words() -> Iterator[None]:
    """Fail whatever writes down an act, or a detail of one, that no reader has words for."""
    note = audit.note

    def told(tx: Connection, organization_id: str, **given: Any) -> None:
        # What a test makes up itself is its own business.
        if sys._getframe(1).f_globals["__name__"].startswith("portal."):
            assert not (unsaid := without_words(given["act"], given.get("detail"))), unsaid
        note(tx, organization_id, **given)

    audit.note = told
    yield
    audit.note = note


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real traces, which does not come with the code."""
    folder = Path(os.environ.get("CLEARMETER_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no traces in {folder}: set CLEARMETER_DATA to the folder that has them")
    return folder


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    """A server for the whole session, started when the first test needs it."""
    binaries = postgresql.programs()
    if binaries is None:
        pytest.skip(postgresql.MISSING)
    with postgresql.running(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_server: postgresql.Server) -> str:
    """A migrated database, to be emptied before each test and copied where a test changes it."""
    name = postgresql_server.create()
    postgresql_server.hurry(name)
    migrate(postgresql_server.url(name))
    return name


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the SQLite store of each test is, one after another."""
    return tmp_path_factory.mktemp("store") / "store.db"


@pytest.fixture
def sqlite_store(sqlite_template: Path, sqlite_file: Path) -> str:
    """A fresh migrated SQLite store's address."""
    # A new file under the old name: whoever still has the last one open does not see it.
    shutil.copy(sqlite_template, sqlite_file.with_suffix(".new")).replace(sqlite_file)
    sqlite_file.with_name("store.db-journal").unlink(missing_ok=True)
    return f"sqlite:///{sqlite_file}"


@pytest.fixture
def postgresql_store(postgresql_server: postgresql.Server, migrated_postgresql: str) -> str:
    """An empty migrated PostgreSQL store's address."""
    postgresql_server.empty(migrated_postgresql)
    return postgresql_server.url(migrated_postgresql)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store(request: pytest.FixtureRequest) -> str:
    """The address of a fresh migrated store: each test that uses it runs on both."""
    return str(request.getfixturevalue(f"{request.param}_store"))


@pytest.fixture(scope="session")
def only_clock() -> Clock:
    """The clock of all applications, which each test finds at the start."""
    return Clock(START)


def hurry(database: Database) -> None:
    """Let commits answer before they are on the disk: nobody pulls the plug here."""
    if database.dialect == "sqlite":
        event.listen(
            database.engine, "connect", lambda one, _: one.execute("PRAGMA synchronous = OFF")
        )


@pytest.fixture
def stripe_clock() -> SandboxClock:
    """The time at the stand-in for Stripe."""
    from tests.shop import SandboxClock

    return SandboxClock()


@pytest.fixture
def stripe_address(stripe_clock: SandboxClock) -> Iterator[str]:
    """The address of a stand-in for Stripe."""
    from tests.shop import stand_in

    with stand_in(stripe_clock) as address:
        yield address


@pytest.fixture
def shop(
    store: str, clock: Clock, stripe_address: str, stripe_clock: SandboxClock
) -> Iterator[Shop]:
    """A portal that sells to Acme; the books are proven at the end."""
    from tests.shop import selling

    with selling(store, clock, stripe_address, stripe_clock) as made:
        yield made


@pytest.fixture
def clock(only_clock: Clock) -> Clock:
    """The only clock of the test."""
    only_clock.set(START)
    return only_clock


@pytest.fixture(scope="session")
def built(only_clock: Clock) -> Callable[[Settings], Flask]:
    """Build the product, once for the same settings.

    Its routes and the statements it has compiled are kept from test to test, its store is not.
    """
    known: dict[Settings, Flask] = {}

    def build(settings: Settings) -> Flask:
        if settings not in known:
            known[settings] = made = create_app(settings, clock=only_clock)
            hurry(made.extensions["clearmeter"].database)
        return known[settings]

    return build


@pytest.fixture
def application(
    request: pytest.FixtureRequest, store: str, clock: Clock, built: Callable[[Settings], Flask]
) -> Iterator[Flask]:
    """The product on a store with the price book that ships; its ledgers are proven at the end."""
    application = built(settings_for(store))
    # What visitors have tried is forgotten.
    limiter.reset()
    database: Database = application.extensions["clearmeter"].database
    remembered.price_book(database, clock)
    yield application
    found = digest.faults(database)
    database.close()
    assert request.node.get_closest_marker("tampers") or found == []


@pytest.fixture
def database(application: Flask) -> Database:
    """The application's store."""
    found: Database = application.extensions["clearmeter"].database
    return found


@pytest.fixture
def api(application: Flask, database: Database, clock: Clock) -> Api:
    """A client with a service key."""
    return Api(application, remembered.service_key(database, clock))


@pytest.fixture
def acme(api: Api, database: Database, clock: Clock) -> Customer:
    """Acme, with 100 credits."""
    return remembered.acme(api, database, clock)


@pytest.fixture
def bystander(api: Api, database: Database, clock: Clock) -> Iterator[Customer]:
    """Bystander, who must be at the end what they were at the beginning."""
    made = remembered.bystander(api, database, clock)
    before = digest.of_organization(database, made.id)
    yield made
    assert digest.of_organization(database, made.id) == before
