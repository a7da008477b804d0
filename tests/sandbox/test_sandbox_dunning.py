"""A renewal that cannot be charged: tried again on fixed days, then the end that was chosen."""

from __future__ import annotations

import pytest
import requests
import stripe
from conftest import DECLINED, GOOD, Shop
from seller import DAY, HOUR, Seller, seller

__all__ = ["seller"]


def _failing(seller: Seller) -> tuple[stripe.Subscription, int]:
    """Subscribe with a card that fails at the renewal; return when that first fails."""
    subscription = seller.subscribe()
    seller.card_fails_from_now_on(subscription)
    end: int = subscription["items"].data[0].current_period_end
    seller.to(end + HOUR)
    return subscription, end + HOUR


def test_a_renewal_that_fails_makes_the_subscription_past_due(seller: Seller) -> None:
    subscription, failed_at = _failing(seller)
    assert seller.subscription(subscription.id).status == "past_due"
    invoice = seller.invoices(subscription)[0]
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 1)
    assert invoice.next_payment_attempt == failed_at + 3 * DAY
    told = seller.events("invoice.payment_failed")
    assert [event.created for event in told] == [failed_at]
    attempt = seller.events("invoice.updated")[-1].data.previous_attributes
    assert (attempt.attempted, attempt.attempt_count) == (False, 0)


def test_it_is_tried_again_on_days_three_five_and_seven_and_then_ended(seller: Seller) -> None:
    subscription, failed_at = _failing(seller)
    seller.wait(10 * DAY)
    told = seller.events("invoice.payment_failed")
    days = [(event.created - failed_at) // DAY for event in told]
    assert days == [0, 3, 5, 7]
    assert [event.data.object.attempt_count for event in told] == [1, 2, 3, 4]
    ended = seller.subscription(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", failed_at + 7 * DAY)
    assert ended.cancellation_details.reason == "payment_failed"
    invoice = seller.invoices(subscription)[0]
    assert (invoice.status, invoice.auto_advance) == ("open", False)


@pytest.mark.parametrize("outcome", ["unpaid", "past_due"])
def test_what_comes_after_the_last_attempt_can_be_chosen(seller: Seller, outcome: str) -> None:
    assert seller.shop.control("billing", after_retries=outcome) == {"after_retries": outcome}
    subscription, failed_at = _failing(seller)
    seller.to(failed_at + 8 * DAY)
    assert seller.subscription(subscription.id).status == outcome
    seller.to(failed_at + 40 * DAY)
    renewal = seller.invoices(subscription)[0]
    assert renewal.status == ("draft" if outcome == "unpaid" else "open")


def test_a_retry_that_succeeds_makes_it_active_again(seller: Seller) -> None:
    subscription, failed_at = _failing(seller)
    seller.card_pays_again(subscription)
    seller.to(failed_at + 3 * DAY)
    assert seller.subscription(subscription.id).status == "active"
    invoice = seller.invoices(subscription)[0]
    assert (invoice.status, invoice.attempt_count) == ("paid", 2)


def test_the_customer_may_pay_the_open_invoice_with_another_card(
    shop: Shop, seller: Seller
) -> None:
    subscription, failed_at = _failing(seller)
    url = str(seller.invoices(subscription)[0].hosted_invoice_url)
    assert shop.pay(url, DECLINED).status_code == 402
    invoice = seller.invoices(subscription)[0]
    assert (invoice.attempt_count, invoice.next_payment_attempt) == (1, failed_at + 3 * DAY)
    assert shop.pay(url, GOOD).status_code == 303
    renewed = seller.subscription(subscription.id)
    assert renewed.status == "active"
    assert renewed.default_payment_method != subscription.default_payment_method
    seller.wait(10 * DAY)
    assert len(seller.invoices(subscription)) == 2
    assert seller.subscription(subscription.id).status == "active"


def test_a_new_default_card_is_used_by_the_next_attempt(seller: Seller) -> None:
    subscription, failed_at = _failing(seller)
    other = seller.subscribe()
    store = seller.shop.app.extensions["sandbox"].store
    card = store.get("payment_method", other.default_payment_method)
    card["customer"] = subscription.customer
    changes = {"default_payment_method": card["id"]}
    seller.v1.subscriptions.update(subscription.id, changes)
    seller.to(failed_at + 3 * DAY)
    assert seller.subscription(subscription.id).status == "active"


def test_voiding_what_is_open_leaves_nothing_due(seller: Seller) -> None:
    subscription, _ = _failing(seller)
    seller.v1.invoices.void_invoice(seller.invoices(subscription)[0].id)
    assert seller.subscription(subscription.id).status == "active"


def test_the_clock_says_what_time_it_is_and_only_goes_forward(shop: Shop, seller: Seller) -> None:
    before = requests.get(f"{shop.url}/_sandbox/clock", timeout=5).json()["now"]
    assert seller.wait(1000) - before in (1000, 1001)
    for refused in ({"advance_seconds": -1}, {"to": before}, {"to": "x"}, {"advance_days": 1}, {}):
        response = requests.post(f"{shop.url}/_sandbox/clock", json=refused, timeout=5)
        assert response.status_code == 400
    session = shop.session()
    seller.wait(24 * HOUR)
    assert shop.stripe.v1.checkout.sessions.retrieve(session.id).status == "expired"
    expired = seller.events("checkout.session.expired")
    assert [event.created for event in expired] == [session.expires_at]


def test_the_base_clock_settles_what_falls_due_too(shop: Shop, seller: Seller) -> None:
    subscription = seller.subscribe()
    shop.clock.offset_seconds = 32 * DAY
    renewal = seller.invoices(subscription)[0]
    end = subscription["items"].data[0].current_period_end
    assert (renewal.created, renewal.status_transitions.paid_at) == (end, end + HOUR)
