"""Price books as versions: each stands from its instant on, and none is ever changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from app import create_app
from portal import catalog
from portal.core.errors import CatalogError
from portal.db import Database
from tests.cast import Api, Customer, make_key, ok, refused
from tests.clock import Clock
from tests.conftest import settings_for

SHIPPED = catalog.DEFAULT_FILE.read_text(encoding="utf-8")
DAY = timedelta(days=1)


def costing(credits_: str, *, effective_at: datetime | None = None) -> str:
    """Return the book that ships with another price for a document, and another date."""
    text = SHIPPED.replace("credits = 5\n", f"credits = {credits_}\n", 1)
    if effective_at is not None:
        text = text.replace("2020-01-01T00:00:00Z", effective_at.isoformat())
    return text


def price(api: Api) -> tuple[int, str]:
    body = ok(api.get("/v1/catalog"))
    return body["version"], next(one["credits"] for one in body["actions"])


def test_the_book_that_ships_is_whole(api: Api) -> None:
    body = ok(api.get("/v1/catalog"))
    assert (body["version"], body["currency"]) == (1, "usd")
    assert [one["key"] for one in body["actions"]] == ["document", "analysis", "image"]
    tiers = {one["key"]: (one["price"], one["credits"], one["overage"]) for one in body["tiers"]}
    assert tiers["starter"] == ("29", "500", "0.08")
    assert tiers["enterprise"] == (None, "0", None)
    assert body["packs"][0] == {
        "key": "small", "name": "500 credits", "credits": "500", "price": "39",
        "expires_after_days": 365,
    }  # fmt: skip


def test_loading_the_same_book_again_changes_nothing(
    api: Api, database: Database, clock: Clock
) -> None:
    clock.forward(DAY)
    with database.transaction() as tx:
        book, new = catalog.load(tx, SHIPPED, now=clock())
    assert (book.version, new) == (1, False)
    assert price(api) == (1, "5")


def test_a_new_version_stands_from_now_on_and_the_old_one_before(
    acme: Customer, database: Database, clock: Clock
) -> None:
    with database.transaction() as tx:
        book, new = catalog.load(tx, costing("6.5"), now=clock.forward(DAY))
    assert (book.version, book.effective_at, new) == (2, clock(), True)
    assert price(acme.api) == (2, "6.5")
    with database.reading() as tx:
        before = catalog.in_force(tx, at=clock() - timedelta(microseconds=1))
        assert (before.version, before.actions["document"].price_micro) == (1, 5_000_000)
        assert catalog.in_force(tx, at=clock()).version == 2
        assert catalog.in_force(tx, at=datetime(1999, 1, 1, tzinfo=UTC)).version == 1


def test_a_version_may_be_dated_ahead(api: Api, database: Database, clock: Clock) -> None:
    with database.transaction() as tx:
        catalog.load(tx, costing("7", effective_at=clock() + DAY), now=clock())
    assert price(api) == (1, "5")
    clock.forward(DAY - timedelta(microseconds=1))
    assert price(api) == (1, "5")
    clock.forward(timedelta(microseconds=1))
    assert price(api) == (2, "7")


def test_no_version_may_begin_before_the_last_one(
    api: Api, database: Database, clock: Clock
) -> None:
    with database.transaction() as tx:
        catalog.load(tx, costing("7", effective_at=clock() + 2 * DAY), now=clock())
    for effective_at in (clock() + DAY, clock() + 2 * DAY, clock() - DAY):
        with (
            pytest.raises(CatalogError, match="effective_at: must be later"),
            database.transaction() as tx,
        ):
            catalog.load(tx, costing("8", effective_at=effective_at), now=clock())
    assert price(api) == (1, "5")


def test_a_book_that_is_wrong_is_not_stored(api: Api, database: Database, clock: Clock) -> None:
    refusal = pytest.raises(CatalogError, match=r"Line 13, key actions\.document\.credits")
    with refusal, database.transaction() as tx:
        catalog.load(tx, costing("-1"), now=clock.forward(DAY))
    assert price(api) == (1, "5")


@pytest.fixture
def application_without_book(store: str, clock: Clock) -> Iterator[Api]:
    application = create_app(settings_for(store), clock=clock)
    database = application.extensions["clearmeter"].database
    yield Api(application, make_key(database, clock))
    database.close()


def test_without_any_book_the_meter_is_closed_and_says_what_to_do(
    application_without_book: Api,
) -> None:
    problem = refused(application_without_book.get("/v1/catalog"), 503, "unavailable")
    assert "catalog load" in problem["detail"]
