"""Changing the price within a period: prorations, previews, and changes that wait to be paid."""

from __future__ import annotations

import pytest
import requests
import stripe
from conftest import DECLINED, GOOD, Shop
from seller import DAY, HOUR, Seller, months_later, seller

__all__ = ["seller"]


def _amounts(invoice: stripe.Invoice) -> list[tuple[str, int]]:
    return [(str(line.description).split(" after")[0], line.amount) for line in invoice.lines.data]


def test_an_upgrade_bills_the_time_that_is_left_to_the_second(seller: Seller) -> None:
    subscription = seller.subscribe()
    item = subscription["items"].data[0]
    start, end = item.current_period_start, item.current_period_end
    now = seller.to(start + 1_000_001)
    changed = seller.change(subscription, seller.pro, proration_date=now)
    left, whole = end - now, end - start
    unused, remaining = round(2000 * left / whole), round(5000 * left / whole)
    invoice = seller.v1.invoices.retrieve(str(changed.latest_invoice))
    assert _amounts(invoice) == [
        ("Unused time on Basic", -unused),
        ("Remaining time on Pro", remaining),
    ]
    assert (invoice.billing_reason, invoice.status) == ("subscription_update", "paid")
    assert invoice.amount_paid == invoice.total == remaining - unused
    credit, debit = invoice.lines.data
    for line in (credit, debit):
        assert line.parent.subscription_item_details.proration is True
        assert (line.period.start, line.period.end) == (now, end)
    first = seller.invoices(subscription)[-1]
    credited = credit.parent.subscription_item_details.proration_details.credited_items
    assert (credited.invoice, credited.invoice_line_items) == (first.id, [first.lines.data[0].id])
    assert credit.pricing.price_details.price == seller.basic
    assert debit.pricing.price_details.price == seller.pro
    after = changed["items"].data[0]
    assert (after.id, after.price.id, changed.pending_update) == (item.id, seller.pro, None)
    assert (after.current_period_start, after.current_period_end) == (start, end)


def test_a_preview_is_exactly_what_the_update_bills(seller: Seller) -> None:
    subscription = seller.subscribe()
    now = seller.wait(7 * DAY + 12345)
    preview = seller.preview(subscription, seller.pro, proration_date=now)
    assert (preview.status, preview.number) == ("draft", None)
    assert preview.billing_reason == "subscription_update"
    seller.wait(90)
    assert len(seller.invoices(subscription)) == 1
    assert seller.v1.invoice_items.list().data == []
    changed = seller.change(subscription, seller.pro, proration_date=now)
    billed = seller.v1.invoices.retrieve(str(changed.latest_invoice))
    for field in ("subtotal", "total", "amount_due", "starting_balance", "ending_balance"):
        assert preview[field] == billed[field], field
    assert _amounts(preview) == _amounts(billed)
    assert [line.period for line in preview.lines.data] == [
        line.period for line in billed.lines.data
    ]


def test_a_second_change_gives_back_what_the_first_one_billed(seller: Seller) -> None:
    subscription = seller.subscribe()
    top = seller.plan("Top", 12000)
    start = subscription["items"].data[0].current_period_start
    end = subscription["items"].data[0].current_period_end
    first_at = seller.to(start + 10 * DAY)
    seller.change(subscription, seller.pro, proration_date=first_at)
    first = seller.invoices(subscription)[0].lines.data[1].amount
    second_at = seller.to(start + 21 * DAY)
    seller.change(subscription, top, proration_date=second_at)
    second = seller.invoices(subscription)[0]
    assert second.lines.data[0].amount == -round(first * (end - second_at) / (end - first_at))
    assert second.lines.data[1].amount == round(12000 * (end - second_at) / (end - start))


def test_prorations_may_wait_for_the_renewal_or_not_be_made(seller: Seller) -> None:
    subscription = seller.subscribe()
    start = subscription["items"].data[0].current_period_start
    end = subscription["items"].data[0].current_period_end
    seller.to(start + (end - start) // 2)
    waits = {"proration_behavior": "create_prorations", "payment_behavior": "allow_incomplete"}
    seller.change(subscription, seller.pro, **waits)
    assert len(seller.invoices(subscription)) == 1
    pending = seller.v1.invoice_items.list({"pending": True}).data
    assert [one.amount for one in pending] == [2500, -1000]
    seller.change(subscription, seller.basic, **{**waits, "proration_behavior": "none"})
    seller.to(end)
    renewal = seller.invoices(subscription)[0]
    assert [line.amount for line in renewal.lines.data] == [-1000, 2500, 2000]
    assert seller.v1.invoice_items.list({"pending": True}).data == []


def test_a_credit_that_exceeds_the_charge_goes_to_the_balance_and_pays_the_next_invoice(
    seller: Seller,
) -> None:
    subscription = seller.subscribe(seller.pro)
    start = subscription["items"].data[0].current_period_start
    end = subscription["items"].data[0].current_period_end
    seller.to(start + (end - start) // 2)
    changed = seller.change(subscription, seller.basic)
    credit = seller.v1.invoices.retrieve(str(changed.latest_invoice))
    assert (credit.total, credit.amount_due, credit.status) == (-1500, 0, "paid")
    assert (credit.starting_balance, credit.ending_balance) == (0, -1500)
    customer = str(subscription.customer)
    assert seller.v1.customers.retrieve(customer).balance == -1500
    seller.to(end + HOUR)
    renewal = seller.invoices(subscription)[0]
    assert (renewal.total, renewal.starting_balance, renewal.ending_balance) == (2000, -1500, 0)
    assert (renewal.amount_due, renewal.amount_paid) == (500, 500)
    told = seller.v1.customers.balance_transactions.list(customer).data
    assert [(one.amount, one.type, one.ending_balance) for one in told] == [
        (1500, "applied_to_invoice", 0),
        (-1500, "applied_to_invoice", -1500),
    ]


def test_what_is_too_small_to_charge_is_carried_to_the_next_invoice(seller: Seller) -> None:
    subscription = seller.subscribe()
    dearer = seller.plan("Slightly dearer", 2040)
    changed = seller.change(subscription, dearer)
    invoice = seller.v1.invoices.retrieve(str(changed.latest_invoice))
    assert (invoice.total, invoice.amount_due, invoice.status) == (40, 0, "paid")
    assert seller.v1.customers.retrieve(str(subscription.customer)).balance == 40
    seller.to(subscription["items"].data[0].current_period_end + HOUR)
    assert seller.invoices(subscription)[0].amount_paid == 2080


def test_a_preview_of_what_is_too_small_to_charge_says_that_nothing_is_due(
    seller: Seller,
) -> None:
    subscription = seller.subscribe()
    dearer = seller.plan("Slightly dearer", 2040)
    preview = seller.preview(subscription, dearer)
    assert (preview.total, preview.amount_due, preview.amount_remaining) == (40, 0, 0)
    dearest = seller.plan("A little dearer still", 2050)
    assert seller.preview(subscription, dearest).amount_due == 50


@pytest.mark.parametrize(("currency", "least"), [("gbp", 30), ("jpy", 50), ("huf", 17_500)])
def test_the_least_charge_is_the_currencys(seller: Seller, currency: str, least: int) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=f"at least {least} minor units"):
        seller.v1.payment_intents.create({"amount": least - 1, "currency": currency})
    intent = seller.v1.payment_intents.create({"amount": least, "currency": currency})
    with pytest.raises(stripe.InvalidRequestError, match=f"at least {least} minor units"):
        seller.v1.payment_intents.update(intent.id, {"amount": least - 1})


def test_another_interval_starts_a_new_period_at_once(seller: Seller) -> None:
    subscription = seller.subscribe()
    yearly = seller.plan("Basic for a year", 20000, "year")
    now = seller.wait(10 * DAY)
    preview = seller.preview(subscription, yearly, proration_date=now)
    changed = seller.change(subscription, yearly, proration_date=now)
    item = changed["items"].data[0]
    assert changed.billing_cycle_anchor == item.current_period_start >= now
    assert item.current_period_end == months_later(item.current_period_start, 12)
    invoice = seller.v1.invoices.retrieve(str(changed.latest_invoice))
    assert invoice.lines.data[0].amount < 0
    assert invoice.lines.data[1].amount == 20000
    assert invoice.total == preview.total
    seller.wait(40 * DAY)
    assert len(seller.invoices(subscription)) == 2
    seller.to(item.current_period_end + HOUR)
    assert seller.invoices(subscription)[0].total == 20000


def test_a_change_that_cannot_be_paid_waits_and_is_made_once_paid_with_another_card(
    shop: Shop, seller: Seller
) -> None:
    subscription = seller.subscribe()
    now = seller.wait(DAY)
    seller.card_fails_from_now_on(subscription)
    waiting = seller.change(subscription, seller.pro, cancel_at_period_end=True)
    assert waiting["items"].data[0].price.id == seller.basic
    assert (waiting.status, waiting.cancel_at_period_end) == ("active", False)
    update = waiting.pending_update
    assert update.subscription_items[0].price.id == seller.pro
    assert (update.expires_at - now) // HOUR == 23
    invoice = seller.v1.invoices.retrieve(str(waiting.latest_invoice))
    assert (invoice.status, invoice.attempted, invoice.next_payment_attempt) == ("open", True, None)
    page = requests.get(str(invoice.hosted_invoice_url), timeout=5)
    assert "Remaining time on Pro" in page.text
    assert shop.pay(str(invoice.hosted_invoice_url), DECLINED).status_code == 402
    assert seller.subscription(subscription.id).pending_update is not None
    assert shop.pay(str(invoice.hosted_invoice_url), GOOD).status_code == 303
    changed = seller.subscription(subscription.id)
    assert (changed["items"].data[0].price.id, changed.pending_update) == (seller.pro, None)
    assert changed.cancel_at_period_end is True
    assert changed.default_payment_method != subscription.default_payment_method
    assert "Thank you" in requests.get(str(invoice.hosted_invoice_url), timeout=5).text
    told = seller.types("customer.subscription")
    assert told.count("customer.subscription.pending_update_applied") == 1
    assert "customer.subscription.pending_update_expired" not in told


def test_a_change_that_is_not_paid_in_time_is_dropped(seller: Seller) -> None:
    subscription = seller.subscribe()
    seller.card_fails_from_now_on(subscription)
    waiting = seller.change(subscription, seller.pro)
    seller.to(waiting.pending_update.expires_at)
    dropped = seller.subscription(subscription.id)
    assert (dropped.pending_update, dropped.status) == (None, "active")
    assert dropped["items"].data[0].price.id == seller.basic
    assert seller.v1.invoices.retrieve(str(waiting.latest_invoice)).status == "void"
    expired = seller.events("customer.subscription.pending_update_expired")
    assert [event.created for event in expired] == [waiting.pending_update.expires_at]


def test_a_change_waits_no_longer_than_the_period(seller: Seller) -> None:
    subscription = seller.subscribe()
    end = subscription["items"].data[0].current_period_end
    seller.to(end - HOUR)
    seller.card_fails_from_now_on(subscription)
    assert seller.change(subscription, seller.plan("Top", 9_000_000)).pending_update.expires_at == (
        end
    )
    seller.card_pays_again(subscription)
    seller.to(end + HOUR)
    assert seller.invoices(subscription)[0].amount_paid == 2000


def test_voiding_the_invoice_or_another_change_drops_the_one_that_waits(seller: Seller) -> None:
    subscription = seller.subscribe()
    seller.wait(DAY)
    seller.card_fails_from_now_on(subscription)
    waiting = seller.change(subscription, seller.pro)
    seller.v1.invoices.void_invoice(str(waiting.latest_invoice))
    assert seller.subscription(subscription.id).pending_update is None
    waiting = seller.change(subscription, seller.pro)
    again = seller.change(subscription, seller.plan("Top", 9000))
    assert again.latest_invoice != waiting.latest_invoice
    assert seller.v1.invoices.retrieve(str(waiting.latest_invoice)).status == "void"
    assert again.pending_update is not None
    seller.v1.subscriptions.cancel(subscription.id)
    assert seller.v1.invoices.retrieve(str(again.latest_invoice)).status == "void"


def test_a_change_that_does_not_wait_leaves_the_subscription_past_due(seller: Seller) -> None:
    subscription = seller.subscribe()
    seller.wait(DAY)
    seller.card_fails_from_now_on(subscription)
    changed = seller.change(subscription, seller.pro, payment_behavior="allow_incomplete")
    assert changed["items"].data[0].price.id == seller.pro
    assert (changed.status, changed.pending_update) == ("past_due", None)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"proration_date": 1}, "proration_date"),
        ({"default_payment_method": "pm_x"}, "default_payment_method"),
        ({"items": [{"id": "si_x", "price": "price_x"}]}, "items[0][id]"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_update_refuses_what_does_not_fit(
    seller: Seller, changes: dict[str, object], param: str
) -> None:
    subscription = seller.subscribe()
    with pytest.raises(stripe.InvalidRequestError) as refused:
        seller.change(subscription, seller.pro, **changes)
    assert (refused.value.http_status, refused.value.param) == (400, param)
    assert seller.subscription(subscription.id)["items"].data[0].price.id == seller.basic


def test_a_change_tells_what_the_items_were_before(seller: Seller) -> None:
    subscription = seller.subscribe()
    seller.change(subscription, seller.pro)
    event = seller.events("customer.subscription.updated")[-1]
    before = event.data.previous_attributes
    assert before["items"].data[0].price.id == seller.basic
    assert before.latest_invoice == subscription.latest_invoice
    assert event.data.object["items"].data[0].price.id == seller.pro


def test_a_preview_of_the_renewal_needs_no_change(seller: Seller) -> None:
    subscription = seller.subscribe()
    preview = seller.v1.invoices.create_preview({"subscription": subscription.id})
    assert (preview.billing_reason, preview.total) == ("subscription_cycle", 2000)
    ending = {"subscription": subscription.id, "subscription_details": {}}
    ending["subscription_details"] = {"cancel_at_period_end": True}
    with pytest.raises(stripe.InvalidRequestError, match="No upcoming invoices"):
        seller.v1.invoices.create_preview(ending)
