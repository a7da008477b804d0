"""What a paid checkout leaves behind beside the charge: a subscription, or a paid invoice."""

from __future__ import annotations

from sandbox import billing, checkout_totals, invoice_items, subscriptions
from sandbox.errors import parameter_invalid
from sandbox.parameters import Kind, metadata, record, text
from sandbox.store import Object, Store

SUBSCRIPTION_DATA: Kind = record({"description": text, "metadata": metadata})
_NOT_WITH_SUBSCRIPTION = (
    "customer_creation",
    "invoice_creation",
    "payment_intent_data",
    "submit_type",
)


def check_mode(params: Object, items: list[Object]) -> None:
    """Refuse prices and parameters that do not fit the session's mode."""
    mode = params["mode"]
    recurring = [item["price"]["recurring"] for item in items if item["price"]["recurring"]]
    if mode != "subscription":
        if "subscription_data" in params:
            message = "You can only pass `subscription_data` in `subscription` mode."
            raise parameter_invalid("subscription_data", message)
        return
    for field in _NOT_WITH_SUBSCRIPTION:
        if field in params:
            message = f"You can not pass `{field}` in `subscription` mode."
            raise parameter_invalid(field, message)
    if not recurring:
        message = "You must provide at least one recurring price in `subscription` mode."
        raise parameter_invalid("line_items", message)
    if len({(one["interval"], one["interval_count"]) for one in recurring}) > 1:
        message = "All recurring prices must have the same billing interval."
        raise parameter_invalid("line_items", message)


def fulfil(store: Store, session: Object, order: Object, intent: Object | None) -> None:
    """Make what a session that has just been paid is for; the session shows it."""
    checkout_totals.settle(store, session, order)
    if session["mode"] == "subscription":
        _start_subscription(store, session, order, intent)
    elif session["mode"] == "payment":
        given = checkout_totals.discount_for(store, session, order)
        if session["invoice_creation"]["enabled"]:
            _make_invoice(store, session, order, intent, given)


def _start_subscription(
    store: Store, session: Object, order: Object, intent: Object | None
) -> None:
    data = order["subscription_data"]
    subscription = subscriptions.begin(
        store,
        store.get("customer", session["customer"]),
        order["items"],
        intent=intent,
        discount=lambda subscription: checkout_totals.discount_for(
            store, session, order, subscription=subscription
        ),
        automatic_tax={
            "disabled_reason": None,
            "enabled": session["automatic_tax"]["enabled"],
            "liability": session["automatic_tax"]["liability"],
        },
        default_payment_method=order["method"],
        description=data.get("description"),
        metadata={key: value for key, value in data.get("metadata", {}).items() if value},
        payment_settings={
            "payment_method_options": {
                "card": {"network": None, "request_three_d_secure": "automatic"}
            },
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
    )
    session.update(subscription=subscription["id"], invoice=subscription["latest_invoice"])


def _make_invoice(
    store: Store, session: Object, order: Object, intent: Object | None, given: list[str]
) -> None:
    data = session["invoice_creation"]["invoice_data"]
    customer = store.get("customer", session["customer"])
    items = [_item(store, session, one) for one in order["items"]]
    invoice = billing.build(
        store,
        customer,
        automatic_tax={**session["automatic_tax"], "disabled_reason": None},
        currency=session["currency"],
        discounts=given,
        custom_fields=data["custom_fields"],
        description=data["description"],
        footer=data["footer"],
        metadata=dict(data["metadata"]),
        period_start=store.now(),
        period_end=store.now(),
    )
    billing.draft(store, invoice, [invoice_items.of_item(item) for item in items])
    billing.finalize(store, invoice, intent)
    session["invoice"] = invoice["id"]


def _item(store: Store, session: Object, one: Object) -> Object:
    params = {
        "customer": session["customer"],
        "description": one["description"],
        "pricing": {"price": one["price"]["id"]},
        "quantity": one["quantity"],
    }
    return invoice_items.create(store, params)
