"""Invoice items: single amounts that wait for a customer's next invoice, or stand on a draft.

An item without an invoice is pending. Items of a subscription go on that subscription's invoices
only; an item may be changed or deleted until its invoice is finalized.
"""

from __future__ import annotations

from sandbox import invoice_lines, shapes
from sandbox.api import Route, retrieve
from sandbox.errors import ApiError, parameter_invalid, parameter_missing
from sandbox.lists import matching, page
from sandbox.parameters import (
    Kind,
    asked,
    boolean,
    clearable,
    currency,
    decimal_text,
    integer,
    listed,
    merged,
    metadata,
    record,
    text,
)
from sandbox.proration import Proration, full_amount, rounded
from sandbox.store import Object, Store, new_id

AMOUNT_MIN = -(10**8) + 1
_PERIOD = record({"end": integer(), "start": integer()}, required=["end", "start"])
_CHANGEABLE: dict[str, Kind] = {
    "amount": integer(AMOUNT_MIN, 10**8 - 1),
    "description": clearable(text),
    "discountable": boolean,
    "metadata": metadata,
    "period": _PERIOD,
    "quantity": integer(),
    "unit_amount_decimal": decimal_text,
}
_CREATE = asked(
    {
        **_CHANGEABLE,
        "currency": currency,
        "customer": text,
        "invoice": text,
        "pricing": record({"price": text}, required=["price"]),
        "subscription": text,
    },
    required=["customer"],
)


def create(store: Store, params: Object) -> Object:
    """Add an amount to a draft invoice, or leave it pending for the next one."""
    customer = store.get("customer", params["customer"], "customer")
    item = _built(store, customer, params)
    if "invoice" in params:
        _check_draft(store, params["invoice"], item)
        item["invoice"] = params["invoice"]
    store.add("invoiceitem", item)
    store.emit("invoiceitem.created", item)
    if item["invoice"]:
        invoice_lines.put(store, store.get("invoice", item["invoice"]), [of_item(item)])
    return item


def _built(store: Store, customer: Object, params: Object) -> Object:
    price = None
    if "pricing" in params:
        price = store.get("price", params["pricing"]["price"], "pricing[price]")
        if price["type"] != "one_time":
            raise parameter_invalid("pricing[price]", "The price must be one-time.")
    quantity = params.get("quantity", 1)
    unit = price["unit_amount_decimal"] if price else params.get("unit_amount_decimal")
    if unit is None and "amount" not in params:
        raise parameter_missing("amount")
    amount = rounded(full_amount({"unit_amount_decimal": unit}, quantity)) if unit else 0
    amount = params.get("amount", amount)
    owner = params.get("subscription")
    if owner and store.get("subscription", owner, "subscription")["customer"] != customer["id"]:
        raise parameter_invalid("subscription", "The subscription is another customer's.")
    name = store.get("product", price["product"])["name"] if price else None
    code = price["currency"] if price else params.get("currency")
    if code is None:
        raise parameter_missing("currency")
    return shapes.new(
        "invoiceitem",
        id=new_id("ii_1"),
        amount=amount,
        net_amount=amount,
        currency=code,
        customer=customer["id"],
        date=store.now(),
        description=params.get("description", name),
        discountable=params.get("discountable", True),
        metadata=merged({}, params.get("metadata", {})),
        parent=_parent(owner, None),
        period=params.get("period") or {"end": store.now(), "start": store.now()},
        pricing=invoice_lines.pricing(price, unit or str(amount)),
        quantity=quantity,
        quantity_decimal=str(quantity),
    )


def _parent(subscription: str | None, subscription_item: str | None) -> Object | None:
    if subscription is None:
        return None
    details: Object = {"subscription": subscription}
    if subscription_item:
        details["subscription_item"] = subscription_item
    return {"subscription_details": details, "type": "subscription_details"}


def of_proration(store: Store, subscription: Object, line: Proration) -> Object:
    """Build the item of one line of a change, without keeping it."""
    price, quantity = line.item["price"], line.item["quantity"]
    return shapes.new(
        "invoiceitem",
        id=new_id("ii_1"),
        amount=line.amount,
        net_amount=line.amount,
        currency=price["currency"],
        customer=subscription["customer"],
        date=store.now(),
        description=line.description,
        discountable=False,
        parent=_parent(subscription["id"], line.item["id"]),
        period={"end": line.end, "start": line.start},
        pricing=invoice_lines.pricing(price, price["unit_amount_decimal"]),
        proration=True,
        quantity=quantity,
        quantity_decimal=str(quantity),
    )


def of_item(item: Object, line: Proration | None = None) -> Object:
    """Make the invoice's line of an item."""
    credited = line.credited if line else None
    return invoice_lines.of_invoice_item(item, credited)


def keep(store: Store, item: Object) -> Object:
    """Keep a built item, and tell of it."""
    store.add("invoiceitem", item)
    store.emit("invoiceitem.created", item)
    return item


def pending(store: Store, customer: str, subscription: str | None, code: str) -> list[Object]:
    """Return what waits for an invoice of this subscription, or of none, oldest first."""
    owners = (None, subscription)
    return [
        item
        for item in store.newest_first("invoiceitem")[::-1]
        if item["invoice"] is None
        and item["customer"] == customer
        and item["currency"] == code
        and owner(item) in owners
    ]


def owner(item: Object) -> str | None:
    """Return the subscription an item belongs to, if any."""
    details = (item["parent"] or {}).get("subscription_details") or {}
    found: str | None = details.get("subscription")
    return found


def update(store: Store, params: Object, identifier: str) -> Object:
    """Change an item that is not on a finalized invoice."""
    item = store.get("invoiceitem", identifier)
    _check_open(store, item)
    changes = dict(params)
    unit = changes.pop("unit_amount_decimal", None)
    if unit is not None or ("quantity" in changes and "amount" not in changes):
        unit = unit or item["pricing"]["unit_amount_decimal"]
        merged_item = {**item, **changes}
        price = {"unit_amount_decimal": unit}
        changes["amount"] = rounded(full_amount(price, merged_item["quantity"]))
        changes["pricing"] = {**item["pricing"], "unit_amount_decimal": unit}
    if "amount" in changes:
        changes["net_amount"] = changes["amount"]
    if "quantity" in changes:
        changes["quantity_decimal"] = str(changes["quantity"])
    if "metadata" in changes:
        changes["metadata"] = merged(item["metadata"], changes["metadata"])
    store.change("invoiceitem.updated", item, changes)
    if item["invoice"]:
        invoice = store.get("invoice", item["invoice"])
        invoice_lines.replace(store, invoice, item["id"], of_item(item))
    return item


def delete(store: Store, _params: Object, identifier: str) -> Object:
    """Delete an item that is not on a finalized invoice."""
    item = store.get("invoiceitem", identifier)
    _check_open(store, item)
    store.remove("invoiceitem", identifier)
    store.emit("invoiceitem.deleted", item)
    if item["invoice"]:
        invoice_lines.replace(store, store.get("invoice", item["invoice"]), identifier, None)
    return {"id": identifier, "object": "invoiceitem", "deleted": True}


def _check_draft(store: Store, identifier: str, item: Object) -> None:
    invoice = store.get("invoice", identifier, "invoice")
    if invoice["status"] != "draft":
        message = "This invoice is no longer editable: only drafts take invoice items."
        raise ApiError(message, code="invoice_not_editable", param="invoice")
    for field in ("customer", "currency"):
        if invoice[field] != item[field]:
            raise parameter_invalid("invoice", f"The invoice's {field} is another.")


def _check_open(store: Store, item: Object) -> None:
    if item["invoice"] and store.get("invoice", item["invoice"])["status"] != "draft":
        message = "This invoice item is on an invoice that is no longer editable."
        raise ApiError(message, code="invoice_not_editable")


def list_all(store: Store, params: Object) -> Object:
    """List items by customer, invoice, whether they are pending, and age."""
    every = [{**item, "created": item["date"]} for item in store.newest_first("invoiceitem")]
    found = matching(every, params, ["customer", "invoice"])
    if "pending" in params:
        found = [item for item in found if (item["invoice"] is None) == params["pending"]]
    own = [store.get("invoiceitem", item["id"]) for item in found]
    return page("/v1/invoiceitems", own, params)


ROUTES = (
    Route("POST", "/v1/invoiceitems", _CREATE, create),
    retrieve("invoiceitem", "/v1/invoiceitems"),
    Route("POST", "/v1/invoiceitems/<identifier>", asked(_CHANGEABLE), update),
    Route("DELETE", "/v1/invoiceitems/<identifier>", asked({}), delete),
    Route(
        "GET",
        "/v1/invoiceitems",
        listed({"customer": text, "invoice": text, "pending": boolean}),
        list_all,
    ),
)
