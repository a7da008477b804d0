"""Auto top-up: one pack for one need, within the month's limit, whatever cards do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import select, update

from portal import reversals
from portal.billing import reconcile, top_up
from portal.billing.customers import ensure_customer
from portal.core.errors import InvalidRequest
from portal.notices import outbox
from portal.tables import notices, payments, top_ups
from portal.top_ups import standing
from portal.top_ups.terms import TopUpRequest
from portal.wallet import Wallet
from tests.cast import Customer, ok, refused
from tests.clock import Clock
from tests.readers import enter
from tests.shop import Shop
from tests.topping_up import (
    HOUR,
    PACK_MINOR,
    TERMS,
    attempts,
    later,
    organization,
    spend,
    suspended,
    told,
    topping_up,
    turn_off,
    turn_on,
    work,
)


@pytest.fixture
def shop(store: str, clock: Clock) -> Iterator[Shop]:
    with topping_up(store, clock) as made:
        yield made


# --- buying --------------------------------------------------------------------------------------


def test_turning_it_on_below_the_threshold_buys_at_once(shop: Shop) -> None:
    shop.save_card()
    assert turn_on(shop)["auto_top_up"] == {
        "threshold": "150", "pack": "small", "monthly_limit": "100", "suspended": None,
    }  # fmt: skip
    assert (attempts(shop), shop.charged_minor()) == (["succeeded"], [PACK_MINOR])
    assert shop.customer.balance()["available"] == "600"
    (bought,) = [one for one in shop.customer.balance()["grants"] if one["source"] == "pack"]
    assert bought["expires_at"] == "2027-11-09T12:00:00+00:00"
    assert work(shop) == 0


def test_what_was_bought_is_told_once(shop: Shop) -> None:
    shop.save_card()
    turn_on(shop)
    work(shop)
    with shop.database.reading() as tx:
        (message,) = outbox.latest(tx, "acme", limit=5)
    assert (message.kind, message.state) == ("top-up-made", "once")
    assert message.facts["credits_micro"] == 500_000_000
    assert message.facts["amount_minor"] == PACK_MINOR


def test_it_buys_when_credits_run_low_and_not_before(shop: Shop) -> None:
    shop.save_card()
    turn_on(shop, threshold="50")
    spend(shop, 50)
    assert (work(shop), shop.charged_minor()) == (0, [])
    spend(shop, 2)
    assert (work(shop), shop.charged_minor()) == (1, [PACK_MINOR])
    assert shop.customer.balance()["available"] == "548"


def test_what_is_bought_pays_a_debt_first(shop: Shop) -> None:
    shop.save_card()
    turn_on(shop, threshold="50")
    (gift,) = shop.customer.balance()["grants"]
    spend(shop, 100)
    with shop.database.transaction() as tx:
        wallet = Wallet(tx, "acme", now=shop.clock())
        reversals.revoke(wallet, gift["id"], 30_000_000)
        wallet.write()
    assert shop.customer.balance()["debt"] == "30"
    work(shop)
    found = shop.customer.balance()
    assert (found["debt"], found["available"]) == ("0", "470")


def test_a_month_never_costs_more_than_its_limit_and_says_so_once(shop: Shop) -> None:
    shop.save_card()
    turn_on(shop)
    for _ in range(3):
        spend(shop, 500)
        work(shop)
    assert shop.charged_minor() == [PACK_MINOR] * 2
    assert "limit" in told(shop)["top-up-limit"]
    work(shop)
    with shop.database.reading() as tx:
        raised = tx.execute(select(notices.c.kind)).scalars().all()
    assert list(raised) == ["top-up-limit"]
    later(shop, datetime(2026, 12, 1, tzinfo=UTC) - shop.clock())
    assert work(shop) == 1
    assert (shop.charged_minor(), told(shop)) == ([PACK_MINOR] * 3, {})


def test_the_month_is_the_organizations_own(shop: Shop) -> None:
    shop.save_card()
    body = {"name": "Acme", "email": "ana@acme.example", "timezone": "Asia/Tokyo"}
    ok(shop.customer.api.put(shop.customer.path, body))
    later(shop, datetime(2026, 12, 5, tzinfo=UTC) - shop.clock())
    turn_on(shop, monthly_limit="39")
    spend(shop, 500)
    later(shop, datetime(2026, 12, 31, 14, 59, 59, tzinfo=UTC) - shop.clock())
    assert work(shop) == 0
    later(shop, timedelta(seconds=1))
    assert work(shop) == 1


def test_nothing_is_bought_once_it_is_off(shop: Shop) -> None:
    shop.save_card()
    turn_on(shop, threshold="50")
    turn_off(shop)
    spend(shop, 100)
    assert (work(shop), attempts(shop)) == (0, [])
    # What was set is kept for another time.
    ok(shop.customer.api.patch(f"{shop.customer.path}/spending", {"on_empty": "top_up"}))
    assert attempts(shop) == ["succeeded"]


# --- cards that do not pay -----------------------------------------------------------------------


def test_a_decline_waits_for_another_card_however_long(shop: Shop) -> None:
    shop.save_card("pm_card_chargeCustomerFail")
    turn_on(shop)
    assert (attempts(shop), suspended(shop)) == (["failed"], "declined")
    assert "Save another payment method" in told(shop)["top-up-failed"]
    for _ in range(3):
        later(shop, timedelta(days=9))
        assert work(shop) == 0
    # Nor is the same card tried because somebody turns it on once more.
    turn_on(shop)
    assert (attempts(shop), suspended(shop)) == (["failed"], "declined")
    assert (shop.charged_minor(), shop.customer.balance()["available"]) == ([], "100")


def test_whoever_saves_another_card_and_turns_it_on_need_not_wait_for_news(shop: Shop) -> None:
    shop.save_card("pm_card_chargeCustomerFail")
    turn_on(shop)
    shop.save_card()
    turn_on(shop)
    assert (attempts(shop), suspended(shop)) == (["failed", "succeeded"], "")
    assert (told(shop), shop.charged_minor()) == ({}, [PACK_MINOR])


def test_another_card_lets_it_go_on_and_the_same_one_does_not(shop: Shop) -> None:
    bad = shop.save_card("pm_card_chargeCustomerFail")
    turn_on(shop)
    assert not top_up.method_changed(shop.database, shop.payments, "acme", now=shop.clock())
    assert suspended(shop) == "declined"
    good = shop.save_card()
    assert good != bad
    for event in shop.events("customer.updated"):
        assert shop.deliver(event).status_code == 200
    assert (suspended(shop), told(shop)) == ("", {})
    assert (work(shop), shop.charged_minor()) == (1, [PACK_MINOR])


def test_a_payment_by_hand_does_not_make_a_declined_card_another_one(shop: Shop) -> None:
    shop.save_card("pm_card_chargeCustomerFail")
    turn_on(shop)
    shop.returned(shop.buy())
    spend(shop, 500)
    assert (work(shop), attempts(shop), suspended(shop)) == (0, ["failed"], "declined")
    assert list(told(shop)) == ["top-up-failed"]


def test_whoever_pays_by_hand_lets_it_go_on_after_a_bank_had_asked(shop: Shop) -> None:
    shop.save_card("pm_card_authenticationRequired")
    turn_on(shop)
    shop.returned(shop.buy())
    assert (suspended(shop), told(shop)) == ("", {})


def test_a_bank_that_wants_to_see_the_payer_is_told_with_the_way_to_pay(shop: Shop) -> None:
    shop.save_card("pm_card_authenticationRequired")
    turn_on(shop)
    assert (attempts(shop), suspended(shop)) == (["needs_authentication"], "authentication")
    with shop.database.reading() as tx:
        (notice,) = tx.execute(select(notices)).all()
    assert (notice.kind, notice.url) == ("top-up-authentication", "/plans")
    later(shop, 5 * HOUR)
    assert (work(shop), shop.charged_minor()) == (0, [])
    # The payment that failed can never be made after all: whoever pays will pay for another.
    (intent,) = shop.stripe.v1.payment_intents.list().data
    assert intent.status == "canceled"


def test_without_a_card_it_waits_for_one(shop: Shop) -> None:
    turn_on(shop)
    assert turn_on(shop)["auto_top_up"]["suspended"] == "no-payment-method"
    ana = enter(shop.application, shop.database, shop.clock, "ana")
    page = ana.client.get("/spending").text
    assert "no payment method is saved" in page
    assert "declined" not in page
    assert (attempts(shop), suspended(shop)) == ([], "declined")
    assert "no payment method" in told(shop)["top-up-failed"]
    shop.save_card()
    (event,) = shop.events("payment_method.attached")
    assert shop.deliver(event).status_code == 200
    assert (work(shop), told(shop)) == (1, {})


def test_a_dispute_switches_it_off_until_somebody_turns_it_on_again(shop: Shop) -> None:
    shop.save_card()
    turn_on(shop, threshold="50")
    with shop.database.transaction() as tx:
        standing.suspend(tx, "acme", "disputed")
        tx.execute(
            payments.insert().values(
                organization_id="acme", payment_id="pi_1", kind="pack", amount_minor=3_900,
                currency="usd", dispute="open",
            )
        )  # fmt: skip
    spend(shop, 100)
    assert work(shop) == 0
    shop.save_card()
    assert not top_up.method_changed(shop.database, shop.payments, "acme", now=shop.clock())
    body = {"on_empty": "top_up"}
    problem = refused(
        shop.customer.api.patch(f"{shop.customer.path}/spending", body), 422, "invalid-request"
    )
    assert problem["errors"][0]["pointer"] == "/on_empty"
    with shop.database.transaction() as tx:
        tx.execute(update(payments).values(dispute="lost"))
    ok(shop.customer.api.patch(f"{shop.customer.path}/spending", body))
    assert attempts(shop) == ["succeeded"]


# --- what it leaves, and who it is for -----------------------------------------------------------


def test_what_it_paid_is_written_down_and_the_books_agree(shop: Shop) -> None:
    shop.save_card()
    turn_on(shop)
    with shop.database.reading() as tx:
        (paid,) = tx.execute(select(payments)).all()
    (bought,) = [one for one in shop.customer.balance()["grants"] if one["source"] == "pack"]
    assert (paid.kind, paid.amount_minor, paid.grant_id) == ("top_up", PACK_MINOR, bought["id"])
    assert (paid.fee_minor or 0) > 0
    since = shop.clock() - timedelta(days=1)
    books = reconcile.differences(shop.database, shop.payments, since=since, now=shop.clock())
    assert books == []


@pytest.mark.parametrize("way", ["webhook", "reconcile"])
def test_the_news_bring_an_attempt_to_its_end_too(shop: Shop, way: str) -> None:
    shop.save_card()
    shop.fail_calls("reset_after")
    turn_on(shop)
    if way == "webhook":
        (event,) = shop.events("payment_intent.succeeded")
        for _ in range(3):
            assert shop.deliver(event).status_code == 200
    else:
        since = shop.clock() - timedelta(days=10_000)
        for found in (1, 0):
            mended = reconcile.reconcile(
                shop.database, shop.payments, since=since, now=shop.clock()
            )
            assert len(mended) == found
    assert (attempts(shop), shop.customer.balance()["available"]) == (["succeeded"], "600")
    later(shop, HOUR)
    work(shop)
    assert shop.charged_minor() == [PACK_MINOR]


def test_a_bank_that_takes_its_time_is_waited_for(shop: Shop) -> None:
    save_bank_account(shop)
    turn_on(shop)
    later(shop, timedelta(minutes=2))
    work(shop)
    assert (attempts(shop), shop.customer.balance()["available"]) == (["unknown"], "100")
    later(shop, HOUR)
    work(shop)
    assert (attempts(shop), shop.customer.balance()["available"]) == (["succeeded"], "600")


def save_bank_account(shop: Shop) -> None:
    """Save a bank account as a payer does who pays by it."""
    customer = ensure_customer(shop.database, shop.payments, organization(shop))
    line = {"price_data": {"currency": "usd", "unit_amount": 100, "product_data": {"name": "x"}}}
    session = shop.stripe.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": customer,
            "line_items": [line | {"quantity": 1}],
            "payment_intent_data": {"setup_future_usage": "off_session"},
            "success_url": "http://127.0.0.1:8000/plans",
        }
    )
    form = {"email": "ana@acme.example", "way": "bank_pays"}
    back = requests.post(str(session.url), form, allow_redirects=False, timeout=10)
    assert back.status_code == 303
    (saved,) = shop.stripe.v1.payment_methods.list({"customer": customer}).data
    shop.make_default(customer, saved.id)


def test_a_payment_that_does_not_fit_is_set_aside(shop: Shop) -> None:
    shop.save_card()
    turn_on(shop)
    (event,) = shop.events("payment_intent.succeeded")
    with shop.database.transaction() as tx:
        tx.execute(update(top_ups).values(amount_minor=1))
    assert shop.deliver(event).get_json()["outcome"] == "quarantined"


# --- what is said before -------------------------------------------------------------------------


def test_turning_it_on_says_first_what_it_would_buy(shop: Shop) -> None:
    asked = TopUpRequest(150_000_000, "small", 10_000)
    found = top_up.preview(shop.database, "acme", asked, now=shop.clock())
    assert (found.buys_now, found.pack.price_minor, found.month_most_minor) == (True, 3_900, 7_800)
    shop.save_card()
    turn_on(shop)
    found = top_up.preview(shop.database, "acme", asked, now=shop.clock())
    assert (found.hindrance, found.month_used_minor, found.month_most_minor) == (
        "enough", 3_900, 7_800,
    )  # fmt: skip
    with pytest.raises(InvalidRequest):
        top_up.preview(shop.database, "acme", TopUpRequest(1, "none", 1), now=shop.clock())


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"on_empty": "top_up"}, "/auto_top_up"),
        ({"on_empty": "top_up", "auto_top_up": {}}, "/auto_top_up"),
        ({"on_empty": "top_up", "auto_top_up": TERMS | {"threshold": "0"}},
         "/auto_top_up/threshold"),
        ({"on_empty": "top_up", "auto_top_up": TERMS | {"threshold": "-1"}},
         "/auto_top_up/threshold"),
        ({"on_empty": "top_up", "auto_top_up": TERMS | {"pack": "huge"}}, "/auto_top_up/pack"),
        ({"on_empty": "top_up", "auto_top_up": TERMS | {"monthly_limit": "38.99"}},
         "/auto_top_up/monthly_limit"),
        ({"on_empty": "stop", "auto_top_up": TERMS | {"monthly_limit": "1.001"}},
         "/auto_top_up/monthly_limit"),
    ],
)  # fmt: skip
def test_terms_that_make_no_sense_are_refused(acme: Customer, body: Any, pointer: str) -> None:
    answer = acme.api.patch(f"{acme.path}/spending", body)
    problem = refused(answer, 422, "invalid-request")
    assert problem["errors"][0]["pointer"].startswith(pointer)
    assert acme.balance()["on_empty"] == "stop"


def test_an_organization_that_is_not_charged_buys_nothing(shop: Shop) -> None:
    shop.save_card()
    turn_on(shop, threshold="50")
    ok(shop.customer.api.put(shop.customer.path, {"name": "Acme", "charging": "shadow"}))
    spend(shop, 100)
    assert (work(shop), shop.charged_minor()) == (0, [])
    body = {"on_empty": "top_up", "auto_top_up": TERMS}
    refused(shop.customer.api.patch(f"{shop.customer.path}/spending", body), 422, "invalid-request")


def test_the_worst_case_has_what_it_bought_and_may_still_buy(shop: Shop) -> None:
    shop.save_card()

    def worst() -> str:
        return str(shop.customer.balance()["worst_case"]["amount"])

    turn_on(shop, threshold="50")
    assert worst() == "78"
    spend(shop, 100)
    work(shop)
    assert worst() == "78"
    turn_off(shop)
    assert worst() == "39"
    ok(shop.customer.api.put(shop.customer.path, {"name": "Acme", "tier": "pro"}))
    # The plan's period, from the 9th on, has parts of two months, each with a limit of its own.
    turn_on(shop, threshold="50")
    assert worst() == "255"
