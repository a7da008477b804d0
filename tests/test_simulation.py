"""Simulations: today's prices over what really happened give today's invoices, to the cent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from portal import catalog
from portal.core.units import format_micro
from portal.db import Database
from portal.margin import simulation
from portal.tables import events
from tests.a_year import bought, changed, spending, used
from tests.cast import Api, Customer, make_key, ok, problem, refused
from tests.clock import Clock
from tests.replays import billed_minor, replayed, replayed_minor
from tests.subscribers import Subscriber, subscriber, utc


@pytest.fixture
def buyer(store: str, clock: Clock) -> Iterator[Subscriber]:
    with subscriber(store, clock, "Europe/Berlin") as made:
        yield made


def quarter(acme: Subscriber) -> None:
    """Starter and a pack, up to Pro at half time, overage, a renewal in the middle of a day."""
    acme.to(utc(2026, 11, 9, 12))
    acme.subscribe("starter")
    acme.to(utc(2026, 11, 15, 9))
    bought("small")(acme)
    acme.tell()
    acme.to(utc(2026, 11, 24, 12))
    changed("pro")(acme)
    acme.to(utc(2026, 12, 1, 9))
    spending(on_empty="overage", overage_limit="90.00")(acme)
    used("analysis", 230)(acme)
    # On the day that renews: before it beyond all grants, after it from the new allowance.
    acme.to(utc(2026, 12, 9, 8))
    used("image", 55)(acme)
    acme.to(utc(2026, 12, 9, 12))
    acme.to(utc(2026, 12, 9, 13))
    used("document", 520)(acme)
    acme.to(utc(2027, 1, 9, 12))
    used("image", 1)(acme)
    acme.to(utc(2027, 2, 9, 12))
    acme.to(utc(2027, 2, 9, 14))


def test_todays_prices_replayed_over_a_quarter_are_its_invoices_to_the_cent(
    buyer: Subscriber,
) -> None:
    quarter(buyer)
    # 29.00, 39.00, half of 70.00; then 3 x 99.00; 300 and 110 and 100 credits at 0.06.
    whole = (2_900 + 3_900 + 3_500) + 3 * 9_900 + 2_460 + 600
    assert billed_minor(buyer) == whole
    assert replayed_minor(buyer) == whole


#: Dearer documents, and a dearer Pro.
DEARER = (
    catalog.DEFAULT_FILE.read_text(encoding="utf-8")
    .replace("credits = 5\n", "credits = 6\n", 1)
    .replace("price = 99.00", "price = 109.00")
)


@pytest.fixture
def delta(api: Api, clock: Clock) -> Customer:
    """Delta, three people on Pro: 3,000 credits of documents in November, which cost 50.00."""
    body = {"name": "Delta", "tier": "pro"}
    ok(api.put("/v1/organizations/delta", body), 201)
    made = Customer(api, "delta")
    for name in ("dora", "dan", "dee"):
        member = {"email": f"{name}@delta.example", "role": "owner"}
        ok(api.put(f"{made.path}/members/{name}", member), 201)
    spending = {"on_empty": "overage", "overage_limit": "100.00"}
    ok(api.patch(f"{made.path}/spending", spending))
    clock.set(utc(2026, 11, 20, 9))
    costs = [{"layer": "external", "amount_usd": "50"}]
    usage = {"input_tokens": 2_000_000, "output_tokens": 500_000}
    # A model without a price: its cost is unknown, its tokens are counted all the same.
    ok(made.send(made.event("document", quantity=600, costs=costs, model="house", usage=usage)))
    clock.set(utc(2026, 12, 1, 12))
    return made


def asked(kind: str, **more: Any) -> dict[str, Any]:
    days = {"start": "2026-11-01", "end": "2026-12-01"}
    return {"name": f"as {kind}", "kind": kind} | days | more


def simulated(api: Api, kind: str, **more: Any) -> Any:
    """Simulate at once and return what was found."""
    found = ok(api.post("/v1/margin/simulations", asked(kind, **more)), 201)
    assert found["status"] == "done", found
    assert found["progress"]["done"] == found["progress"]["total"]
    return found


def customers(api: Api, found: Any, query: str = "") -> dict[str, Any]:
    path = f"/v1/margin/simulations/{found['id']}/customers{query}"
    return {one["organization"]: one for one in ok(api.get(path))["data"]}


TOKENS = {"input": "3.00", "output": "15.00"}


@pytest.mark.parametrize(
    ("kind", "more", "revenue", "margin"),
    [
        # 99.00, and 500 credits at 0.06.
        ("today", {}, "129", "79"),
        # 109.00, and 1,100 credits at 0.06.
        ("book", {"book": DEARER}, "175", "125"),
        # 299.00 has 10,000 credits in it.
        ("book", {"book": DEARER.replace("[tiers.pro]", "[tiers.plus]"), "tiers": {"pro": "team"}},
         "299", "249"),
        # 49.00, and 2,000 credits at 0.05.
        ("credits", {"price": "49", "credits": "1000", "overage": "0.05"}, "149", "99"),
        # The same at 4 credits for a document: 2,400 credits.
        ("credits",
         {"price": "49", "credits": "1000", "overage": "0.05", "actions": {"document": "4"}},
         "119", "69"),
        # An image of half a credit may round, so that each event is rated: documents do not.
        ("credits",
         {"price": "49", "credits": "1000", "overage": "0.05", "actions": {"image": "0.5"}},
         "149", "99"),
        ("per_seat", {"price": "20"}, "60", "10"),
        ("flat", {"price": "79"}, "79", "29"),
        # Two million at 3.00 and half a million at 15.00.
        ("per_token", {"tokens": TOKENS}, "13.5", "-36.5"),
    ],
)  # fmt: skip
def test_each_way_to_charge_is_what_was_worked_out_by_hand(
    delta: Customer, kind: str, more: dict[str, Any], revenue: str, margin: str
) -> None:
    found = simulated(delta.api, kind, **more)
    side, today = found["result"]["simulated"], found["result"]["today"]
    assert (side["revenue"], side["margin_usd"]) == ({"usd": revenue}, margin)
    assert (today["revenue"], today["margin_usd"]) == ({"usd": "129"}, "79")
    assert side["under_water"] == int(margin.startswith("-"))
    mine = customers(delta.api, found)["delta"]
    assert (mine["simulated"], mine["today"], mine["cost_usd"]) == (revenue, "129", "50")
    more_paid = float(revenue) > 129
    assert found["result"]["pays_more"] == int(more_paid)
    assert [one["organization"] for one in found["grandfather"]] == ["delta"] * more_paid


def test_a_month_that_began_before_the_days_is_paid_for_on_neither_side(
    delta: Customer, clock: Clock
) -> None:
    clock.forward(timedelta(days=45))
    days = {"start": "2026-11-25", "end": "2026-12-20"}
    found = simulated(delta.api, "flat", price="99", **days)["result"]
    # Pro begins anew on 9 December and costs as much as the flat price of December.
    assert found["today"]["revenue"] == found["simulated"]["revenue"] == {"usd": "99"}
    assert found["pays_more"] == 0
    swings = {"p10": "0", "p50": "0", "p90": "0"}
    assert found["today"]["swings"] == found["simulated"]["swings"] == swings


def test_where_a_price_rounds_each_event_is_rated_as_the_ledger_rated_it(
    delta: Customer, database: Database, clock: Clock
) -> None:
    text = catalog.DEFAULT_FILE.read_text(encoding="utf-8")
    with database.transaction() as tx:
        catalog.load(tx, text.replace("credits = 2\n", "credits = 0.333333\n"), now=clock())
    clock.set(utc(2026, 12, 3, 9))
    halves = [delta.event("image", quantity="0.5") for _ in range(5)]
    thirds = [delta.event("image", quantity="0.3", time=utc(2026, 12, 2, 23)) for _ in range(5)]
    ok(delta.send(*halves, *thirds))
    columns = (func.sum(events.c.credits_micro), func.sum(events.c.uncollected_micro))
    with database.reading() as tx:
        rated, lost = tx.execute(select(*columns).where(events.c.organization_id == "delta")).one()
    found = replayed(database, "delta", clock())
    # 166,666.5 and 99,999.9 millionths, five of each, each rounded by itself, half to even.
    assert sum(bill.used_micro for bill in found) == rated == 3_000 * 10**6 + 1_333_330
    assert sum(bill.uncollected_micro for bill in found) == lost == 0
    balance = delta.balance()["overage"]
    beyond = sum(bill.beyond_micro for bill in found)
    assert format_micro(beyond) == balance["credits"]
    assert sum(bill.overage_minor for bill in found) == round(float(balance["amount"]) * 100)


def test_what_a_cap_kept_from_being_charged_stays_uncharged_where_customers_keep_their_word(
    delta: Customer, clock: Clock
) -> None:
    clock.set(utc(2026, 11, 21))
    delta.cap("3100")
    # 100 of 1,000 credits are charged, beyond the plan: 6.00 more.
    ok(delta.send(delta.event("document", quantity=200)))
    clock.set(utc(2026, 12, 1, 12))
    assert delta.balance()["uncollected"] == "900"
    today = simulated(delta.api, "today")["result"]["today"]["revenue"]
    same = catalog.DEFAULT_FILE.read_text(encoding="utf-8")
    kept = simulated(delta.api, "book", book=same)["result"]["simulated"]["revenue"]
    gone = simulated(delta.api, "book", book=same, beyond="everybody")["result"]["simulated"]
    assert (today, kept, gone["revenue"]) == ({"usd": "135"}, {"usd": "135"}, {"usd": "189"})


def test_simulations_stand_side_by_side_newest_first(delta: Customer, clock: Clock) -> None:
    first = simulated(delta.api, "flat", price="79")
    clock.set(clock() + timedelta(minutes=1))
    second = simulated(delta.api, "per_seat", price="20")
    page = ok(delta.api.get("/v1/margin/simulations?limit=1"))
    assert [one["id"] for one in page["data"]] == [second["id"]]
    rest = ok(delta.api.get(f"/v1/margin/simulations?limit=1&cursor={page['next_cursor']}"))
    assert [one["id"] for one in rest["data"]] == [first["id"]]
    assert rest["data"][0]["result"] == first["result"]


def test_a_sheet_has_a_row_for_each_customer_that_no_spreadsheet_runs(delta: Customer) -> None:
    ok(delta.api.put("/v1/organizations/=cmd", {"name": "Cmd", "tier": "starter"}), 201)
    found = simulated(delta.api, "flat", price="79")
    path = f"/v1/margin/simulations/{found['id']}/customers"
    answer = delta.api.get(path, headers={"Accept": "text/csv"})
    lines = answer.get_data(as_text=True).split("\r\n")
    assert lines[0].startswith("organization,currency,simulated,today,more")
    # It came in December: what it pays from then on is not November's.
    assert [line.split(",")[:5] for line in lines[1:-1]] == [
        ["delta", "usd", "79", "129", "-50"],
    ]
    assert answer.content_type == "text/csv; charset=utf-8"


def test_customers_come_page_by_page_in_the_order_asked_for(delta: Customer, clock: Clock) -> None:
    clock.set(utc(2026, 11, 21))
    for name in ("eta", "zeta"):
        ok(delta.api.put(f"/v1/organizations/{name}", {"name": name, "tier": "starter"}), 201)
    clock.set(utc(2026, 12, 1, 12))
    found = simulated(delta.api, "flat", price="79")
    seen, query = [], "?limit=1&sort=more"
    path = f"/v1/margin/simulations/{found['id']}/customers"
    while query:
        page = ok(delta.api.get(path + query))
        seen += [(one["organization"], one["more"]) for one in page["data"]]
        cursor = page["next_cursor"]
        query = f"?limit=1&sort=more&cursor={cursor}" if cursor else ""
    assert seen == [("eta", "50"), ("zeta", "50"), ("delta", "-50")]
    problem(delta.api.get(f"{path}?sort=name"))


def test_a_run_that_was_stopped_goes_on_and_counts_nobody_twice(
    delta: Customer, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.set(utc(2026, 11, 21))
    for number in range(5):
        body = {"name": f"n{number}", "tier": "starter"}
        ok(delta.api.put(f"/v1/organizations/n{number}", body), 201)
    clock.set(utc(2026, 12, 1, 12))
    monkeypatch.setattr(simulation, "AT_ONCE", 0)
    monkeypatch.setattr(simulation, "BATCH", 2)
    taken = ok(delta.api.post("/v1/margin/simulations", asked("flat", price="10")), 202)
    assert (taken["status"], taken["result"]) == ("queued", None)
    ticks = iter(range(100))

    def stopped() -> Any:
        if next(ticks) == 3:
            raise KeyboardInterrupt
        return clock()

    with pytest.raises(KeyboardInterrupt):
        simulation.go_on(database, taken["id"], clock=stopped)
    path = f"/v1/margin/simulations/{taken['id']}"
    half = ok(delta.api.get(path))
    assert (half["status"], half["progress"]) == ("running", {"done": 4, "total": 6})
    assert simulation.go_on(database, taken["id"], clock=clock) is False
    clock.set(clock() + simulation.LEASE)
    assert simulation.run_waiting(database, clock=clock) == 1
    whole = ok(delta.api.get(path))
    assert (whole["status"], whole["result"]["customers"]) == ("done", 6)
    assert whole["result"]["simulated"]["revenue"] == {"usd": "60"}
    assert len(customers(delta.api, whole)) == 6


def test_who_lost_the_lease_writes_nothing_more(
    delta: Customer, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "AT_ONCE", 0)
    taken = ok(delta.api.post("/v1/margin/simulations", asked("flat", price="10")), 202)
    calls = iter(range(10))

    def slow() -> Any:
        if next(calls) == 1:
            later = clock() + 2 * simulation.LEASE
            assert simulation.go_on(database, taken["id"], clock=lambda: later) is True
        return clock()

    assert simulation.go_on(database, taken["id"], clock=slow) is False
    done = ok(delta.api.get(f"/v1/margin/simulations/{taken['id']}"))
    assert (done["status"], done["progress"]["done"]) == ("done", 1)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (asked("flat"), "/price"),
        (asked("book"), "/book"),
        (asked("per_token"), "/tokens"),
        (asked("flat", price="10", credits="5"), "/credits"),
        (asked("flat", price="10.001"), "/price"),
        (asked("flat", price="10") | {"end": "2026-10-01"}, "/end"),
        (asked("flat", price="10") | {"start": "2026-13-01"}, "/start"),
        (asked("flat", price="10") | {"end": "2027-02-01"}, "/end"),
        (asked("credits", price="1", credits="1", actions={"video": "1"}), "/actions/video"),
        (asked("book", book=DEARER, tiers={"pro": "gold"}), "/tiers/pro"),
        (asked("book", book=DEARER.replace("tiers.pro]", "tiers.plus]")), "/tiers"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(
    delta: Customer, body: dict[str, Any], pointer: str
) -> None:
    found = refused(delta.api.post("/v1/margin/simulations", body), 422, "invalid-request")
    assert [one["pointer"] for one in found["errors"]] == [pointer]


def test_a_bad_book_is_refused_with_its_line(delta: Customer) -> None:
    body = asked("book", book=DEARER.replace("price = 109.00", "price = -1"))
    found = refused(delta.api.post("/v1/margin/simulations", body), 422, "invalid-request")
    assert "Line 37, key tiers.pro.price" in found["detail"]
    assert found["errors"][0]["pointer"] == "/book"


def test_it_is_the_operators_alone(delta: Customer, database: Database, clock: Clock) -> None:
    found = simulated(delta.api, "flat", price="79")
    theirs = delta.api.holding(make_key(database, clock, organization="delta"))
    for path in ("signals", "simulations", f"simulations/{found['id']}"):
        refused(theirs.get(f"/v1/margin/{path}"), 403, "not-allowed")
    refused(theirs.get(f"/v1/margin/simulations/{found['id']}/customers"), 403, "not-allowed")
    refused(theirs.post("/v1/margin/simulations", asked("today")), 403, "not-allowed")
    refused(delta.api.get("/v1/margin/simulations/sim_x"), 404, "unknown-simulation")


def test_whose_currency_the_book_does_not_have_is_left_out_and_counted(delta: Customer) -> None:
    body = {"name": "Euro", "currency": "eur"}
    ok(delta.api.put("/v1/organizations/euro", body), 201)
    found = simulated(delta.api, "flat", price="79")
    assert found["notes"]["other_currencies"] == 1
    assert set(customers(delta.api, found)) == {"delta"}
