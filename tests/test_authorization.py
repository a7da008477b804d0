"""Authorize, capture, increment, release: credits set aside before the work, settled after it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from portal import catalog
from portal.db import Database
from tests.cast import Api, Customer, make_key, ok, refused
from tests.clock import Clock

HOUR = timedelta(hours=1)


def test_authorizing_sets_the_price_of_the_action_aside(acme: Customer, clock: Clock) -> None:
    answer = ok(acme.authorize("document", 3, member="cleo", run="run-1"), 201)
    assert answer["status"] == "authorized"
    assert (answer["credits"], answer["quantity"]) == ("15", "3")
    assert answer["balance"] == {"available": "85", "held": "15"}
    assert answer["expires_at"] == (clock() + timedelta(minutes=15)).isoformat()
    assert acme.standing == ("85", "15")


def test_a_part_of_an_action_costs_a_part_of_its_price(acme: Customer) -> None:
    assert ok(acme.authorize("document", "0.5"), 201)["credits"] == "2.5"
    assert ok(acme.authorize("document", 0.1), 201)["credits"] == "0.5"


def test_the_last_credit_can_be_spent_and_not_one_millionth_more(acme: Customer) -> None:
    problem = refused(acme.authorize("image", "50.000001"), 402, "insufficient-credits")
    assert problem["limit"]["remaining"] == "100"
    assert {"do": "buy-credits"} in problem["options"]
    acme.hold("image", 50)
    assert acme.standing == ("0", "100")
    refused(acme.authorize("image", "0.000001"), 402, "insufficient-credits")


def test_a_refusal_changes_nothing(acme: Customer, bystander: Customer) -> None:
    refused(acme.authorize("analysis", 11), 402, "insufficient-credits")
    assert acme.standing == ("100", "0")


def test_capturing_all_charges_it_and_makes_the_event(acme: Customer, bystander: Customer) -> None:
    hold = acme.hold("document", 2, member="cleo", project="atlas", run="run-7")
    answer = ok(acme.capture(hold))
    assert answer["status"] == "captured"
    assert (answer["credits"], answer["released"], answer["uncollected"]) == ("10", "0", "0")
    assert answer["late"] is False
    assert acme.standing == ("90", "0")
    event = ok(acme.api.get(f"{acme.path}/events/{answer['event']}"))
    assert (event["type"], event["member"], event["team"]) == ("document", "cleo", "research")
    assert (event["project"], event["run"]) == ("atlas", "run-7")
    assert (event["quantity"], event["credits"]) == ("2", "10")
    assert [one["credits"] for one in event["paid_by"]] == ["10"]


def test_capturing_a_part_returns_the_rest_to_the_grants_it_came_from(acme: Customer) -> None:
    late = acme.grant(100, source="pack", paid={"amount": "9.00", "currency": "usd"})
    hold = acme.hold("analysis", 15)
    assert [one["id"] for one in acme.balance()["grants"]] == [late]
    answer = ok(acme.capture(hold, quantity=11))
    assert (answer["credits"], answer["released"]) == ("110", "40")
    assert [one["remaining"] for one in acme.balance()["grants"]] == ["90"]
    assert acme.standing == ("90", "0")


def test_capturing_more_charges_what_fits_and_leaves_the_rest_uncollected(acme: Customer) -> None:
    hold = acme.hold("analysis", 5)
    answer = ok(acme.capture(hold, quantity=12))
    assert (answer["credits"], answer["uncollected"], answer["released"]) == ("100", "20", "0")
    assert acme.standing == ("0", "0")
    assert acme.balance()["uncollected"] == "20"


def test_capturing_more_than_a_hard_cap_allows_leaves_the_excess_uncollected(
    acme: Customer,
) -> None:
    cap = acme.cap(30)
    hold = acme.hold("analysis", 2)
    answer = ok(acme.capture(hold, quantity=5))
    assert (answer["credits"], answer["uncollected"]) == ("30", "20")
    assert acme.caps()[cap]["spent"] == "30"
    assert acme.standing == ("70", "0")


def test_capturing_nothing_is_a_release(acme: Customer) -> None:
    answer = ok(acme.capture(acme.hold("document"), quantity=0))
    assert (answer["status"], answer["released"], answer["event"]) == ("released", "5", None)
    assert acme.standing == ("100", "0")


def test_releasing_returns_all_of_it(acme: Customer) -> None:
    answer = ok(acme.release(acme.hold("document", 4)))
    assert (answer["status"], answer["released"], answer["credits"]) == ("released", "20", "0")
    assert acme.standing == ("100", "0")


def test_incrementing_extends_the_hold_by_the_same_rule(acme: Customer) -> None:
    hold = acme.hold("analysis", 4)
    answer = ok(acme.increment(hold, 5))
    assert (answer["quantity"], answer["credits"]) == ("9", "90")
    assert answer["balance"] == {"available": "10", "held": "90"}
    refused(acme.increment(hold, "1.000001"), 402, "insufficient-credits")
    assert acme.standing == ("10", "90")
    assert ok(acme.capture(hold))["credits"] == "90"


def test_increments_round_as_the_whole_does_not_each_for_itself(acme: Customer) -> None:
    hold = acme.hold("document", "0.000001")
    for _ in range(5):
        ok(acme.increment(hold, "0.000001"))
    assert ok(acme.capture(hold))["credits"] == "0.00003"


@pytest.mark.parametrize("end", ["capture", "release"])
def test_an_authorization_ends_once_and_a_second_end_is_told_how_it_ended(
    acme: Customer, end: str
) -> None:
    hold = acme.hold("document")
    first = ok(getattr(acme, end)(hold))
    for again in (acme.capture(hold), acme.release(hold), acme.increment(hold, 1)):
        problem = refused(again, 409, "authorization-settled")
        assert problem["original"] == first
    shown = ok(acme.api.get(f"/v1/authorizations/{hold}"))
    assert shown == shown | first


def test_a_hold_ends_at_its_deadline_with_no_job_running(acme: Customer, clock: Clock) -> None:
    hold = acme.hold("document", 3, expires_in=60)
    clock.forward(timedelta(seconds=60) - timedelta(microseconds=1))
    assert acme.standing == ("85", "15")
    clock.forward(timedelta(microseconds=1))
    assert acme.standing == ("100", "0")
    assert ok(acme.api.get(f"/v1/authorizations/{hold}"))["status"] == "expired"
    acme.hold("analysis", 10)
    assert acme.standing == ("0", "100")


def test_a_late_capture_is_charged_now_and_marked(acme: Customer, clock: Clock) -> None:
    hold = acme.hold("document", 2)
    clock.forward(HOUR)
    answer = ok(acme.capture(hold))
    assert (answer["late"], answer["credits"], answer["uncollected"]) == (True, "10", "0")
    assert acme.standing == ("90", "0")
    refused(acme.capture(hold), 409, "authorization-settled")


def test_a_late_capture_takes_what_is_left_and_leaves_the_rest_uncollected(
    acme: Customer, clock: Clock
) -> None:
    hold = acme.hold("analysis", 6)
    clock.forward(HOUR)
    acme.hold("analysis", 7)
    answer = ok(acme.capture(hold))
    assert (answer["credits"], answer["uncollected"]) == ("30", "30")
    assert acme.standing == ("0", "70")


def test_capturing_nothing_of_what_has_expired_is_a_late_release(
    acme: Customer, clock: Clock
) -> None:
    hold = acme.hold("document")
    clock.forward(HOUR)
    answer = ok(acme.capture(hold, quantity=0))
    assert (answer["status"], answer["late"], answer["released"]) == ("released", True, "0")
    assert acme.standing == ("100", "0")


def test_releasing_what_has_expired_says_so(acme: Customer, clock: Clock) -> None:
    hold = acme.hold("document")
    clock.forward(HOUR)
    problem = refused(acme.release(hold), 409, "authorization-settled")
    assert problem["original"]["status"] == "expired"
    refused(acme.increment(hold, 1), 409, "authorization-settled")


def test_credits_held_when_their_grant_expires_may_be_captured(
    acme: Customer, clock: Clock
) -> None:
    acme.grant(50, priority=1, expires_at=(clock() + HOUR).isoformat())
    hold = acme.hold("analysis", 5, expires_in=7200)
    clock.forward(HOUR)
    assert acme.standing == ("100", "50")
    answer = ok(acme.capture(hold, quantity=3))
    assert (answer["credits"], answer["released"]) == ("30", "20")
    assert acme.standing == ("100", "0")


def test_what_returns_to_a_grant_that_expired_is_gone(acme: Customer, clock: Clock) -> None:
    acme.grant(50, priority=1, expires_at=(clock() + HOUR).isoformat())
    hold = acme.hold("analysis", 6, expires_in=7200)
    clock.forward(HOUR)
    ok(acme.release(hold))
    assert acme.standing == ("100", "0")


def test_a_step_that_was_authorized_is_captured_whatever_changed_meanwhile(
    acme: Customer, api: Api
) -> None:
    cap = acme.cap(50, "member", target="cleo")
    hold = acme.hold("document", 2, member="cleo")
    ok(api.patch(f"{acme.path}/caps/{cap}", {"limit": {"credits": "1"}}))
    ok(api.delete(f"{acme.path}/members/cleo"))
    answer = ok(acme.capture(hold))
    assert (answer["credits"], answer["uncollected"]) == ("10", "0")
    refused(acme.authorize("document", member="cleo"), 402, "cap-reached")


def test_a_step_keeps_the_price_it_was_authorized_at(
    acme: Customer, database: Database, clock: Clock
) -> None:
    hold = acme.hold("document", 2)
    clock.forward(timedelta(minutes=1))
    dearer = catalog.DEFAULT_FILE.read_text().replace("credits = 5\n", "credits = 7\n", 1)
    with database.transaction() as tx:
        catalog.load(tx, dearer, now=clock())
    assert ok(acme.capture(hold))["credits"] == "10"
    assert ok(acme.authorize("document", 2), 201)["credits"] == "14"


def test_an_action_without_a_price_is_refused(acme: Customer) -> None:
    problem = refused(acme.authorize("video"), 422, "unknown-action")
    assert problem["errors"][0]["pointer"] == "/action"
    assert acme.standing == ("100", "0")


def test_a_shadow_organization_is_metered_and_neither_held_nor_blocked(api: Api) -> None:
    ok(api.put("/v1/organizations/shade", {"name": "Shade", "charging": "shadow"}), 201)
    shade = Customer(api, "shade")
    answer = ok(shade.authorize("analysis", 100), 201)
    assert answer["balance"] == {"available": "0", "held": "0"}
    captured = ok(shade.capture(answer["id"]))
    assert (captured["credits"], captured["uncollected"]) == ("1000", "0")
    assert shade.usage()["totals"]["credits"] == "1000"
    assert shade.balance()["uncollected"] == "0"


def test_another_organizations_authorization_is_the_same_as_none(
    acme: Customer, bystander: Customer, database: Database, clock: Clock
) -> None:
    hold = acme.hold("document")
    theirs = acme.api.holding(
        make_key(database, clock, organization=bystander.id, scopes=["read", "meter"])
    )
    for act in ("capture", "release"):
        answer = theirs.post(f"/v1/authorizations/{hold}/{act}", {})
        nobody = theirs.post(f"/v1/authorizations/auth_nobody/{act}", {})
        problem = refused(answer, 404, "unknown-authorization")
        expected = refused(nobody, 404, "unknown-authorization")
        assert str(problem).replace(hold, "auth_nobody") == str(expected)
    refused(theirs.get(f"/v1/authorizations/{hold}"), 404, "unknown-authorization")
    assert acme.standing == ("95", "5")


def test_capturing_more_than_was_held_counts_in_every_cap(acme: Customer) -> None:
    organization, member = acme.cap(200), acme.cap(60, "member", target="cleo", window="day")
    hold = acme.hold("analysis", 2, member="cleo")
    ok(acme.capture(hold, quantity=4))
    found = acme.caps()
    for cap in (organization, member):
        assert (found[cap]["spent"], found[cap]["held"]) == ("40", "0")


def test_a_name_nobody_bears_is_refused_where_caps_bind_such_names(acme: Customer) -> None:
    """Misspelt, it would pass the cap by; without such caps it is a label like any other."""
    names = {"member": "clo", "team": "reserch", "project": "atlass"}
    for scope, name in names.items():
        acme.hold("image", **{scope: name})
    for scope, target in (("member", "ben"), ("team", "research"), ("project", "atlas")):
        acme.cap(50, scope, target=target)
        found = refused(acme.authorize(**{scope: names[scope]}), 422, "invalid-request")
        assert found["errors"][0]["pointer"] == f"/{scope}"
    for scope, name in (("member", "cleo"), ("team", "research"), ("project", "atlas")):
        acme.hold("image", **{scope: name})
    assert ok(acme.send(acme.event("image", member="clo")))["accepted"] == 1


def test_a_cap_on_a_team_binds_members_so_a_stranger_is_refused(acme: Customer) -> None:
    acme.cap(50, "team", target="research")
    found = refused(acme.authorize(member="clo"), 422, "invalid-request")
    assert found["errors"][0]["pointer"] == "/member"
    ok(acme.api.put(f"{acme.path}/members/clo", {"email": "clo@acme.example"}), 201)
    acme.hold("image", member="clo")


def test_a_member_who_was_removed_ends_the_step_they_began_and_begins_no_other(
    acme: Customer,
) -> None:
    hold = acme.hold("document", member="cleo")
    ok(acme.api.delete(f"{acme.path}/members/cleo"))
    found = refused(acme.authorize("image", member="cleo"), 422, "invalid-request")
    assert found["errors"][0]["detail"] == "was removed from this organization"
    refused(acme.increment(hold, 1), 422, "invalid-request")
    assert ok(acme.capture(hold))["status"] == "captured"
    assert ok(acme.send(acme.event("image", member="cleo")))["accepted"] == 1
