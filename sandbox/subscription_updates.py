"""Updating a subscription: another price, a cancellation ahead, another card.

With ``pending_if_incomplete`` a change that must be paid waits for its payment: until then the
subscription is as it was, and ``pending_update`` tells what waits. It is applied when its invoice
is paid, and dropped when that is voided or the time is over.
"""

from __future__ import annotations

from copy import deepcopy

from sandbox import billing, invoice_items, invoice_lines, subscription_changes
from sandbox.api import Route
from sandbox.errors import ApiError, parameter_invalid
from sandbox.parameters import (
    Kind,
    asked,
    boolean,
    choice,
    clearable,
    each,
    integer,
    merged,
    metadata,
    record,
    text,
)
from sandbox.proration import Debit
from sandbox.store import Object, Store
from sandbox.subscription_changes import Change
from sandbox.subscriptions import (
    CANCELLATION,
    ENDED,
    check_running,
    debits_of_lines,
    end,
    full_lines,
    item_list,
    period_of,
    remember,
)

PENDING_SECONDS_MAX = 23 * 60 * 60
BEHAVIORS = choice("always_invoice", "create_prorations", "none")
ITEMS: Kind = each(
    record(
        {
            "deleted": boolean,
            "id": text,
            "metadata": metadata,
            "price": text,
            "quantity": integer(1, 999_999),
        }
    ),
    20,
)
_UPDATE = asked(
    {
        "cancel_at": clearable(integer()),
        "cancel_at_period_end": boolean,
        "cancellation_details": CANCELLATION,
        "default_payment_method": clearable(text),
        "description": clearable(text),
        "items": ITEMS,
        "metadata": metadata,
        "off_session": boolean,
        "payment_behavior": choice("allow_incomplete", "pending_if_incomplete"),
        "proration_behavior": BEHAVIORS,
        "proration_date": integer(),
    }
)
_SUPPORTED_WHEN_PENDING = {
    *("cancel_at_period_end", "items", "metadata", "off_session", "payment_behavior"),
    *("proration_behavior", "proration_date"),
}


def attend(store: Store) -> None:
    """Have pending updates applied when they are paid for, and dropped when they are not."""
    store.when_due("subscription.pending_update", _expire_due, rank=0)
    store.when_due("subscription.cancel_at", _end_due, rank=1)
    store.follow(_follow)


def update(store: Store, params: Object, identifier: str) -> Object:
    """Change a subscription, and bill what the change costs where that is asked for."""
    subscription = store.get("subscription", identifier)
    if params.keys() - {"metadata", "cancellation_details"}:
        check_running(subscription)
    _check(store, subscription, params)
    changes = _settings(store, subscription, params)
    behavior = params.get("proration_behavior", "create_prorations")
    change = None
    if params.get("items"):
        change = subscription_changes.plan(
            store,
            subscription,
            params["items"],
            behavior=behavior,
            at=params.get("proration_date"),
        )
        drop_pending(store, subscription)
    away = params.get("off_session", False)
    asks_first = params.get("payment_behavior") == "pending_if_incomplete"
    if change and change.bills_now and asks_first:
        return _ask_first(store, subscription, change, changes, off_session=away)
    if change:
        apply(store, subscription, change, changes, off_session=away)
    else:
        store.change("customer.subscription.updated", subscription, changes)
    return subscription


def _check(store: Store, subscription: Object, params: Object) -> None:
    if params.get("payment_behavior") == "pending_if_incomplete":
        for field in sorted(params.keys() - _SUPPORTED_WHEN_PENDING):
            message = (
                "When `payment_behavior` is `pending_if_incomplete`, you can only pass parameters "
                f"that pending updates support; `{field}` is not one of them."
            )
            raise parameter_invalid(field, message)
    schedule = subscription["schedule"]
    if schedule and "cancel_at_period_end" in params:
        raise ApiError(
            f"The subscription is managed by the subscription schedule `{schedule}`, and updating "
            "any cancelation behavior directly is not allowed. Please update the schedule instead."
        )
    method = params.get("default_payment_method")
    if method:
        found = store.get("payment_method", method, "default_payment_method")
        if found["customer"] != subscription["customer"]:
            message = "The customer does not have this payment method: attach it first."
            raise parameter_invalid("default_payment_method", message)


def _settings(store: Store, subscription: Object, params: Object) -> Object:
    plain = ("default_payment_method", "description")
    changes: Object = {field: params[field] for field in plain if field in params}
    details = dict(params.get("cancellation_details", {}))
    if "metadata" in params:
        changes["metadata"] = merged(subscription["metadata"], params["metadata"])
    if "cancel_at_period_end" in params:
        ends = params["cancel_at_period_end"]
        asked_before = subscription["cancel_at_period_end"] and ends
        details["reason"] = "cancellation_requested" if ends else None
        if not ends:
            details = {"comment": None, "feedback": None, "reason": None}
        changes.update(
            cancel_at_period_end=ends,
            cancel_at=period_of(subscription)[1] if ends else None,
            canceled_at=(subscription["canceled_at"] if asked_before else store.now())
            if ends
            else None,
        )
    if "cancel_at" in params:
        ends_at = params["cancel_at"]
        changes.update(cancel_at=ends_at, canceled_at=ends_at and store.now())
        changes["cancel_at_period_end"] = False
        if ends_at:
            store.wake(ends_at, "subscription.cancel_at", subscription["id"])
    if details:
        changes["cancellation_details"] = {**subscription["cancellation_details"], **details}
    return changes


def apply(
    store: Store,
    subscription: Object,
    change: Change,
    changes: Object,
    *,
    off_session: bool = True,
) -> None:
    """Change the items now, and bill for it at once or with the next invoice."""
    invoice, debits = _billed(store, subscription, change)
    _settle_items(store, subscription, change.items, debits, restarts=change.restarts)
    new = {**changes, **_moved(subscription, change.items, restarts=change.restarts)}
    if invoice:
        new["latest_invoice"] = invoice["id"]
    store.change("customer.subscription.updated", subscription, new)
    if invoice:
        billing.advance(store, invoice, off_session=off_session)


def _ask_first(
    store: Store, subscription: Object, change: Change, changes: Object, *, off_session: bool
) -> Object:
    """Bill for a change, and make it once that is paid."""
    invoice, debits = _billed(store, subscription, change)
    if invoice is None:
        raise TypeError("a change that waits for its payment has an invoice")
    billing.collection(store, invoice)["pending_update"] = True
    record_of = {
        "id": _pending_id(subscription["id"]),
        "invoice": invoice["id"],
        "items": change.items,
        "debits": debits,
        "restarts": change.restarts,
        "changes": changes,
    }
    store.add("subscription.pending", record_of)
    billing.advance(store, invoice, off_session=off_session)
    if not _pending(store, subscription["id"]):
        return subscription
    expires_at = min(store.now() + PENDING_SECONDS_MAX, period_of(subscription)[1])
    store.wake(expires_at, "subscription.pending_update", subscription["id"])
    waiting = {
        **dict.fromkeys(("billing_cycle_anchor", "discount", "discounts")),
        **dict.fromkeys(("trial_end", "trial_from_plan")),
        "cancel_at_period_end": changes.get("cancel_at_period_end"),
        "expires_at": expires_at,
        "metadata": changes.get("metadata"),
        "subscription_items": deepcopy(change.items),
    }
    if change.restarts:
        waiting["billing_cycle_anchor"] = change.items[0]["current_period_start"]
    news = {"pending_update": waiting, "latest_invoice": invoice["id"]}
    return store.change("customer.subscription.updated", subscription, news)


def _billed(
    store: Store, subscription: Object, change: Change
) -> tuple[Object | None, dict[str, Debit]]:
    """Make a change's invoice items, and its invoice if it is billed now; return what it bills."""
    items = [
        invoice_items.keep(store, invoice_items.of_proration(store, subscription, line))
        for line in change.prorations
    ]
    lines = [
        invoice_items.of_item(item, line)
        for item, line in zip(items, change.prorations, strict=True)
    ]
    if not change.bills_now:
        return None, subscription_changes.debits_of(change, lines, None)
    invoice = new_invoice(store, subscription)
    debits = subscription_changes.debits_of(change, lines, invoice["id"])
    whole = full_lines(store, change.items) if change.restarts else []
    earlier = earlier_prorations(store, subscription, lines)
    billing.draft(store, invoice, [*earlier, *lines, *whole])
    for item, debit in zip(change.items, debits_of_lines(whole), strict=False):
        debits[item["id"]] = debit
    return invoice, debits


def new_invoice(store: Store, subscription: Object) -> Object:
    """Build the invoice of a change, without keeping it."""
    return billing.build(
        store,
        store.get("customer", subscription["customer"]),
        **billing.of_subscription(store, subscription),
        auto_advance=True,
        billing_reason="subscription_update",
        period_start=period_of(subscription)[0],
        period_end=store.now(),
    )


def earlier_prorations(store: Store, subscription: Object, lines: list[Object]) -> list[Object]:
    """Make the lines of the prorations that waited for an invoice before these lines."""
    present = {invoice_lines.item_of(line) for line in lines}
    waiting = invoice_items.pending(
        store, subscription["customer"], subscription["id"], subscription["currency"]
    )
    return [
        invoice_items.of_item(item)
        for item in waiting
        if item["proration"] and item["id"] not in present
    ]


def _settle_items(
    store: Store,
    subscription: Object,
    items: list[Object],
    debits: dict[str, Debit],
    *,
    restarts: bool,
) -> None:
    for item in items:
        if item["id"] in debits:
            remember(store, item, debits[item["id"]])
    if restarts:
        end = items[0]["current_period_end"]
        store.wake(end, "subscription.period_end", subscription["id"])


def _moved(subscription: Object, items: list[Object], *, restarts: bool) -> Object:
    new: Object = {"items": item_list(subscription["id"], deepcopy(items))}
    if restarts:
        new["billing_cycle_anchor"] = items[0]["current_period_start"]
        if subscription["cancel_at_period_end"]:
            new["cancel_at"] = items[0]["current_period_end"]
    return new


def _pending_id(subscription: str) -> str:
    return f"{subscription}/pending"


def _pending(store: Store, subscription: str) -> Object | None:
    known = store.has("subscription.pending", _pending_id(subscription))
    return store.get("subscription.pending", _pending_id(subscription)) if known else None


def drop_pending(store: Store, subscription: Object) -> None:
    """Give up the change that waits for its payment, if one does."""
    waiting = _pending(store, subscription["id"])
    if waiting:
        billing.void(store, store.get("invoice", waiting["invoice"]))


def _expire_due(store: Store, identifier: str) -> None:
    subscription = store.get("subscription", identifier)
    waiting = subscription["pending_update"]
    if waiting and waiting["expires_at"] <= store.now():
        drop_pending(store, subscription)


def _end_due(store: Store, identifier: str) -> None:
    """End a subscription on the day of its own that was chosen, unless that was taken back."""
    subscription = store.get("subscription", identifier)
    chosen = subscription["cancel_at"] == store.now() and not subscription["cancel_at_period_end"]
    if chosen and subscription["status"] not in ENDED:
        end(store, subscription, {})


def _follow(store: Store, happened: str, about: Object) -> None:
    """Follow what becomes of the invoice that a change waits for, and of the subscription."""
    if happened == "customer.subscription.deleted":
        drop_pending(store, about)
    if happened not in ("invoice.paid", "invoice.voided"):
        return
    owner = billing.subscription_of(about)
    waiting = _pending(store, owner) if owner else None
    if owner is None or waiting is None or waiting["invoice"] != about["id"]:
        return
    store.remove("subscription.pending", waiting["id"])
    subscription = store.get("subscription", owner)
    if happened == "invoice.paid":
        _apply_pending(store, subscription, waiting)
    else:
        store.change("customer.subscription.updated", subscription, {"pending_update": None})
        store.emit("customer.subscription.pending_update_expired", subscription)


def _apply_pending(store: Store, subscription: Object, waiting: Object) -> None:
    restarts: bool = waiting["restarts"]
    items: list[Object] = waiting["items"]
    if not restarts:
        start, end = period_of(subscription)
        for item in items:
            item.update(current_period_start=start, current_period_end=end)
    waited = subscription["pending_update"] is not None
    _settle_items(store, subscription, items, waiting["debits"], restarts=restarts)
    changes = {
        **waiting["changes"],
        **_moved(subscription, items, restarts=restarts),
        "latest_invoice": waiting["invoice"],
        "pending_update": None,
    }
    store.change("customer.subscription.updated", subscription, changes)
    if waited:
        store.emit("customer.subscription.pending_update_applied", subscription)


ROUTES = (Route("POST", "/v1/subscriptions/<identifier>", _UPDATE, update),)
