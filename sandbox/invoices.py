"""Invoices as the API offers them: made, read, changed, finalized, paid and taken back."""

from __future__ import annotations

from sandbox import billing, invoice_items, invoice_lines, invoice_payments
from sandbox.api import Route, retrieve
from sandbox.errors import ApiError, card_declined, parameter_invalid
from sandbox.lists import matching, page
from sandbox.parameters import (
    Kind,
    asked,
    boolean,
    choice,
    clearable,
    currency,
    each,
    integer,
    listed,
    merged,
    metadata,
    record,
    text,
)
from sandbox.store import Object, Store

STATUSES = ("draft", "open", "paid", "uncollectible", "void")
_CHANGEABLE: dict[str, Kind] = {
    "auto_advance": boolean,
    "collection_method": choice("charge_automatically", "send_invoice"),
    "custom_fields": clearable(each(record({"name": text, "value": text}, ["name", "value"]), 4)),
    "days_until_due": integer(),
    "default_payment_method": text,
    "description": clearable(text),
    "footer": clearable(text),
    "metadata": metadata,
    "statement_descriptor": text,
}


def create(store: Store, params: Object) -> Object:
    """Make a draft for a customer, with what is pending where that is asked for."""
    customer = store.get("customer", params["customer"], "customer")
    fields = {key: params[key] for key in _CHANGEABLE if key in params}
    days = fields.pop("days_until_due", None)
    fields["metadata"] = merged({}, fields.get("metadata", {}))
    fields["due_date"] = None if days is None else store.now() + days * billing.DAY_SECONDS
    pending: list[Object] = []
    owner = params.get("subscription")
    subscription = store.get("subscription", owner, "subscription") if owner else None
    code = params.get("currency") or (subscription or customer)["currency"] or "usd"
    if params.get("pending_invoice_items_behavior", "exclude") == "include":
        pending = invoice_items.pending(store, customer["id"], owner, code)
    if "automatic_tax" in params:
        untold = dict.fromkeys(("disabled_reason", "provider", "status"))
        fields["automatic_tax"] = {
            **untold,
            "liability": {"type": "self"},
            **params["automatic_tax"],
        }
    if subscription:
        fields = {**billing.of_subscription(store, subscription), **fields}
    invoice = billing.build(store, customer, **{**fields, "currency": code})
    invoice.update(period_start=store.now(), period_end=store.now())
    lines = [invoice_items.of_item(item) for item in pending]
    return billing.draft(store, invoice, lines)


def update(store: Store, params: Object, identifier: str) -> Object:
    """Change a draft, or what may still be changed on an open invoice."""
    invoice = store.get("invoice", identifier)
    changes = dict(params)
    fixed = changes.keys() - {"auto_advance", "metadata", "default_payment_method"}
    if invoice["status"] != "draft" and fixed:
        message = "Finalized invoices can't be updated in this way."
        raise ApiError(message, code="invoice_not_editable", param=min(fixed))
    days = changes.pop("days_until_due", None)
    if days is not None:
        changes["due_date"] = invoice["created"] + days * billing.DAY_SECONDS
    if "metadata" in changes:
        changes["metadata"] = merged(invoice["metadata"], changes["metadata"])
    turned_on = changes.get("auto_advance") and not invoice["auto_advance"]
    if turned_on and invoice["status"] == "draft":
        due = store.now() + billing.FINALIZED_AFTER_SECONDS
        changes.update(automatically_finalizes_at=due, next_payment_attempt=due)
        store.wake(due, "invoice.finalization", identifier)
    return store.change("invoice.updated", invoice, changes)


def delete(store: Store, _params: Object, identifier: str) -> Object:
    """Delete a draft that is not a subscription's; its items are pending again."""
    invoice = store.get("invoice", identifier)
    if invoice["status"] != "draft" or billing.subscription_of(invoice):
        raise ApiError("You can only delete draft invoices that are not a subscription's.")
    for line in invoice_lines.all_of(store, invoice):
        item = invoice_lines.item_of(line)
        if item:
            store.get("invoiceitem", item)["invoice"] = None
    store.remove("invoice", identifier)
    store.emit("invoice.deleted", invoice)
    return {"id": identifier, "object": "invoice", "deleted": True}


def list_all(store: Store, params: Object) -> Object:
    """List invoices by customer, subscription, status, how they are collected, and age."""
    found = matching(
        store.newest_first("invoice"), params, ["customer", "status", "collection_method"]
    )
    if "subscription" in params:
        wanted = params["subscription"]
        found = [one for one in found if billing.subscription_of(one) == wanted]
    return page("/v1/invoices", found, params)


def list_lines(store: Store, params: Object, identifier: str) -> Object:
    """List all lines of an invoice."""
    lines = invoice_lines.all_of(store, store.get("invoice", identifier))
    return page(f"/v1/invoices/{identifier}/lines", lines, params)


def finalize(store: Store, params: Object, identifier: str) -> Object:
    """Open a draft; if it advances by itself, it is charged soon after."""
    invoice = store.get("invoice", identifier)
    if "auto_advance" in params and invoice["status"] == "draft":
        invoice["auto_advance"] = params["auto_advance"]
    billing.finalize(store, invoice)
    charged = invoice["collection_method"] == "charge_automatically"
    if invoice["status"] == "open" and invoice["auto_advance"] and charged:
        billing.charge_soon(store, invoice)
    return invoice


def pay(store: Store, params: Object, identifier: str) -> Object:
    """Pay an invoice now; a card that is declined is raised, and leaves it open."""
    invoice = store.get("invoice", identifier)
    if invoice["status"] == "draft":
        billing.finalize(store, invoice)
        if invoice["status"] == "paid":
            return invoice
    if invoice["status"] not in ("open", "uncollectible"):
        word = "already paid" if invoice["status"] == "paid" else invoice["status"]
        raise ApiError(f"Invoice is {word}", code="invoice_not_payable")
    if params.get("paid_out_of_band"):
        billing.pay_outside(store, invoice)
        return invoice
    method = None
    if "payment_method" in params:
        method = store.get("payment_method", params["payment_method"], "payment_method")
    elif billing.method_of(store, invoice) is None:
        message = "There is no default payment method to charge. Give one, or set a default."
        raise ApiError(message)
    if method and method["customer"] != invoice["customer"]:
        message = "The payment method does not belong to the invoice's customer."
        raise parameter_invalid("payment_method", message)
    outcome = billing.collect(
        store,
        invoice,
        method=method,
        automatic=False,
        off_session=params.get("off_session", True),
    )
    if outcome not in ("succeeded", "processing"):
        raise refusal(store, invoice, outcome)
    return invoice


def refusal(store: Store, invoice: Object, outcome: str) -> ApiError:
    """Say why an invoice could not be paid."""
    if outcome == "requires_action":
        return ApiError(
            "This payment requires additional user action before it can be completed "
            "successfully. Complete it on the invoice's hosted page.",
            status=402,
            kind="card_error",
            code="invoice_payment_intent_requires_action",
        )
    error = (invoice_payments.intent_of(store, invoice) or {}).get("last_payment_error") or {}
    message = error.get("message") or "Your card was declined."
    return card_declined(message, error.get("decline_code") or "generic_decline")


def void(store: Store, _params: Object, identifier: str) -> Object:
    """Take an open invoice back."""
    return billing.void(store, store.get("invoice", identifier))


def give_up(store: Store, _params: Object, identifier: str) -> Object:
    """Mark an open invoice as uncollectible."""
    return billing.give_up(store, store.get("invoice", identifier))


ROUTES = (
    Route(
        "POST",
        "/v1/invoices",
        asked(
            {
                **_CHANGEABLE,
                "automatic_tax": record({"enabled": boolean}, ["enabled"]),
                "currency": currency,
                "customer": text,
                "pending_invoice_items_behavior": choice("exclude", "include"),
                "subscription": text,
            },
            required=["customer"],
        ),
        create,
    ),
    retrieve("invoice", "/v1/invoices"),
    Route("POST", "/v1/invoices/<identifier>", asked(_CHANGEABLE), update),
    Route("DELETE", "/v1/invoices/<identifier>", asked({}), delete),
    Route(
        "GET",
        "/v1/invoices",
        listed(
            {
                "collection_method": choice("charge_automatically", "send_invoice"),
                "customer": text,
                "status": choice(*STATUSES),
                "subscription": text,
            }
        ),
        list_all,
    ),
    Route("GET", "/v1/invoices/<identifier>/lines", listed(), list_lines),
    Route("POST", "/v1/invoices/<identifier>/finalize", asked({"auto_advance": boolean}), finalize),
    Route(
        "POST",
        "/v1/invoices/<identifier>/pay",
        asked({"off_session": boolean, "paid_out_of_band": boolean, "payment_method": text}),
        pay,
    ),
    Route("POST", "/v1/invoices/<identifier>/void", asked({}), void),
    Route("POST", "/v1/invoices/<identifier>/mark_uncollectible", asked({}), give_up),
)
