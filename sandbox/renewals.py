"""What time does to subscriptions: renewals, cancellations, and what comes of unpaid invoices.

A subscription is past due from the first payment of a renewal that fails. When all attempts have
failed it is canceled, unpaid or left past due, as the sandbox is set; when its latest invoice is
paid after all, it is active again.
"""

from __future__ import annotations

from copy import deepcopy

from sandbox import billing, discounts, invoice_items, invoice_payments, subscriptions
from sandbox.periods import end_of_period
from sandbox.store import Object, Store

AFTER_RETRIES = ("canceled", "unpaid", "past_due")
_SETTLED = ("paid", "uncollectible")


def attend(store: Store) -> None:
    """Have periods end when it is time, and invoices change how a subscription stands."""
    store.when_due("subscription.period_end", _period_ends, rank=2)
    store.follow(_follow)


def after_retries(store: Store) -> str:
    """Return what becomes of a subscription when all attempts to charge it have failed."""
    kept = "after_retries"
    chosen: str = store.get("setting", kept)["value"] if store.has("setting", kept) else "canceled"
    return chosen


def set_after_retries(store: Store, value: str) -> None:
    """Decide what becomes of subscriptions when all attempts to charge them have failed."""
    store.add("setting", {"id": "after_retries", "value": value})


def _period_ends(store: Store, identifier: str) -> None:
    subscription = store.get("subscription", identifier)
    ended = subscription["status"] in subscriptions.ENDED
    if ended or subscriptions.period_of(subscription)[1] != store.now():
        return  # it was canceled, or its period has been started anew since
    if subscription["cancel_at_period_end"]:
        subscriptions.bill_pending(store, subscription, reason="subscription_cycle", at_once=False)
        subscriptions.end(store, subscription, {})
    else:
        renew(store, subscription)


def renew(store: Store, subscription: Object) -> None:
    """Start the next period, with its invoice as a draft."""
    invoice, items = next_invoice(store, subscription)
    pending = invoice_items.pending(
        store, subscription["customer"], subscription["id"], subscription["currency"]
    )
    renewed = {**subscription, "items": {"data": items}}
    subscriptions.bill(store, renewed, invoice, pending)
    changes = {
        "items": subscriptions.item_list(subscription["id"], items),
        "latest_invoice": invoice["id"],
        "discounts": discounts.drop_ended(store, subscription),
    }
    store.change("customer.subscription.updated", subscription, changes)
    end = items[0]["current_period_end"]
    store.wake(end, "subscription.period_end", subscription["id"])


def next_invoice(store: Store, subscription: Object) -> tuple[Object, list[Object]]:
    """Build the invoice of the next period, without keeping it, and the items in that period."""
    start, boundary = subscriptions.period_of(subscription)
    items: list[Object] = deepcopy(subscription["items"]["data"])
    end = end_of_period(
        boundary, items[0]["price"]["recurring"], anchor=subscription["billing_cycle_anchor"]
    )
    for item in items:
        item.update(current_period_start=boundary, current_period_end=end)
    invoice = billing.build(
        store,
        store.get("customer", subscription["customer"]),
        **billing.of_subscription(store, subscription),
        # Nothing more is collected by itself from a subscription that is unpaid.
        auto_advance=subscription["status"] != "unpaid",
        billing_reason="subscription_cycle",
        period_start=start,
        period_end=boundary,
    )
    return invoice, items


def _follow(store: Store, happened: str, about: Object) -> None:
    """Follow what becomes of a subscription's invoices."""
    owner = billing.subscription_of(about) if about["object"] == "invoice" else None
    if owner is None or not store.has("subscription", owner):
        return
    subscription = store.get("subscription", owner)
    if subscription["status"] in subscriptions.ENDED:
        return
    if happened == "invoice.payment_failed":
        _payment_failed(store, subscription, about)
    if happened == "invoice.paid" and billing.collection(store, about)["keeps_card"]:
        _keep_card(store, subscription, about)
    if happened in ("invoice.paid", "invoice.voided", "invoice.marked_uncollectible"):
        _stands_again(store, subscription)


def _payment_failed(store: Store, subscription: Object, invoice: Object) -> None:
    state = billing.collection(store, invoice)
    if state["pending_update"]:
        return
    outcome = after_retries(store) if state["exhausted"] else "past_due"
    if outcome == "canceled":
        subscriptions.end(store, subscription, {"reason": "payment_failed"})
    elif subscription["status"] != "unpaid":
        store.change("customer.subscription.updated", subscription, {"status": outcome})


def _keep_card(store: Store, subscription: Object, invoice: Object) -> None:
    """Charge renewals to the card that the customer has just paid with."""
    intent = invoice_payments.intent_of(store, invoice)
    if intent and intent["payment_method"]:
        changes = {"default_payment_method": intent["payment_method"]}
        store.change("customer.subscription.updated", subscription, changes)


def _stands_again(store: Store, subscription: Object) -> None:
    """Make a subscription active again, if its latest invoice that counts is settled."""
    if subscription["status"] not in ("past_due", "unpaid"):
        return
    latest = next(
        (
            invoice
            for invoice in store.newest_first("invoice")
            if billing.subscription_of(invoice) == subscription["id"]
            and invoice["status"] not in ("draft", "void")
            and not billing.collection(store, invoice)["pending_update"]
        ),
        None,
    )
    if latest is None or latest["status"] in _SETTLED:
        store.change("customer.subscription.updated", subscription, {"status": "active"})
