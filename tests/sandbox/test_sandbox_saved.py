"""Saved payment methods, and payments of them while their payer is away."""

from __future__ import annotations

import pytest
import stripe
from conftest import Shop


def test_a_method_is_attached_listed_and_detached_for_good(shop: Shop) -> None:
    customer, method = shop.saved()
    methods = shop.stripe.v1.payment_methods
    assert [one.id for one in methods.list({"customer": customer, "type": "card"})] == [method]
    assert shop.stripe.v1.customers.payment_methods.list(customer).data[0].id == method
    shop.stripe.v1.customers.update(
        customer, {"invoice_settings": {"default_payment_method": method}}
    )
    assert methods.detach(method).customer is None
    assert methods.list({"customer": customer}).data == []
    assert (
        shop.stripe.v1.customers.retrieve(customer).invoice_settings.default_payment_method is None
    )
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        methods.attach(method, {"customer": customer})
    with pytest.raises(stripe.InvalidRequestError, match="not attached"):
        methods.detach(method)
    assert [event.type for event in shop.told("payment_method.attached", "payment_method.detached")]
    detached = shop.told("payment_method.detached")[0]
    assert detached.data.previous_attributes.to_dict() == {"customer": customer}


def test_a_default_method_is_one_of_the_customers_own(shop: Shop) -> None:
    customer, _ = shop.saved()
    _, somebody_elses = shop.saved()
    settings = {"invoice_settings": {"default_payment_method": somebody_elses}}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.stripe.v1.customers.update(customer, settings)
    assert refused.value.param == "invoice_settings[default_payment_method]"


def test_a_card_may_be_given_by_its_number(shop: Shop) -> None:
    card = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2034, "cvc": "123"}
    made = shop.stripe.v1.payment_methods.create(
        {"type": "card", "card": card, "billing_details": {"name": "Ana"}}
    )
    assert (made.card.last4, made.customer, made.billing_details.name) == ("4242", None, "Ana")
    changed = shop.stripe.v1.payment_methods.update(made.id, {"metadata": {"kept": "yes"}})
    assert changed.metadata.to_dict() == {"kept": "yes"}
    with pytest.raises(stripe.CardError, match="not a test card"):
        shop.stripe.v1.payment_methods.create(
            {"type": "card", "card": {**card, "number": "5555555555554444"}}
        )


def test_a_saved_card_pays_while_its_payer_is_away(shop: Shop) -> None:
    customer, method = shop.saved()
    paid = shop.off_session(customer, method, metadata={"attempt": "1"}, description="Top-up")
    assert (paid.status, paid.amount_received) == ("succeeded", 2500)
    charge = paid.latest_charge
    assert (charge.paid, charge.customer, charge.description) == (True, customer, "Top-up")
    assert charge.metadata.to_dict() == {"attempt": "1"}
    booked = charge.balance_transaction
    assert (booked.amount, booked.fee, booked.net) == (2500, 103, 2397)
    assert [(one.amount, one.type) for one in booked.fee_details] == [(103, "stripe_fee")]
    found = shop.stripe.v1.payment_intents.list({"customer": customer, "created": paid.created})
    assert [one.id for one in found] == [paid.id]
    again = shop.stripe.v1.payment_intents.retrieve(paid.id, {"expand": ["latest_charge"]})
    assert again.latest_charge.id == charge.id


@pytest.mark.parametrize(
    ("name", "code", "decline_code"),
    [
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
        ("pm_card_authenticationRequired", "authentication_required", "authentication_required"),
        ("pm_card_authenticationRequiredOnSetup", "authentication_required", None),
    ],
)
def test_a_refusal_while_the_payer_is_away_shows_the_intent(
    shop: Shop, name: str, code: str, decline_code: str | None
) -> None:
    customer, method = shop.saved(name)
    with pytest.raises(stripe.CardError) as refused:
        shop.off_session(customer, method)
    error = refused.value.json_body["error"]
    assert (refused.value.http_status, refused.value.code) == (402, code)
    assert error["decline_code"] == (decline_code or code)
    intent = error["payment_intent"]
    assert intent["status"] == "requires_payment_method"
    assert intent["payment_method"] is None
    assert intent["last_payment_error"]["code"] == code
    assert intent["last_payment_error"]["payment_method"]["id"] == method
    charge = shop.stripe.v1.charges.retrieve(error["charge"])
    assert (charge.status, charge.failure_code, charge.balance_transaction) == (
        "failed",
        code,
        None,
    )
    assert [event.type for event in shop.told()[-2:]] == [
        "charge.failed",
        "payment_intent.payment_failed",
    ]
    _, good = shop.saved()
    with pytest.raises(stripe.InvalidRequestError, match="belongs to a Customer"):
        shop.stripe.v1.payment_intents.confirm(intent["id"], {"payment_method": good})


@pytest.mark.parametrize(
    "name", ["pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds"]
)
def test_a_card_that_is_always_declined_cannot_be_saved(shop: Shop, name: str) -> None:
    with pytest.raises(stripe.CardError) as refused:
        shop.saved(name)
    assert refused.value.code == "card_declined"


def test_an_answer_of_402_is_remembered_under_its_key(shop: Shop) -> None:
    customer, method = shop.saved("pm_card_chargeCustomerFail")
    params = {
        "amount": 900,
        "currency": "usd",
        "customer": customer,
        "payment_method": method,
        "off_session": True,
        "confirm": True,
    }
    intents = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refused:
            shop.stripe.v1.payment_intents.create(params, {"idempotency_key": "attempt-1"})
        intents.append(refused.value.json_body["error"]["payment_intent"]["id"])
    assert intents[0] == intents[1]
    assert len(shop.stripe.v1.charges.list({"customer": customer}).data) == 1


def test_a_payer_who_is_there_is_sent_to_the_bank(shop: Shop) -> None:
    customer, method = shop.saved("pm_card_authenticationRequired")
    intent = shop.stripe.v1.payment_intents.create(
        {
            "amount": 900,
            "currency": "usd",
            "customer": customer,
            "payment_method": method,
            "confirm": True,
            "return_url": "http://shop.example/back?from=bank",
        }
    )
    assert (intent.status, intent.next_action.type) == ("requires_action", "redirect_to_url")
    back = shop.answer(intent.next_action.redirect_to_url.url, "complete")
    assert back.headers["Location"].startswith(
        f"http://shop.example/back?from=bank&payment_intent={intent.id}"
    )
    assert "redirect_status=succeeded" in back.headers["Location"]
    assert shop.stripe.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    again = shop.answer(intent.next_action.redirect_to_url.url, "fail")
    assert "This has been answered" in again.text


def test_an_intent_may_be_made_first_and_confirmed_or_cancelled_later(shop: Shop) -> None:
    customer, method = shop.saved()
    wants = {"amount": 900, "currency": "usd", "customer": customer}
    intent = shop.stripe.v1.payment_intents.create(wants)
    assert intent.status == "requires_payment_method"
    assert intent.automatic_payment_methods.enabled is True
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        shop.stripe.v1.payment_intents.confirm(intent.id)
    changed = shop.stripe.v1.payment_intents.update(
        intent.id, {"payment_method": method, "amount": 1200, "metadata": {"a": "b"}}
    )
    assert (changed.status, changed.amount) == ("requires_confirmation", 1200)
    assert shop.stripe.v1.payment_intents.confirm(intent.id).amount_received == 1200
    with pytest.raises(stripe.InvalidRequestError, match="already succeeded") as refused:
        shop.stripe.v1.payment_intents.confirm(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        shop.stripe.v1.payment_intents.cancel(intent.id)
    other = shop.stripe.v1.payment_intents.create(wants)
    given_up = shop.stripe.v1.payment_intents.cancel(other.id, {"cancellation_reason": "abandoned"})
    assert (given_up.status, given_up.cancellation_reason) == ("canceled", "abandoned")
    assert [event.data.object.id for event in shop.told("payment_intent.canceled")] == [other.id]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"amount": 49}, "amount"),
        ({"confirm": False}, "error_on_requires_action"),
        ({"customer": "cus_nobody"}, "customer"),
        ({"method": "pm_nobody"}, "payment_method"),
    ],
)
def test_an_intent_refuses_what_does_not_fit(
    shop: Shop, changes: dict[str, object], param: str
) -> None:
    customer, method = shop.saved()
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.off_session(**{"customer": customer, "method": method, **changes})
    assert refused.value.param == param
    assert shop.stripe.v1.payment_intents.list().data == []


def test_a_payment_with_its_payer_there_needs_a_way_back(shop: Shop) -> None:
    customer, method = shop.saved()
    params = {"amount": 900, "currency": "usd", "customer": customer, "payment_method": method}
    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        shop.stripe.v1.payment_intents.create({**params, "confirm": True})
    paid = shop.stripe.v1.payment_intents.create(
        {**params, "confirm": True, "payment_method_types": ["card"]}
    )
    assert paid.status == "succeeded"


def test_the_intent_of_a_checkout_is_given_up_with_its_session(shop: Shop) -> None:
    session = shop.session()
    shop.pay(str(session.url), "4000000000000002")
    intent = shop.stripe.v1.payment_intents.list().data[0]
    with pytest.raises(stripe.InvalidRequestError, match="Checkout Session"):
        shop.stripe.v1.payment_intents.cancel(intent.id)
