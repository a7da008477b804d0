"""3-D Secure on the hosted page, and cards saved for later with it."""

from __future__ import annotations

import pytest
import requests
import stripe
from conftest import DECLINED, GOOD, Shop

ONCE, ALWAYS, LATER_DECLINED = "4000002500003155", "4000002760003184", "4000000000000341"


def _sent_to_bank(shop: Shop, session: stripe.checkout.Session, number: str) -> str:
    sent = shop.pay(str(session.url), number)
    assert sent.status_code == 303
    url = sent.headers["Location"]
    assert url.startswith(f"{shop.url}/c/authenticate/")
    return url


def test_a_card_may_ask_its_payer_to_authenticate_before_it_pays(shop: Shop) -> None:
    session = shop.session()
    url = _sent_to_bank(shop, session, ALWAYS)
    page = requests.get(url, timeout=5)
    assert "Sandbox: no money moves" in page.text
    assert "$25.00" in page.text
    assert "form-action 'self' http://shop.example" in page.headers["Content-Security-Policy"]
    waiting = shop.stripe.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (waiting.status, waiting.payment_intent.status) == ("open", "requires_action")
    back = shop.answer(url, "complete")
    assert back.headers["Location"] == f"http://shop.example/thanks?session={session.id}"
    paid = shop.stripe.v1.checkout.sessions.retrieve(session.id)
    assert (paid.status, paid.payment_status) == ("complete", "paid")
    assert paid.customer_details.email == "ana@acme.example"
    assert [event.type for event in shop.told()[-4:]] == [
        "payment_intent.requires_action",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]


def test_a_payer_who_does_not_authenticate_may_try_another_card(shop: Shop) -> None:
    session = shop.session()
    back = shop.answer(_sent_to_bank(shop, session, ALWAYS), "fail")
    assert back.headers["Location"] == session.url
    assert "has failed authentication" in requests.get(str(session.url), timeout=5).text
    intent = shop.stripe.v1.payment_intents.list().data[0]
    assert intent.last_payment_error.code == "payment_intent_authentication_failure"
    assert (intent.status, intent.latest_charge) == ("requires_payment_method", None)
    assert shop.told()[-1].type == "payment_intent.payment_failed"
    assert shop.pay(str(session.url), GOOD).status_code == 303
    assert shop.stripe.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"


def test_the_bank_wants_one_of_two_answers_and_knows_what_waits(shop: Shop) -> None:
    url = _sent_to_bank(shop, shop.session(), ALWAYS)
    assert shop.answer(url, "perhaps").status_code == 422
    nobody = requests.get(f"{shop.url}/c/authenticate/pi_nobody", timeout=5)
    assert (nobody.status_code, "nothing to authenticate" in nobody.text) == (404, True)


def test_nobody_pays_for_a_session_that_has_expired_meanwhile(shop: Shop) -> None:
    session = shop.session()
    url = _sent_to_bank(shop, session, ALWAYS)
    shop.stripe.v1.checkout.sessions.expire(session.id)
    assert "This has been answered" in shop.answer(url, "complete").text
    intent = shop.stripe.v1.payment_intents.list().data[0]
    assert (intent.status, intent.amount_received) == ("canceled", 0)
    assert [event.type for event in shop.told()[-2:]] == [
        "payment_intent.canceled",
        "checkout.session.expired",
    ]


@pytest.mark.parametrize(("number", "later"), [(ONCE, "succeeded"), (ALWAYS, None)])
def test_a_card_saved_at_checkout_pays_later_if_its_bank_is_content(
    shop: Shop, number: str, later: str | None
) -> None:
    session = shop.session(payment_intent_data={"setup_future_usage": "off_session"})
    shop.answer(_sent_to_bank(shop, session, number), "complete")
    paid = shop.stripe.v1.checkout.sessions.retrieve(session.id)
    methods = shop.stripe.v1.payment_methods.list({"customer": str(paid.customer)}).data
    assert len(methods) == 1
    if later:
        assert shop.off_session(str(paid.customer), methods[0].id).status == later
    else:
        with pytest.raises(stripe.CardError, match="requires authentication"):
            shop.off_session(str(paid.customer), methods[0].id)


def test_a_setup_intent_saves_a_card_for_later(shop: Shop) -> None:
    customer = shop.stripe.v1.customers.create({"email": "ana@acme.example"})
    intent = shop.stripe.v1.setup_intents.create(
        {
            "customer": customer.id,
            "payment_method": "pm_card_authenticationRequiredOnSetup",
            "confirm": True,
            "return_url": "http://shop.example/cards",
        }
    )
    assert intent.status == "requires_action"
    back = shop.answer(intent.next_action.redirect_to_url.url, "complete")
    assert f"setup_intent={intent.id}" in back.headers["Location"]
    done = shop.stripe.v1.setup_intents.retrieve(intent.id)
    assert done.status == "succeeded"
    assert shop.off_session(customer.id, str(done.payment_method)).status == "succeeded"
    found = shop.stripe.v1.setup_intents.list({"customer": customer.id})
    assert [one.id for one in found] == [intent.id]
    assert [event.type for event in shop.told()[1:6]] == [
        "setup_intent.created",
        "setup_intent.requires_action",
        "payment_method.attached",
        "setup_intent.succeeded",
        "payment_intent.created",
    ]


def test_a_setup_that_is_refused_shows_its_intent_and_may_be_confirmed_again(shop: Shop) -> None:
    customer = shop.stripe.v1.customers.create({"email": "ana@acme.example"})
    intent = shop.stripe.v1.setup_intents.create({"customer": customer.id})
    with pytest.raises(stripe.CardError) as refused:
        shop.stripe.v1.setup_intents.confirm(
            intent.id, {"payment_method": "pm_card_chargeDeclined"}
        )
    shown = refused.value.json_body["error"]["setup_intent"]
    assert (shown["status"], shown["last_setup_error"]["code"]) == (
        "requires_payment_method",
        "card_declined",
    )
    assert shop.told()[-1].type == "setup_intent.setup_failed"
    done = shop.stripe.v1.setup_intents.confirm(
        intent.id, {"payment_method": "pm_card_chargeCustomerFail"}
    )
    assert done.status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        shop.stripe.v1.setup_intents.cancel(intent.id)
    other = shop.stripe.v1.setup_intents.create({"customer": customer.id})
    assert shop.stripe.v1.setup_intents.cancel(other.id).status == "canceled"


def _setup_session(shop: Shop, customer: str) -> stripe.checkout.Session:
    return shop.stripe.v1.checkout.sessions.create(
        {
            "mode": "setup",
            "currency": "usd",
            "customer": customer,
            "success_url": "http://shop.example/cards?session={CHECKOUT_SESSION_ID}",
            "setup_intent_data": {"metadata": {"organization": "acme"}},
        }
    )


@pytest.mark.parametrize("number", [GOOD, LATER_DECLINED, ONCE])
def test_a_session_may_save_a_card_and_take_nothing(shop: Shop, number: str) -> None:
    customer = shop.stripe.v1.customers.create({"email": "ana@acme.example"})
    session = _setup_session(shop, customer.id)
    assert (session.amount_total, session.payment_status) == (None, "no_payment_required")
    assert "Nothing is charged now" in requests.get(str(session.url), timeout=5).text
    back = shop.pay(str(session.url), number)
    if number == ONCE:
        back = shop.answer(back.headers["Location"], "complete")
    assert back.headers["Location"] == f"http://shop.example/cards?session={session.id}"
    done = shop.stripe.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
    assert (done.status, done.setup_intent.status) == ("complete", "succeeded")
    assert done.setup_intent.metadata.to_dict() == {"organization": "acme"}
    saved = shop.stripe.v1.payment_methods.list({"customer": customer.id})
    assert [one.id for one in saved] == [done.setup_intent.payment_method]
    assert "This has been saved" in requests.get(str(session.url), timeout=5).text
    assert shop.stripe.v1.charges.list().data == []


def test_a_card_that_cannot_be_saved_leaves_the_session_open(shop: Shop) -> None:
    customer = shop.stripe.v1.customers.create({"email": "ana@acme.example"})
    session = _setup_session(shop, customer.id)
    refused = shop.pay(str(session.url), DECLINED)
    assert (refused.status_code, "Your card was declined." in refused.text) == (402, True)
    assert shop.stripe.v1.checkout.sessions.retrieve(session.id).status == "open"


def test_a_session_that_saves_a_card_sells_nothing(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.session(mode="setup")
    assert refused.value.param == "line_items"
