"""Caps: whom they bind, what they count, and that nothing new passes a hard one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cast import Api, Customer, ok, refused
from tests.clock import Clock

HOUR = timedelta(hours=1)


def counted(acme: Customer, cap: str) -> tuple[str, str, str]:
    found = acme.caps()[cap]
    return found["spent"], found["held"], found["remaining"]


def test_a_hard_cap_is_reached_exactly(acme: Customer, bystander: Customer) -> None:
    cap = acme.cap(12)
    problem = refused(acme.authorize("image", "6.000001"), 402, "cap-reached")
    assert problem["limit"]["remaining"] == "12"
    acme.hold("image", 6)
    assert counted(acme, cap) == ("0", "12", "0")
    problem = refused(acme.authorize("image", "0.000001"), 402, "cap-reached")
    limit = problem["limit"]
    assert (limit["scope"], limit["limit"], limit["held"]) == ("organization", "12", "12")
    assert [one["do"] for one in problem["options"]] == ["raise-cap", "wait"]
    assert problem["options"][0]["cap"] == cap
    assert limit["resets_at"] == acme.caps()[cap]["resets_at"]


@pytest.mark.parametrize(
    ("scope", "target", "bound", "free"),
    [
        ("organization", None, {}, None),
        ("team", "research", {"member": "cleo"}, {"member": "ben"}),
        ("team", "research", {"team": "research"}, {"team": "sales"}),
        ("member", "cleo", {"member": "cleo"}, {"member": "ben"}),
        ("project", "atlas", {"project": "atlas"}, {"project": "zeus"}),
    ],
)
def test_a_cap_binds_its_scope_and_nobody_else(
    acme: Customer, scope: str, target: str | None, bound: dict[str, str], free: dict[str, str]
) -> None:
    acme.cap(9, scope, **({"target": target} if target else {}))
    acme.hold("document", **bound)
    refused(acme.authorize("document", **bound), 402, "cap-reached")
    if free is not None:
        acme.hold("document", 2, **free)


def test_a_cap_on_one_action_counts_that_action_alone(acme: Customer) -> None:
    cap = acme.cap(10, action="analysis")
    acme.hold("document", 5)
    acme.hold("analysis")
    assert counted(acme, cap) == ("0", "10", "0")
    refused(acme.authorize("analysis"), 402, "cap-reached")
    acme.hold("image")


def test_all_caps_are_taken_from_or_none(acme: Customer) -> None:
    wide, narrow = acme.cap(50), acme.cap(5, "member", target="cleo")
    refused(acme.authorize("analysis", member="cleo"), 402, "cap-reached")
    assert counted(acme, wide) == ("0", "0", "50")
    assert counted(acme, narrow) == ("0", "0", "5")
    refused(acme.authorize("analysis", 11), 402, "cap-reached")
    acme.hold("document", member="cleo")
    assert counted(acme, wide) == ("0", "5", "45")
    assert counted(acme, narrow) == ("0", "5", "0")


def test_a_refusal_names_the_tightest_cap(acme: Customer) -> None:
    acme.cap(50)
    acme.cap(20, "team", target="research")
    acme.cap(30, "member", target="cleo")
    problem = refused(acme.authorize("analysis", 9, member="cleo"), 402, "cap-reached")
    assert (problem["limit"]["scope"], problem["limit"]["target"]) == ("team", "research")


def test_a_cap_that_is_there_already_is_named_also_where_another_would_become_it(
    acme: Customer,
) -> None:
    body: dict[str, Any] = {"scope": "member", "target": "cleo", "action": "image"}
    hard = acme.cap(20, **body)
    again = acme.api.post(f"{acme.path}/caps", body | {"limit": {"credits": 9}})
    assert refused(again, 422, "invalid-request")["cap"] == hard
    soft = acme.cap(10, **body, mode="soft")
    hardened = acme.api.patch(f"{acme.path}/caps/{soft}", {"mode": "hard"})
    assert refused(hardened, 422, "invalid-request")["cap"] == hard
    assert acme.caps()[soft]["mode"] == "soft"
    ok(acme.api.patch(f"{acme.path}/caps/{hard}", {"mode": "hard", "limit": {"credits": 5}}))
    ok(acme.api.delete(f"{acme.path}/caps/{hard}"))
    ok(acme.api.patch(f"{acme.path}/caps/{soft}", {"mode": "hard"}))


def test_a_soft_cap_never_refuses(acme: Customer) -> None:
    cap = acme.cap(1, mode="soft")
    acme.hold("analysis", 5)
    assert counted(acme, cap) == ("0", "50", "0")


def test_a_cap_of_nothing_blocks_everything(acme: Customer) -> None:
    acme.cap(0)
    refused(acme.authorize("image", "0.000001"), 402, "cap-reached")


def test_a_cap_made_late_counts_its_window_from_the_start(acme: Customer, clock: Clock) -> None:
    ok(acme.capture(acme.hold("analysis", 2, member="cleo")))
    ok(acme.send(acme.event("document", member="cleo"), acme.event("document", member="ben")))
    acme.hold("image", 3, member="cleo")
    lapsed = acme.hold("image", 5, member="cleo", expires_in=60)
    clock.forward(timedelta(seconds=60))
    cap = acme.cap(40, "member", target="cleo")
    assert counted(acme, cap) == ("25", "6", "9")
    assert ok(acme.api.get(f"/v1/authorizations/{lapsed}"))["status"] == "expired"


def test_a_period_cut_short_by_a_new_tier_keeps_only_what_is_its_own(
    acme: Customer, api: Api, clock: Clock
) -> None:
    """The new period begins with today, and what was used today counts in it alone."""
    cap, yesterday = acme.cap(60), clock() - timedelta(days=1)
    ok(acme.send(acme.event("analysis", time=yesterday), acme.event("analysis", quantity=3)))
    hold = acme.hold("document")
    assert counted(acme, cap) == ("40", "5", "15")
    ok(api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    assert counted(acme, cap) == ("30", "5", "25")
    assert ok(acme.send(acme.event("analysis", quantity=5, time=yesterday)))["uncollected"] == 0
    assert ok(acme.send(acme.event("image", time=yesterday)))["uncollected"] == 1
    ok(acme.capture(hold))
    assert counted(acme, cap) == ("35", "0", "25")


def test_ending_a_hold_ends_it_in_a_cap_that_was_made_after_it(acme: Customer) -> None:
    hold = acme.hold("analysis", 3)
    cap = acme.cap(40)
    assert counted(acme, cap) == ("0", "30", "10")
    ok(acme.capture(hold, quantity=2))
    assert counted(acme, cap) == ("20", "0", "20")


def test_raising_a_cap_admits_exactly_the_difference(acme: Customer, api: Api) -> None:
    cap = acme.cap(10)
    acme.hold("analysis")
    ok(api.patch(f"{acme.path}/caps/{cap}", {"limit": {"credits": "14"}}))
    assert counted(acme, cap) == ("0", "10", "4")
    acme.hold("image", 2)
    refused(acme.authorize("image", "0.000001"), 402, "cap-reached")


def test_lowering_a_cap_undoes_nothing_and_stops_what_is_new(acme: Customer, api: Api) -> None:
    cap = acme.cap(50)
    hold = acme.hold("analysis", 4)
    ok(api.patch(f"{acme.path}/caps/{cap}", {"limit": {"credits": "10"}}))
    assert counted(acme, cap) == ("0", "40", "0")
    refused(acme.authorize("image"), 402, "cap-reached")
    assert ok(acme.capture(hold))["uncollected"] == "0"
    assert counted(acme, cap) == ("40", "0", "0")


def test_hardening_and_softening_keep_the_count(acme: Customer, api: Api) -> None:
    cap = acme.cap(10, mode="soft")
    acme.hold("analysis", 2)
    ok(api.patch(f"{acme.path}/caps/{cap}", {"mode": "hard"}))
    assert counted(acme, cap) == ("0", "20", "0")
    refused(acme.authorize("image"), 402, "cap-reached")
    ok(api.patch(f"{acme.path}/caps/{cap}", {"mode": "soft"}))
    acme.hold("image")


def test_a_cap_that_was_removed_binds_nobody(acme: Customer, api: Api) -> None:
    cap = acme.cap(5)
    hold = acme.hold("document")
    ok(api.delete(f"{acme.path}/caps/{cap}"))
    assert acme.caps() == {}
    acme.hold("analysis", 9)
    ok(acme.capture(hold))
    refused(api.delete(f"{acme.path}/caps/{cap}"), 404, "unknown-cap")
    again = acme.cap(100)
    assert counted(acme, again) == ("5", "90", "5")


def test_a_day_begins_at_the_organizations_midnight(api: Api, clock: Clock) -> None:
    ok(api.put("/v1/organizations/acme", {"name": "A", "timezone": "Asia/Kathmandu"}), 201)
    acme = Customer(api, "acme")
    acme.grant(100)
    cap = acme.cap(10, window="day")
    acme.hold("analysis", expires_in=86_400)
    midnight = datetime(2026, 11, 9, 18, 15, tzinfo=UTC)
    assert datetime.fromisoformat(acme.caps()[cap]["resets_at"]) == midnight
    clock.set(midnight - timedelta(microseconds=1))
    refused(acme.authorize("image"), 402, "cap-reached")
    clock.set(midnight)
    assert counted(acme, cap) == ("0", "0", "10")
    acme.hold("analysis")


def test_a_hold_counts_in_the_window_of_its_authorization(acme: Customer, clock: Clock) -> None:
    cap = acme.cap(10, window="day")
    hold = acme.hold("analysis", expires_in=86_400)
    clock.forward(timedelta(hours=13))
    assert ok(acme.capture(hold))["uncollected"] == "0"
    assert counted(acme, cap) == ("0", "0", "10")


def test_a_late_capture_counts_in_the_window_it_is_charged_in(acme: Customer, clock: Clock) -> None:
    hold = acme.hold("analysis")
    cap = acme.cap(30, window="day")
    clock.forward(timedelta(hours=13))
    assert ok(acme.capture(hold))["late"] is True
    assert counted(acme, cap) == ("10", "0", "20")
    ok(acme.api.delete(f"{acme.path}/caps/{cap}"))
    assert counted(acme, acme.cap(30, window="day")) == ("10", "0", "20")


def test_work_in_flight_can_grow_and_end_after_its_cap_is_gone(acme: Customer) -> None:
    cap, other = acme.cap(40), acme.cap(40, window="day")
    hold = acme.hold("analysis")
    ok(acme.api.delete(f"{acme.path}/caps/{cap}"))
    ok(acme.api.post(f"/v1/authorizations/{hold}/increment", {"quantity": 1}))
    assert counted(acme, other) == ("0", "20", "20")
    ok(acme.api.post(f"/v1/authorizations/{hold}/release", {}))
    assert counted(acme, other) == ("0", "0", "40")


def test_a_hold_past_its_deadline_leaves_its_room_with_no_job_running(
    acme: Customer, clock: Clock
) -> None:
    cap = acme.cap(10)
    acme.hold("analysis", expires_in=60)
    clock.forward(timedelta(seconds=60))
    assert counted(acme, cap) == ("0", "0", "10")
    acme.hold("analysis")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scope": "member"}, "/target"),
        ({"scope": "member", "target": "nobody"}, "/target"),
        ({"scope": "team", "target": "cleo"}, "/target"),
        ({"scope": "organization", "target": "acme"}, "/target"),
        ({"scope": "organization", "action": "video"}, "/action"),
        ({"scope": "organization", "window": "year"}, "/window"),
        ({"scope": "organization", "mode": "firm"}, "/mode"),
        ({"scope": "organization", "limit": {"credits": "-1"}}, "/limit/credits"),
        ({"scope": "organization", "thresholds": [101]}, "/thresholds/0"),
    ],
)
def test_a_cap_that_means_nothing_is_refused(
    acme: Customer, body: dict[str, object], pointer: str
) -> None:
    sent = {"limit": {"credits": "5"}} | body
    problem = refused(acme.api.post(f"{acme.path}/caps", sent), 422, "invalid-request")
    assert [one["pointer"] for one in problem["errors"]] == [pointer]


def test_there_is_one_cap_of_a_kind(acme: Customer) -> None:
    acme.cap(5)
    body = {"scope": "organization", "limit": {"credits": "9"}}
    refused(acme.api.post(f"{acme.path}/caps", body), 422, "invalid-request")
    acme.cap(9, mode="soft")
    acme.cap(9, window="week")
    assert len(acme.caps()) == 3


def test_a_changed_period_starts_counting_anew(acme: Customer, clock: Clock) -> None:
    cap = acme.cap(10, window="period")
    ok(acme.send(acme.event("analysis")))
    refused(acme.authorize("image"), 402, "cap-reached")
    clock.set(datetime(2026, 12, 1, tzinfo=UTC))
    assert counted(acme, cap) == ("0", "0", "10")
    acme.hold("analysis")
