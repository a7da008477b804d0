"""An event's receipt: what it cost, what paid for it, and the caps that let it through."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Flask

from portal.db import Database
from tests.cast import Customer, ok, refused
from tests.clock import Clock
from tests.readers import enter


def receipt(acme: Customer, event: str, query: str = "") -> Any:
    return ok(acme.api.get(f"{acme.path}/events/{event}{query}"))


def sent(acme: Customer, action: str = "analysis", **data: Any) -> Any:
    """Send an event and return its receipt."""
    event = acme.event(action, **data)
    ok(acme.send(event))
    return receipt(acme, event["id"])


def caps_of(found: Any) -> list[str]:
    return [one["cap"] for one in found["caps"]]


def test_a_receipt_names_the_caps_that_counted_the_event_widest_first(acme: Customer) -> None:
    cleo = acme.cap(50, "member", target="cleo", window="day")
    everyone = acme.cap(80)
    research = acme.cap(60, "team", target="research", action="analysis")
    acme.cap(60, "team", target="research", action="image")
    acme.cap(40, "member", target="ben")
    found = sent(acme, member="cleo")
    assert caps_of(found) == [everyone, research, cleo]
    assert found["caps"][1] == {
        "cap": research, "scope": "team", "target": "research", "action": "analysis",
        "window": "period",
        "start": "2026-11-01T00:00:00+00:00", "end": "2026-12-01T00:00:00+00:00",
    }  # fmt: skip
    assert caps_of(sent(acme, "document", member="ben"))[0] == everyone


def test_caps_made_or_removed_later_change_no_receipt(acme: Customer, clock: Clock) -> None:
    cap = acme.cap(80)
    event = sent(acme)
    clock.forward(timedelta(minutes=1))
    ok(acme.api.delete(f"{acme.path}/caps/{cap}"))
    acme.cap(90, "member", target="cleo")
    assert caps_of(receipt(acme, event["id"])) == [cap]
    clock.forward(timedelta(minutes=1))
    assert caps_of(sent(acme)) == []


def test_a_capture_counted_where_its_authorization_did(acme: Customer, clock: Clock) -> None:
    clock.forward(timedelta(hours=11, minutes=58))
    cap = acme.cap(80, window="day")
    hold = acme.hold("analysis")
    clock.forward(timedelta(minutes=4))
    ok(acme.capture(hold))
    [counted] = receipt(acme, hold)["caps"]
    assert (counted["cap"], counted["start"]) == (cap, "2026-11-09T00:00:00+00:00")


def test_a_cap_made_while_work_is_under_way_counts_it(acme: Customer, clock: Clock) -> None:
    hold = acme.hold("analysis")
    clock.forward(timedelta(minutes=1))
    cap = acme.cap(70, action="analysis")
    ok(acme.capture(hold))
    assert caps_of(receipt(acme, hold)) == [cap]


def test_a_capture_past_its_deadline_counted_when_it_came(acme: Customer, clock: Clock) -> None:
    hold = acme.hold("analysis")
    clock.forward(timedelta(days=1))
    today = acme.cap(80, window="day")
    ok(acme.capture(hold))
    found = receipt(acme, hold)
    assert caps_of(found) == [today]
    assert found["caps"][0]["start"] == "2026-11-10T00:00:00+00:00"


def test_what_was_not_charged_passed_no_cap(acme: Customer) -> None:
    acme.cap(80)
    ok(acme.api.put(acme.path, {"name": "Acme", "charging": "shadow"}))
    assert caps_of(sent(acme)) == []


def test_what_went_beyond_the_grants_is_on_the_receipt(acme: Customer) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "pro"}))
    ok(acme.api.patch(f"{acme.path}/spending", {"on_empty": "overage", "overage_limit": "50"}))
    left = int(acme.balance()["available"])
    found = sent(acme, "image", quantity=left // 2 + 5)
    *grants, beyond = found["paid_by"]
    assert all(one["grant"] for one in grants)
    assert beyond == {"grant": None, "source": "overage", "credits": "10"}
    assert sum(int(one["credits"]) for one in found["paid_by"]) == left + 10


def test_an_id_that_two_sources_use_needs_its_source(acme: Customer) -> None:
    first = acme.event("image", id="same")
    ok(acme.send(first, acme.event("document", id="same", source="others")))
    problem = refused(acme.api.get(f"{acme.path}/events/same"), 422, "invalid-request")
    [error] = problem["errors"]
    assert error["pointer"] == "/source"
    assert "'others', 'tests'" in error["detail"]
    assert receipt(acme, "same", "?source=others")["credits"] == "5"


def test_a_page_shows_the_caps_and_what_went_beyond(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "pro"}))
    ok(acme.api.patch(f"{acme.path}/spending", {"on_empty": "overage", "overage_limit": "50"}))
    acme.cap(9000, "team", target="research", window="day", action="image")
    left = int(acme.balance()["available"])
    event = sent(acme, "image", quantity=left // 2 + 5, member="cleo")
    for member in ("ana", "cleo"):
        page = enter(application, database, clock, member).client.get(
            f"/usage/events/{event['id']}"
        )
        assert page.status_code == 200
        assert "Beyond your credits" in page.text
        assert "Research team · Images" in page.text
