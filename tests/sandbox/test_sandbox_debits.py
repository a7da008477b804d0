"""Payments whose outcome is known only after the payer has left."""

from __future__ import annotations

import pytest
import requests
import stripe
from conftest import Shop


def _paid_by_bank(shop: Shop, way: str, **more: object) -> stripe.checkout.Session:
    session = shop.session(**more)
    assert "Bank debit" in requests.get(str(session.url), timeout=5).text
    back = shop.pay(str(session.url), number="", expiry="", cvc="", way=way)
    assert back.headers["Location"] == f"http://shop.example/thanks?session={session.id}"
    return shop.stripe.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})


def test_a_session_is_complete_but_unpaid_until_the_bank_has_answered(shop: Shop) -> None:
    session = _paid_by_bank(shop, "bank_pays")
    assert (session.status, session.payment_status) == ("complete", "unpaid")
    assert session.payment_intent.status == "processing"
    assert [event.type for event in shop.told()[-3:]] == [
        "charge.pending",
        "payment_intent.processing",
        "checkout.session.completed",
    ]
    charge = shop.stripe.v1.charges.retrieve(str(session.payment_intent.latest_charge))
    assert (charge.status, charge.paid, charge.balance_transaction) == ("pending", False, None)
    assert charge.payment_method_details.type == "us_bank_account"
    assert "will be paid by your bank" in requests.get(charge.receipt_url, timeout=5).text


@pytest.mark.parametrize(
    ("way", "outcome", "payment_status"),
    [("bank_pays", "succeeded", "paid"), ("bank_fails", "failed", "unpaid")],
)
@pytest.mark.parametrize("by", ["time", "demand"])
def test_the_bank_answers_in_time_or_on_demand(
    shop: Shop, way: str, outcome: str, payment_status: str, by: str
) -> None:
    session = _paid_by_bank(shop, way)
    if by == "time":
        shop.clock.offset_seconds = 181
    else:
        assert shop.control("settle") == {"payments": 1, "refunds": 0}
        assert shop.control("settle") == {"payments": 0, "refunds": 0}
    session = shop.stripe.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (session.status, session.payment_status) == ("complete", payment_status)
    intent = session.payment_intent
    if outcome == "succeeded":
        assert (intent.status, intent.amount_received) == ("succeeded", 2500)
    else:
        assert intent.status == "requires_payment_method"
        assert intent.last_payment_error.decline_code == "insufficient_funds"
    last = shop.told()[-1]
    assert last.type == f"checkout.session.async_payment_{outcome}"
    assert last.data.object.payment_status == payment_status
    assert last.request.id is None


def test_a_session_for_cards_alone_takes_no_bank_debit(shop: Shop) -> None:
    session = shop.session(payment_method_types=["card"])
    assert "Bank debit" not in requests.get(str(session.url), timeout=5).text
    assert shop.pay(str(session.url), number="", way="bank_pays").status_code == 422


def test_euros_are_debited_by_sepa(shop: Shop) -> None:
    price = shop.price(currency="eur")
    session = _paid_by_bank(shop, "bank_pays", line_items=[{"price": price.id, "quantity": 1}])
    method = shop.stripe.v1.payment_methods.retrieve(str(session.payment_intent.payment_method))
    assert (method.type, method.sepa_debit.last4) == ("sepa_debit", "6789")


def test_an_account_saved_at_checkout_can_be_debited_again(shop: Shop) -> None:
    session = _paid_by_bank(
        shop, "bank_pays", payment_intent_data={"setup_future_usage": "off_session"}
    )
    intent = session.payment_intent
    again = shop.off_session(str(session.customer), str(intent.payment_method))
    assert again.status == "processing"
    assert shop.control("settle")["payments"] == 2
    assert shop.stripe.v1.payment_intents.retrieve(again.id).status == "succeeded"
