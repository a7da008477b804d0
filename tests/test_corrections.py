"""Events that come late, events that were wrong, events that were refused: none of it is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from portal import catalog
from portal.db import Database
from portal.tables import cap_windows
from tests.cast import Api, Customer, make_key, ok, refused
from tests.clock import Clock


def sum_of(customer: Customer, day: str) -> str:
    rows = customer.usage("start=2026-10-01&end=2027-02-01&group_by=day")["data"]
    return next((row["credits"] for row in rows if row["day"] == day), "0")


def counted(customer: Customer, cap: str) -> str:
    return str(customer.caps()[cap]["spent"])


# --- late ---


def test_a_period_takes_what_happened_in_it_for_three_days(acme: Customer, clock: Clock) -> None:
    clock.set(datetime(2026, 12, 3, 23, 59, tzinfo=UTC))
    november = datetime(2026, 11, 20, 9, tzinfo=UTC)
    ok(acme.send(acme.event("image", time=november)))
    assert sum_of(acme, "2026-11-20") == "2"
    clock.set(datetime(2026, 12, 4, tzinfo=UTC))
    ok(acme.send(acme.event("image", time=november)))
    # The period is closed: it is booked on the day it came, and dated to when it happened.
    assert (sum_of(acme, "2026-11-20"), sum_of(acme, "2026-12-04")) == ("2", "2")
    newest = acme.api.get(f"{acme.path}/events").get_json()["data"][0]
    assert newest["time"] == november.isoformat()


def test_a_closed_periods_statement_stays_what_it_was(acme: Customer, clock: Clock) -> None:
    ok(acme.send(acme.event("analysis")))
    clock.set(datetime(2026, 12, 10, tzinfo=UTC))
    path = f"{acme.path}/statement?period=2026-11-15"
    before = acme.api.get(path).get_data()
    assert ok(acme.api.get(path))["closing"] == {"credits": "90"}
    ok(acme.send(acme.event("image", time=datetime(2026, 11, 20, tzinfo=UTC))))
    assert acme.api.get(path).get_data() == before
    december = ok(acme.api.get(f"{acme.path}/statement"))
    assert december["opening"] == {"credits": "90"}
    assert [(one["day"], one["kind"], one["credits"]) for one in december["movements"]] == [
        ("2026-12-10", "used", "-2")
    ]
    assert december["closing"] == {"credits": "88"}


def test_a_late_event_counts_in_its_own_window_while_that_is_open(
    acme: Customer, clock: Clock
) -> None:
    cap = acme.cap(20, window="period")
    clock.set(datetime(2026, 12, 2, tzinfo=UTC))
    ok(acme.send(acme.event("analysis", time=datetime(2026, 11, 29, tzinfo=UTC))))
    assert acme.caps()[cap]["spent"] == "0"
    clock.set(datetime(2026, 12, 10, tzinfo=UTC))
    ok(acme.send(acme.event("analysis", time=datetime(2026, 11, 29, tzinfo=UTC))))
    assert acme.caps()[cap]["spent"] == "10"
    # A cap made later counts the same.
    assert counted(acme, acme.cap(50, mode="soft")) == "10"


def test_a_late_event_costs_what_it_cost_then(
    acme: Customer, database: Database, clock: Clock
) -> None:
    then = clock()
    clock.forward(timedelta(days=5))
    dearer = catalog.DEFAULT_FILE.read_text(encoding="utf-8").replace(
        "credits = 2\n", "credits = 3\n"
    )
    with database.transaction() as tx:
        catalog.load(tx, dearer.replace("2020-01-01T00:00:00Z", clock().isoformat()), now=clock())
    ok(acme.send(acme.event("image", time=then), acme.event("image", time=clock())))
    assert acme.usage()["totals"]["credits"] == "5"


def test_a_capture_dated_into_a_closed_period_is_booked_when_it_came(
    acme: Customer, clock: Clock
) -> None:
    clock.set(datetime(2026, 12, 10, tzinfo=UTC))
    november = datetime(2026, 11, 20, tzinfo=UTC).isoformat()
    ok(acme.capture(acme.hold("analysis"), time=november))
    assert (sum_of(acme, "2026-11-20"), sum_of(acme, "2026-12-10")) == ("0", "10")


def test_work_dated_a_little_ahead_counts_in_one_window_only(acme: Customer, clock: Clock) -> None:
    clock.set(datetime(2026, 11, 30, 23, 58, tzinfo=UTC))
    cap = acme.cap(20, window="day")
    ahead = acme.event("analysis", time=clock() + timedelta(minutes=4))
    ok(acme.send(ahead))
    assert acme.caps()[cap]["spent"] == "10"
    assert counted(acme, acme.cap(30, window="day", mode="soft")) == "10"
    clock.forward(timedelta(minutes=10))
    ok(acme.send(acme.event("analysis", quantity=2)))
    assert (acme.caps()[cap]["spent"], acme.balance()["uncollected"]) == ("20", "0")
    ok(correct(acme, ahead["id"], 0))
    assert acme.caps()[cap]["spent"] == "20"


# --- corrections ---


def correct(acme: Customer, event: str, quantity: Any, type_: str = "analysis", **more: Any) -> Any:
    return acme.send(acme.event(type_, corrects=event, quantity=quantity, **more))


def test_a_correction_gives_back_to_the_grants_that_paid_last_taken_first(
    acme: Customer, clock: Clock
) -> None:
    first = acme.grant(15, priority=0)
    sent = acme.event("analysis", quantity=3)
    ok(acme.send(sent))
    assert acme.balance()["available"] == "85"
    ok(correct(acme, sent["id"], "2"))
    assert acme.balance()["available"] == "95"
    ok(correct(acme, sent["id"], "0.5"))
    grants = {one["id"]: one["remaining"] for one in acme.balance()["grants"]}
    assert grants[first] == "10"
    assert sum(float(one) for one in grants.values()) == 110
    totals = acme.usage()["totals"]
    assert (totals["credits"], totals["quantity"], totals["events"]) == ("5", "0.5", 1)


def test_what_comes_back_to_an_expired_grant_is_gone(acme: Customer, clock: Clock) -> None:
    soon = (clock() + timedelta(hours=1)).isoformat()
    acme.grant(10, priority=0, expires_at=soon)
    sent = acme.event("analysis")
    ok(acme.send(sent))
    clock.forward(timedelta(hours=2))
    ok(correct(acme, sent["id"], 0))
    assert acme.balance()["available"] == "100"
    assert acme.usage()["totals"]["credits"] == "0"


def test_what_was_not_collected_is_forgiven_first(acme: Customer) -> None:
    sent = acme.event("analysis", quantity=12)
    assert ok(acme.send(sent))["uncollected"] == 1
    ok(correct(acme, sent["id"], 11))
    found = acme.balance()
    assert (found["available"], found["uncollected"]) == ("0", "10")
    ok(correct(acme, sent["id"], 9))
    found = acme.balance()
    assert (found["available"], found["uncollected"]) == ("10", "0")


def test_a_cap_gets_back_what_a_correction_takes_off(acme: Customer) -> None:
    cap = acme.cap(30, thresholds=[50])
    sent = acme.event("analysis", quantity=2)
    ok(acme.send(sent))
    assert [one["ended_at"] for one in acme.caps()[cap]["alerts"]] == [None]
    ok(correct(acme, sent["id"], 1))
    found = acme.caps()[cap]
    assert found["spent"] == "10"
    assert [one["ended_at"] is None for one in found["alerts"]] == [False]
    assert counted(acme, acme.cap(40, mode="soft")) == "10"


@pytest.mark.parametrize("window", ["period", "week"])
def test_a_window_gets_back_what_a_correction_takes_off_also_when_nothing_more_counts_in_it(
    acme: Customer, clock: Clock, database: Database, window: str
) -> None:
    """When the period is closed, three days after it, the week still runs."""
    clock.set(datetime(2026, 11, 30, 12, tzinfo=UTC))
    cap, work = acme.cap(20, window=window), acme.event("analysis")
    ok(acme.send(work))
    clock.set(datetime(2026, 12, 5, tzinfo=UTC))
    ok(correct(acme, work["id"], 0))
    with database.reading() as tx:
        query = select(cap_windows.c.spent_micro).where(cap_windows.c.cap_id == cap)
        assert tx.execute(query).scalars().all() == [0]


def test_a_window_of_a_period_that_still_takes_work_gets_its_room_back(
    acme: Customer, clock: Clock
) -> None:
    acme.cap(10)
    sent = acme.event("analysis", time=datetime(2026, 11, 29, tzinfo=UTC))
    clock.set(datetime(2026, 12, 1, tzinfo=UTC))
    ok(acme.send(sent))
    ok(correct(acme, sent["id"], "0.5"))
    more = acme.event("document", quantity=2, time=datetime(2026, 11, 30, tzinfo=UTC))
    assert ok(acme.send(more))["uncollected"] == 1
    assert acme.balance()["uncollected"] == "5"


def go_beyond(acme: Customer, tier: str = "pro") -> None:
    """Put Acme on a tier without a credit left, and allow it overage."""
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": tier}))
    ok(acme.api.patch(f"{acme.path}/spending", {"on_empty": "overage", "overage_limit": "50"}))
    ok(acme.send(acme.event("image", quantity=1 + int(acme.balance()["available"]) // 2)))
    assert acme.balance()["overage"]["credits"] == "2"


def test_what_was_used_beyond_all_grants_is_given_back_where_it_was_counted(
    acme: Customer, clock: Clock
) -> None:
    go_beyond(acme)
    # It happened in a period that has ended and still takes events, and was booked in this one.
    clock.set(datetime(2026, 12, 10, tzinfo=UTC))
    ok(acme.send(acme.event("image", quantity=1 + int(acme.balance()["available"]) // 2)))
    beyond = acme.balance()["overage"]["credits"]
    late = acme.event("analysis", time=datetime(2026, 12, 8, tzinfo=UTC))
    ok(acme.send(late))
    assert float(acme.balance()["overage"]["credits"]) == float(beyond) + 10
    ok(correct(acme, late["id"], "0.3"))
    ok(correct(acme, late["id"], 0))
    assert acme.balance()["overage"]["credits"] == beyond


def test_a_change_of_tier_does_not_hide_where_overage_was_counted(
    acme: Customer, clock: Clock
) -> None:
    go_beyond(acme, "starter")
    sent = acme.event("analysis")
    ok(acme.send(sent))
    hold = acme.hold("analysis")
    ok(acme.capture(hold))
    before = float(acme.balance()["overage"]["credits"])
    clock.forward(timedelta(hours=1))
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "pro"}))
    ok(correct(acme, sent["id"], 0))
    what = {"source": "clearmeter/authorizations", "id": hold}
    ok(correct(acme, what, 0))
    found = acme.balance()
    assert float(found["overage"]["credits"]) == before - 20
    assert found["uncollected"] == "0"


def test_a_capture_can_be_corrected_too(acme: Customer) -> None:
    cap = acme.cap(50)
    hold = acme.hold("analysis", quantity=2, member=None)
    ok(acme.capture(hold))
    what = {"source": "clearmeter/authorizations", "id": hold}
    ok(correct(acme, what, 1))
    assert acme.balance()["available"] == "90"
    assert acme.caps()[cap]["spent"] == "10"
    assert counted(acme, acme.cap(60, mode="soft")) == "10"


@pytest.mark.parametrize(
    ("event", "quantity", "type_", "pointer"),
    [
        ("nobody", 1, "analysis", "/data/corrects"),
        ("known", 4, "analysis", "/data/quantity"),
        ("known", 1, "image", "/type"),
        ("correction", 0, "analysis", "/data/corrects"),
        ("cost", 0, "cost.external", "/data/corrects"),
    ],
)
def test_a_correction_that_cannot_be_is_refused(
    acme: Customer, event: str, quantity: int, type_: str, pointer: str
) -> None:
    sent = acme.event("analysis", quantity=3)
    ok(acme.send(sent))
    done = acme.event("analysis", corrects=sent["id"], quantity=2)
    cost = acme.event("cost.external", costs=[{"layer": "external", "amount_usd": "1"}])
    ok(acme.send(done, cost))
    name = {"known": sent["id"], "correction": done["id"], "cost": cost["id"]}.get(event, event)
    problem = refused(correct(acme, name, quantity, type_), 422, "invalid-event")
    assert [one["pointer"] for one in problem["errors"]] == [f"/0{pointer}"]
    assert acme.balance()["available"] == "80"


def test_a_correction_says_a_quantity_and_no_cost(acme: Customer) -> None:
    sent = acme.event("analysis")
    ok(acme.send(sent))
    cost = [{"layer": "external", "amount_usd": "1"}]
    problem = refused(correct(acme, sent["id"], 0, costs=cost), 422, "invalid-event")
    assert [one["pointer"] for one in problem["errors"]] == ["/0/data/costs"]


def test_nobody_corrects_anothers_event(
    acme: Customer, bystander: Customer, database: Database, clock: Clock
) -> None:
    theirs = bystander.api.get(f"{bystander.path}/events").get_json()["data"][0]
    what = {"source": theirs["source"], "id": theirs["id"]}
    refused(correct(acme, what, 0, "document"), 422, "invalid-event")
    own = acme.api.holding(make_key(database, clock, organization="acme", scopes=["meter"]))
    wrong = bystander.event("document", corrects=theirs["id"], quantity=0)
    refused(acme.send(wrong, api=own), 422, "invalid-event")


def test_an_event_and_its_correction_may_come_together(acme: Customer) -> None:
    sent = acme.event("analysis", quantity=3)
    again = acme.event("analysis", corrects=sent["id"], quantity=1)
    assert ok(acme.send(again, sent))["accepted"] == 2
    assert ok(acme.send(sent, again))["duplicates"] == 2
    assert acme.balance()["available"] == "90"


# --- refused, and tried again ---


def test_what_was_refused_is_taken_once_its_cause_is_mended(
    api: Api, acme: Customer, database: Database, clock: Clock
) -> None:
    then = clock() - timedelta(days=34)
    wrong = acme.event("video", time=then)
    refused(acme.send(wrong), 422, "invalid-event")
    path = f"{acme.path}/rejected-events"
    (waiting,) = ok(api.get(path))["data"]
    assert (waiting["code"], waiting["event"]["type"]) == ("unknown-action", "video")
    assert ok(api.post(f"{path}/replay", {}))["still_rejected"] == 1
    clock.forward(timedelta(days=3))
    video = '\n[actions.video]\nname = "Video"\ncredits = 7\n'
    document = catalog.DEFAULT_FILE.read_text(encoding="utf-8")
    document = document.replace("2020-01-01T00:00:00Z", clock().isoformat()) + video
    with database.transaction() as tx:
        catalog.load(tx, document, now=clock())
    # Its time is judged by when it came first, and it costs the first price it ever had.
    assert ok(api.post(f"{path}/replay", {"code": "event-conflict"}))["accepted"] == 0
    assert ok(api.post(f"{path}/replay", {"code": "unknown-action"}))["accepted"] == 1
    assert ok(api.get(path))["data"] == []
    assert ok(api.post(f"{path}/replay", {}))["accepted"] == 0
    assert acme.balance()["available"] == "93"


def test_events_that_came_before_their_customer_wait_for_it(api: Api) -> None:
    early = Customer(api, "early")
    refused(early.send(early.event("image")), 422, "invalid-event")
    ok(api.put("/v1/organizations/early", {"name": "Early", "tier": "starter"}), 201)
    path = "/v1/organizations/early/rejected-events/replay"
    assert ok(api.post(path, {}))["accepted"] == 1
    assert ok(api.post(path, {}))["accepted"] == 0
    assert early.balance()["available"] == "498"


def test_only_the_operator_sees_what_was_refused(
    api: Api, acme: Customer, database: Database, clock: Clock
) -> None:
    own = api.holding(make_key(database, clock, organization="acme"))
    refused(own.get(f"{acme.path}/rejected-events"), 403, "not-allowed")
    refused(own.post(f"{acme.path}/rejected-events/replay", {}), 403, "not-allowed")


# --- history ---


def test_history_is_imported_for_its_figures_and_costs_nobody_credits(
    api: Api, acme: Customer, database: Database, clock: Clock
) -> None:
    cap = acme.cap(1_000)
    key = make_key(database, clock, scopes=("read", "meter", "backfill"))
    old = clock() - timedelta(days=900)
    sent = acme.event(
        "analysis", quantity=5, time=old, charge=False, provider="openai", model="gpt-4o",
        usage={"input_tokens": 1_000, "output_tokens": 100},
    )  # fmt: skip
    assert ok(acme.send(sent, api=api.holding(key)))["accepted"] == 1
    assert acme.balance()["available"] == "100"
    assert acme.caps()[cap]["spent"] == "0"
    day = old.date()
    found = acme.usage(f"start={day}&end={day + timedelta(days=1)}&include=cost")["totals"]
    assert (found["credits"], found["quantity"]) == ("50", "5")
    assert found["cost_usd"] != "0"
    refused(acme.send(acme.event("image", charge=False)), 422, "invalid-event")


def test_a_shadow_customer_is_measured_and_nothing_else(api: Api) -> None:
    ok(api.put("/v1/organizations/seats", {"name": "Seats", "charging": "shadow"}), 201)
    seats = Customer(api, "seats")
    cap = seats.cap(1)
    assert ok(seats.send(seats.event("analysis", quantity=9)))["uncollected"] == 0
    ok(seats.capture(seats.hold("analysis", quantity=9, member=None)))
    found = seats.balance()
    figures = (found["available"], found["held"], found["debt"], found["uncollected"])
    assert figures == ("0", "0", "0", "0")
    assert seats.usage()["totals"]["quantity"] == "18"
    assert seats.caps()[cap]["spent"] == "0"
