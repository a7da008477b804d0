"""Subscribing, renewing, cancelling: a subscription from its checkout to its end."""

from __future__ import annotations

import pytest
import stripe
from conftest import DECLINED, Shop
from seller import DAY, HOUR, Seller, months_later, seller

__all__ = ["seller"]


def test_a_paid_checkout_starts_the_subscription(shop: Shop, seller: Seller) -> None:
    session = seller.session(subscription_data={"metadata": {"organization": "acme"}})
    shop.pay(str(session.url))
    paid = seller.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["subscription.latest_invoice.payments", "customer"]}
    )
    assert (paid.mode, paid.status, paid.payment_status) == ("subscription", "complete", "paid")
    assert (paid.payment_intent, paid.customer.email) == (None, "ana@acme.example")
    subscription = paid.subscription
    item = subscription["items"].data[0]
    assert (subscription.status, item.price.id, item.plan.amount) == ("active", seller.basic, 2000)
    assert item.current_period_start == subscription.billing_cycle_anchor
    assert item.current_period_end == months_later(item.current_period_start)
    assert subscription.metadata.to_dict() == {"organization": "acme"}
    method = seller.v1.payment_methods.retrieve(subscription.default_payment_method)
    assert method.customer == paid.customer.id
    invoice = subscription.latest_invoice
    assert paid.invoice == invoice.id
    assert (invoice.status, invoice.billing_reason) == ("paid", "subscription_create")
    assert (invoice.amount_paid, invoice.amount_remaining, invoice.attempt_count) == (2000, 0, 1)
    details = invoice.parent.subscription_details
    assert (details.subscription, details.metadata.to_dict()) == (
        subscription.id,
        {"organization": "acme"},
    )
    payment = invoice.payments.data[0]
    assert (payment.status, payment.amount_paid) == ("paid", 2000)
    intent = seller.v1.payment_intents.retrieve(payment.payment.payment_intent)
    assert (intent.status, intent.amount_received) == ("succeeded", 2000)


def test_a_paid_checkout_tells_of_it_in_order(shop: Shop, seller: Seller) -> None:
    seller.subscribe()
    told = seller.types("customer.subscription", "invoice.", "checkout", "charge", "payment_int")
    assert told == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "checkout.session.completed",
    ]


def test_a_declined_checkout_starts_nothing_and_can_be_paid_after_all(
    shop: Shop, seller: Seller
) -> None:
    session = seller.session()
    assert shop.pay(str(session.url), DECLINED).status_code == 402
    assert seller.v1.subscriptions.list({"status": "all"}).data == []
    assert seller.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert shop.pay(str(session.url)).status_code == 303
    assert len(seller.v1.subscriptions.list().data) == 1
    assert len(seller.v1.payment_intents.list().data) == 1


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"payment_intent_data": {"description": "x"}}, "payment_intent_data"),
        ({"invoice_creation": {"enabled": True}}, "invoice_creation"),
        ({"mode": "payment"}, "line_items[0]"),
        ({"subscription_data": {"colour": "red"}}, "subscription_data[colour]"),
    ],
)
def test_a_subscription_session_refuses_what_is_for_one_payment(
    seller: Seller, changes: dict[str, object], param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        seller.session(**changes)
    assert refused.value.param == param


def test_a_subscription_renews_with_an_invoice_an_hour_later(seller: Seller) -> None:
    subscription = seller.subscribe()
    start = subscription["items"].data[0].current_period_end
    seller.to(start - 60)
    assert len(seller.invoices(subscription)) == 1
    seller.to(start)
    renewal = seller.invoices(subscription)[0]
    assert (renewal.status, renewal.billing_reason) == ("draft", "subscription_cycle")
    assert (renewal.created, renewal.number, renewal.hosted_invoice_url) == (start, None, None)
    assert renewal.next_payment_attempt == start + HOUR
    line = renewal.lines.data[0]
    assert (line.period.start, line.period.end) == (start, months_later(start))
    assert (renewal.period_start, renewal.period_end) == (subscription.created, start)
    seller.wait(HOUR)
    renewal = seller.invoices(subscription)[0]
    assert (renewal.status, renewal.amount_paid) == ("paid", 2000)
    assert renewal.status_transitions.paid_at == start + HOUR
    now = seller.subscription(subscription.id)
    assert (now.status, now.latest_invoice) == ("active", renewal.id)
    assert now["items"].data[0].current_period_start == start
    updated = seller.events("customer.subscription.updated")[-1]
    assert updated.created == start
    before = updated.data.previous_attributes["items"].data[0]
    assert before.current_period_end == start


def test_what_falls_due_on_the_way_happens_in_order_each_at_its_instant(seller: Seller) -> None:
    subscription = seller.subscribe()
    seller.wait(95 * DAY)
    cycles = [one for one in seller.invoices(subscription) if one.status == "paid"][::-1]
    starts = [months_later(subscription.created, months) for months in range(1, 4)]
    assert [one.created for one in cycles[1:]] == starts
    created = [event.created for event in seller.events()]
    assert created == sorted(created)


def test_a_subscription_begun_on_the_last_day_of_a_long_month_keeps_that_day(
    seller: Seller,
) -> None:
    seller.to(1801396800)  # 31 January 2027
    subscription = seller.subscribe()
    ends = [subscription["items"].data[0].current_period_end]
    for _ in range(3):
        seller.to(ends[-1])
        ends.append(seller.subscription(subscription.id)["items"].data[0].current_period_end)
    assert ends == [months_later(subscription.created, months) for months in range(1, 5)]


def test_a_renewal_may_be_finalized_early(seller: Seller) -> None:
    subscription = seller.subscribe()
    seller.to(subscription["items"].data[0].current_period_end)
    renewal = seller.invoices(subscription)[0]
    opened = seller.v1.invoices.finalize_invoice(renewal.id)
    assert (opened.status, opened.amount_due) == ("open", 2000)
    assert seller.v1.invoices.retrieve(renewal.id).status == "paid"
    seller.wait(2 * HOUR)
    assert len(seller.v1.charges.list({"customer": subscription.customer}).data) == 2


def test_a_cancellation_at_the_end_of_the_period_ends_it_then(seller: Seller) -> None:
    subscription = seller.subscribe()
    end = subscription["items"].data[0].current_period_end
    ending = seller.v1.subscriptions.update(
        subscription.id,
        {"cancel_at_period_end": True, "cancellation_details": {"feedback": "too_expensive"}},
    )
    assert (ending.status, ending.cancel_at) == ("active", end)
    assert ending.cancellation_details.reason == "cancellation_requested"
    seller.to(end + DAY)
    ended = seller.subscription(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", end)
    assert seller.types("customer.subscription")[-1] == "customer.subscription.deleted"
    assert len(seller.invoices(subscription)) == 1
    assert seller.v1.subscriptions.list().data == []
    assert [one.id for one in seller.v1.subscriptions.list({"status": "canceled"})] == [ended.id]


def test_a_cancellation_ahead_can_be_undone(seller: Seller) -> None:
    subscription = seller.subscribe()
    for wanted in (True, False):
        params = {"cancel_at_period_end": wanted}
        seller.v1.subscriptions.update(subscription.id, params)
    undone = seller.events("customer.subscription.updated")[-1]
    assert undone.data.previous_attributes.cancel_at_period_end is True
    assert (undone.data.object.cancel_at, undone.data.object.canceled_at) == (None, None)
    seller.wait(32 * DAY)
    assert seller.subscription(subscription.id).status == "active"


def test_a_subscription_can_be_ended_now_with_nothing_given_back(seller: Seller) -> None:
    subscription = seller.subscribe()
    ended = seller.v1.subscriptions.cancel(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", ended.canceled_at)
    assert seller.v1.customers.retrieve(str(ended.customer)).balance == 0
    with pytest.raises(stripe.InvalidRequestError, match="canceled subscription"):
        seller.change(subscription, seller.pro)
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        seller.v1.subscriptions.cancel(subscription.id)


def test_ending_now_can_give_back_the_time_that_is_left(seller: Seller) -> None:
    subscription = seller.subscribe()
    item = subscription["items"].data[0]
    half = (item.current_period_end - item.current_period_start) // 2
    seller.to(item.current_period_start + half)
    ended = seller.v1.subscriptions.cancel(subscription.id, {"prorate": True, "invoice_now": True})
    credit = seller.v1.invoices.retrieve(str(ended.latest_invoice))
    assert (credit.status, credit.total, credit.amount_due) == ("paid", -1000, 0)
    assert seller.v1.customers.retrieve(str(ended.customer)).balance == -1000


def test_subscriptions_are_listed_by_customer_and_age(seller: Seller) -> None:
    first, second = seller.subscribe(), seller.subscribe(seller.pro)
    listed = seller.v1.subscriptions.list
    assert [one.id for one in listed()] == [second.id, first.id]
    assert [one.id for one in listed({"customer": str(first.customer)})] == [first.id]
    assert [one.id for one in listed({"price": seller.pro})] == [second.id]
    assert [one.id for one in listed({"limit": 1, "starting_after": second.id})] == [first.id]
    assert listed({"created": {"gt": second.created}}).data == []
    items = seller.v1.subscription_items.list({"subscription": first.id})
    assert [one.price.id for one in items] == [seller.basic]
