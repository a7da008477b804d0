"""Discounts: a coupon as one customer has it, on a subscription or on one payment.

A discount runs for one invoice, for some months, or for ever. What it takes off is spread over
the lines so that the parts add up to the whole, to the minor unit.
"""

from __future__ import annotations

from decimal import Decimal

from sandbox import coupons, shapes
from sandbox.periods import end_of_period
from sandbox.proration import rounded
from sandbox.store import Object, Store, new_id


def grant(store: Store, coupon: Object, code: str | None, **owner: object) -> Object:
    """Give a customer a coupon, redeemed by a promotion code or not."""
    start = store.now()
    end = None
    if coupon["duration"] == "repeating":
        months = {"interval": "month", "interval_count": coupon["duration_in_months"]}
        end = end_of_period(start, months)
    discount = shapes.new(
        "discount",
        id=new_id("di_1"),
        end=end,
        promotion_code=code,
        source={"coupon": coupon["id"], "type": "coupon"},
        start=start,
        **owner,
    )
    coupons.redeem(store, coupon, code)
    store.add("discount", discount)
    # The coupon as it was granted: what becomes of it later does not change the discount.
    store.add("discount.terms", {**coupon, "id": _terms_id(discount["id"]), "used": False})
    store.emit("customer.discount.created", discount)
    return discount


def _terms_id(discount: str) -> str:
    return f"{discount}/terms"


def terms(store: Store, discount: str) -> Object:
    """Return what a discount takes off: the coupon as it was granted, and whether it is used."""
    return store.get("discount.terms", _terms_id(discount))


def taken_off(amounts: list[int], coupon: Object) -> list[int]:
    """Return what a coupon takes off each of these amounts; none goes below nought."""
    whole = sum(amount for amount in amounts if amount > 0)
    if coupon["percent_off"] is not None:
        off = rounded(whole * Decimal(str(coupon["percent_off"])) / 100)
    else:
        off = min(whole, coupon["amount_off"])
    parts, seen, given = [], 0, 0
    for amount in amounts:
        seen += max(0, amount)
        upto = rounded(Decimal(off) * seen / whole) if whole else 0
        parts.append(upto - given)
        given = upto
    return parts


def running(store: Store, subscription: Object) -> list[str]:
    """Return the discounts of a subscription that count for an invoice made now."""
    return [
        one
        for one in subscription["discounts"]
        if not _over(store, store.get("discount", one), terms(store, one))
    ]


def _over(store: Store, discount: Object, coupon: Object) -> bool:
    used_up = coupon["duration"] == "once" and coupon["used"]
    return used_up or (discount["end"] is not None and discount["end"] <= store.now())


def use(store: Store, invoice: Object) -> None:
    """Count the discounts on a kept invoice as used."""
    for one in invoice["discounts"]:
        terms(store, one)["used"] = True


def drop_ended(store: Store, subscription: Object) -> list[str]:
    """Tell of the discounts that have ended, and return those that are left."""
    left = running(store, subscription)
    for one in subscription["discounts"]:
        if one not in left:
            store.emit("customer.discount.deleted", store.get("discount", one))
    return left


def kept_share(store: Store, subscription: Object) -> Decimal:
    """Return which share of a price the percentages of a subscription leave, for prorations."""
    share = Decimal(1)
    for one in running(store, subscription):
        percent = terms(store, one)["percent_off"]
        if percent is not None:
            share *= 1 - Decimal(str(percent)) / 100
    return share
