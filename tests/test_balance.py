"""The balance: what is available, held and owed at an instant, and which grant is next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from portal import reversals
from portal.core.units import MICRO
from portal.db import Database
from portal.desk import open_desk
from portal.wallet import Wallet
from tests.cast import Api, Customer, ok, refused
from tests.clock import START, Clock

HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)


def sources(acme: Customer) -> list[str]:
    return [one["source"] for one in acme.balance()["grants"]]


def test_grants_add_up_to_what_is_available(
    acme: Customer, bystander: Customer, clock: Clock
) -> None:
    for credits_ in ("0.000001", "12.5"):
        clock.forward(TICK)
        acme.grant(credits_)
    balance = acme.balance()
    assert balance["available"] == "112.500001"
    assert [one["remaining"] for one in balance["grants"]] == ["100", "0.000001", "12.5"]
    assert [one["next"] for one in balance["grants"]] == [True, False, False]
    assert (balance["held"], balance["debt"], balance["frozen"]) == ("0", "0", "0")


def test_what_is_included_is_spent_before_what_was_bought(acme: Customer, clock: Clock) -> None:
    acme.grant(1, source="pack", paid={"amount": "1", "currency": "usd"})
    acme.grant(1, priority=0)
    acme.grant(1, expires_at=(clock() + HOUR).isoformat())
    balance = acme.balance()
    assert [one["remaining"] for one in balance["grants"]] == ["1", "1", "100", "1"]
    assert sources(acme) == ["promotion", "promotion", "promotion", "pack"]
    assert balance["grants"][1]["expires_at"] == (clock() + HOUR).isoformat()


def test_a_grant_is_spent_from_its_instant_on_and_not_before(acme: Customer, clock: Clock) -> None:
    acme.grant(50, effective_at=(clock() + HOUR).isoformat())
    clock.forward(HOUR - TICK)
    assert acme.standing == ("100", "0")
    refused(acme.authorize("analysis", 15), 402, "insufficient-credits")
    clock.forward(TICK)
    assert acme.standing == ("150", "0")
    acme.hold("analysis", 15)


def test_credits_expire_at_their_instant_with_no_job_running(acme: Customer, clock: Clock) -> None:
    acme.grant(50, expires_at=(clock() + HOUR).isoformat())
    clock.forward(HOUR - TICK)
    assert acme.standing == ("150", "0")
    clock.forward(TICK)
    assert acme.standing == ("100", "0")
    refused(acme.authorize("analysis", "10.000001"), 402, "insufficient-credits")
    acme.hold("analysis", 10)


def test_expired_credits_do_not_pay_for_events(acme: Customer, clock: Clock) -> None:
    acme.grant(50, priority=1, expires_at=(clock() + HOUR).isoformat())
    clock.forward(HOUR)
    ok(acme.send(acme.event("analysis")))
    assert acme.standing == ("90", "0")


def test_a_grant_that_could_never_live_is_refused(acme: Customer, clock: Clock) -> None:
    body = {"credits": "1", "source": "promotion", "reason": "x"}
    for times in (
        {"expires_at": clock().isoformat()},
        {"expires_at": START.isoformat(), "effective_at": (START + HOUR).isoformat()},
    ):
        problem = refused(
            acme.api.post(f"{acme.path}/grants", body | times), 422, "invalid-request"
        )
        assert problem["errors"][0]["pointer"] == "/expires_at"
    assert acme.standing == ("100", "0")


def test_a_balance_says_its_period_and_its_tier(api: Api) -> None:
    ok(api.put("/v1/organizations/acme", {"name": "Acme", "timezone": "Asia/Kathmandu"}), 201)
    acme = Customer(api, "acme")
    period = acme.balance()["period"]
    assert datetime.fromisoformat(period["start"]) == datetime(2026, 10, 31, 18, 15, tzinfo=UTC)
    assert datetime.fromisoformat(period["end"]) == datetime(2026, 11, 30, 18, 15, tzinfo=UTC)
    body = {"name": "Acme", "timezone": "Asia/Kathmandu", "tier": "pro"}
    ok(api.put("/v1/organizations/acme", body))
    balance = acme.balance()
    assert (balance["tier"], balance["available"]) == ("pro", "2500")
    assert datetime.fromisoformat(balance["period"]["start"]) == datetime(
        2026, 11, 8, 18, 15, tzinfo=UTC
    )
    assert datetime.fromisoformat(balance["period"]["end"]) == datetime(
        2026, 12, 8, 18, 15, tzinfo=UTC
    )
    assert balance["worst_case"] == {"amount": "99", "currency": "usd"}


def test_an_allowance_is_granted_once_a_period_and_expires_with_it(api: Api, clock: Clock) -> None:
    body = {"name": "Acme", "tier": "starter"}
    ok(api.put("/v1/organizations/acme", body), 201)
    ok(api.put("/v1/organizations/acme", body))
    acme = Customer(api, "acme")
    assert acme.standing == ("500", "0")
    acme.hold("analysis", 10)
    end = datetime(2026, 12, 9, tzinfo=UTC)
    clock.set(end - TICK)
    assert acme.standing == ("500", "0")
    clock.set(end)
    acme.hold("analysis", 50)
    assert acme.standing == ("0", "500")


def test_a_new_period_shows_its_allowance_before_any_job_or_spending(
    api: Api, clock: Clock
) -> None:
    ok(api.put("/v1/organizations/acme", {"name": "Acme", "tier": "starter"}), 201)
    acme = Customer(api, "acme")
    acme.hold("analysis", 10)
    clock.set(datetime(2026, 12, 9, tzinfo=UTC))
    assert acme.standing == ("500", "0")


def test_debt_is_settled_first_and_never_stands_beside_what_is_available(
    acme: Customer, database: Database, clock: Clock
) -> None:
    with database.transaction() as tx:
        wallet = Wallet(tx, "acme", now=clock())
        (lot,) = wallet.lots
        wallet.move("revoke", lot.account, "revoked", lot.remaining_micro, "refund")
        wallet.move("revoke", "debt", "revoked", 30_000_000, "refund")
        wallet.write()
    assert (acme.balance()["debt"], acme.standing) == ("30", ("0", "0"))
    problem = refused(acme.authorize("image"), 402, "debt")
    assert problem["options"] == [{"do": "buy-credits"}]
    acme.grant(20)
    assert (acme.balance()["debt"], acme.standing) == ("10", ("0", "0"))
    acme.grant(15)
    assert (acme.balance()["debt"], acme.standing) == ("0", ("5", "0"))
    acme.hold("document")


def test_the_store_itself_refuses_an_account_below_zero(
    acme: Customer, database: Database, clock: Clock
) -> None:
    with database.transaction() as tx:
        wallet = Wallet(tx, "acme", now=clock())
        (lot,) = wallet.lots
        with pytest.raises(AssertionError, match="below zero"):
            wallet.move("debit", lot.account, "captured", lot.remaining_micro + 1, "too much")
    assert acme.standing == ("100", "0")


def test_a_balance_of_nobody_is_not_found(api: Api) -> None:
    refused(api.get("/v1/organizations/nobody/balance"), 404, "unknown-organization")


@pytest.mark.parametrize("act", ["a refund", "a dispute"])
def test_a_past_balance_knows_what_was_claimed_of_work_that_lapsed(
    acme: Customer, database: Database, clock: Clock, act: str
) -> None:
    grant = acme.grant(50, priority=0)
    acme.hold("analysis", 3, expires_in=60)
    with database.transaction() as tx:
        wallet = open_desk(tx, acme.id, now=clock()).wallet
        if act == "a refund":
            reversals.revoke(wallet, grant, 45 * MICRO)
        else:
            reversals.freeze(wallet, grant)
        wallet.write()
    clock.forward(timedelta(minutes=2))
    shown, then = acme.balance(), clock()
    clock.forward(HOUR)
    if act == "a dispute":
        with database.transaction() as tx:
            wallet = open_desk(tx, acme.id, now=clock()).wallet
            reversals.unfreeze(wallet, grant)
            wallet.write()
    acme.grant(1)
    past = ok(acme.api.get(f"{acme.path}/balance", query_string={"at": then.isoformat()}))
    figures = ("as_of", "available", "held", "debt", "frozen")
    assert [past[name] for name in figures] == [shown[name] for name in figures]


@pytest.mark.parametrize("act", ["a refund", "a dispute"])
def test_a_past_balance_knows_nothing_of_what_was_taken_when_the_lapse_was_booked(
    acme: Customer, database: Database, clock: Clock, act: str
) -> None:
    grant = acme.grant(50, priority=0)
    acme.hold("analysis", 1, expires_in=60)
    clock.forward(timedelta(minutes=2))
    shown, then = acme.balance(), clock()
    clock.forward(HOUR)
    with database.transaction() as tx:
        wallet = open_desk(tx, acme.id, now=clock()).wallet
        if act == "a refund":
            reversals.revoke(wallet, grant, MICRO)
        else:
            reversals.freeze(wallet, grant)
        wallet.write()
    past = ok(acme.api.get(f"{acme.path}/balance", query_string={"at": then.isoformat()}))
    figures = ("as_of", "available", "held", "debt", "frozen")
    assert [past[name] for name in figures] == [shown[name] for name in figures]


def test_a_past_balance_counts_extended_work_that_lapsed_once(acme: Customer, clock: Clock) -> None:
    hold = acme.hold("analysis", 1, expires_in=60)
    ok(acme.increment(hold, 1))
    clock.forward(timedelta(minutes=2))
    shown, then = acme.balance(), clock()
    clock.forward(HOUR)
    acme.grant(1)
    past = ok(acme.api.get(f"{acme.path}/balance", query_string={"at": then.isoformat()}))
    assert (past["available"], past["held"]) == (shown["available"], shown["held"]) == ("100", "0")
