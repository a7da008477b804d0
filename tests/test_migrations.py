"""Migrations run up, down and up again on both stores, and make the tables the code knows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import CheckConstraint, inspect, text

from app import create_app
from portal import catalog
from portal.db import Database
from portal.tables import NOT_OF_AN_ORGANIZATION, metadata
from tests import digest, postgresql
from tests.cast import Api, found_acme, found_bystander, make_key, ok
from tests.clock import Clock
from tests.conftest import ROOT, settings_for

REVISIONS = [one.revision for one in ScriptDirectory(str(ROOT / "migrations")).walk_revisions()][
    ::-1
]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def empty_store(request: pytest.FixtureRequest, tmp_path: object) -> str:
    """The address of a store with nothing in it, not even tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    server: postgresql.Server = request.getfixturevalue("postgresql_server")
    return server.url(server.create())


@pytest.fixture
def bare(empty_store: str, clock: Clock) -> Iterator[Flask]:
    application = create_app(settings_for(empty_store), clock=clock)
    with application.app_context():
        yield application
    application.extensions["clearmeter"].database.close()


def _database(application: Flask) -> Database:
    found: Database = application.extensions["clearmeter"].database
    return found


def _tables(database: Database) -> set[str]:
    with database.engine.connect() as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


def _revision(database: Database) -> str | None:
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _live(application: Flask, clock: Clock) -> None:
    """Have something in every table that everyday use fills."""
    database = _database(application)
    with database.transaction() as tx:
        catalog.load(tx, catalog.DEFAULT_FILE.read_text(encoding="utf-8"), now=clock())
    api = Api(application, make_key(database, clock))
    acme = found_acme(api)
    found_bystander(api)
    ok(acme.capture(acme.hold("document")))
    ok(acme.send(acme.event("document")))


def test_it_goes_up_down_and_up_again_with_data_in_place(bare: Flask, clock: Clock) -> None:
    database = _database(bare)
    for _ in range(2):
        upgrade()
        assert _tables(database) == set(metadata.tables)
        _live(bare, clock)
        assert digest.faults(database) == []
        downgrade(revision="base")
        assert _tables(database) == set()
        assert _revision(database) is None


def test_every_revision_goes_back_one_step_and_keeps_the_data(bare: Flask, clock: Clock) -> None:
    database = _database(bare)
    upgrade()
    _live(bare, clock)
    before = digest.counts(database), digest.balances(database)
    for below, revision in zip(REVISIONS[-2::-1], REVISIONS[:0:-1], strict=True):
        downgrade(revision=below)
        assert _revision(database) == below
        upgrade(revision=revision)
    upgrade()
    assert _revision(database) == REVISIONS[-1]
    assert (digest.counts(database), digest.balances(database)) == before


def test_migrating_again_changes_nothing(bare: Flask, clock: Clock) -> None:
    upgrade()
    _live(bare, clock)
    before = digest.counts(_database(bare))
    upgrade()
    assert digest.counts(_database(bare)) == before


def test_migrations_make_the_tables_that_the_code_knows(bare: Flask) -> None:
    upgrade()
    with _database(bare).engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_migrations_make_every_check_that_the_code_knows(bare: Flask) -> None:
    upgrade()
    with _database(bare).engine.connect() as connection:
        made = {
            (table, str(check["name"]))
            for table in metadata.tables
            for check in inspect(connection).get_check_constraints(table)
        }
    known = {
        (table.name, str(one.name))
        for table in metadata.tables.values()
        for one in table.constraints
        if isinstance(one, CheckConstraint)
    }
    assert made == known


def test_every_table_of_an_organization_begins_its_key_with_it() -> None:
    assert set(metadata.tables) > set(NOT_OF_AN_ORGANIZATION)
    first = {name: next(iter(table.primary_key)).name for name, table in metadata.tables.items()}
    others = {name for name, column in first.items() if column != "organization_id"}
    assert others == set(NOT_OF_AN_ORGANIZATION)


def test_every_foreign_key_stays_within_its_organization() -> None:
    for table in metadata.tables.values():
        for key in table.foreign_key_constraints:
            columns = {column.name for column in key.columns}
            assert "organization_id" in columns, f"{table.name} refers to another by {columns}"


def test_every_sqlite_table_is_strict(sqlite_store: str) -> None:
    database = Database(sqlite_store)
    with database.reading() as tx:
        rows = tx.execute(text("SELECT name, strict FROM pragma_table_list WHERE type = 'table'"))
        strict = {row.name: row.strict for row in rows if not row.name.startswith("sqlite_")}
    database.close()
    assert {name for name, is_strict in strict.items() if not is_strict} == {"alembic_version"}
    assert set(strict) == set(metadata.tables) | {"alembic_version"}


def test_a_store_that_is_not_migrated_is_not_ready_and_says_what_to_do(bare: Flask) -> None:
    client = bare.test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "db upgrade" in answer.json["detail"]
    upgrade()
    assert client.get("/readyz").json == {"status": "ok", "revision": REVISIONS[-1]}
