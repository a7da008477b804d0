"""Every object has every field of the real one, and fields of the real one's types."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe
from conftest import KEY, REPO_ROOT, Shop

DATA = Path(os.environ.get("CLEARMETER_DATA", REPO_ROOT.parent / "shared" / "data"))
OBJECTS = DATA / "stripe" / "objects"
PATHS = {
    "product": "products",
    "price": "prices",
    "customer": "customers",
    "checkout.session": "checkout/sessions",
    "payment_intent": "payment_intents",
    "charge": "charges?expand[]=data.refunds",
    "event": "events",
}
# Objects that are expanded, or filled in by whoever uses the API: their keys are not fields.
FREE = {"metadata", "object", "source", "payment_method_options", "wallet_options"}


def _made(shop: Shop, path: str) -> dict[str, Any]:
    shop.stripe.v1.customers.create({"name": "Ana", "address": {"city": "Bonn"}})
    session = shop.session(payment_intent_data={"setup_future_usage": "off_session"})
    shop.pay(str(session.url))
    answer = requests.get(f"{shop.url}/v1/{path}", auth=(KEY, ""), timeout=5).json()
    made: dict[str, Any] = answer["data"][0] if answer["object"] == "list" else answer
    return made


def _real(kind: str) -> dict[str, Any]:
    file = OBJECTS / f"{kind}.json"
    if not file.is_file():
        pytest.skip(f"the real objects are not here: {file} is missing (see CLEARMETER_DATA)")
    real: dict[str, Any] = json.loads(file.read_text())
    return real


def _differences(ours: Any, real: Any, where: str = "") -> list[str]:
    if isinstance(ours, dict) and isinstance(real, dict) and ours and real:
        missing = [f"{where}.{key} is missing" for key in real.keys() - ours.keys()]
        shared = [key for key in real.keys() & ours.keys() if key not in FREE]
        below = [_differences(ours[key], real[key], f"{where}.{key}") for key in shared]
        return missing + [line for lines in below for line in lines]
    if ours is None or real is None or type(ours) is type(real):
        return []
    return [f"{where} is {type(ours).__name__}, not {type(real).__name__}"]


@pytest.mark.parametrize("kind", PATHS)
def test_an_object_has_every_field_of_the_real_one(shop: Shop, kind: str) -> None:
    real = _real(kind)
    ours = _made(shop, PATHS[kind])
    assert _differences(ours, real, kind) == []
    assert ours["object"] == kind
    assert list(ours.keys() - real.keys()) == []


@pytest.mark.parametrize(
    ("kind", "path", "field"),
    [
        ("payment_method", "payment_methods", "payment_method"),
        ("balance_transaction", "balance_transactions", "balance_transaction"),
    ],
)
def test_what_hangs_on_a_charge_has_every_field_of_the_real_one(
    shop: Shop, kind: str, path: str, field: str
) -> None:
    real = _real(kind)
    charge = _made(shop, "charges")
    ours = requests.get(f"{shop.url}/v1/{path}/{charge[field]}", auth=(KEY, ""), timeout=5).json()
    assert _differences(ours, real, kind) == []


@pytest.mark.parametrize("kind", ["refund", "dispute", "setup_intent", "payment_method"])
def test_what_comes_after_a_payment_has_every_field_of_the_real_one(shop: Shop, kind: str) -> None:
    real = _real(kind)
    customer, method = shop.saved()
    if kind == "refund":
        shop.stripe.v1.refunds.create({"charge": shop.charge().id})
    elif kind == "dispute":
        shop.control("disputes", charge=shop.charge().id, status="warning_needs_response")
    elif kind == "setup_intent":
        params = {"customer": customer, "payment_method": method, "confirm": True}
        shop.stripe.v1.setup_intents.create(params)
    answer = requests.get(f"{shop.url}/v1/{kind}s", auth=(KEY, ""), timeout=5).json()
    ours = answer["data"][0]
    assert _differences(ours, real, kind) == []
    assert ours["object"] == kind
    known_by_the_library = {"customer_account"}
    assert ours.keys() - real.keys() <= known_by_the_library


def test_a_link_to_the_portal_has_every_field_of_the_real_one(shop: Shop) -> None:
    real = _real("billing_portal.session")
    customer, _ = shop.saved()
    after = {"type": "redirect", "redirect": {"return_url": "http://shop.example/"}}
    flow = {"type": "payment_method_update", "after_completion": after}
    session = shop.stripe.v1.billing_portal.sessions.create(
        {"customer": customer, "flow_data": flow}
    )
    assert _differences(session.to_dict(), real, "billing_portal.session") == []


def test_a_line_of_a_session_has_the_fields_the_library_knows(shop: Shop) -> None:
    _made(shop, "charges")
    session = shop.stripe.v1.checkout.sessions.list().data[0]
    item = shop.stripe.v1.checkout.sessions.line_items.list(session.id).data[0]
    only_expanded = {"discounts", "taxes"}
    known = {name for name in stripe.LineItem.__annotations__ if name.islower()} - only_expanded
    assert known == set(item.to_dict())
