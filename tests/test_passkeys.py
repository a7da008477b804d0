"""Passkeys: a device answers this portal's own question, once, with its owner there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from portal.config import Settings
from portal.db import Database
from portal.tables import passkeys
from tests.authenticator import Device
from tests.cast import Api, Customer, found_acme, make_key, ok
from tests.clock import Clock
from tests.conftest import settings_for
from tests.doors import acts, opened
from tests.readers import Reader, enter


@pytest.fixture
def application(store: str, clock: Clock, built: Callable[[Settings], Flask]) -> Iterator[Flask]:
    settings = settings_for(store, portal_base_url="http://localhost:8000")
    with opened(built, settings, clock) as application:
        yield application


@pytest.fixture
def ana(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    return enter(application, database, clock, "ana")


@pytest.fixture
def visitor(application: Flask) -> Reader:
    return Reader(application.test_client())


def post(reader: Reader, path: str, seen_on: str, body: Any) -> TestResponse:
    headers = {"X-CSRFToken": reader.token(seen_on)}
    return reader.client.post(path, json=body, headers=headers)


def asked_to_add(reader: Reader) -> dict[str, Any]:
    answer = post(reader, "/account/passkeys/challenge", "/account", {})
    assert answer.status_code == 200, answer.text
    return dict(answer.json)


def added(reader: Reader, device: Device | None = None, name: str = "My key") -> Device:
    """Add a device's key to somebody's account."""
    device = device or Device()
    made = device.make(asked_to_add(reader)) | {"name": name}
    answer = post(reader, "/account/passkeys", "/account", made)
    assert answer.status_code == 200, answer.text
    return device


def asked_to_sign_in(reader: Reader) -> dict[str, Any]:
    return dict(post(reader, "/sign-in/passkey/challenge", "/sign-in", {}).json)


def try_in(reader: Reader, answer: dict[str, Any]) -> TestResponse:
    return post(reader, "/sign-in/passkey", "/sign-in", answer)


def is_in(reader: Reader) -> bool:
    return reader.client.get("/").status_code == 200


def refused(reader: Reader, answer: TestResponse) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.json["detail"]
    assert not is_in(reader)


def test_a_passkey_that_was_added_signs_its_owner_in(
    ana: Reader, visitor: Reader, database: Database
) -> None:
    device = added(ana)
    page = ana.client.get("/account").text
    assert "My key" in page
    assert "not used yet" in page
    visitor.client.get("/usage?range=30-days")
    answer = try_in(visitor, device.sign(asked_to_sign_in(visitor)))
    assert answer.json == {"goal": "/usage?range=30-days"}
    assert is_in(visitor)
    assert "last used today" in visitor.client.get("/account").text
    assert acts(database) == [
        ("ana", "passkey.added"),
        ("ana", "session.begun"),
        ("ana", "session.begun"),
    ]


def test_what_is_asked_needs_the_owner_and_a_key_the_device_finds_itself(ana: Reader) -> None:
    options = asked_to_add(ana)
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["rp"]["id"] == "localhost"
    assert "ana" not in options["user"]["id"]
    signing = asked_to_sign_in(Reader(ana.client.application.test_client()))
    assert signing["userVerification"] == "required"
    assert signing["allowCredentials"] == []
    assert len(signing["challenge"]) >= 43


def test_a_passkey_that_was_removed_lets_nobody_in(
    ana: Reader, visitor: Reader, database: Database
) -> None:
    device = added(ana)
    with database.reading() as tx:
        named = tx.execute(select(passkeys.c.passkey_id)).scalar_one()
    path = f"/account/passkeys/{named}/remove"
    assert ana.send(path, "/account").status_code == 303
    refused(visitor, try_in(visitor, device.sign(asked_to_sign_in(visitor))))
    assert ana.send(path, "/account").status_code == 303
    assert acts(database).count(("ana", "passkey.removed")) == 1


def test_nobody_removes_anybody_elses(
    ana: Reader, acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    added(ana)
    ben = enter(application, database, clock, "ben")
    with database.reading() as tx:
        named = tx.execute(select(passkeys.c.passkey_id)).scalar_one()
    ben.send(f"/account/passkeys/{named}/remove", "/account")
    assert "My key" in ana.client.get("/account").text
    assert "My key" not in ben.client.get("/account").text


def test_an_answer_is_taken_once(ana: Reader, application: Flask) -> None:
    device = added(ana)
    visitor = Reader(application.test_client())
    answer = device.sign(asked_to_sign_in(visitor))
    kept = visitor.client.get_cookie("clearmeter")
    assert kept is not None
    assert try_in(visitor, answer).status_code == 200
    # Not even with the cookie of before, and a device that counts nothing.
    again = Reader(application.test_client())
    again.client.set_cookie("clearmeter", kept.value)
    headers = {"X-CSRFToken": again.token("/sign-in")}
    replayed = again.client.post("/sign-in/passkey", json=answer, headers=headers)
    refused(again, replayed)


def test_a_challenge_is_for_the_browser_that_was_given_it(ana: Reader, application: Flask) -> None:
    device = added(ana)
    asked, other = (Reader(application.test_client()) for _ in range(2))
    answer = device.sign(asked_to_sign_in(asked))
    refused(other, try_in(other, answer))
    asked_to_sign_in(other)
    refused(other, try_in(other, answer))


def test_a_challenge_for_adding_signs_nobody_in(
    ana: Reader, acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    device = added(ana)
    ben = enter(application, database, clock, "ben")
    options = asked_to_add(ben)
    answer = post(ben, "/sign-in/passkey", "/account", device.sign(options))
    assert answer.status_code == 401
    assert "Ben" in ben.client.get("/account").text


def test_a_challenge_ends_after_five_minutes(ana: Reader, visitor: Reader, clock: Clock) -> None:
    device = added(ana)
    options = asked_to_sign_in(visitor)
    clock.forward(timedelta(minutes=5))
    refused(visitor, try_in(visitor, device.sign(options)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"verifies": False},
        {"origin": "http://localhost:9999"},
        {"origin": "https://evil.example", "host": "evil.example"},
        {"host": "evil.example"},
        {"count": 0},
        {"user_handle": "c29tZWJvZHkgZWxzZQ"},
        {"credential_id": b"another key"},
    ],
    ids=str,
)
def test_a_device_that_is_not_quite_right_lets_nobody_in(
    ana: Reader, visitor: Reader, wrong: dict[str, Any]
) -> None:
    device = added(ana, Device(count=7))
    for name, value in wrong.items():
        setattr(device, name, value)
    refused(visitor, try_in(visitor, device.sign(asked_to_sign_in(visitor))))


def test_a_copied_key_is_found_out_by_its_count(
    ana: Reader, application: Flask, visitor: Reader
) -> None:
    device = added(ana, Device(count=3))
    copy = Device(count=3, key=device.key, user_handle=device.user_handle)
    assert try_in(visitor, device.sign(asked_to_sign_in(visitor))).status_code == 200
    thief = Reader(application.test_client())
    refused(thief, try_in(thief, copy.sign(asked_to_sign_in(thief))))


def test_another_key_signs_for_nobody(ana: Reader, visitor: Reader) -> None:
    device = added(ana)
    forged = Device(user_handle=device.user_handle)
    refused(visitor, try_in(visitor, forged.sign(asked_to_sign_in(visitor))))


@pytest.mark.parametrize(
    "body",
    [{}, {"id": 5}, {"id": None, "response": None}, {"id": "x" * 9000}, [], "text", None,
     {"id": "YSBkZXZpY2UncyBrZXkgMQ", "rawId": "YSBkZXZpY2UncyBrZXkgMQ", "type": "public-key",
      "response": {"clientDataJSON": "e30", "authenticatorData": "AA", "signature": "AA",
                   "userHandle": 7}}],
)  # fmt: skip
def test_nonsense_is_refused(ana: Reader, visitor: Reader, body: Any) -> None:
    added(ana)
    asked_to_sign_in(visitor)
    assert try_in(visitor, body).status_code in {401, 422}
    asked_to_add(ana)
    assert post(ana, "/account/passkeys", "/account", body).status_code in {401, 422}
    assert not is_in(visitor)


def test_a_key_that_is_known_is_not_added_again(
    ana: Reader, acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    device = added(ana)
    options = asked_to_add(ana)
    assert len(options["excludeCredentials"]) == 1
    answer = post(ana, "/account/passkeys", "/account", device.make(options))
    assert answer.status_code == 422
    ben = enter(application, database, clock, "ben")
    answer = post(ben, "/account/passkeys", "/account", device.make(asked_to_add(ben)))
    assert answer.status_code == 422


def test_without_the_forms_secret_nothing_is_asked_nor_taken(ana: Reader) -> None:
    for path in (
        "/account/passkeys/challenge", "/account/passkeys", "/sign-in/passkey",
        "/sign-in/passkey/challenge",
    ):  # fmt: skip
        assert ana.client.post(path, json={}).status_code == 400


def test_a_passkey_goes_with_whoever_is_removed(
    acme: Customer, application: Flask, database: Database, clock: Clock, visitor: Reader
) -> None:
    cleo = enter(application, database, clock, "cleo")
    device = added(cleo)
    ok(acme.api.delete(f"{acme.path}/members/cleo"))
    body = {"email": "cleo@acme.example", "role": "member"}
    ok(acme.api.put(f"{acme.path}/members/cleo", body))
    refused(visitor, try_in(visitor, device.sign(asked_to_sign_in(visitor))))


def test_a_portal_with_a_name_takes_passkeys_for_that_name_over_https(
    store: str, clock: Clock, built: Callable[[Settings], Flask]
) -> None:
    url = "https://billing.example.com"
    with opened(built, settings_for(store, portal_base_url=url), clock) as away:
        database = away.extensions["clearmeter"].database
        found_acme(Api(away, make_key(database, clock)))
        reader = Reader(away.test_client())
        headers = {"Referer": f"{url}/"}
        asked = reader.client.get("/sign-in", headers=headers, base_url=url)
        assert "__Host-clearmeter=" in asked.headers["Set-Cookie"]
        assert "Use a passkey" in asked.text
        # Without MAIL_URL no mail leaves it, so none is promised.
        assert "Mail me a link" not in asked.text
        found = re.search(r'name="csrf_token" value="([^"]+)"', asked.text)
        assert found is not None
        options = reader.client.post(
            "/sign-in/passkey/challenge",
            json={},
            headers={**headers, "X-CSRFToken": found[1]},
            base_url=url,
        )
        assert options.json["rpId"] == "billing.example.com"
        refused_mail = reader.client.post(
            "/sign-in/mail",
            data={"csrf_token": found[1], "email": "ana@acme.example"},
            headers=headers,
            base_url=url,
        )
        assert refused_mail.status_code == 422


def test_by_number_there_are_no_passkeys_and_the_page_says_why(
    ana: Reader, application: Flask
) -> None:
    by_number = {"Host": "127.0.0.1:8000"}
    assert "passkey" not in application.test_client().get("/sign-in", headers=by_number).text
    ana.client.set_cookie(
        "clearmeter", ana.client.get_cookie("clearmeter").value, domain="127.0.0.1"
    )  # type: ignore[union-attr]
    page = ana.client.get("/account", headers=by_number).text
    assert "open the portal by its name" in page
