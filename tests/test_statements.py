"""Looking back: the balance of any past instant, and statements that add up."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from portal import reversals
from portal.db import Database
from portal.desk import open_desk
from tests.cast import Api, Customer, ok, refused
from tests.clock import Clock


def test_the_balance_of_a_past_instant_is_what_it_was(acme: Customer, clock: Clock) -> None:
    shown: dict[datetime, tuple[str, str]] = {clock(): acme.standing}
    for act in (
        lambda: acme.hold("analysis", expires_in=60),
        lambda: ok(acme.send(acme.event("image"))),
        lambda: acme.grant(7, expires_at=(clock() + timedelta(minutes=3)).isoformat()),
        lambda: acme.hold("document"),
    ):
        clock.forward(timedelta(minutes=2))
        act()
        shown[clock()] = acme.standing
    clock.forward(timedelta(days=2))
    acme.hold("image")
    for at, figures in shown.items():
        found = ok(acme.api.get(f"{acme.path}/balance?at={at.isoformat().replace('+', '%2B')}"))
        assert (found["available"], found["held"]) == figures
        assert found["as_of"] == at.isoformat()


def test_there_is_no_balance_of_tomorrow(acme: Customer, clock: Clock) -> None:
    tomorrow = (clock() + timedelta(days=1)).isoformat().replace("+", "%2B")
    problem = refused(acme.api.get(f"{acme.path}/balance?at={tomorrow}"), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "/at"


def test_a_statement_begins_and_ends_and_its_movements_make_up_the_difference(
    api: Api, clock: Clock
) -> None:
    ok(api.put("/v1/organizations/pro", {"name": "Pro", "tier": "pro"}), 201)
    pro = Customer(api, "pro")
    ok(pro.send(pro.event("analysis", quantity=3)))
    pro.hold("document")
    pro.grant(20)
    clock.forward(timedelta(days=31))
    november = ok(api.get(f"{pro.path}/statement?period=previous"))
    lines = [(one["kind"], one["source"], one["credits"]) for one in november["movements"]]
    assert lines == [
        ("granted", "allowance", "2500"),
        ("granted", "promotion", "20"),
        ("used", None, "-30"),
        ("expired", "allowance", "-2470"),
    ]
    # What ends with the period is dated to its last day and stands in its statement.
    assert november["movements"][-1]["day"] == "2026-12-08"
    assert (november["opening"], november["closing"]) == ({"credits": "0"}, {"credits": "20"})
    assert november["closed"] is True
    december = ok(api.get(f"{pro.path}/statement"))
    assert (december["opening"], december["closing"]) == ({"credits": "20"}, {"credits": "2520"})
    every = ok(api.get(f"{pro.path}/statement?period=2026-11-20&detail=movements"))
    assert sum(Decimal(one["credits"]) for one in every["movements"]) == 20


def test_a_statement_reads_the_same_in_a_spreadsheet(acme: Customer) -> None:
    ok(acme.send(acme.event("analysis")))
    sheet = acme.api.get(f"{acme.path}/statement", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(sheet.get_data(as_text=True))))
    assert [(row["kind"], row["credits"]) for row in rows] == [
        ("opening", "0"), ("granted", "100"), ("used", "-10"), ("closing", "90"),
    ]  # fmt: skip


def test_a_period_nobody_knows_is_refused(acme: Customer) -> None:
    for period in ("next", "2026-13-01", "2027-01-01"):
        problem = refused(
            acme.api.get(f"{acme.path}/statement?period={period}"), 422, "invalid-request"
        )
        assert problem["errors"][0]["pointer"] == "/period"


def test_movements_stand_in_the_order_of_time_also_where_expiry_was_booked_later(
    acme: Customer, clock: Clock
) -> None:
    acme.grant(10, expires_at=(clock() + timedelta(hours=1)).isoformat(), priority=1)
    hold = acme.hold("document", expires_in=86_400)
    clock.forward(timedelta(hours=2))
    ok(acme.capture(hold, quantity="0.2"))
    found = ok(acme.api.get(f"{acme.path}/statement?detail=movements"))
    times = [one["at"] for one in found["movements"]]
    assert times == sorted(times)
    assert [one["kind"] for one in found["movements"]].count("expired") == 2


def test_work_beyond_the_plan_reads_as_credits_that_came_and_were_used(acme: Customer) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    ok(acme.api.patch(f"{acme.path}/spending", {"on_empty": "overage", "overage_limit": "50.00"}))
    sent = acme.event("analysis", quantity=70)
    ok(acme.send(sent))
    ok(acme.send(acme.event("analysis", corrects=sent["id"], quantity=65)))
    found = ok(acme.api.get(f"{acme.path}/statement"))
    lines = [(one["kind"], one["credits"]) for one in found["movements"] if not one["source"]]
    assert lines == [("returned", "50"), ("beyond the plan", "50"), ("used", "-700")]
    assert found["closing"] == {"credits": "0"}


def test_a_closed_statement_stays_as_it_is_when_credits_of_its_grants_come_back(
    api: Api, database: Database, clock: Clock
) -> None:
    ok(api.put("/v1/organizations/pro", {"name": "Pro", "tier": "pro"}), 201)
    pro = Customer(api, "pro")
    disputed = pro.grant(40, expires_at=(clock() + timedelta(days=30)).isoformat())
    with database.transaction() as tx:
        purse = open_desk(tx, "pro", now=clock()).wallet
        reversals.freeze(purse, disputed)
        purse.write()
    used = pro.event("document")
    ok(pro.send(used))
    clock.set(datetime(2026, 12, 8, 20, tzinfo=UTC))
    held = pro.hold("analysis", expires_in=86_400)
    clock.set(datetime(2026, 12, 9, 16, tzinfo=UTC))
    closed = ok(api.get(f"{pro.path}/statement?period=previous"))
    ok(pro.release(held))
    ok(pro.send(pro.event("document", corrects=used["id"], quantity=1)))
    with database.transaction() as tx:
        purse = open_desk(tx, "pro", now=clock()).wallet
        reversals.unfreeze(purse, disputed)
        purse.write()
    after = ok(api.get(f"{pro.path}/statement?period=previous"))
    assert (after["opening"], after["movements"], after["closing"]) == (
        closed["opening"], closed["movements"], closed["closing"],
    )  # fmt: skip
    now = ok(api.get(f"{pro.path}/statement"))
    assert now["opening"] == closed["closing"]
    told = {one["kind"]: Decimal(one["credits"]) for one in now["movements"] if one["source"]}
    assert told["expired"] <= Decimal(-10)
    assert now["closing"] == {"credits": "2500"}
