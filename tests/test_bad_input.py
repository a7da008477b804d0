"""What a hostile or careless client sends: a problem with its place, no 500 and no effect."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import TestResponse

from portal.db import Database
from tests import digest
from tests.cast import Api, Customer, problem

MEBIBYTE = 1024 * 1024
BIG = "1E+3000000"
LONG = "9" * 5000


@pytest.fixture
def unchanged(acme: Customer, bystander: Customer, database: Database) -> Iterator[None]:
    """At the end the store must be what it was, but for rejected events, which are kept."""
    but = ["rejected_events", "api_keys"]  # keys are the tests' own doing
    counts = digest.counts(database, but=but)
    balances = digest.balances(database)
    yield
    assert digest.counts(database, but=but) == counts
    assert digest.balances(database) == balances


def pointers(found: Any) -> list[str]:
    return [one["pointer"] for one in found.get("errors", [])]


def raw(api: Api, path: str, body: str | bytes, **headers: str) -> TestResponse:
    return api.post(path, data=body, headers={"Content-Type": "application/json"} | headers)


AUTHORIZATION = '{"organization": "acme", "action": "document", "quantity": NUMBER}'
NUMBERS = [
    "-1", '"-1"', '"-0.000001"', "0", "-0", '"-0"', "NaN", "Infinity", "-Infinity", '"NaN"',
    '"sNaN"', '"Infinity"', BIG, f'"{BIG}"', "1e400", '"1e2"', "true", "null", LONG, f'"{LONG}"',
    "9007199254740993.0000001", '"1_0"', '"１２"', '"²"', '" 1"', '"1 "', '""', '"+1"', '".5"',
    '"5."', '"0x10"', '"1,5"', "[1]", '{"value": 1}', "1000000001", '"0.0000001"',
    "123456789012345678901234567890",
]  # fmt: skip


@pytest.mark.usefixtures("unchanged")
def test_a_quantity_that_is_no_plain_number_is_refused_with_its_place(
    api: Api, acme: Customer, subtests: pytest.Subtests
) -> None:
    for number in NUMBERS:
        with subtests.test(number=repr(number)[:40]):
            found = problem(raw(api, "/v1/authorizations", AUTHORIZATION.replace("NUMBER", number)))
            assert pointers(found) == ["/quantity"]


@pytest.mark.usefixtures("unchanged")
def test_the_same_numbers_are_refused_in_events_grants_and_caps(
    api: Api, acme: Customer, subtests: pytest.Subtests
) -> None:
    for number in [n for n in NUMBERS if n not in {"0", "-0", '"-0"'}][:24]:
        with subtests.test(number=repr(number)[:40]):
            event = json.dumps(acme.event()).replace(
                '"data": {}', '"data": {"quantity": NUMBER}'.replace("NUMBER", number)
            )
            problem(raw(api, "/v1/events", event))
            grant = '{"credits": NUMBER, "source": "promotion", "reason": "x"}'.replace(
                "NUMBER", number
            )
            problem(raw(api, f"{acme.path}/grants", grant))
            cap = '{"scope": "organization", "limit": {"credits": NUMBER}}'.replace(
                "NUMBER", number
            )
            problem(raw(api, f"{acme.path}/caps", cap))


@pytest.mark.usefixtures("unchanged")
def test_a_whole_number_out_of_its_range_is_refused(
    api: Api, acme: Customer, subtests: pytest.Subtests
) -> None:
    for number in [BIG, "-1", "0", "1.5", "1e400", "true", '"60"', LONG, "86401"]:
        with subtests.test(number=repr(number)[:40]):
            body = '{"organization": "acme", "action": "document", "expires_in": NUMBER}'.replace(
                "NUMBER", number
            )
            problem(raw(api, "/v1/authorizations", body))
            if number not in {"0", "86401"}:
                tokens = json.dumps(acme.event(usage={"input_tokens": "N"})).replace('"N"', number)
                problem(raw(api, "/v1/events", tokens))
                grant = '{"credits": 1, "source": "promotion", "reason": "x", "priority": NUMBER}'
                problem(raw(api, f"{acme.path}/grants", grant.replace("NUMBER", number)))


@pytest.mark.usefixtures("unchanged")
def test_a_body_that_is_no_strict_json_object_is_refused(
    api: Api, acme: Customer, subtests: pytest.Subtests
) -> None:
    for body in [
        "",
        " ",
        "null",
        "[]",
        '"text"',
        "12",
        "{",
        '{"organization": "acme",}',
        '{"organization": "acme", "organization": "bystander", "action": "document"}',
        "[" * 200_000,
        "[" * 200_000 + "]" * 200_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        '{"organization": "acme", "action": "docu\\ud800ment"}',
        '{"organization": "acme", "action": "document", "member": "cl\\u0000eo"}',
        '{"organization": "acme", "action": "document", "member": "cl\x00eo"}',
        '{"organization": "acme", "action": "document"}'.encode("utf-16"),
        b'{"organization": "acme", "action": "\xff\xfe"}',
        b"\xef\xbb\xbf{}",
    ]:
        with subtests.test(body=repr(body)[:40]):
            for path in ("/v1/authorizations", f"{acme.path}/grants", f"{acme.path}/caps"):
                problem(raw(api, path, body))
            problem(raw(api, "/v1/events", body))
            problem(raw(api, "/v1/events", b"[%b]" % body.encode() if body == "null" else body))


@pytest.mark.usefixtures("unchanged")
def test_what_is_missing_and_what_is_too_much_is_named(api: Api, acme: Customer) -> None:
    found = problem(api.post("/v1/authorizations", {"organization": "acme"}))
    assert pointers(found) == ["/action"]
    found = problem(acme.authorize(quantitiy=3))
    assert pointers(found) == ["/quantitiy"]
    assert pointers(problem(acme.authorize(member="x" * 129))) == ["/member"]
    for blank in ("", " ", "\u00a0"):
        assert pointers(problem(acme.authorize(member=blank))) == ["/member"]
        named = api.put(f"{acme.path}/teams/t", {"name": blank})
        assert pointers(problem(named)) == ["/name"]
    found = problem(api.post(f"{acme.path}/caps", {"scope": "organization", "limit": {}}))
    assert pointers(found) == ["/limit"]
    found = problem(api.post(f"{acme.path}/caps", {"scope": "planet", "limit": {"credits": 1}}))
    assert pointers(found) == ["/scope"]
    found = problem(acme.send(acme.event() | {"time": 5}))
    assert "/time" in found["detail"]


@pytest.mark.usefixtures("unchanged")
def test_a_time_that_is_none_or_out_of_reach_is_refused(
    api: Api, acme: Customer, subtests: pytest.Subtests
) -> None:
    for time in [
        "9999-12-31T23:59:59-14:00",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "0000-01-01T00:00:00Z",
        "2026-11-09T12:00:00",
        "2026-11-09",
        "2026-11-09T12:00:00+99:99",
        "2026-11-09T24:00:00Z",
        "2026-11-09T12:00:60Z",
        "2026-02-30T12:00:00Z",
        "２０２６-11-09T12:00:00Z",
        "now",
        "",
        "1762689600",
    ]:
        with subtests.test(time=repr(time)[:40]):
            found = problem(acme.send(acme.event(time=time)))
            assert "/time" in found["detail"]
            grant = {"credits": 1, "source": "promotion", "reason": "x", "expires_at": time}
            found = problem(api.post(f"{acme.path}/grants", grant))
            assert pointers(found) in (["/expires_at"], [])


@pytest.mark.usefixtures("unchanged")
def test_more_than_a_thousand_events_are_too_many(acme: Customer) -> None:
    problem(acme.send(*[acme.event() for _ in range(1001)]), 413)


@pytest.mark.usefixtures("unchanged")
def test_a_body_over_five_mebibytes_is_too_large(api: Api, acme: Customer) -> None:
    for size in (5 * MEBIBYTE + 1, 6 * MEBIBYTE, 7 * MEBIBYTE):
        for path in ("/v1/events", "/v1/authorizations"):
            problem(raw(api, path, b'"' + b"x" * (size - 2) + b'"'), 413)


@pytest.mark.usefixtures("unchanged")
def test_a_bomb_is_not_unpacked(api: Api, acme: Customer) -> None:
    bomb = gzip.compress(b" " * (200 * MEBIBYTE), compresslevel=9)
    assert len(bomb) < MEBIBYTE
    problem(raw(api, "/v1/events", bomb, **{"Content-Encoding": "gzip"}), 413)


@pytest.mark.usefixtures("unchanged")
def test_a_body_that_is_not_packed_as_it_says_is_refused(
    api: Api, acme: Customer, subtests: pytest.Subtests
) -> None:
    for encoding in ["gzip", "br", "deflate", "gzip, gzip"]:
        with subtests.test(encoding=repr(encoding)[:40]):
            body = json.dumps(acme.event())
            problem(raw(api, "/v1/events", body, **{"Content-Encoding": encoding}))


@pytest.mark.usefixtures("unchanged")
def test_a_packed_body_is_one_whole_gzip_and_nothing_more(
    api: Api, acme: Customer, subtests: pytest.Subtests
) -> None:
    packed = gzip.compress(json.dumps(acme.event()).encode())
    wrong_sum = packed[:-8] + b"\0\0\0\0" + packed[-4:]
    for body in [packed[:-1], packed[:-8], packed + b"more", packed + packed, wrong_sum, b""]:
        with subtests.test(body=repr(body[-9:])):
            problem(raw(api, "/v1/events", body, **{"Content-Encoding": "gzip"}), 422)


@pytest.mark.usefixtures("unchanged")
def test_a_key_given_twice_is_named(api: Api, acme: Customer) -> None:
    event = json.dumps(acme.event())
    for sent, pointer in [
        ('{"id": "a", ' + event[1:], "/id"),
        (event.replace('"data": {}', '"data": {"run": "a", "run": "b"}'), "/data/run"),
        ('[{"id": "a", ' + event[1:] + "]", "/0/id"),
    ]:
        assert pointers(problem(raw(api, "/v1/events", sent))) == [pointer]
    sent = '{"organization": "acme", "action": "document", "action": "image"}'
    assert pointers(problem(raw(api, "/v1/authorizations", sent))) == ["/action"]


@pytest.mark.usefixtures("unchanged")
def test_an_event_of_nobody_names_its_subject(acme: Customer) -> None:
    nobody = acme.event() | {"subject": "nobody"}
    assert pointers(problem(acme.send(nobody))) == ["/0/subject"]


@pytest.mark.usefixtures("unchanged")
def test_events_of_another_content_type_are_refused(
    api: Api, acme: Customer, subtests: pytest.Subtests
) -> None:
    for kind in ["text/plain", "application/x-www-form-urlencoded", "", "x"]:
        with subtests.test(kind=repr(kind)[:40]):
            body = json.dumps(acme.event())
            problem(raw(api, "/v1/events", body, **{"Content-Type": kind}), 415, 422)


@pytest.mark.usefixtures("unchanged")
def test_an_event_needs_each_of_its_attributes(acme: Customer, subtests: pytest.Subtests) -> None:
    for name in ["id", "source", "subject", "type", "specversion"]:
        with subtests.test(name=repr(name)[:40]):
            for value in (None, "", " ", "\u3000", "x" * 129, 5, ["a"]):
                event = acme.event() | {name: value}
                assert f"/{name}" in problem(acme.send(event))["detail"]
            missing = acme.event()
            del missing[name]
            assert f"/{name}" in problem(acme.send(missing))["detail"]


@pytest.mark.usefixtures("unchanged")
def test_a_refusal_says_what_would_be_taken(acme: Customer) -> None:
    def said(path: str, body: dict[str, Any]) -> str:
        call = acme.api.put if path == acme.path else acme.api.post
        return str(problem(call(path, body))["errors"][0]["detail"])

    cap = {"scope": "organization", "limit": {"credits": 5}}
    window = said(f"{acme.path}/caps", cap | {"window": "month"})
    assert window == "is 'month', which is not one of day, period, week"
    session = {"organization": "acme", "member": {"id": "x", "email": "x@y.z", "role": "king"}}
    assert said("/v1/portal_sessions", session).endswith("admin, billing, member, owner, viewer")
    sent = acme.event("document", costs=[{"layer": "luck", "amount_usd": "1"}])
    layers = "external, inference, orchestration, processing, retrieval, storage"
    assert said("/v1/events", sent) == f"is 'luck', which is not one of {layers}"
    named = {"name": "Acme"}
    assert said(acme.path, named | {"currency": "USD"}).endswith('such as "usd"')
    assert said(acme.path, named | {"email": "ana"}).endswith('such as "ana@example.com"')
    assert said(acme.path, {"name": ""}) == "must have at least 1 character"
    assert said(acme.path, {"name": "  "}) == "is blank"


@pytest.mark.usefixtures("unchanged")
def test_an_id_in_the_address_that_cannot_be_is_not_found(
    api: Api, acme: Customer, subtests: pytest.Subtests
) -> None:
    for name in ["%00", "a%00b", "x" * 129, "%ff", "%F0%9F%98%80", "' --"]:
        with subtests.test(name=repr(name)[:40]):
            hold = acme.path
            for path in (
                f"/v1/organizations/{name}",
                f"/v1/organizations/{name}/balance",
                f"/v1/organizations/{name}/usage",
                f"/v1/organizations/{name}/caps",
                f"/v1/authorizations/{name}",
                f"{hold}/events/{name}",
            ):
                problem(api.get(path), 404, 422)
            problem(api.delete(f"{hold}/members/{name}"), 404, 422)
            problem(api.delete(f"{hold}/caps/{name}"), 404, 422)
            problem(api.post(f"/v1/authorizations/{name}/release", {}), 404, 422)


@pytest.mark.usefixtures("unchanged")
def test_an_id_that_cannot_be_is_not_made(
    api: Api, acme: Customer, subtests: pytest.Subtests
) -> None:
    for name in ["%00", "x" * 129, "%ff", "a%C3", "%20", "%20%20", "%C2%A0", "%09"]:
        with subtests.test(name=repr(name)[:40]):
            problem(api.put(f"/v1/organizations/{name}", {"name": "X"}), 404, 422)
            problem(api.put(f"{acme.path}/teams/{name}", {"name": "X"}), 404, 422)
            problem(api.put(f"{acme.path}/members/{name}", {"email": "x@acme.example"}), 404, 422)


def _cursor(*parts: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


@pytest.mark.usefixtures("unchanged")
def test_a_cursor_is_one_that_the_same_list_gave(
    api: Api, acme: Customer, subtests: pytest.Subtests
) -> None:
    first = api.get("/v1/organizations?limit=1").json
    rest = api.get(f"/v1/organizations?cursor={first['next_cursor']}").json
    assert [one["id"] for one in first["data"] + rest["data"]] == ["acme", "bystander"]
    for cursor in ["acme", "YWNtZQ==", "zzz", _cursor("acme"), _cursor("events", "acme"), "é"]:
        with subtests.test(cursor=cursor):
            found = problem(api.get("/v1/organizations", query_string={"cursor": cursor}), 422)
            assert pointers(found) == ["/cursor"]


@pytest.mark.usefixtures("unchanged")
def test_a_question_that_makes_no_sense_is_refused(
    api: Api, acme: Customer, subtests: pytest.Subtests
) -> None:
    for query in [
        "usage?start=yesterday",
        "usage?start=2026-11-09&end=2026-11-09",
        "usage?start=2026-02-30",
        "usage?start=2026-11-09T00:00:01Z",
        "events?start=2026-02-30",
        "events?start=0001-01-01&end=9999-12-31T00:00:00Z",
        "usage?start=9999-12-31&end=0001-01-01",
        "usage?group_by=colour",
        "usage?group_by=day,day",
        "usage?member=%00",
        "usage?include=price",
        "usage?start=2026-11-01&start=2026-11-02",
        "events?member=a%00b",
        "events?limit=0",
        "events?limit=201",
        "events?limit=-1",
        "events?limit=1e3",
        "events?limit=%C2%B2",
        f"events?limit={LONG}",
        f"events?limit=000001{'9' * 30}",
        "events?limit=000001999",
        "events?cursor=x",
        "events?cursor=bnVsbA==",
        "events?cursor=" + _cursor("events", "2026-11-09T12:00:00", "a", "b"),  # no offset
        "events?cursor=" + _cursor("events", "2026-11-09T12:00:00Z", "a\0", "b"),
        "events?cursor=" + _cursor("events", "2026-11-09T12:00:00Z", "a"),
        "events?cursor=" + _cursor("organizations", "2026-11-09T12:00:00Z", "a", "b"),
        "events?cursor=" + "W1tb" * 5000,
        "rejected-events?cursor=rej_1",
        "rejected-events?cursor=" + _cursor("organizations", "rej_1"),
        "events?start=9999-12-31T23:59:59-14:00",
        "balance?at=yesterday",
    ]:
        with subtests.test(query=repr(query)[:40]):
            problem(api.get(f"{acme.path}/{query}"), 422)


def test_rows_that_do_not_exist_are_an_empty_table(api: Api, acme: Customer) -> None:
    for query in ("", "?group_by=day", "?group_by=member,action"):
        answer = api.get(f"{acme.path}/usage{query}", headers={"Accept": "text/csv"})
        assert answer.status_code == 200
        assert answer.get_data(as_text=True).startswith(query.partition("=")[2] or "credits")


@pytest.mark.usefixtures("unchanged")
def test_an_idempotency_key_is_short_and_printable(acme: Customer) -> None:
    for key in ("", "k" * 129, "a\tb"):
        problem(acme.authorize(key=key), 422)


@pytest.mark.usefixtures("unchanged")
def test_methods_a_route_does_not_have_are_refused(api: Api, acme: Customer) -> None:
    for method in ("PATCH", "DELETE", "TRACE"):
        answer = api.call(method, "/v1/catalog")
        problem(answer, 405)
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    problem(api.get("/v1/nothing"), 404)
