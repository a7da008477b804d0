"""Webhooks as unruly as a test wants them: chosen types, twins, older versions' shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from conftest import Inbox, Shop

Eventually = Callable[[Callable[[], bool]], None]


def _told_of(inbox: Inbox, kind: str) -> dict[str, Any]:
    return next(event.to_dict() for event in inbox.events() if event.type == kind)


def test_only_chosen_types_are_dropped(shop: Shop, inbox: Inbox, eventually: Eventually) -> None:
    shop.control("webhooks", drop=True, types=["charge.*", "payment_intent.created"])
    shop.charge()
    eventually(lambda: "payment_intent.succeeded" in inbox.types())
    assert not {"charge.succeeded", "payment_intent.created"} & set(inbox.types())
    dropped = [one["type"] for one in shop.deliveries() if one["state"] == "dropped"]
    assert dropped == ["payment_intent.created", "charge.succeeded"]


def test_one_change_may_be_told_by_two_events(
    shop: Shop, inbox: Inbox, eventually: Eventually
) -> None:
    shop.control("webhooks", twins=True, types=["charge.succeeded"])
    charge = shop.charge()
    eventually(lambda: inbox.types().count("charge.succeeded") == 2)
    twins = [event for event in inbox.events() if event.type == "charge.succeeded"]
    assert len({event.id for event in twins}) == 2
    assert {event.data.object.id for event in twins} == {charge.id}
    assert len(shop.told("charge.succeeded")) == 2
    assert len(shop.told("payment_intent.succeeded")) == 1


def test_every_event_can_be_sent_again(shop: Shop, inbox: Inbox) -> None:
    shop.control("webhooks", drop=True)
    shop.charge()
    sent = shop.control("redeliver", type="*")["deliveries"]
    assert [one["type"] for one in sent] == [event.type for event in shop.told()]
    assert inbox.types() == [one["type"] for one in sent]
    assert len(shop.control("redeliver", type="payment_intent.*")["deliveries"]) == 2


@pytest.mark.parametrize(
    ("version", "lists_refunds"), [("2020-08-27", True), ("2024-06-20", False)]
)
def test_charges_and_intents_are_told_as_an_older_version_told_them(
    shop: Shop, inbox: Inbox, eventually: Eventually, version: str, lists_refunds: bool
) -> None:
    shop.control("webhooks", api_version=version)
    charge = shop.charge()
    refund = shop.stripe.v1.refunds.create({"charge": charge.id, "amount": 700})
    eventually(lambda: "charge.refunded" in inbox.types())
    refunded = _told_of(inbox, "charge.refunded")
    assert refunded["api_version"] == version
    told = refunded["data"]["object"]
    assert (told["amount_refunded"], told["invoice"]) == (700, None)
    assert ("refunds" in told) is lists_refunds
    succeeded = _told_of(inbox, "payment_intent.succeeded")
    assert succeeded["request"]["id"] == _told_of(inbox, "charge.succeeded")["request"]["id"]
    intent = succeeded["data"]["object"]
    assert ("charges" in intent) is lists_refunds
    if lists_refunds:
        assert [one["id"] for one in told["refunds"]["data"]] == [refund.id]
        assert [one["id"] for one in intent["charges"]["data"]] == [charge.id]
    kept = shop.told("charge.refunded")[0]
    assert kept.api_version == "2026-10-28.endive"
    assert "refunds" not in kept.data.object.to_dict()


def _emit(shop: Shop, kind: str, about: dict[str, Any], **previous: Any) -> None:
    store = shop.app.extensions["sandbox"].store
    with store.acting(store.cause):
        store.emit(kind, about, previous or None)


def test_invoices_are_told_with_their_subscription_and_payment(
    shop: Shop, inbox: Inbox, eventually: Eventually
) -> None:
    shop.control("webhooks", api_version="2020-08-27")
    charge, price = shop.charge(), shop.price()
    store = shop.app.extensions["sandbox"].store
    intent = {"type": "payment_intent", "payment_intent": charge.payment_intent}
    payment = {"id": "inpay_1", "invoice": "in_1", "payment": intent}
    store.add("invoice_payment", payment)
    item = {"subscription": "sub_1", "subscription_item": "si_1", "proration": True}
    line = {
        "object": "line_item",
        "parent": {"subscription_item_details": item, "type": "subscription_item_details"},
        "pricing": {"price_details": {"price": price.id}, "type": "price_details"},
    }
    invoice = {
        "id": "in_1",
        "object": "invoice",
        "status": "paid",
        "lines": {"object": "list", "data": [line]},
        "parent": {"subscription_details": {"subscription": "sub_1", "metadata": {}}},
        "total_taxes": [{"amount": 19}],
    }
    _emit(shop, "invoice.paid", invoice)
    eventually(lambda: "invoice.paid" in inbox.types())
    told = _told_of(inbox, "invoice.paid")["data"]["object"]
    assert (told["subscription"], told["paid"], told["tax"]) == ("sub_1", True, 19)
    assert (told["payment_intent"], told["charge"]) == (charge.payment_intent, charge.id)
    old = told["lines"]["data"][0]
    assert (old["type"], old["subscription"], old["proration"]) == ("subscription", "sub_1", True)
    assert old["price"]["id"] == price.id
    _emit(shop, "charge.updated", store.get("charge", charge.id))
    eventually(lambda: "charge.updated" in inbox.types())
    assert _told_of(inbox, "charge.updated")["data"]["object"]["invoice"] == "in_1"


def test_subscriptions_are_told_with_their_period(
    shop: Shop, inbox: Inbox, eventually: Eventually
) -> None:
    shop.control("webhooks", api_version="2024-06-20")
    now = {"id": "si_1", "current_period_start": 20, "current_period_end": 30, "quantity": 1}
    before = {"id": "si_1", "current_period_start": 10, "current_period_end": 20}
    subscription = {"id": "sub_1", "object": "subscription", "schedule": None}
    subscription["items"] = {"data": [now]}
    _emit(shop, "customer.subscription.updated", subscription, items={"data": [before]})
    eventually(lambda: len(inbox.received) == 1)
    data = _told_of(inbox, "customer.subscription.updated")["data"]
    assert (data["object"]["current_period_end"], data["object"]["quantity"]) == (30, 1)
    assert data["previous_attributes"]["current_period_end"] == 20


@pytest.mark.parametrize(
    "body",
    [{"types": "charge.*"}, {"twins": 1}, {"api_version": "2099-01-01"}, {"api_version": "x"}],
)
def test_what_no_endpoint_can_be_is_refused(shop: Shop, body: dict[str, object]) -> None:
    response = requests.post(f"{shop.url}/_sandbox/webhooks", json=body, timeout=5)
    assert response.status_code == 400
