"""Subscriptions: what a customer pays for again and again.

All items of a subscription share one billing period. What was last billed for each item is kept
beside it, since that is what a change within the period gives back.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from sandbox import billing, invoice_items, invoice_lines, shapes
from sandbox.api import Route, retrieve
from sandbox.errors import ApiError, resource_missing
from sandbox.invoice_totals import net_of
from sandbox.lists import envelope, matching, page
from sandbox.parameters import asked, boolean, choice, created, listed, record, text
from sandbox.periods import end_of_period
from sandbox.proration import Debit, Proration, credit
from sandbox.store import Object, Store, new_id

STATUSES = (
    "active",
    "past_due",
    "unpaid",
    "canceled",
    "incomplete",
    "incomplete_expired",
    "trialing",
    "paused",
)
ENDED = ("canceled", "incomplete_expired")
FEEDBACK = choice(
    "customer_service",
    "low_quality",
    "missing_features",
    "other",
    "switched_service",
    "too_complex",
    "too_expensive",
    "unused",
)
CANCELLATION = record({"comment": text, "feedback": FEEDBACK})


def begin(
    store: Store,
    customer: Object,
    wanted: list[Object],
    *,
    intent: Object | None,
    discount: Callable[[str], list[str]],
    **fields: object,
) -> Object:
    """Start a subscription, with its first invoice, which the intent given has paid already.

    ``wanted`` are items as a session shows them: recurring ones, and what is paid only once.
    ``discount`` grants the discounts of the subscription, whose id it is given.
    """
    start = store.now()
    recurring = [one for one in wanted if one["price"]["recurring"]]
    identifier = new_id("sub_1")
    end = end_of_period(start, recurring[0]["price"]["recurring"])
    invoice = billing.build(store, customer)
    items = [
        make_item(store, identifier, one["price"], one["quantity"], (start, end))
        for one in recurring
    ]
    subscription = shapes.new(
        "subscription",
        id=identifier,
        billing_cycle_anchor=start,
        created=start,
        currency=items[0]["price"]["currency"],
        customer=customer["id"],
        items=item_list(identifier, items),
        latest_invoice=invoice["id"],
        start_date=start,
        **fields,
    )
    store.add("subscription", subscription)
    if customer["currency"] is None:
        customer["currency"] = subscription["currency"]
    subscription["discounts"] = discount(identifier)
    store.emit("customer.subscription.created", subscription)
    once = [_paid_once(store, subscription, one) for one in wanted if not one["price"]["recurring"]]
    invoice.update(
        **billing.of_subscription(store, subscription),
        billing_reason="subscription_create",
        period_start=start,
        period_end=start,
    )
    bill(store, subscription, invoice, once)
    billing.finalize(store, invoice, intent)
    store.wake(end, "subscription.period_end", identifier)
    return subscription


def _paid_once(store: Store, subscription: Object, one: Object) -> Object:
    params = {
        "customer": subscription["customer"],
        "pricing": {"price": one["price"]["id"]},
        "quantity": one["quantity"],
        "subscription": subscription["id"],
    }
    return invoice_items.create(store, params)


def bill(store: Store, subscription: Object, invoice: Object, extra: list[Object]) -> Object:
    """Draft an invoice for the period the items are in now, with these invoice items too."""
    items = subscription["items"]["data"]
    lines = full_lines(store, items)
    billing.draft(store, invoice, [invoice_items.of_item(one) for one in extra] + lines)
    for item, debit in zip(items, debits_of_lines(lines), strict=True):
        remember(store, item, debit)
    return invoice


def full_lines(store: Store, items: list[Object]) -> list[Object]:
    """Make the lines that bill items for the whole period they are in."""
    return [
        invoice_lines.of_subscription_item(
            store, item, item["current_period_start"], item["current_period_end"]
        )
        for item in items
    ]


def debits_of_lines(lines: list[Object]) -> list[Debit]:
    """Return what these lines bill, less what is taken off; they are on an invoice."""
    return [
        Debit(
            net_of(line),
            line["period"]["start"],
            line["period"]["end"],
            line["invoice"],
            (line["id"],),
        )
        for line in lines
    ]


def make_item(
    store: Store, subscription: str, price: Object, quantity: int, period: tuple[int, int]
) -> Object:
    """Make an item of a price, in a period."""
    return shapes.new(
        "subscription_item",
        id=new_id("si_", 14),
        created=store.now(),
        current_period_start=period[0],
        current_period_end=period[1],
        plan=plan_of(price),
        price=deepcopy(price),
        quantity=quantity,
        subscription=subscription,
    )


def plan_of(price: Object) -> Object:
    """Tell a price as older versions told it."""
    recurring = price["recurring"]
    kept = ("active", "billing_scheme", "created", "currency", "id", "nickname", "product")
    return shapes.new(
        "plan",
        amount=price["unit_amount"],
        amount_decimal=price["unit_amount_decimal"],
        metadata=dict(price["metadata"]),
        **{field: price[field] for field in kept},
        **{
            field: recurring[field]
            for field in ("interval", "interval_count", "meter", "usage_type", "trial_period_days")
        },
    )


def item_list(subscription: str, items: list[Object]) -> Object:
    """Wrap a subscription's items."""
    return envelope(f"/v1/subscription_items?subscription={subscription}", items)


def period_of(subscription: Object) -> tuple[int, int]:
    """Return the period a subscription is in."""
    first = subscription["items"]["data"][0]
    return first["current_period_start"], first["current_period_end"]


def _debit_id(item: Object) -> str:
    return f"{item['id']}/debit"


def remember(store: Store, item: Object, debit: Debit) -> None:
    """Keep what was last billed for an item."""
    store.add("subscription.debit", {"id": _debit_id(item), "debit": debit})


def last_debit(store: Store, item: Object) -> Debit | None:
    """Return what was last billed for an item, if anything was."""
    if not store.has("subscription.debit", _debit_id(item)):
        return None
    debit: Debit = store.get("subscription.debit", _debit_id(item))["debit"]
    return debit


def credits_for(store: Store, items: list[Object], at: int) -> list[Proration]:
    """Return what gives back the time left of these items."""
    given = []
    for item in items:
        billed = last_debit(store, item)
        if billed and billed.start <= at < billed.end:
            name = store.get("product", item["price"]["product"])["name"]
            given.append(credit(item, billed, name, at))
    return given


def cancel(store: Store, params: Object, identifier: str) -> Object:
    """End a subscription now; what was paid is given back only where that is asked for."""
    subscription = store.get("subscription", identifier)
    if subscription["status"] in ENDED:
        raise resource_missing("subscription", identifier, None)
    if params.get("prorate"):
        for line in credits_for(store, subscription["items"]["data"], store.now()):
            invoice_items.keep(store, invoice_items.of_proration(store, subscription, line))
    if params.get("invoice_now"):
        bill_pending(store, subscription, reason="subscription_update", at_once=True)
    elif not params.get("prorate"):
        _drop_prorations(store, subscription)
    details = {**params.get("cancellation_details", {}), "reason": "cancellation_requested"}
    return end(store, subscription, details)


def bill_pending(store: Store, subscription: Object, *, reason: str, at_once: bool) -> None:
    """Invoice what is pending for a subscription that comes to its end, if anything is."""
    found = invoice_items.pending(
        store, subscription["customer"], subscription["id"], subscription["currency"]
    )
    if not found:
        return
    start, stop = period_of(subscription)
    invoice = billing.build(
        store,
        store.get("customer", subscription["customer"]),
        **billing.of_subscription(store, subscription),
        auto_advance=True,
        billing_reason=reason,
        period_start=start,
        period_end=min(stop, store.now()),
    )
    billing.draft(store, invoice, [invoice_items.of_item(item) for item in found])
    subscription["latest_invoice"] = invoice["id"]
    if at_once:
        billing.advance(store, invoice)


def _drop_prorations(store: Store, subscription: Object) -> None:
    pending = invoice_items.pending(
        store, subscription["customer"], subscription["id"], subscription["currency"]
    )
    for item in pending:
        if item["proration"]:
            invoice_items.delete(store, {}, item["id"])


def end(store: Store, subscription: Object, details: Object) -> Object:
    """End a subscription; its open invoices are no longer collected by themselves."""
    before = {key: subscription[key] for key in ("canceled_at", "cancellation_details")}
    subscription.update(
        status="canceled",
        canceled_at=before["canceled_at"] or store.now(),
        cancellation_details={**before["cancellation_details"], **details},
        ended_at=store.now(),
        pending_update=None,
    )
    for invoice in store.newest_first("invoice"):
        if (
            billing.subscription_of(invoice) == subscription["id"]
            and invoice["status"] == "open"
            and invoice["auto_advance"]
        ):
            invoice.update(auto_advance=False, next_payment_attempt=None)
    store.emit("customer.subscription.deleted", subscription)
    return subscription


def list_all(store: Store, params: Object) -> Object:
    """List subscriptions by customer, status, price, how they are collected, and age.

    Without a status, those that have ended are left out.
    """
    found = matching(store.newest_first("subscription"), params, ["customer", "collection_method"])
    status = params.get("status")
    if status is None:
        found = [one for one in found if one["status"] not in ENDED]
    elif status == "ended":
        found = [one for one in found if one["status"] in ENDED]
    elif status != "all":
        found = [one for one in found if one["status"] == status]
    if "price" in params:
        found = [one for one in found if params["price"] in _prices(one)]
    for field in ("current_period_start", "current_period_end"):
        found = [one for one in found if _in_interval(one, field, params.get(field, {}))]
    return page("/v1/subscriptions", found, params)


def _prices(subscription: Object) -> list[str]:
    return [item["price"]["id"] for item in subscription["items"]["data"]]


def _in_interval(subscription: Object, field: str, interval: dict[str, int]) -> bool:
    instant = subscription["items"]["data"][0][field]
    return bool(matching([{"created": instant}], {"created": interval}, []))


def _list_items(store: Store, params: Object) -> Object:
    subscription = store.get("subscription", params["subscription"], "subscription")
    items = subscription["items"]["data"]
    return page(subscription["items"]["url"], items, params)


def _find_item(store: Store, _params: Object, identifier: str) -> Object:
    for subscription in store.newest_first("subscription"):
        for item in subscription["items"]["data"]:
            if item["id"] == identifier:
                found: Object = item
                return found
    raise resource_missing("subscription_item", identifier, None)


def check_running(subscription: Object) -> None:
    """Refuse a change to a subscription that has ended."""
    if subscription["status"] in ENDED:
        message = "A canceled subscription can only update its cancellation_details and metadata."
        raise ApiError(message)


ROUTES = (
    retrieve("subscription", "/v1/subscriptions"),
    Route(
        "GET",
        "/v1/subscriptions",
        listed(
            {
                "collection_method": choice("charge_automatically", "send_invoice"),
                "current_period_end": created,
                "current_period_start": created,
                "customer": text,
                "price": text,
                "status": choice(*STATUSES, "all", "ended"),
            }
        ),
        list_all,
    ),
    Route(
        "DELETE",
        "/v1/subscriptions/<identifier>",
        asked({"cancellation_details": CANCELLATION, "invoice_now": boolean, "prorate": boolean}),
        cancel,
    ),
    Route(
        "GET",
        "/v1/subscription_items",
        listed({"subscription": text}),
        _list_items,
    ),
    Route("GET", "/v1/subscription_items/<identifier>", asked({}), _find_item),
)
