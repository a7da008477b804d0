"""Endpoints and requests for more over the API, for a backend with pages of its own."""

from __future__ import annotations

import pytest

from tests.cast import Api, Customer, make_key, ok, refused
from tests.clock import Clock


def test_a_service_keeps_the_operators_endpoints_and_sees_each_secret_once(api: Api) -> None:
    body = {"url": "https://example.com/hooks", "types": ["cap.reached"]}
    made = ok(api.post("/v1/webhook_endpoints", body), 201)
    assert made["secret"].startswith("whsec_")
    path = f"/v1/webhook_endpoints/{made['id']}"
    (listed,) = ok(api.get("/v1/webhook_endpoints"))["data"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    assert ok(api.post(f"{path}/rotate"))["secret"] != made["secret"]
    assert ok(api.patch(path, {"enabled": False}))["enabled"] is False
    assert ok(api.get(f"{path}/deliveries"))["data"] == []
    refused(api.post(f"{path}/deliveries/del_x/replay"), 404, "unknown-delivery")
    ok(api.delete(path))
    refused(api.delete(path), 404, "unknown-endpoint")


def test_an_organizations_key_keeps_its_own_endpoints_alone(
    acme: Customer, api: Api, database: object, clock: Clock
) -> None:
    own = api.holding(make_key(database, clock, organization="acme", scopes=["read", "manage"]))  # type: ignore[arg-type]
    operators = ok(api.post("/v1/webhook_endpoints", {"url": "https://example.com/"}), 201)
    mine = ok(own.post("/v1/webhook_endpoints", {"url": "https://example.org/"}), 201)
    assert [one["id"] for one in ok(own.get("/v1/webhook_endpoints"))["data"]] == [mine["id"]]
    refused(own.delete(f"/v1/webhook_endpoints/{operators['id']}"), 404, "unknown-endpoint")
    refused(own.get(f"/v1/webhook_endpoints/{operators['id']}/deliveries"), 404, "unknown-endpoint")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"url": "https://127.0.0.1/"}, "/url"),
        ({"url": "http://example.com/"}, "/url"),
        ({"url": "https://example.com/", "types": ["everything"]}, "/types"),
    ],
)
def test_an_endpoint_that_cannot_be_told_is_refused(
    api: Api, body: dict[str, object], pointer: str
) -> None:
    problem = refused(api.post("/v1/webhook_endpoints", body), 422, "invalid-request")
    assert [one["pointer"] for one in problem["errors"]] == [pointer]


def test_a_backend_asks_for_a_member_and_answers_for_an_admin(
    acme: Customer, bystander: Customer, api: Api
) -> None:
    cap = acme.cap(10, "team", target="research")
    path = f"{acme.path}/caps/{cap}/raise_requests"
    asked = ok(api.post(path, {"member": "cleo", "credits": "20", "reason": "more"}), 201)
    assert (asked["status"], asked["credits"], asked["granted"]) == ("open", "20", None)
    (waiting,) = ok(api.get(f"{acme.path}/raise_requests"))["data"]
    assert waiting == asked
    answer = f"{acme.path}/raise_requests/{asked['id']}/answer"
    assert ok(api.post(answer, {"answer": "allow"}))["granted"] == "20"
    assert acme.caps()[cap]["raised"] == "20"
    refused(api.post(answer, {"answer": "decline"}), 422, "invalid-request")
    again = ok(api.post(path, {"member": "cleo", "credits": 5}), 201)
    answer = f"{acme.path}/raise_requests/{again['id']}/answer"
    assert ok(api.post(answer, {"answer": "decline"}))["status"] == "declined"
    refused(api.post(path, {"member": "ana", "credits": 5}), 403, "not-allowed")
    theirs = f"{bystander.path}/raise_requests/{again['id']}/answer"
    refused(api.post(theirs, {"answer": "allow"}), 404, "unknown-request")
