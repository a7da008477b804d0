"""Events and their delivery: signed, at least once, and as unruly as a test wants them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests
import stripe
from conftest import DECLINED, SECRET, Inbox, Shop

Eventually = Callable[[Callable[[], bool]], None]
OF_A_PAYMENT = [
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
    "checkout.session.completed",
]


def _bought(shop: Shop) -> stripe.checkout.Session:
    """Open a session with webhooks held back until then, so that only the payment's are told."""
    shop.control("webhooks", drop=True)
    session = shop.session()
    shop.control("webhooks", drop=False)
    return session


def test_a_payment_is_told_by_signed_webhooks(
    shop: Shop, inbox: Inbox, eventually: Eventually
) -> None:
    session = _bought(shop)
    shop.pay(str(session.url))
    eventually(lambda: len(inbox.received) == 4)
    assert inbox.types() == OF_A_PAYMENT
    completed = inbox.events()[-1]
    assert completed.data.object.id == session.id
    assert (completed.data.object.payment_status, completed.livemode) == ("paid", False)
    assert completed.api_version == "2026-10-28.endive"
    headers, body = inbox.received[0]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body + b" ", headers["Stripe-Signature"], SECRET)


def test_a_decline_is_told_too(shop: Shop, inbox: Inbox, eventually: Eventually) -> None:
    shop.pay(str(_bought(shop).url), DECLINED)
    eventually(lambda: len(inbox.received) == 3)
    assert inbox.types() == [
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
    ]


def test_events_can_be_read_back_by_type_and_age(shop: Shop) -> None:
    shop.pay(str(shop.session().url))
    newest = shop.stripe.v1.events.list({"limit": 4}).data
    assert [event.type for event in newest] == OF_A_PAYMENT[::-1]
    some = shop.stripe.v1.events.list({"types": ["charge.succeeded", "charge.failed"]}).data
    assert [event.type for event in some] == ["charge.succeeded"]
    starred = shop.stripe.v1.events.list({"type": "payment_intent.*"}).data
    assert len(starred) == 2
    assert shop.stripe.v1.events.retrieve(some[0].id).data.object.object == "charge"
    since = newest[0].created + 1
    assert shop.stripe.v1.events.list({"created": {"gte": since}}).data == []


def test_an_event_names_the_request_it_came_from_and_what_changed(shop: Shop) -> None:
    made = shop.stripe.v1.customers.create({"name": "Ana"}, {"idempotency_key": "mine"})
    shop.stripe.v1.customers.update(made.id, {"name": "Anna"})
    updated, created = shop.stripe.v1.events.list().data
    assert created.request.idempotency_key == "mine"
    assert created.request.id == made.last_response.request_id
    assert updated.data.previous_attributes.to_dict() == {"name": "Ana"}
    assert created.data.object.name == "Ana"


def test_a_delivery_is_tried_again_until_it_is_taken(
    shop: Shop, inbox: Inbox, eventually: Eventually
) -> None:
    inbox.statuses = [500, 302, 404]
    shop.stripe.v1.customers.create({"name": "Ana"})
    eventually(lambda: [one["state"] for one in shop.deliveries()] == ["delivered"])
    assert shop.deliveries()[0]["attempts"] == 4
    assert shop.deliveries()[0]["last_status"] == 200
    assert len({event.id for event in inbox.events()}) == 1
    assert shop.stripe.v1.events.list({"delivery_success": True}).data


def test_a_delivery_is_given_up_in_the_end(
    shop: Shop, inbox: Inbox, eventually: Eventually
) -> None:
    inbox.statuses = [500] * 20
    shop.stripe.v1.customers.create({"name": "Ana"})
    eventually(lambda: shop.deliveries()[0]["state"] == "failed")
    assert (shop.deliveries()[0]["attempts"], len(inbox.received)) == (8, 8)


def test_a_receiver_that_is_not_there_does_not_hold_up_the_api(shop: Shop) -> None:
    shop.control("webhooks", url="http://127.0.0.1:9/nobody")
    shop.pay(str(shop.session().url))
    assert len(shop.stripe.v1.charges.list().data) == 1


def test_deliveries_can_be_doubled(shop: Shop, inbox: Inbox, eventually: Eventually) -> None:
    shop.control("webhooks", copies=3)
    shop.stripe.v1.customers.create({"name": "Ana"})
    eventually(lambda: len(inbox.received) == 3)
    assert len({event.id for event in inbox.events()}) == 1


def test_deliveries_can_be_dropped_and_sent_later_on_demand(
    shop: Shop, inbox: Inbox, eventually: Eventually
) -> None:
    shop.control("webhooks", drop=True)
    shop.pay(str(shop.session().url))
    assert {one["state"] for one in shop.deliveries()} == {"dropped"}
    assert inbox.received == []
    inbox.statuses = [200, 503]
    sent = shop.control("redeliver", type="checkout.session.completed", copies=2)["deliveries"]
    assert [(one["type"], one["status"]) for one in sent] == [
        ("checkout.session.completed", 200),
        ("checkout.session.completed", 503),
    ]
    assert inbox.types() == ["checkout.session.completed"] * 2
    again = shop.control("redeliver", event=sent[0]["event"])["deliveries"]
    assert [one["status"] for one in again] == [200]


def test_deliveries_can_be_paused_and_shuffled(
    shop: Shop, inbox: Inbox, eventually: Eventually
) -> None:
    shop.control("webhooks", paused=True)
    for number in range(8):
        shop.stripe.v1.customers.create({"name": str(number)})
    assert {one["attempts"] for one in shop.deliveries()} == {0}
    shop.control("webhooks", paused=False, shuffle=True)
    eventually(lambda: len(inbox.received) == 8)
    names = [event.data.object.name for event in inbox.events()]
    assert sorted(names) == [str(number) for number in range(8)]
    assert names != sorted(names)


def test_deliveries_can_be_delayed(shop: Shop, inbox: Inbox, eventually: Eventually) -> None:
    shop.control("webhooks", delay_seconds=0.3)
    shop.stripe.v1.customers.create({"name": "Ana"})
    assert shop.deliveries()[0]["state"] == "pending"
    assert inbox.received == []
    eventually(lambda: len(inbox.received) == 1)


@pytest.mark.parametrize(
    "body",
    [{"copies": 0}, {"copies": True}, {"drop": 1}, {"delay_seconds": -1}, {"url": "x"}, {"x": 1}],
)
def test_control_refuses_what_it_does_not_know(shop: Shop, body: dict[str, object]) -> None:
    response = requests.post(f"{shop.url}/_sandbox/webhooks", json=body, timeout=5)
    assert response.status_code == 400
