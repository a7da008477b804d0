"""Single sign-on with a real provider over HTTP: what it signs well lets in, nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from flask import Flask
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from portal import access
from portal.access.openid import Provider
from portal.config import Settings
from portal.core.errors import ConfigError
from portal.db import Database
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.conftest import settings_for
from tests.doors import acts, opened
from tests.openid import CLIENT_ID, CLIENT_SECRET, OpenIdProvider, open_id
from tests.readers import Reader
from tests.servers import environment


@pytest.fixture(scope="module")
def only_provider(only_clock: Clock) -> Iterator[OpenIdProvider]:
    with open_id(only_clock) as provider:
        yield provider


@pytest.fixture
def provider(only_provider: OpenIdProvider) -> OpenIdProvider:
    only_provider.email, only_provider.verified = "ana@acme.example", True
    only_provider.claims, only_provider.signs_with = {}, None
    only_provider.in_userinfo = only_provider.fails = False
    only_provider.asked.clear()
    return only_provider


@pytest.fixture
def application(
    store: str, clock: Clock, built: Callable[[Settings], Flask], provider: OpenIdProvider
) -> Iterator[Flask]:
    settings = settings_for(
        store,
        oidc_issuer=provider.issuer,
        oidc_client_id=CLIENT_ID,
        oidc_client_secret=CLIENT_SECRET,
    )
    with opened(built, settings, clock) as application:
        yield application


@pytest.fixture
def reader(application: Flask) -> Reader:
    return Reader(application.test_client())


def depart(reader: Reader) -> str:
    """Leave for the provider; returns the way there."""
    answer = reader.client.get("/sign-in/provider")
    assert answer.status_code == 302
    return str(answer.headers["Location"])


def at_the_provider(url: str) -> str:
    """Sign in over there; returns the way back."""
    answer = requests.get(url, timeout=5, allow_redirects=False)
    return answer.headers["Location"].removeprefix("http://127.0.0.1:8000")


def through(reader: Reader) -> TestResponse:
    """Go there and come back."""
    return reader.client.get(at_the_provider(depart(reader)))


def refused(reader: Reader, answer: TestResponse) -> None:
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert reader.client.get("/").status_code == 302


def test_whoever_the_provider_vouches_for_is_let_in(
    acme: Customer, reader: Reader, database: Database, provider: OpenIdProvider
) -> None:
    reader.client.get("/usage?range=30-days")
    assert 'href="/sign-in/provider"' in reader.client.get("/sign-in").text
    assert through(reader).headers["Location"] == "/usage?range=30-days"
    assert "Signed in by single sign-on" in reader.client.get("/account").text
    assert acts(database) == [("ana", "session.begun")]


def test_it_is_asked_with_state_nonce_and_proof_of_key(
    acme: Customer, reader: Reader, provider: OpenIdProvider
) -> None:
    url = depart(reader)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == "http://127.0.0.1:8000/sign-in/provider/back"
    assert set(asked["scope"].split()) == {"openid", "email"}
    assert len(asked["state"]) == len(asked["nonce"]) == 43
    reader.client.get(at_the_provider(url))
    assert provider.verifiers[-1] not in url


def test_the_operator_is_let_in_by_address(
    reader: Reader, provider: OpenIdProvider, database: Database, clock: Clock
) -> None:
    with database.transaction() as tx:
        access.put_operator(tx, "olga@op.example", "Olga", now=clock())
    provider.email = "Olga@op.example"
    assert through(reader).headers["Location"] == "/operator/"


def test_whoever_belongs_to_several_chooses(
    acme: Customer, reader: Reader, provider: OpenIdProvider
) -> None:
    ok(acme.api.put("/v1/organizations/zenith", {"name": "Zenith"}), 201)
    body = {"email": "ana@acme.example", "role": "viewer"}
    ok(acme.api.put("/v1/organizations/zenith/members/az", body), 201)
    assert through(reader).headers["Location"] == "/sign-in/choose"


def test_an_address_nobody_has_here_is_told_what_to_do(
    acme: Customer, reader: Reader, provider: OpenIdProvider
) -> None:
    provider.email = "eve@elsewhere.example"
    answer = through(reader)
    refused(reader, answer)
    assert "eve@elsewhere.example is not known here" in answer.text
    assert "ask an admin" in answer.text


@pytest.mark.parametrize("verified", [False, None, "false", 1, "yes"])
def test_an_address_it_has_not_checked_lets_nobody_in(
    acme: Customer, reader: Reader, provider: OpenIdProvider, verified: object
) -> None:
    provider.verified = verified
    answer = through(reader)
    refused(reader, answer)
    assert "has not checked" in answer.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": "another"},
        {"nonce": ""},
        {"aud": "another client"},
        {"aud": ["another client"]},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"azp": "another client"},
        {"iat": 4_000_000_000},
    ],
    ids=str,
)
def test_what_was_not_signed_for_this_visit_lets_nobody_in(
    acme: Customer, reader: Reader, provider: OpenIdProvider, wrong: dict[str, Any]
) -> None:
    provider.claims = wrong
    refused(reader, through(reader))


def test_an_expired_one_is_told_by_our_clock(
    acme: Customer, reader: Reader, provider: OpenIdProvider, clock: Clock
) -> None:
    provider.claims = {"exp": int((clock() - timedelta(minutes=2)).timestamp())}
    refused(reader, through(reader))


def test_another_key_signs_nobody_in(
    acme: Customer, reader: Reader, provider: OpenIdProvider
) -> None:
    provider.signs_with = RSAKey.generate_key(2048, {"kid": "first"})
    refused(reader, through(reader))


def test_a_new_key_of_the_providers_is_fetched_when_it_is_met(
    acme: Customer, reader: Reader, provider: OpenIdProvider, application: Flask
) -> None:
    assert through(reader).status_code == 302
    before = provider.key
    provider.key = RSAKey.generate_key(2048, {"kid": "second"})
    other = Reader(application.test_client())
    assert through(other).status_code == 302
    provider.key = before
    third = Reader(application.test_client())
    assert through(third).status_code == 302


def test_a_way_back_is_good_once_and_in_its_own_browser(
    acme: Customer, application: Flask, reader: Reader, provider: OpenIdProvider
) -> None:
    back = at_the_provider(depart(reader))
    cookie = reader.client.get_cookie("clearmeter")
    assert cookie is not None
    stranger = Reader(application.test_client())
    refused(stranger, stranger.client.get(back))
    assert reader.client.get(back).status_code == 302
    # Whoever copied the cookie before has no use of it.
    thief = Reader(application.test_client())
    thief.client.set_cookie("clearmeter", cookie.value)
    answer = thief.client.get(at_the_provider(depart(Reader(application.test_client()))))
    assert answer.status_code == 401
    thief.client.set_cookie("clearmeter", cookie.value)
    refused(thief, thief.client.get(back))


def test_another_visits_state_is_refused(
    acme: Customer, application: Flask, reader: Reader, provider: OpenIdProvider
) -> None:
    depart(reader)
    other = at_the_provider(depart(Reader(application.test_client())))
    refused(reader, reader.client.get(other))


@pytest.mark.parametrize("query", ["", "?state=x", "?code=x", "?error=access_denied&state=x"])
def test_a_way_back_that_lacks_something_is_refused(
    acme: Customer, reader: Reader, provider: OpenIdProvider, query: str
) -> None:
    refused(reader, reader.client.get(f"/sign-in/provider/back{query}"))
    depart(reader)
    refused(reader, reader.client.get(f"/sign-in/provider/back{query}"))


def test_whoever_stays_away_too_long_begins_again(
    acme: Customer, reader: Reader, provider: OpenIdProvider, clock: Clock
) -> None:
    back = at_the_provider(depart(reader))
    clock.forward(timedelta(minutes=10))
    refused(reader, reader.client.get(back))


def test_the_address_may_come_from_where_it_tells_of_people(
    acme: Customer, reader: Reader, provider: OpenIdProvider
) -> None:
    provider.in_userinfo = True
    assert through(reader).status_code == 302
    assert "/userinfo" in provider.asked


def test_a_provider_that_is_down_is_told_plainly_and_the_other_ways_stay(
    acme: Customer, reader: Reader, provider: OpenIdProvider, application: Flask
) -> None:
    back = at_the_provider(depart(reader))
    provider.fails = True
    answer = reader.client.get(back)
    assert answer.status_code == 503
    assert "does not answer" in answer.text
    assert 'name="password"' in answer.text
    application.extensions["clearmeter"].provider._known = None
    assert reader.client.get("/sign-in/provider").status_code == 503


def test_it_is_never_called_inside_a_transaction(
    application: Flask, database: Database, clock: Clock
) -> None:
    provider: Provider = application.extensions["clearmeter"].provider
    with pytest.raises(AssertionError, match="while a transaction"), database.transaction():
        provider.depart(now=clock())


def test_without_the_settings_there_is_no_such_way(
    store: str, clock: Clock, built: Callable[[Settings], Flask]
) -> None:
    with opened(built, settings_for(store), clock) as plain:
        client = plain.test_client()
        assert "single sign-on" not in client.get("/sign-in").text
        for path in ("/sign-in/provider", "/sign-in/provider/back"):
            assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"OIDC_ISSUER": "https://id.example.com"}, "OIDC_CLIENT_ID"),
        ({"OIDC_CLIENT_ID": "x", "OIDC_CLIENT_SECRET": "y"}, "OIDC_ISSUER"),
        ({"OIDC_ISSUER": "http://id.example.com", "OIDC_CLIENT_ID": "x",
          "OIDC_CLIENT_SECRET": "y"}, "OIDC_ISSUER"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_stop_the_start(given: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named} is"):
        Settings.from_env(environment("sqlite:////tmp/never.db", 1) | given)
