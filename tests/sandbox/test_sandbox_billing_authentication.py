"""Subscriptions whose payer's bank asks for authentication, at each of their payments."""

from __future__ import annotations

import requests
from conftest import Shop
from seller import DAY, HOUR, Seller, seller

__all__ = ["seller"]

ONCE, ALWAYS = "4000002500003155", "4000002760003184"


def _answer(shop: Shop, challenge: requests.Response, outcome: str = "complete") -> str:
    """Answer the bank's page that a payment led to; return where it leads on."""
    assert challenge.status_code == 303
    address = challenge.headers["Location"]
    done = requests.post(address, data={"outcome": outcome}, allow_redirects=False, timeout=10)
    assert done.status_code == 303, done.text
    return done.headers["Location"]


def test_a_subscription_begins_once_its_payer_has_authenticated(shop: Shop, seller: Seller) -> None:
    session = seller.session()
    challenge = shop.pay(str(session.url), ONCE)
    assert seller.v1.subscriptions.list({"status": "all"}).data == []
    assert _answer(shop, challenge).startswith("http://shop.example/thanks")
    paid = seller.v1.checkout.sessions.retrieve(session.id)
    subscription = seller.subscription(str(paid.subscription))
    assert (paid.payment_status, subscription.status) == ("paid", "active")
    seller.to(subscription["items"].data[0].current_period_end + HOUR)
    assert seller.invoices(subscription)[0].status == "paid"


def test_an_upgrade_waits_until_its_payer_has_authenticated(shop: Shop, seller: Seller) -> None:
    session = seller.session()
    _answer(shop, shop.pay(str(session.url), ALWAYS))
    paid = seller.v1.checkout.sessions.retrieve(session.id)
    subscription = seller.subscription(str(paid.subscription))
    seller.wait(DAY)
    waiting = seller.change(subscription, seller.pro)
    assert waiting.pending_update is not None
    invoice = seller.v1.invoices.retrieve(str(waiting.latest_invoice))
    page = requests.get(str(invoice.hosted_invoice_url), timeout=5).text
    assert "Your bank asks you to confirm" in page
    told = seller.types("invoice.payment_action_required")
    assert told == ["invoice.payment_action_required"]
    again = shop.pay(str(invoice.hosted_invoice_url), ALWAYS)
    assert _answer(shop, again, "fail") == invoice.hosted_invoice_url
    assert seller.subscription(subscription.id).pending_update is not None
    again = shop.pay(str(invoice.hosted_invoice_url), ALWAYS)
    assert _answer(shop, again) == invoice.hosted_invoice_url
    changed = seller.subscription(subscription.id)
    assert (changed["items"].data[0].price.id, changed.pending_update) == (seller.pro, None)


def test_a_renewal_that_wants_authentication_is_past_due_until_paid(
    shop: Shop, seller: Seller
) -> None:
    session = seller.session()
    _answer(shop, shop.pay(str(session.url), ALWAYS))
    paid = seller.v1.checkout.sessions.retrieve(session.id)
    subscription = seller.subscription(str(paid.subscription))
    seller.to(subscription["items"].data[0].current_period_end + HOUR)
    assert seller.subscription(subscription.id).status == "past_due"
    assert "invoice.payment_action_required" in seller.types()
    url = str(seller.invoices(subscription)[0].hosted_invoice_url)
    assert _answer(shop, shop.pay(url, ALWAYS)) == url
    assert seller.subscription(subscription.id).status == "active"


def test_events_told_twice_change_nothing_twice(shop: Shop, seller: Seller) -> None:
    subscription = seller.subscribe()
    seller.card_fails_from_now_on(subscription)
    shop.control("webhooks", twins=True)
    seller.to(subscription["items"].data[0].current_period_end + HOUR)
    assert seller.invoices(subscription)[0].attempt_count == 1
