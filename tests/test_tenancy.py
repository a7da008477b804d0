"""Whose key may do what: nobody learns of another organization, or of what is the operator's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from portal.db import Database
from tests import digest
from tests.cast import Api, Customer, make_key, problem
from tests.clock import Clock


@pytest.fixture
def unchanged(acme: Customer, bystander: Customer, database: Database) -> Iterator[None]:
    """At the end everybody must have what they had."""
    before = [digest.of_organization(database, one.id) for one in (acme, bystander)]
    yield
    assert [digest.of_organization(database, one.id) for one in (acme, bystander)] == before


@pytest.mark.usefixtures("unchanged")
def test_without_a_key_nothing_is_told(api: Api, acme: Customer) -> None:
    anonymous = api.holding("")
    for header in ("", "Bearer", "Bearer ", "Basic eDp5", "Bearer cm_x_y", "Bearer cm_é_x"):
        headers = {"Authorization": header} if header else {}
        for path in ("/v1/catalog", acme.path, f"{acme.path}/balance", "/v1/nothing"):
            problem(anonymous.get(path, headers=headers), 401, *((404,) if "noth" in path else ()))
    problem(anonymous.post("/v1/events", [acme.event()]), 401)


OTHERS = [
    ("GET", "/v1/organizations/{}"),
    ("GET", "/v1/organizations/{}/balance"),
    ("GET", "/v1/organizations/{}/usage"),
    ("GET", "/v1/organizations/{}/events"),
    ("GET", "/v1/organizations/{}/events/event-1"),
    ("GET", "/v1/organizations/{}/forecast"),
    ("GET", "/v1/organizations/{}/caps"),
    ("GET", "/v1/organizations/{}/raise_requests"),
    ("DELETE", "/v1/organizations/{}/members/cleo"),
    ("DELETE", "/v1/organizations/{}/caps/cap_1"),
]
BODIES = [
    ("PUT", "/v1/organizations/{}/members/eve", {"email": "eve@bystander.example"}),
    ("PUT", "/v1/organizations/{}/teams/red", {"name": "Red"}),
    ("PUT", "/v1/organizations/{}/projects/red", {"name": "Red"}),
    ("POST", "/v1/organizations/{}/caps", {"scope": "organization", "limit": {"credits": 1}}),
    ("PATCH", "/v1/organizations/{}/caps/cap_1", {"limit": {"credits": 1}}),
    ("POST", "/v1/organizations/{}/caps/cap_1/raise_requests", {"member": "eve", "credits": 1}),
    ("POST", "/v1/organizations/{}/raise_requests/raise_1/answer", {"answer": "allow"}),
    ("POST", "/v1/authorizations", {"organization": "{}", "action": "document"}),
]


@pytest.mark.parametrize(("method", "path", "body"), [(*one, None) for one in OTHERS] + BODIES)
def test_another_organization_is_the_same_as_none(
    acme: Customer, bystander: Customer, database: Database, clock: Clock,
    method: str, path: str, body: Any,
) -> None:  # fmt: skip
    scopes = ["read", "meter", "manage"]
    theirs = acme.api.holding(make_key(database, clock, organization="bystander", scopes=scopes))
    before = digest.of_organization(database, "acme")

    def ask(organization: str) -> Any:
        sent = {"json": json.loads(json.dumps(body).replace("{}", organization))} if body else {}
        return problem(theirs.call(method, path.format(organization), **sent), 404)

    assert str(ask("acme")) == str(ask("xyzq")).replace("xyzq", "acme")
    assert digest.of_organization(database, "acme") == before


@pytest.mark.usefixtures("unchanged")
def test_what_is_the_operators_is_not_an_organizations(
    acme: Customer, api: Api, database: Database, clock: Clock
) -> None:
    scopes = ["read", "meter", "manage"]
    theirs = api.holding(make_key(database, clock, organization="acme", scopes=scopes))
    grant = {"credits": 1, "source": "promotion", "reason": "mine"}
    session = {"organization": "acme", "member": {"id": "ana", "email": "ana@acme.example"}}
    for method, path, body in (
        ("PUT", "/v1/organizations/acme", {"name": "Acme"}),
        ("GET", "/v1/organizations", None),
        ("POST", "/v1/organizations/acme/grants", grant),
        ("POST", "/v1/portal_sessions", session),
        ("GET", "/v1/organizations/acme/usage?group_by=model", None),
        ("GET", "/v1/organizations/acme/usage?model=gpt-5", None),
        ("GET", "/v1/organizations/acme/usage?include=cost", None),
        ("GET", "/v1/organizations/acme/events?model=gpt-5", None),
    ):
        sent = {"json": body} if body else {}
        problem(theirs.call(method, path, **sent), 403)


@pytest.mark.usefixtures("unchanged")
def test_a_key_does_what_its_scopes_say(
    acme: Customer, api: Api, database: Database, clock: Clock
) -> None:
    reader = api.holding(make_key(database, clock, scopes=["read"]))
    meter = api.holding(make_key(database, clock, scopes=["meter"]))
    body = {"organization": "acme", "action": "document"}
    problem(reader.post("/v1/authorizations", body), 403)
    problem(reader.post("/v1/events", acme.event()), 403)
    problem(reader.put(acme.path, {"name": "A"}), 403)
    problem(meter.get(f"{acme.path}/balance"), 403)
    problem(meter.post(f"{acme.path}/caps", {"scope": "organization"}), 403)
