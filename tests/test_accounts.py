"""Organizations, members, teams and projects, as the operator's backend keeps them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from portal import accounts, audit
from portal.db import Database
from tests.cast import Api, Customer, ok, refused


def test_an_organization_is_made_once_and_changed_after(api: Api) -> None:
    body = {"name": "Acme", "timezone": "Asia/Kathmandu", "currency": "eur"}
    made = ok(api.put("/v1/organizations/acme", body), 201)
    assert (made["timezone"], made["currency"], made["charging"]) == (
        "Asia/Kathmandu", "eur", "on",
    )  # fmt: skip
    again = ok(api.put("/v1/organizations/acme", body | {"name": "Acme & Co", "email": "a@b.c"}))
    assert (again["name"], again["email"]) == ("Acme & Co", "a@b.c")
    assert ok(api.get("/v1/organizations/acme")) == again


def test_the_currency_is_set_once_and_cannot_be_changed(acme: Customer) -> None:
    answer = acme.api.put(acme.path, {"name": "Acme", "currency": "eur"})
    problem = refused(answer, 422, "invalid-request")
    assert [one["pointer"] for one in problem["errors"]] == ["/currency"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timezone", "Mars/Olympus"),
        ("timezone", "../../etc/passwd"),
        ("currency", "USD"),
        ("currency", "usdx"),
        ("charging", "maybe"),
        ("tier", "platinum"),
        ("seats", 0),
        ("seats", True),
        ("email", "nobody"),
        ("name", ""),
    ],
)
def test_an_organization_that_cannot_be_is_not_made(api: Api, field: str, value: object) -> None:
    answer = api.put("/v1/organizations/acme", {"name": "Acme", field: value})
    problem = refused(answer, 422, "invalid-request")
    assert [one["pointer"] for one in problem["errors"]] == [f"/{field}"]
    refused(api.get("/v1/organizations/acme"), 404, "unknown-organization")


def test_organizations_are_listed_a_page_at_a_time(api: Api) -> None:
    names = [f"org-{number}" for number in range(5)]
    for name in names:
        ok(api.put(f"/v1/organizations/{name}", {"name": name}), 201)
    found, cursor = [], ""
    while cursor is not None:
        page = ok(api.get(f"/v1/organizations?limit=2&cursor={cursor}"))
        found += [one["id"] for one in page["data"]]
        cursor = page["next_cursor"]
    assert found == names


def test_a_member_is_made_changed_and_removed(acme: Customer, bystander: Customer) -> None:
    path = f"{acme.path}/members/eve"
    made = ok(acme.api.put(path, {"email": "Eve@Acme.example"}), 201)
    assert made == {
        "id": "eve", "email": "eve@acme.example", "name": "eve", "role": "member", "team": None,
    }  # fmt: skip
    body = {"email": "eve@acme.example", "name": "Eve E.", "role": "viewer", "team": "research"}
    assert ok(acme.api.put(path, body)) == {"id": "eve"} | body
    assert ok(acme.api.delete(path))["id"] == "eve"
    refused(acme.api.delete(path), 404, "unknown-member")
    assert ok(acme.api.put(path, body))["role"] == "viewer"


def test_a_member_is_of_a_team_that_exists(acme: Customer) -> None:
    body = {"email": "eve@acme.example", "team": "sales"}
    refused(acme.api.put(f"{acme.path}/members/eve", body), 404, "unknown-team")
    refused(acme.api.delete(f"{acme.path}/members/eve"), 404, "unknown-member")


def test_the_last_owner_neither_leaves_nor_steps_down(acme: Customer) -> None:
    ana = f"{acme.path}/members/ana"
    refused(acme.api.delete(ana), 422, "invalid-request")
    body = {"email": "ana@acme.example", "role": "admin"}
    problem = refused(acme.api.put(ana, body), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "/role"
    ben = {"email": "ben@acme.example", "role": "owner"}
    ok(acme.api.put(f"{acme.path}/members/ben", ben))
    ok(acme.api.put(ana, body))
    refused(acme.api.delete(f"{acme.path}/members/ben"), 422, "invalid-request")


def test_two_owners_who_remove_each_other_leave_one(acme: Customer, database: Database) -> None:
    for turn in range(10):
        for member in ("ana", "ben"):
            body = {"email": f"{member}@acme.example", "role": "owner"}
            acme.api.put(f"{acme.path}/members/{member}", body)
        together = threading.Barrier(2)

        def leave(member: str, together: threading.Barrier = together) -> int:
            together.wait(30)
            return acme.api.delete(f"{acme.path}/members/{member}").status_code

        with ThreadPoolExecutor(2) as both:
            statuses = sorted(both.map(leave, ["ana", "ben"]))
        with database.reading() as tx:
            owners = [one for one in accounts.list_members(tx, "acme") if one.role == "owner"]
        assert len(owners) == 1, f"turn {turn}: {statuses}"
        assert statuses == [200, 422]


def test_teams_and_projects_are_made_and_renamed(acme: Customer) -> None:
    for kind in ("teams", "projects"):
        path = f"{acme.path}/{kind}/red"
        assert ok(acme.api.put(path, {"name": "Red"}), 201) == {"id": "red", "name": "Red"}
        assert ok(acme.api.put(path, {"name": "Crimson"}))["name"] == "Crimson"
        refused(acme.api.put(path, {"name": ""}), 422, "invalid-request")
        answer = acme.api.put(f"/v1/organizations/nobody/{kind}/red", {"name": "Red"})
        refused(answer, 404, "unknown-organization")


def test_a_member_of_an_organization_that_is_none_is_not_made(api: Api) -> None:
    answer = api.put("/v1/organizations/nobody/members/eve", {"email": "eve@acme.example"})
    refused(answer, 404, "unknown-organization")


def test_changing_tiers_to_and_fro_adds_nothing(api: Api) -> None:
    for tier in ("starter", "pro", "starter", "pro"):
        api.put("/v1/organizations/acme", {"name": "Acme", "tier": tier})
    acme = Customer(api, "acme")
    assert acme.standing == ("2500", "0")
    ok(acme.send(acme.event("analysis", quantity=10)))
    for tier in ("starter", "pro"):
        api.put("/v1/organizations/acme", {"name": "Acme", "tier": tier})
    assert acme.standing == ("2400", "0")


def test_changing_to_a_tier_starts_its_period_and_its_allowance(
    acme: Customer, bystander: Customer
) -> None:
    answer = ok(acme.api.put(acme.path, {"name": "Acme", "tier": "team", "seats": 12}))
    assert (answer["tier"], answer["seats"]) == ("team", 12)
    assert acme.standing == ("10100", "0")
    assert acme.balance()["grants"][0]["source"] == "allowance"
    more = ok(acme.api.put(acme.path, {"name": "Acme", "tier": "team", "seats": 13}))
    assert (more["seats"], more["period"]) == (13, answer["period"])
    assert acme.standing == ("10100", "0")


def test_seats_stay_until_others_are_stated_and_may_be_stated_alone(acme: Customer) -> None:
    def seats(**body: Any) -> Any:
        return ok(acme.api.put(acme.path, {"name": "Acme"} | body))["seats"]

    problem = refused(acme.api.put(acme.path, {"name": "Acme", "seats": 7}), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "/seats"
    assert seats(tier="team", seats=5) == 5
    assert seats(tier="team") == 5
    assert seats() == 5
    assert seats(seats=7) == 7
    assert acme.standing == ("10100", "0")
    assert seats(tier="pro") is None


def test_what_the_operator_changes_of_an_organization_is_on_record_and_the_same_again_is_not(
    acme: Customer, database: Database
) -> None:
    def put(**stated: Any) -> list[tuple[str, str, dict[str, Any]]]:
        with database.reading() as tx:
            before = {act.audit_id for act in audit.listed(tx, organization_id="acme", limit=99)}
        ok(acme.api.put(acme.path, {"name": "Acme", **stated}))
        with database.reading() as tx:
            found = audit.listed(tx, organization_id="acme", limit=99)
        fresh = [one for one in found if one.audit_id not in before]
        return sorted((one.act, one.target, dict(one.detail)) for one in fresh)

    assert put() == []
    assert put(name="Acme & Co", email="pay@acme.example", charging="shadow") == [
        ("settings.changed", "", {
            "name": "Acme & Co", "email": "pay@acme.example",
            "was": {"name": "Acme", "email": "ana@acme.example"},
        }),
        ("tier.charging", "", {"charging": "shadow"}),
    ]  # fmt: skip
    assert put(name="Acme & Co", email="pay@acme.example", charging="shadow") == []
    assert put(name="Acme & Co", tier="pro", charging="on") == [
        ("tier.charging", "pro", {"charging": "on"}),
        ("tier.put", "pro", {"from": None, "seats": {"from": None, "to": None}}),
    ]
    assert put(name="Acme & Co", tier="pro") == []


def test_an_organization_goes_from_shadow_to_charging_and_back_with_work_in_flight(
    acme: Customer,
) -> None:
    charged = acme.hold("analysis", 2)
    ok(acme.api.put(acme.path, {"name": "Acme", "charging": "shadow"}))
    watched = acme.hold("analysis", 3)
    assert ok(acme.capture(charged))["uncollected"] == "0"
    ok(acme.send(acme.event("analysis")))
    assert acme.balance()["held"] == "0"
    ok(acme.api.put(acme.path, {"name": "Acme", "charging": "on"}))
    before = acme.standing[0]
    assert ok(acme.capture(watched))["credits"] == "30"
    assert (before, acme.standing[1]) in {("80", "0"), ("100", "0")}
