"""What is the operator's is nobody else's: no page, key or export of a customer tells it."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from portal import accounts
from portal.db import Database
from tests.cast import Api, Customer, make_key, ok
from tests.clock import Clock
from tests.readers import Reader, enter

#: Stands in every cost, so that whatever tells a cost tells this.
CANARY = "987654.321"
TELLS = re.compile(r"987,?654|gpt-canary", re.IGNORECASE)


@pytest.fixture
def store(sqlite_store: str) -> str:
    """Who may ask for what does not depend on the store."""
    return sqlite_store


@pytest.fixture
def used(acme: Customer, bystander: Customer) -> Customer:
    """Acme with work whose cost and model would be known anywhere."""
    cost = {"layer": "inference", "provider": "openai", "model": "gpt-canary"}
    costs = [cost | {"amount_usd": CANARY, "usage": {"input_tokens": 10, "output_tokens": 10}}]
    ok(acme.send(acme.event("document", id="doc", member="cleo", run="r-1", costs=costs)))
    return acme


def paths(application: Flask) -> list[str]:
    """Return every address that answers a GET, with Acme's own names in it."""
    names = {"organization_id": "acme", "event_id": "doc", "member_id": "cleo"}
    found = []
    for rule in application.url_map.iter_rules():
        if "GET" in (rule.methods or set()) and rule.endpoint != "static":
            filled = re.sub(r"<(?:\w+:)?(\w+)>", lambda m: names.get(m[1], "1"), rule.rule)
            found.append(filled)
    return found


def member(database: Database, application: Flask, clock: Clock, role: str) -> Reader:
    with database.transaction() as tx:
        accounts.put_member(
            tx, "acme", "reader", email="reader@acme.example", name="Reader", role=role,
            team_id="", now=clock(),
        )  # fmt: skip
    return enter(application, database, clock, "reader")


@pytest.mark.parametrize("role", ["owner", "admin", "billing", "member", "viewer"])
def test_no_page_of_a_member_tells_a_cost(
    used: Customer, application: Flask, database: Database, clock: Clock, role: str
) -> None:
    reader = member(database, application, clock, role)
    shown = 0
    for path in paths(application):
        if path.startswith("/v1/"):
            continue
        answer = reader.client.get(path)
        if path.startswith("/operator"):
            assert answer.status_code == 404, path
        assert not TELLS.search(answer.text), path
        shown += answer.status_code == 200
    assert shown > 8


@pytest.mark.parametrize("scopes", [["read"], ["read", "meter", "manage", "backfill"]])
def test_no_answer_to_an_organizations_key_tells_a_cost(
    used: Customer, api: Api, application: Flask, database: Database, clock: Clock,
    scopes: list[str],
) -> None:  # fmt: skip
    own = api.holding(make_key(database, clock, organization="acme", scopes=scopes))
    answered = 0
    for path in paths(application):
        for query in ("", "?include=cost", "?group_by=model", "?format=csv", "?detail=movements"):
            answer = own.get(f"{path}{query}")
            assert not TELLS.search(answer.text), f"{path}{query}"
            answered += answer.status_code == 200
    assert answered > 10


def test_the_operators_pages_are_not_there_for_keys_strangers_and_members(
    used: Customer, api: Api, application: Flask, database: Database, clock: Clock
) -> None:
    stranger = Reader(application.test_client())
    cleo = enter(application, database, clock, "cleo")
    rules = [one for one in application.url_map.iter_rules() if one.endpoint.startswith("operator")]
    assert len(rules) > 30
    for rule in rules:
        path = re.sub(r"<(?:\w+:)?\w+>", "1", rule.rule)
        for method in (rule.methods or set()) - {"OPTIONS"}:
            for client in (stranger.client, cleo.client):
                status = client.open(path, method=method).status_code
                assert status == 404 if method in {"GET", "HEAD"} else status in {400, 404}, path
            assert api.call(method, path).status_code in {400, 404}, path


def test_a_customers_export_has_no_column_of_cost(
    used: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    ana = enter(application, database, clock, "ana")
    for path in ("/usage.csv?range=period", "/usage.csv?group=member", "/billing/statement.csv"):
        sheet = ana.client.get(path).text
        assert not re.search("cost|margin|usd|model", sheet.splitlines()[0], re.IGNORECASE)
