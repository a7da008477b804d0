"""Invoices by themselves: items, totals, finalizing, paying, voiding, and their pages."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import stripe
from conftest import DECLINED, GOOD, Shop
from seller import DAY, HOUR, Seller, seller

__all__ = ["seller"]


def _draft(seller: Seller, subscription: stripe.Subscription, **more: Any) -> stripe.Invoice:
    return seller.v1.invoices.create({"customer": str(subscription.customer), **more})


def _item(seller: Seller, owner: stripe.Subscription, amount: int, **more: Any) -> Any:
    params = {"customer": str(owner.customer), "currency": "usd", "amount": amount}
    return seller.v1.invoice_items.create({"description": f"Item of {amount}", **params, **more})


def test_pending_items_go_on_the_next_invoice_of_their_subscription(seller: Seller) -> None:
    subscription = seller.subscribe()
    other = seller.subscribe()
    start = subscription["items"].data[0].current_period_end
    period = {"start": subscription.created, "end": start}
    item = _item(
        seller,
        subscription,
        310,
        subscription=subscription.id,
        period=period,
        metadata={"action": "transcribe"},
    )
    assert (item.invoice, item.parent.subscription_details.subscription) == (None, subscription.id)
    seller.to(start)
    renewal = seller.invoices(subscription)[0]
    overage, plan = renewal.lines.data
    assert (overage.amount, plan.amount, renewal.total) == (310, 2000, 2310)
    assert overage.parent.invoice_item_details.invoice_item == item.id
    assert overage.metadata.to_dict() == {"action": "transcribe"}
    assert overage.period.start == subscription.created
    assert seller.v1.invoice_items.retrieve(item.id).invoice == renewal.id
    assert len(seller.invoices(other)[0].lines.data) == 1


def test_an_item_may_be_put_on_the_draft_of_a_renewal(seller: Seller) -> None:
    subscription = seller.subscribe()
    seller.to(subscription["items"].data[0].current_period_end)
    draft = seller.invoices(subscription)[0]
    item = _item(seller, subscription, 310, invoice=draft.id)
    assert seller.v1.invoices.retrieve(draft.id).amount_due == 2310
    seller.v1.invoice_items.update(item.id, {"amount": 410})
    assert seller.v1.invoices.retrieve(draft.id).amount_due == 2410
    seller.v1.invoice_items.delete(item.id)
    assert seller.v1.invoices.retrieve(draft.id).amount_due == 2000
    _item(seller, subscription, 90, invoice=draft.id)
    seller.wait(HOUR)
    assert seller.v1.invoices.retrieve(draft.id).amount_paid == 2090
    with pytest.raises(stripe.InvalidRequestError, match="no longer editable"):
        _item(seller, subscription, 90, invoice=draft.id)


def test_an_invoice_of_its_own_is_drafted_finalized_and_paid(seller: Seller) -> None:
    subscription = seller.subscribe()
    _item(seller, subscription, 700)
    empty = _draft(seller, subscription)
    assert (empty.total, empty.auto_advance, empty.billing_reason) == (0, False, "manual")
    draft = _draft(
        seller,
        subscription,
        auto_advance=False,
        collection_method="charge_automatically",
        pending_invoice_items_behavior="include",
        metadata={"organization": "acme"},
    )
    assert (draft.total, draft.metadata.to_dict()) == (700, {"organization": "acme"})
    opened = seller.v1.invoices.finalize_invoice(draft.id)
    assert (opened.status, opened.amount_remaining) == ("open", 700)
    assert opened.number.endswith("-0002")
    # An invoice that does not advance by itself is not charged to the subscription's card either.
    seller.wait(DAY)
    assert seller.v1.invoices.retrieve(draft.id).status == "open"
    card = subscription.default_payment_method
    paid = seller.v1.invoices.pay(draft.id, {"payment_method": str(card)})
    assert (paid.status, paid.amount_paid, paid.attempt_count) == ("paid", 700, 1)
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        seller.v1.invoices.pay(draft.id)


def test_an_invoice_that_advances_is_charged_to_the_customers_default_card(
    seller: Seller,
) -> None:
    subscription = seller.subscribe()
    card = str(subscription.default_payment_method)
    settings = {"invoice_settings": {"default_payment_method": card}}
    seller.v1.customers.update(str(subscription.customer), settings)
    draft = _draft(seller, subscription, auto_advance=True)
    _item(seller, subscription, 700, invoice=draft.id)
    assert draft.automatically_finalizes_at == draft.created + HOUR
    seller.wait(HOUR)
    assert seller.v1.invoices.retrieve(draft.id).status == "paid"


def test_a_card_that_is_declined_is_raised_and_leaves_the_invoice_open(seller: Seller) -> None:
    subscription = seller.subscribe()
    draft = _draft(seller, subscription)
    _item(seller, subscription, 700, invoice=draft.id)
    with pytest.raises(stripe.InvalidRequestError, match="no default payment method"):
        seller.v1.invoices.pay(draft.id)
    seller.card_fails_from_now_on(subscription)
    card = str(subscription.default_payment_method)
    with pytest.raises(stripe.CardError, match="declined") as refused:
        seller.v1.invoices.pay(draft.id, {"payment_method": card})
    assert (refused.value.http_status, refused.value.code) == (402, "card_declined")
    invoice = seller.v1.invoices.retrieve(draft.id, {"expand": ["payments"]})
    assert (invoice.status, invoice.attempted) == ("open", True)
    assert [one.status for one in invoice.payments.data] == ["open"]
    seller.card_pays_again(subscription)
    assert seller.v1.invoices.pay(draft.id, {"payment_method": card}).status == "paid"
    found = seller.v1.invoice_payments.list({"invoice": draft.id})
    assert [(one.status, one.amount_paid) for one in found] == [("paid", 700)]


def test_voiding_gives_back_what_was_taken_of_the_balance(seller: Seller) -> None:
    subscription = seller.subscribe()
    customer = str(subscription.customer)
    seller.v1.customers.update(customer, {"balance": -500})
    draft = _draft(seller, subscription)
    _item(seller, subscription, 1700, invoice=draft.id)
    opened = seller.v1.invoices.finalize_invoice(draft.id)
    assert (opened.amount_due, opened.ending_balance) == (1200, 0)
    assert seller.v1.customers.retrieve(customer).balance == 0
    voided = seller.v1.invoices.void_invoice(draft.id)
    assert (voided.status, voided.amount_remaining) == ("void", 1200)
    assert seller.v1.customers.retrieve(customer).balance == -500
    with pytest.raises(stripe.InvalidRequestError, match="only void an open invoice"):
        seller.v1.invoices.void_invoice(draft.id)
    assert "payment_intent.canceled" in seller.types()


def test_an_uncollectible_invoice_can_still_be_paid_by_other_means(seller: Seller) -> None:
    subscription = seller.subscribe()
    draft = _draft(seller, subscription)
    _item(seller, subscription, 700, invoice=draft.id)
    seller.v1.invoices.finalize_invoice(draft.id)
    assert seller.v1.invoices.mark_uncollectible(draft.id).status == "uncollectible"
    assert seller.v1.invoices.pay(draft.id, {"paid_out_of_band": True}).status == "paid"


def test_a_draft_can_be_deleted_and_its_items_are_pending_again(seller: Seller) -> None:
    subscription = seller.subscribe()
    draft = _draft(seller, subscription)
    item = _item(seller, subscription, 700, invoice=draft.id)
    assert seller.v1.invoices.delete(draft.id).deleted is True
    assert seller.v1.invoice_items.retrieve(item.id).invoice is None
    with pytest.raises(stripe.InvalidRequestError, match="No such invoice"):
        seller.v1.invoices.retrieve(draft.id)


def test_more_lines_than_an_invoice_shows_are_read_page_by_page(seller: Seller) -> None:
    subscription = seller.subscribe()
    draft = _draft(seller, subscription)
    for amount in range(100, 112):
        _item(seller, subscription, amount, invoice=draft.id)
    invoice = seller.v1.invoices.retrieve(draft.id)
    assert (len(invoice.lines.data), invoice.lines.has_more) == (10, True)
    assert invoice.total == sum(range(100, 112))
    first = seller.v1.invoices.line_items.list(draft.id, {"limit": 5})
    amounts = [line.amount for line in first.auto_paging_iter()]
    assert amounts == list(range(100, 112))


def test_invoices_are_listed_by_customer_subscription_status_and_age(seller: Seller) -> None:
    subscription = seller.subscribe()
    first = seller.invoices(subscription)[0]
    draft = _draft(seller, subscription)
    customer = str(subscription.customer)
    listed = seller.v1.invoices.list
    assert [one.id for one in listed({"customer": customer})] == [draft.id, first.id]
    assert [one.id for one in listed({"status": "paid"})] == [first.id]
    assert [one.id for one in listed({"subscription": subscription.id})] == [first.id]
    assert listed({"created": {"gt": draft.created}}).data == []
    assert [one.id for one in listed({"limit": 1, "starting_after": draft.id})] == [first.id]


def test_the_invoices_page_and_its_document_open(shop: Shop, seller: Seller) -> None:
    subscription = seller.subscribe()
    paid = seller.invoices(subscription)[0]
    page = requests.get(str(paid.hosted_invoice_url), timeout=5)
    assert page.status_code == 200
    assert "1 × Basic (at $20.00 / month)" in page.text
    assert "no money moves" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    document = requests.get(str(paid.invoice_pdf), timeout=5)
    assert document.headers["Content-Type"] == "application/pdf"
    assert document.content.startswith(b"%PDF-1.4")
    assert b"(Amount due $20.00)" in document.content
    assert shop.pay(str(paid.hosted_invoice_url)).status_code == 303
    assert len(seller.v1.charges.list().data) == 1
    draft = _draft(seller, subscription)
    assert requests.get(f"{shop.url}/i/{draft.id}", timeout=5).status_code == 404
    assert requests.get(f"{shop.url}/i/in_nobody/pdf", timeout=5).status_code == 404


def test_the_page_says_what_is_wrong_with_a_card(shop: Shop, seller: Seller) -> None:
    subscription = seller.subscribe()
    draft = _draft(seller, subscription)
    _item(seller, subscription, 700, invoice=draft.id)
    url = str(seller.v1.invoices.finalize_invoice(draft.id).hosted_invoice_url)
    wrong = shop.pay(url, "1234", expiry="13/99")
    assert wrong.status_code == 422
    assert "This is not a test card" in wrong.text
    declined = shop.pay(url, DECLINED)
    assert declined.status_code == 402
    assert "Your card was declined." in declined.text
    assert shop.pay(url, GOOD).status_code == 303
    assert seller.v1.invoices.retrieve(draft.id).status == "paid"


def test_a_payment_may_leave_an_invoice_as_its_receipt(shop: Shop, seller: Seller) -> None:
    session = shop.session(
        invoice_creation={"enabled": True, "invoice_data": {"metadata": {"intent": "7"}}},
    )
    shop.pay(str(session.url))
    paid = shop.stripe.v1.checkout.sessions.retrieve(session.id, {"expand": ["invoice.payments"]})
    invoice = paid.invoice
    assert (invoice.status, invoice.amount_paid, invoice.total) == ("paid", 2500, 2500)
    assert (invoice.billing_reason, invoice.metadata.to_dict()) == ("manual", {"intent": "7"})
    assert invoice.payments.data[0].payment.payment_intent == paid.payment_intent
    assert invoice.lines.data[0].description == "500 credits"
    assert seller.types()[-1] == "checkout.session.completed"
    assert "invoice.paid" in seller.types()


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "amount"),
        ({"amount": 5}, "currency"),
        ({"amount": 5, "currency": "usd", "invoice": "in_x"}, "invoice"),
        ({"amount": 5, "currency": "usd", "subscription": "sub_x"}, "subscription"),
        ({"pricing": {"price": "price_x"}}, "pricing[price]"),
    ],
)
def test_an_item_refuses_what_does_not_fit(
    seller: Seller, params: dict[str, object], param: str
) -> None:
    customer = seller.v1.customers.create({"name": "Ana"})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        seller.v1.invoice_items.create({"customer": customer.id, **params})
    assert refused.value.param == param
