"""Customers' tax ids: the numbers that their invoices carry."""

from __future__ import annotations

import re

from sandbox import shapes
from sandbox.api import Route
from sandbox.errors import parameter_invalid, resource_missing
from sandbox.lists import matching, page
from sandbox.parameters import asked, choice, listed, text
from sandbox.store import Object, Store, new_id

# Each type that is taken: how it is called, and the form its value has.
TYPES = {
    "eu_vat": ("EU VAT number", r"[A-Z]{2}[0-9A-Z]{8,12}"),
    "gb_vat": ("UK VAT number", r"GB[0-9]{9}([0-9]{3})?"),
    "us_ein": ("US EIN", r"[0-9]{2}-[0-9]{7}"),
    "ch_vat": ("Swiss VAT number", r"CHE-[0-9]{3}\.[0-9]{3}\.[0-9]{3} (MWST|TVA|IVA)"),
    "au_abn": ("Australian business number", r"[0-9]{11}"),
    "ca_gst_hst": ("Canadian GST/HST number", r"[0-9]{9}RT[0-9]{4}"),
    "in_gst": ("Indian GST number", r"[0-9]{2}[A-Z]{5}[0-9]{4}[A-Z][1-9A-Z]Z[0-9A-Z]"),
}
_OF_A_COUNTRY = {"gb_vat", "us_ein", "ch_vat", "au_abn", "ca_gst_hst", "in_gst"}


def create(store: Store, params: Object, customer: str) -> Object:
    """Give a customer a tax id; one whose form is not its type's is refused."""
    store.get("customer", customer)
    kind: str = params["type"]
    value: str = params["value"].strip()
    if not re.fullmatch(TYPES[kind][1], value):
        message = f"Invalid value for {kind}: this does not look like one."
        raise parameter_invalid("value", message, "tax_id_invalid")
    verified = kind in ("eu_vat", "gb_vat", "au_abn")
    tax_id = shapes.new(
        "tax_id",
        id=new_id("txi_1"),
        country=kind[:2].upper() if kind in _OF_A_COUNTRY else value[:2],
        created=store.now(),
        customer=customer,
        owner={"customer": customer, "type": "customer"},
        type=kind,
        value=value,
        verification={
            "status": "pending" if verified else "unavailable",
            "verified_address": None,
            "verified_name": None,
        },
    )
    store.add("tax_id", tax_id)
    store.emit("customer.tax_id.created", tax_id)
    return tax_id


def retrieve_one(store: Store, _params: Object, customer: str, identifier: str) -> Object:
    """Return one of a customer's tax ids."""
    tax_id = store.get("tax_id", identifier)
    if tax_id["customer"] != customer:
        raise resource_missing("tax_id", identifier, None)
    return tax_id


def delete(store: Store, _params: Object, customer: str, identifier: str) -> Object:
    """Take a tax id away."""
    tax_id = retrieve_one(store, {}, customer, identifier)
    store.remove("tax_id", identifier)
    store.emit("customer.tax_id.deleted", tax_id)
    return {"id": identifier, "object": "tax_id", "deleted": True}


def list_all(store: Store, params: Object, customer: str) -> Object:
    """List a customer's tax ids."""
    store.get("customer", customer)
    found = matching(store.newest_first("tax_id"), {**params, "customer": customer}, ["customer"])
    return page(f"/v1/customers/{customer}/tax_ids", found, params)


ROUTES = (
    Route(
        "POST",
        "/v1/customers/<customer>/tax_ids",
        asked({"type": choice(*TYPES), "value": text}, required=["type", "value"]),
        create,
    ),
    Route("GET", "/v1/customers/<customer>/tax_ids/<identifier>", asked({}), retrieve_one),
    Route("DELETE", "/v1/customers/<customer>/tax_ids/<identifier>", asked({}), delete),
    Route("GET", "/v1/customers/<customer>/tax_ids", listed(), list_all),
)
