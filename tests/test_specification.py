"""What the API says of itself: a specification and a page, and the headers of every answer."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.cast import Api, Customer, ok, refused


@pytest.fixture
def store(sqlite_store: str) -> str:
    """What the API says of itself does not depend on the store."""
    return sqlite_store


def test_the_page_and_the_specification_name_every_call(application: Flask, api: Api) -> None:
    paths = ok(api.get("/openapi.json"))["paths"]
    page = api.get("/docs")
    assert page.status_code == 200
    text = page.get_data(as_text=True)
    rules = [rule for rule in application.url_map.iter_rules() if rule.rule.startswith("/v1/")]
    assert len(rules) > 25
    assert sum(len(one) for one in paths.values()) == sum(
        len((rule.methods or set()) - {"HEAD", "OPTIONS"}) for rule in rules
    )
    for path in paths:
        assert path in text


def test_the_specification_says_what_a_call_takes_and_answers(api: Api) -> None:
    paths = ok(api.get("/openapi.json"))["paths"]
    traces = paths["/v1/otlp/v1/traces"]["post"]
    kinds = {"application/json", "application/x-protobuf"}
    assert set(traces["requestBody"]["content"]) == kinds
    assert set(traces["responses"]["200"]["content"]) == kinds
    usage = paths["/v1/organizations/{organization_id}/usage"]["get"]["responses"]
    assert set(usage["200"]["content"]) == {"application/json", "text/csv"}
    put = paths["/v1/organizations/{organization_id}"]["put"]["responses"]
    assert {"200", "201", "default"} == set(put)
    post = paths["/v1/authorizations"]["post"]["responses"]
    assert {"201", "default"} == set(post)


def test_an_answer_says_its_limits_and_when_to_come_back_only_where_there_is_a_need(
    acme: Customer,
) -> None:
    answer = acme.api.get("/v1/catalog")
    assert int(answer.headers["RateLimit-Limit"]) > int(answer.headers["RateLimit-Remaining"])
    assert 0 <= int(answer.headers["RateLimit-Reset"]) <= 60
    assert "Retry-After" not in answer.headers
    assert answer.headers["Request-Id"].startswith("req_")


def test_who_is_not_known_is_told_how_to_say_who_they_are(api: Api) -> None:
    answer = api.holding("").get("/v1/catalog")
    refused(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Retry-After" not in answer.headers


def test_too_many_requests_are_told_when_to_come_back(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = "2 per minute"
    monkeypatch.setattr("portal.web.api.LIMIT", limit)
    answers = [api.get("/v1/catalog") for _ in range(3)]
    refused(answers[-1], 429, "rate-limited")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert answers[-1].headers["Request-Id"].startswith("req_")
    assert answers[-1].headers["RateLimit-Remaining"] == "0"


def test_each_address_has_a_window_of_its_own_and_begins_anew_with_the_next(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 61.5
    monkeypatch.setattr("portal.web.api.LIMIT", "1 per minute")
    monkeypatch.setattr("portal.web.api.pace.monotonic", lambda: seconds)
    answers = [api.get("/v1/catalog", environ_base={"REMOTE_ADDR": one}) for one in "aba"]
    assert [one.status_code == 429 for one in answers] == [False, False, True]
    assert answers[-1].headers["RateLimit-Reset"] == answers[-1].headers["Retry-After"] == "59"
    seconds = 120.0
    again = api.get("/v1/catalog", environ_base={"REMOTE_ADDR": "a"})
    assert again.headers["RateLimit-Reset"] == "60"
    assert again.status_code != 429
