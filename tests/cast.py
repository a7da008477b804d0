"""The cast of every test: Acme and Bystander, with Ana, Ben and Cleo; and what they can do."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from portal import keys
from portal.db import Database
from tests.clock import Clock

_UNSET: Any = object()


@dataclass(frozen=True)
class Api:
    """A client of the HTTP API that holds one key."""

    application: Flask
    secret: str

    def call(
        self,
        method: str,
        path: str,
        body: Any = _UNSET,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> TestResponse:
        """Send a request; ``key`` is its Idempotency-Key."""
        sent = {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        if key is not None:
            sent["Idempotency-Key"] = key
        sent |= headers or {}
        if body is not _UNSET:
            more["json"] = body
        client = self.application.test_client(use_cookies=False)
        return client.open(path, method=method, headers=sent, **more)

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.call("GET", path, **more)

    def post(self, path: str, body: Any = _UNSET, **more: Any) -> TestResponse:
        return self.call("POST", path, body, **more)

    def put(self, path: str, body: Any = _UNSET, **more: Any) -> TestResponse:
        return self.call("PUT", path, body, **more)

    def patch(self, path: str, body: Any = _UNSET, **more: Any) -> TestResponse:
        return self.call("PATCH", path, body, **more)

    def delete(self, path: str, **more: Any) -> TestResponse:
        return self.call("DELETE", path, **more)

    def holding(self, secret: str) -> Api:
        """Return a client with another key."""
        return Api(self.application, secret)


def make_key(
    database: Database, clock: Clock, *, organization: str | None = None, scopes: Sequence[str] = ()
) -> str:
    """Make an API key, a service key where no organization is named."""
    with database.transaction() as tx:
        return keys.create(
            tx, name="tests", organization_id=organization, scopes=tuple(scopes), now=clock()
        )


def ok(response: TestResponse, status: int = 200) -> Any:
    """Return a good answer's body; show the problem of one that is not."""
    assert response.status_code == status, response.get_data(as_text=True)
    return response.json


def refused(response: TestResponse, status: int, code: str) -> Any:
    """Return the problem of a refusal, which must be the one expected."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.content_type == "application/problem+json"
    problem = response.json
    assert (problem["type"], problem["status"]) == (f"/problems/{code}", status)
    assert problem["title"]
    assert problem["detail"]
    return problem


def problem(response: TestResponse, *statuses: int) -> Any:
    """Return the problem a bad request is answered with; a 500 is nobody's."""
    text = response.get_data(as_text=True)
    assert response.status_code in (statuses or (422,)), text
    assert response.content_type == "application/problem+json"
    found = json.loads(text)
    assert found["status"] == response.status_code
    assert found["type"].startswith("/problems/")
    assert found["detail"]
    return found


@dataclass(frozen=True)
class Customer:
    """An organization, through the service key of the operator's backend."""

    api: Api
    id: str

    @property
    def path(self) -> str:
        return f"/v1/organizations/{self.id}"

    def grant(self, credits_: Any, *, key: str | None = None, **more: Any) -> str:
        """Give credits and return the grant's id."""
        body = {"credits": str(credits_), "source": "promotion", "reason": "a test"} | more
        return str(ok(self.api.post(f"{self.path}/grants", body, key=key), 201)["id"])

    def authorize(
        self, action: str = "document", quantity: Any = 1, *, key: str | None = None, **more: Any
    ) -> TestResponse:
        body = {"organization": self.id, "action": action, "quantity": quantity} | more
        return self.api.post("/v1/authorizations", body, key=key)

    def hold(self, action: str = "document", quantity: Any = 1, **more: Any) -> str:
        """Authorize what must succeed and return the authorization's id."""
        return str(ok(self.authorize(action, quantity, **more), 201)["id"])

    def capture(self, hold: str, *, key: str | None = None, **body: Any) -> TestResponse:
        return self.api.post(f"/v1/authorizations/{hold}/capture", body, key=key)

    def increment(self, hold: str, quantity: Any, *, key: str | None = None) -> TestResponse:
        body = {"quantity": quantity}
        return self.api.post(f"/v1/authorizations/{hold}/increment", body, key=key)

    def release(self, hold: str, *, key: str | None = None) -> TestResponse:
        return self.api.post(f"/v1/authorizations/{hold}/release", {}, key=key)

    def send(self, *events: Mapping[str, Any], api: Api | None = None) -> TestResponse:
        """Send events as one batch."""
        return (api or self.api).post(
            "/v1/events",
            list(events),
            headers={"Content-Type": "application/cloudevents-batch+json"},
        )

    def event(self, type_: str = "document", **data: Any) -> dict[str, Any]:
        """Return an event; ``id``, ``time`` and ``source`` are its own, the rest is its data."""
        given = {name: data.pop(name) for name in ("id", "time", "source") if name in data}
        if isinstance(given.get("time"), datetime):
            given["time"] = given["time"].isoformat()
        return {
            "specversion": "1.0",
            "id": f"event-{next(_numbers)}",
            "source": "tests",
            "subject": self.id,
            "type": type_,
            "data": data,
        } | given

    def balance(self) -> Any:
        return ok(self.api.get(f"{self.path}/balance"))

    @property
    def standing(self) -> tuple[str, str]:
        """What is available and what is held."""
        found = self.balance()
        return found["available"], found["held"]

    def cap(self, credits_: Any, scope: str = "organization", **more: Any) -> str:
        """Set a cap and return its id."""
        body = {"scope": scope, "limit": {"credits": str(credits_)}} | more
        return str(ok(self.api.post(f"{self.path}/caps", body), 201)["id"])

    def caps(self) -> dict[str, Any]:
        return {one["id"]: one for one in ok(self.api.get(f"{self.path}/caps"))["data"]}

    def usage(self, query: str = "") -> Any:
        return ok(self.api.get(f"{self.path}/usage{query and '?' + query}"))


_numbers = itertools.count(1)


def found_acme(api: Api) -> Customer:
    """Make Acme: Ana the owner, Ben the admin, Cleo a member of research; 100 credits."""
    ok(api.put("/v1/organizations/acme", {"name": "Acme", "email": "ana@acme.example"}), 201)
    acme = Customer(api, "acme")
    ok(api.put(f"{acme.path}/teams/research", {"name": "Research"}), 201)
    ok(api.put(f"{acme.path}/projects/atlas", {"name": "Atlas"}), 201)
    for member, role, team in (
        ("ana", "owner", None),
        ("ben", "admin", None),
        ("cleo", "member", "research"),
    ):
        body = {"email": f"{member}@acme.example", "name": member.title(), "role": role}
        body |= {"team": team} if team else {}
        ok(api.put(f"{acme.path}/members/{member}", body), 201)
    acme.grant(100)
    return acme


def found_bystander(api: Api) -> Customer:
    """Make Bystander, who has a bit of everything and whom nothing of Acme's may touch."""
    ok(api.put("/v1/organizations/bystander", {"name": "Bystander"}), 201)
    bystander = Customer(api, "bystander")
    body = {"email": "dana@bystander.example", "name": "Dana", "role": "owner"}
    ok(api.put(f"{bystander.path}/members/dana", body), 201)
    bystander.grant(50)
    bystander.cap(40, "member", target="dana")
    bystander.hold("analysis", member="dana")
    ok(bystander.send(bystander.event("document", member="dana")))
    return bystander
