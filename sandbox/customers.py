"""Customers: who pays."""

from __future__ import annotations

import secrets

from sandbox import shapes
from sandbox.api import Route, retrieve
from sandbox.errors import parameter_invalid
from sandbox.lists import matching, page
from sandbox.parameters import (
    Kind,
    asked,
    choice,
    clearable,
    each,
    email,
    integer,
    listed,
    merged,
    metadata,
    record,
    text,
)
from sandbox.store import Object, Store, new_id

_ADDRESS_FIELDS = ("city", "country", "line1", "line2", "postal_code", "state")
_OPTIONAL_TEXT = clearable(text)
_ADDRESS_PARTS = record(dict.fromkeys(_ADDRESS_FIELDS, _OPTIONAL_TEXT))


def _address(raw: object, name: str) -> Object:
    given: Object = _ADDRESS_PARTS(raw, name)
    return {field: given.get(field) for field in _ADDRESS_FIELDS}


FIELDS: dict[str, Kind] = {
    "address": clearable(_address),
    "balance": integer(-(2**53)),
    "description": _OPTIONAL_TEXT,
    "email": clearable(email),
    "invoice_prefix": text,
    "invoice_settings": record(
        {"default_payment_method": _OPTIONAL_TEXT, "footer": _OPTIONAL_TEXT}
    ),
    "metadata": metadata,
    "name": _OPTIONAL_TEXT,
    "next_invoice_sequence": integer(1),
    "phone": _OPTIONAL_TEXT,
    "preferred_locales": each(text),
    "shipping": clearable(
        record(
            {"address": _address, "name": text, "phone": _OPTIONAL_TEXT},
            required=["address", "name"],
        )
    ),
    "tax_exempt": choice("none", "exempt", "reverse"),
}


def create(store: Store, params: Object) -> Object:
    """Make a customer."""
    customer = shapes.new(
        "customer",
        id=new_id("cus_", 14),
        created=store.now(),
        invoice_prefix=secrets.token_hex(4).upper(),
    )
    customer.update(_changes(customer, params))
    store.add("customer", customer)
    store.emit("customer.created", customer)
    return customer


def update(store: Store, params: Object, identifier: str) -> Object:
    """Change a customer."""
    customer = store.get("customer", identifier)
    _check_default(store, customer, params)
    return store.change("customer.updated", customer, _changes(customer, params))


def _check_default(store: Store, customer: Object, params: Object) -> None:
    default = params.get("invoice_settings", {}).get("default_payment_method")
    if default and (
        not store.has("payment_method", default)
        or store.get("payment_method", default)["customer"] != customer["id"]
    ):
        raise parameter_invalid(
            "invoice_settings[default_payment_method]",
            f"The customer does not have a payment method with the ID {default}. The payment "
            "method must be attached to the customer.",
            "resource_missing",
        )


def _changes(customer: Object, params: Object) -> Object:
    changes = dict(params)
    if "metadata" in params:
        changes["metadata"] = merged(customer["metadata"], params["metadata"])
    if "invoice_settings" in params:
        changes["invoice_settings"] = {
            **customer["invoice_settings"],
            **params["invoice_settings"],
        }
    return changes


def list_all(store: Store, params: Object) -> Object:
    """List customers, by e-mail where one is given (Stripe compares it letter for letter)."""
    found = matching(store.newest_first("customer"), params, ["email"])
    return page("/v1/customers", found, params)


ROUTES = (
    Route("POST", "/v1/customers", asked(FIELDS), create),
    retrieve("customer", "/v1/customers"),
    Route("POST", "/v1/customers/<identifier>", asked(FIELDS), update),
    Route("GET", "/v1/customers", listed({"email": text}), list_all),
)
