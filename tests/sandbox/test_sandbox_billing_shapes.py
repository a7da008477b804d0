"""The objects of recurring billing have every field of the real ones, of the same types."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from conftest import KEY
from seller import Seller, seller
from test_sandbox_shapes import _differences, _real

__all__ = ["seller"]

# What is said in another way, or was never set: a discount's or a trial's own objects.
SAID_OTHERWISE = {"payment_method_options", "pending_update"}


def _made(seller: Seller, path: str) -> dict[str, Any]:
    subscription = seller.subscribe()
    seller.card_fails_from_now_on(subscription)
    seller.change(subscription, seller.pro)
    answer = requests.get(f"{seller.shop.url}/v1/{path}", auth=(KEY, ""), timeout=5).json()
    made: dict[str, Any] = answer["data"][0]
    return made


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("subscription", "subscriptions"),
        ("invoice", "invoices"),
        ("invoiceitem", "invoiceitems"),
        ("invoice_payment", "invoice_payments"),
    ],
)
def test_an_object_of_billing_has_every_field_of_the_real_one(
    seller: Seller, kind: str, path: str
) -> None:
    real = _real(kind)
    ours = _made(seller, path)
    assert [
        line
        for line in _differences(ours, real, kind)
        if not any(f".{name}." in line for name in SAID_OTHERWISE)
    ] == []
    assert ours["object"] == kind
    assert list(ours.keys() - real.keys()) == []


def test_the_items_and_lines_have_every_field_of_the_real_ones(seller: Seller) -> None:
    item = _made(seller, "subscriptions")["items"]["data"][0]
    assert _differences(item, _real("subscription_item")) == []
    invoice = seller.v1.invoices.list().data[0]
    line = seller.v1.invoices.line_items.list(invoice.id).data[0].to_dict()
    assert _differences(line, _real("line_item")) == []


def test_a_coupon_has_every_field_of_the_real_one(seller: Seller) -> None:
    made = seller.v1.coupons.create({"percent_off": 25.5, "duration": "forever"}).to_dict()
    real = _real("coupon")
    assert _differences(made, real) == []
    assert made.keys() == real.keys()
