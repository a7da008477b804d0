"""The door held shut: guesses are counted, names of other hosts refused, and nothing gives away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from typing import Literal

import pytest
from argon2 import PasswordHasher
from flask import Flask
from sqlalchemy import MetaData, select

from portal import access
from portal.access import attempts, passwords
from portal.config import Settings
from portal.core.errors import RateLimited
from portal.db import Database
from portal.tables import sign_in_attempts
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.conftest import settings_for
from tests.doors import (
    PASSWORD,
    acts,
    ask_for_link,
    asked_of,
    give_password,
    mailed,
    opened,
    path_of,
)
from tests.post import PostOffice, post_office, text_of
from tests.readers import Reader, enter, link

TICK = timedelta(microseconds=1)
_addresses = count(1)


@pytest.fixture(scope="module")
def only_office() -> Iterator[PostOffice]:
    with post_office() as office:
        yield office


@pytest.fixture
def office(only_office: PostOffice) -> PostOffice:
    only_office.came.clear()
    return only_office


@pytest.fixture
def application(
    store: str, clock: Clock, built: Callable[[Settings], Flask], office: PostOffice
) -> Iterator[Flask]:
    with opened(built, settings_for(store, mail_url=office.url), clock) as application:
        yield application


def somebody(application: Flask, address: str = "") -> Reader:
    """Come from a network address of one's own."""
    reader = Reader(application.test_client())
    reader.client.environ_base["REMOTE_ADDR"] = address or f"198.51.100.{next(_addresses)}"
    return reader


def guess(reader: Reader, email: str = "ana@acme.example", password: str = "a guess") -> int:
    return reader.send("/sign-in", "/sign-in", email=email, password=password).status_code


def test_ten_wrong_passwords_from_one_address_are_the_last(
    acme: Customer, application: Flask, clock: Clock
) -> None:
    reader = somebody(application)
    assert [guess(reader, f"{number}@x.example") for number in range(10)] == [401] * 10
    assert guess(reader, "another@x.example") == 429
    assert guess(somebody(application), "another@x.example") == 401
    clock.forward(attempts.WINDOW)
    assert guess(reader, "another@x.example") == 401


def test_ten_wrong_passwords_of_one_account_shut_it_to_whoever_failed_at_it(
    acme: Customer, application: Flask, database: Database
) -> None:
    give_password(database, "ana")
    strangers = [somebody(application) for _ in range(10)]
    assert [guess(one) for one in strangers] == [401] * 10
    # None of them may try again, not even with the right one.
    assert {guess(one, password=PASSWORD) for one in strangers} == {429}
    # Whoever has not failed may: nobody shuts Ana out of her own account.
    assert guess(somebody(application), password=PASSWORD) == 302


def test_an_account_that_fifty_addresses_guess_at_is_shut_to_new_ones_too(
    acme: Customer, application: Flask, database: Database, clock: Clock, office: PostOffice
) -> None:
    give_password(database, "ana")
    live = enter(application, database, clock, "ana")
    for number in range(attempts.MOST_OF_AN_ACCOUNT):
        attempts.begin_attempt(database, "ana@acme.example", f"203.0.113.{number}", now=clock())
    assert guess(somebody(application), password=PASSWORD) == 429
    # Who is in stays in, and the other ways stay open.
    assert live.client.get("/").status_code == 200
    assert mailed(application, office).client.get("/").status_code == 200
    clock.forward(attempts.WINDOW)
    assert guess(somebody(application), password=PASSWORD) == 302


def test_what_shuts_the_door_says_how_long(acme: Customer, application: Flask) -> None:
    reader = somebody(application)
    for _ in range(10):
        guess(reader)
    answer = reader.send("/sign-in", "/sign-in", email="ana@acme.example", password="a guess")
    assert 890 < int(answer.headers["Retry-After"]) <= 900
    assert "quarter of an hour" in answer.text


def test_a_password_that_fits_is_no_failure(
    acme: Customer, application: Flask, database: Database
) -> None:
    give_password(database, "ana")
    address = "192.0.2.77"
    assert {guess(somebody(application, address), password=PASSWORD) for _ in range(12)} == {302}
    with database.reading() as tx:
        assert tx.execute(select(sign_in_attempts)).all() == []


def test_many_guesses_at_once_are_many(database: Database, clock: Clock) -> None:
    def attempt(_: int) -> bool:
        try:
            attempts.begin_attempt(database, "ana@acme.example", "192.0.2.1", now=clock())
        except RateLimited:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(40))) <= attempts.MOST_FAILURES


def test_what_people_type_as_their_address_is_kept_as_a_hash(
    application: Flask, database: Database
) -> None:
    guess(somebody(application), email="my-secret-password@by-mistake")
    with database.reading() as tx:
        assert "my-secret" not in repr(tx.execute(select(sign_in_attempts)).all())


def _plain(page: str) -> str:
    return re.sub(r' value="[^"]*"', "", page)


def test_a_wrong_password_and_a_wrong_address_are_answered_alike(
    acme: Customer, application: Flask, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alike in words and in work: as many passwords are hashed, at one price, as much is asked."""
    prices: list[str] = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002
            prices.append(str(hash).rsplit("$", 2)[0])
            return super().verify(hash, password)

    monkeypatch.setattr(passwords, "_hasher", Counting(time_cost=1, memory_cost=64, parallelism=1))
    monkeypatch.setattr(passwords, "_NOBODY", passwords._hasher.hash("a password nobody has"))
    give_password(database, "ana")
    reader = somebody(application)
    form = {"csrf_token": reader.token("/sign-in"), "password": "not hers at all"}
    engine = application.extensions["clearmeter"].database.engine
    said: dict[str, object] = {}
    for turn, email in enumerate(("ana@acme.example", "eve@acme.example")):
        reader.client.environ_base["REMOTE_ADDR"] = f"203.0.113.{turn}"
        prices.clear()
        with asked_of(engine) as statements:
            answer = reader.client.post("/sign-in", data=form | {"email": email})
        said[email] = (
            (answer.status_code, _plain(answer.text), sorted(answer.headers.keys())),
            (list(prices), list(statements)),
        )
    known, unknown = said.values()
    assert known == unknown
    assert len(prices) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "127.0.0.1:8000@evil.example"},
        {"Host": "localhost", "X-Forwarded-Host": "evil.example"},
        {"Host": "localhost", "X-Forwarded-Host": "127.0.0.1, evil.example"},
    ],
)
def test_a_host_that_is_not_the_portals_is_refused_and_never_mailed(
    acme: Customer, application: Flask, office: PostOffice, headers: dict[str, str]
) -> None:
    reader = somebody(application)
    form = {"csrf_token": reader.token("/sign-in"), "email": "ana@acme.example"}
    for method, path in (("GET", "/"), ("GET", "/sign-in"), ("POST", "/sign-in/mail")):
        answer = reader.client.open(path, method=method, data=form, headers=headers)
        assert answer.status_code == 400, path
        assert "evil" not in answer.text
    assert ask_for_link(reader, "ana@acme.example").status_code == 200
    path_of(office)
    assert len(office.came) == 1
    assert "evil" not in text_of(office.came[0]) + text_of(office.came[0], "html")


def test_probes_and_programs_may_call_it_what_they_like(application: Flask, acme: Customer) -> None:
    client = application.test_client()
    assert client.get("/healthz", headers={"Host": "10.1.2.3:8000"}).status_code == 200
    answer = acme.api.get(f"{acme.path}/balance", headers={"Host": "clearmeter.internal"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example", "/%09/evil.example", "/\\evil.example", "/%5Cevil.example",
        "/%0d%0aLocation:%20//evil.example", "/usage/../..//evil.example", "/%2F/evil.example",
        "/usage?next=//evil.example", "/sign-in?next=//evil.example&goal=//evil.example",
    ],
)  # fmt: skip
def test_signing_in_leads_to_pages_of_ours_alone(
    acme: Customer, application: Flask, database: Database, path: str
) -> None:
    give_password(database, "ana")
    reader = somebody(application)
    reader.client.open(path, method="GET")
    answer = reader.send("/sign-in", "/sign-in", email="ana@acme.example", password=PASSWORD)
    where = answer.headers["Location"]
    assert answer.status_code == 302
    assert where == "/" or where.startswith("/usage?"), where
    assert "evil" not in where.partition("?")[0]


def test_what_was_asked_for_is_reached_with_its_filters(
    acme: Customer, application: Flask, database: Database
) -> None:
    give_password(database, "ana")
    reader = somebody(application)
    reader.client.get("/usage/events?range=30-days&member=a%26b%20c")
    answer = reader.send("/sign-in", "/sign-in", email="ana@acme.example", password=PASSWORD)
    assert answer.headers["Location"] == "/usage/events?range=30-days&member=a%26b+c"


@pytest.mark.parametrize(
    "password",
    ["short", "x" * 201, "Password123", "1234567890", "Qwertyuiop1", "aaaaaaaaaaaa",
     "ana@acme.example"],
)  # fmt: skip
def test_a_password_that_is_guessed_first_is_not_taken(
    acme: Customer, application: Flask, database: Database, clock: Clock, password: str
) -> None:
    reader = enter(application, database, clock, "ana")
    answer = reader.send("/account", "/account", password=password, again=password)
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text


def test_a_long_one_is_taken_whole(acme: Customer, database: Database) -> None:
    give_password(database, "ana", "é" * 99 + "one" + "x" * 90)
    with database.reading() as tx:
        assert access.members_by_password(tx, "ana@acme.example", "é" * 99 + "one" + "x" * 90)
        assert not access.members_by_password(tx, "ana@acme.example", "é" * 99 + "one" + "x" * 89)


def _whole_store(database: Database) -> str:
    with database.reading() as tx:
        known = MetaData()
        known.reflect(tx)
        return "\n".join(repr(tx.execute(one.select()).all()) for one in known.tables.values())


def test_no_secret_is_in_the_store_or_the_log(
    acme: Customer,
    application: Flask,
    database: Database,
    clock: Clock,
    office: PostOffice,
    capfd: pytest.CaptureFixture[str],
) -> None:
    give_password(database, "ana")
    ask_for_link(somebody(application), "ana@acme.example")
    unused = path_of(office)
    reader = mailed(application, office)
    portal_link = link(database, clock, "ana")
    body = {"organization": "acme", "member": {"id": "ana", "email": "ana@acme.example"}}
    by_api = ok(acme.api.post("/v1/portal_sessions", body), 201)["url"]
    somebody(application).send(unused, unused)
    somebody(application).send("/sign-in/mail/not-a-link", "/sign-in")
    guess(somebody(application), password="my other password")
    guess(somebody(application), password=PASSWORD)
    cookie = reader.client.get_cookie("clearmeter")
    assert cookie is not None
    secrets = [
        cookie.value, acme.api.secret, PASSWORD, "my other password",
        *(one.rpartition("/")[2] for one in (unused, path_of(office, 2), portal_link, by_api)),
    ]  # fmt: skip
    assert all(len(one) >= 16 for one in secrets)
    store, log = _whole_store(database), capfd.readouterr().err
    assert "sign-in refused" in log
    for secret in secrets:
        assert secret not in store
        assert secret not in log


def test_every_way_in_and_out_is_in_the_audit_log(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    reader = enter(application, database, clock, "ana")
    reader.send("/account", "/account", password=PASSWORD, again=PASSWORD)
    reader.send("/sign-out", "/account")
    guess(somebody(application), password=PASSWORD)
    assert acts(database) == [
        ("ana", "password.changed"),
        ("ana", "session.begun"),
        ("ana", "session.begun"),
        ("ana", "session.ended"),
    ]
