"""The hosted portal, where a customer keeps a card, sees invoices and enters a tax id."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests
import stripe
from conftest import DECLINED, GOOD, Shop

BACK = "http://shop.example/billing"


def _session(shop: Shop, customer: str, **flow: Any) -> stripe.billing_portal.Session:
    more = {"flow_data": flow} if flow else {}
    return shop.stripe.v1.billing_portal.sessions.create(
        {"customer": customer, "return_url": BACK, **more}
    )


def _customer(shop: Shop) -> str:
    return shop.stripe.v1.customers.create({"email": "ana@acme.example", "name": "Acme"}).id


def _post(url: str, change: str, **form: str) -> requests.Response:
    return requests.post(url, {"change": change, **form}, allow_redirects=False, timeout=10)


def _type_card(url: str, number: str) -> requests.Response:
    return _post(url, "add_card", number=number, expiry="12/34", cvc="123")


def _subscribe(shop: Shop, customer: str, identifier: str = "sub_1") -> dict[str, Any]:
    """Keep a subscription of the customer's, as far as the portal looks at it."""
    item = {"id": "si_1", "current_period_end": 2_000_000_000, "price": {"id": "price_1"}}
    subscription = {
        "id": identifier,
        "object": "subscription",
        "customer": customer,
        "status": "active",
        "default_payment_method": None,
        "schedule": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": None,
        "items": {"object": "list", "data": [item]},
    }
    store = shop.app.extensions["sandbox"].store
    with store.acting(store.cause):
        store.add("subscription", subscription)
    return subscription


def _default(shop: Shop, customer: str) -> Any:
    return shop.stripe.v1.customers.retrieve(customer).invoice_settings.default_payment_method


def test_the_portal_is_a_page_of_one_customer_for_an_hour(shop: Shop) -> None:
    session = _session(shop, _customer(shop))
    assert session.object == "billing_portal.session"
    page = requests.get(session.url, timeout=5)
    assert "Sandbox: no money moves" in page.text
    assert "Acme" in page.text
    assert f'href="{BACK}"' in page.text
    assert " style=" not in page.text
    assert not re.search(r"<script(?![^>]*src=)", page.text)
    for name in ("number", "expiry", "cvc", "type", "value"):
        assert f'<label for="{name}">' in page.text
    shop.clock.offset_seconds = 3600
    late = requests.get(session.url, timeout=5)
    assert (late.status_code, "no longer works" in late.text) == (404, True)
    assert _type_card(session.url, GOOD).status_code == 404


def test_a_card_typed_there_becomes_the_customers_default_and_no_subscriptions(shop: Shop) -> None:
    customer = _customer(shop)
    subscription = _subscribe(shop, customer)
    session = _session(shop, customer)
    assert _type_card(session.url, GOOD).headers["Location"] == f"{session.url}?done=1"
    saved = shop.stripe.v1.payment_methods.list({"customer": customer}).data
    assert len(saved) == 1
    assert _default(shop, customer) == saved[0].id
    assert subscription["default_payment_method"] is None
    assert [event.type for event in shop.told()[1:]] == [
        "setup_intent.created",
        "payment_method.attached",
        "setup_intent.succeeded",
        "customer.updated",
    ]
    assert "ending in 4242" in requests.get(session.url, timeout=5).text
    assert shop.off_session(customer, saved[0].id).status == "succeeded"


def test_the_flow_for_a_card_leads_back_once_it_is_saved(shop: Shop) -> None:
    after = {"type": "redirect", "redirect": {"return_url": "http://shop.example/saved"}}
    session = _session(shop, _customer(shop), type="payment_method_update", after_completion=after)
    page = requests.get(session.url, timeout=5)
    assert "Tax id" not in page.text
    assert "form-action 'self' http://shop.example" in page.headers["Content-Security-Policy"]
    assert _type_card(session.url, GOOD).headers["Location"] == "http://shop.example/saved"


def test_the_flow_may_end_with_words_of_the_shop(shop: Shop) -> None:
    after = {"type": "hosted_confirmation", "hosted_confirmation": {"custom_message": "Thanks!"}}
    session = _session(shop, _customer(shop), type="payment_method_update", after_completion=after)
    done = _type_card(session.url, GOOD).headers["Location"]
    assert "Thanks!" in requests.get(done, timeout=5).text


def test_a_card_may_be_authenticated_on_the_way(shop: Shop) -> None:
    customer = _customer(shop)
    session = _session(shop, customer)
    for outcome, default in (("fail", False), ("complete", True)):
        bank = _type_card(session.url, "4000002500003155").headers["Location"]
        back = shop.answer(bank, outcome).headers["Location"]
        assert back.startswith(session.url)
        page = requests.get(back, timeout=5).text
        assert ("authentication failed" in page) is not default
        assert bool(_default(shop, customer)) is default
    assert shop.off_session(customer, _default(shop, customer)).status == "succeeded"


def test_a_card_that_cannot_be_saved_is_named_on_the_page(shop: Shop) -> None:
    customer = _customer(shop)
    session = _session(shop, customer)
    refused = _type_card(session.url, DECLINED)
    assert (refused.status_code, "Your card was declined." in refused.text) == (402, True)
    mistyped = _type_card(session.url, "5555555555554444")
    assert (mistyped.status_code, "not a test card" in mistyped.text) == (422, True)
    assert _default(shop, customer) is None


def test_another_saved_card_may_become_the_default_and_the_old_one_go(shop: Shop) -> None:
    customer = _customer(shop)
    session = _session(shop, customer)
    _type_card(session.url, GOOD)
    first = _default(shop, customer)
    _type_card(session.url, GOOD)
    second = _default(shop, customer)
    assert _post(session.url, "make_default", id=first).status_code == 303
    assert _default(shop, customer) == first
    assert _post(session.url, "remove_card", id=second).status_code == 303
    assert [one.id for one in shop.stripe.v1.payment_methods.list({"customer": customer})] == [
        first
    ]
    _, somebody_elses = shop.saved()
    assert _post(session.url, "make_default", id=somebody_elses).status_code == 422
    assert _post(session.url, "anything").status_code == 422


def test_a_card_taken_away_is_no_subscriptions_default(shop: Shop) -> None:
    customer = _customer(shop)
    subscription = _subscribe(shop, customer)
    session = _session(shop, customer)
    _type_card(session.url, GOOD)
    subscription["default_payment_method"] = _default(shop, customer)
    shop.stripe.v1.payment_methods.detach(subscription["default_payment_method"])
    assert subscription["default_payment_method"] is None
    assert shop.told()[-1].type == "customer.subscription.updated"


def test_a_tax_id_is_entered_and_taken_away(shop: Shop) -> None:
    customer = _customer(shop)
    session = _session(shop, customer)
    wrong = _post(session.url, "add_tax_id", type="eu_vat", value="123")
    assert (wrong.status_code, "does not look like one" in wrong.text) == (422, True)
    assert _post(session.url, "add_tax_id", type="moon", value="1").status_code == 422
    assert _post(session.url, "add_tax_id", type="eu_vat", value="DE123456789").status_code == 303
    kept = shop.stripe.v1.customers.tax_ids.list(customer).data
    assert [(one.type, one.value, one.country) for one in kept] == [("eu_vat", "DE123456789", "DE")]
    assert shop.told()[-1].type == "customer.tax_id.created"
    assert "DE123456789" in requests.get(session.url, timeout=5).text
    _post(session.url, "remove_tax_id", id=kept[0].id)
    assert shop.stripe.v1.customers.tax_ids.list(customer).data == []


def test_tax_ids_are_kept_by_the_api_too(shop: Shop) -> None:
    customer = _customer(shop)
    kept = shop.stripe.v1.customers.tax_ids
    made = kept.create(customer, {"type": "gb_vat", "value": "GB123456789"})
    assert kept.retrieve(customer, made.id).verification.status == "pending"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        kept.create(customer, {"type": "us_ein", "value": "1"})
    assert refused.value.code == "tax_id_invalid"
    with pytest.raises(stripe.InvalidRequestError):
        kept.retrieve(_customer(shop), made.id)
    assert kept.delete(customer, made.id).deleted is True


def test_a_subscription_is_ended_with_its_period(shop: Shop) -> None:
    customer = _customer(shop)
    subscription = _subscribe(shop, customer)
    session = _session(
        shop,
        customer,
        type="subscription_cancel",
        subscription_cancel={"subscription": "sub_1"},
        after_completion={"type": "redirect", "redirect": {"return_url": BACK}},
    )
    assert "End with this period" in requests.get(session.url, timeout=5).text
    assert _post(session.url, "cancel", id="sub_1").headers["Location"] == BACK
    assert subscription["cancel_at_period_end"] is True
    assert shop.told()[-1].type == "customer.subscription.updated"
    assert "End with this period" not in requests.get(session.url, timeout=5).text


def test_invoices_are_listed_with_their_pages(shop: Shop) -> None:
    customer = _customer(shop)
    store = shop.app.extensions["sandbox"].store
    invoice = {"id": "in_1", "customer": customer, "status": "paid", "number": "ACME-0001"}
    more = {"created": 1, "total": 4900, "currency": "usd", "hosted_invoice_url": "http://i/1"}
    with store.acting(store.cause):
        store.add("invoice", {**invoice, **more})
    page = requests.get(_session(shop, customer).url, timeout=5).text
    assert '<a href="http://i/1">ACME-0001</a>' in page
    assert "$49.00" in page


@pytest.mark.parametrize(
    ("flow", "param"),
    [
        ({"type": "subscription_cancel"}, "flow_data[subscription_cancel]"),
        (
            {"type": "subscription_cancel", "subscription_cancel": {"subscription": "sub_no"}},
            "flow_data[subscription_cancel][subscription]",
        ),
        (
            {"type": "payment_method_update", "after_completion": {"type": "redirect"}},
            "flow_data[after_completion][redirect]",
        ),
        ({"type": "holiday"}, "flow_data[type]"),
    ],
)
def test_a_link_for_what_cannot_be_done_is_refused(
    shop: Shop, flow: dict[str, Any], param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        _session(shop, _customer(shop), **flow)
    assert refused.value.param == param


def test_a_link_may_not_show_somebody_elses_subscription(shop: Shop) -> None:
    _subscribe(shop, _customer(shop))
    with pytest.raises(stripe.InvalidRequestError, match="not one of this customer"):
        _session(
            shop,
            _customer(shop),
            type="subscription_update",
            subscription_update={"subscription": "sub_1"},
        )


def test_a_charge_without_a_checkout_has_a_receipt(shop: Shop) -> None:
    charge = shop.charge()
    shop.stripe.v1.refunds.create({"charge": charge.id, "amount": 500})
    page = requests.get(str(charge.receipt_url), timeout=5).text
    for amount in ("$25.00", "-$5.00", "$20.00"):
        assert amount in page
    assert requests.get(f"{shop.url}/c/receipt/ch_nobody", timeout=5).status_code == 404
