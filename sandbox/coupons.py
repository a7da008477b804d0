"""Coupons and promotion codes: what may be taken off, and the words that customers type for it."""

from __future__ import annotations

import secrets
import string
from decimal import Decimal

from sandbox import shapes
from sandbox.api import Route, retrieve
from sandbox.errors import parameter_invalid, parameter_missing
from sandbox.lists import matching, page
from sandbox.parameters import (
    Kind,
    asked,
    boolean,
    choice,
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
from sandbox.store import Object, Store, new_id

_COUPON: dict[str, Kind] = {
    "amount_off": integer(1),
    "currency": currency,
    "duration": choice("forever", "once", "repeating"),
    "duration_in_months": integer(1, 36),
    "id": text,
    "max_redemptions": integer(1),
    "metadata": metadata,
    "name": text,
    "percent_off": decimal_text,
    "redeem_by": integer(),
}
_CODE: dict[str, Kind] = {
    "active": boolean,
    "code": text,
    "customer": text,
    "expires_at": integer(),
    "max_redemptions": integer(1),
    "metadata": metadata,
    "promotion": record({"coupon": text, "type": choice("coupon")}, ["coupon", "type"]),
    "restrictions": record(
        {
            "first_time_transaction": boolean,
            "minimum_amount": integer(),
            "minimum_amount_currency": currency,
        }
    ),
}


def create_coupon(store: Store, params: Object) -> Object:
    """Make a coupon of a percentage or an amount."""
    if ("percent_off" in params) == ("amount_off" in params):
        raise parameter_missing("percent_off")
    if "amount_off" in params and "currency" not in params:
        raise parameter_missing("currency")
    repeats = params.get("duration") == "repeating"
    if repeats != ("duration_in_months" in params):
        message = "Give `duration_in_months` where the duration is `repeating`, and only there."
        raise parameter_invalid("duration_in_months", message)
    if "percent_off" in params:
        percent = Decimal(params["percent_off"])
        if not 0 < percent <= 100:
            raise parameter_invalid("percent_off", "Invalid percent: must be above 0, up to 100.")
        whole = percent == percent.to_integral_value()
        params["percent_off"] = int(percent) if whole else float(percent)
    identifier = params.pop("id", None) or new_id("", 8)
    if store.has("coupon", identifier):
        raise parameter_invalid("id", "Coupon already exists.", "resource_already_exists")
    params["metadata"] = merged({}, params.get("metadata", {}))
    coupon = shapes.new("coupon", id=identifier, created=store.now(), **params)
    store.add("coupon", coupon)
    store.emit("coupon.created", coupon)
    return coupon


def delete_coupon(store: Store, _params: Object, identifier: str) -> Object:
    """Delete a coupon; who has it already keeps it."""
    coupon = store.get("coupon", identifier)
    store.remove("coupon", identifier)
    store.emit("coupon.deleted", coupon)
    return {"id": identifier, "object": "coupon", "deleted": True}


def update(store: Store, params: Object, kind: str, identifier: str) -> Object:
    """Change what may be changed of a coupon or a code."""
    thing = store.get(kind, identifier)
    if "metadata" in params:
        params["metadata"] = merged(thing["metadata"], params["metadata"])
    return store.change(f"{kind}.updated", thing, params)


def list_coupons(store: Store, params: Object) -> Object:
    """List coupons by age."""
    return page("/v1/coupons", matching(store.newest_first("coupon"), params, []), params)


def create_code(store: Store, params: Object) -> Object:
    """Make a promotion code for a coupon; a code is unlike all other active ones."""
    coupon = params["promotion"]["coupon"]
    store.get("coupon", coupon, "promotion[coupon]")
    if "customer" in params:
        store.get("customer", params["customer"], "customer")
    letters = string.ascii_uppercase + string.digits
    code = params.pop("code", None) or "".join(secrets.choice(letters) for _ in range(8))
    if find_code(store, code):
        message = f"An active promotion code with `code: {code}` already exists."
        raise parameter_invalid("code", message)
    made = shapes.new("promotion_code", id=new_id("promo_1"), code=code, created=store.now())
    restrictions = {**made["restrictions"], **params.pop("restrictions", {})}
    metadata_given = merged({}, params.pop("metadata", {}))
    made.update(**params, restrictions=restrictions, metadata=metadata_given)
    store.add("promotion_code", made)
    store.emit("promotion_code.created", made)
    return made


def find_code(store: Store, code: str) -> Object | None:
    """Return the active promotion code of these letters, in either case."""
    for one in store.newest_first("promotion_code"):
        if one["active"] and one["code"].casefold() == code.casefold():
            return one
    return None


def list_codes(store: Store, params: Object) -> Object:
    """List promotion codes by code, coupon, customer, whether they are active, and age."""
    found = matching(store.newest_first("promotion_code"), params, ["active", "customer"])
    if "code" in params:
        wanted = params["code"].casefold()
        found = [one for one in found if one["code"].casefold() == wanted]
    if "coupon" in params:
        found = [one for one in found if one["promotion"]["coupon"] == params["coupon"]]
    return page("/v1/promotion_codes", found, params)


def _taken(thing: Object, now: int, ends: str) -> bool:
    most, end = thing["max_redemptions"], thing[ends]
    return (most is not None and thing["times_redeemed"] >= most) or (
        end is not None and end <= now
    )


def coupon_of(store: Store, identifier: str, param: str) -> Object:
    """Return a coupon that can be redeemed, or refuse."""
    coupon = store.get("coupon", identifier, param)
    if not coupon["valid"] or _taken(coupon, store.now(), "redeem_by"):
        raise parameter_invalid(param, f"Coupon {identifier} is used up or has expired.")
    return coupon


def problem_of(
    store: Store, code: Object, *, customer: str | None, amount: int, currency_code: str
) -> str | None:
    """Return why a promotion code cannot be used for a purchase, if it cannot."""
    limits, coupon_id = code["restrictions"], code["promotion"]["coupon"]
    coupon = store.get("coupon", coupon_id) if store.has("coupon", coupon_id) else None
    least = limits["minimum_amount"]
    found = None
    gone = _taken(code, store.now(), "expires_at")
    if gone or coupon is None or _taken(coupon, store.now(), "redeem_by"):
        found = "This code is used up or has expired."
    elif code["customer"] not in (None, customer):
        found = "This code is for another customer."
    elif coupon["amount_off"] and coupon["currency"] != currency_code:
        found = "This code is for another currency."
    elif least is not None and amount < least:
        found = "This code is for larger purchases."
    elif limits["first_time_transaction"] and _has_paid(store, customer):
        found = "This code is for first purchases."
    return found


def _has_paid(store: Store, customer: str | None) -> bool:
    return customer is not None and any(
        charge["customer"] == customer and charge["paid"] for charge in store.newest_first("charge")
    )


def redeem(store: Store, coupon: Object, code: str | None) -> None:
    """Count a redemption."""
    coupon["times_redeemed"] += 1
    coupon["valid"] = not _taken(coupon, store.now(), "redeem_by")
    if code:
        made = store.get("promotion_code", code)
        made["times_redeemed"] += 1
        made["active"] = not _taken(made, store.now(), "expires_at")


ROUTES = (
    Route("POST", "/v1/coupons", asked(_COUPON), create_coupon),
    retrieve("coupon", "/v1/coupons"),
    Route(
        "POST",
        "/v1/coupons/<identifier>",
        asked({"metadata": metadata, "name": clearable(text)}),
        lambda store, params, identifier: update(store, params, "coupon", identifier),
    ),
    Route("DELETE", "/v1/coupons/<identifier>", asked({}), delete_coupon),
    Route("GET", "/v1/coupons", listed(), list_coupons),
    Route("POST", "/v1/promotion_codes", asked(_CODE, required=["promotion"]), create_code),
    retrieve("promotion_code", "/v1/promotion_codes"),
    Route(
        "POST",
        "/v1/promotion_codes/<identifier>",
        asked({"active": boolean, "metadata": metadata}),
        lambda store, params, identifier: update(store, params, "promotion_code", identifier),
    ),
    Route(
        "GET",
        "/v1/promotion_codes",
        listed({"active": boolean, "code": text, "coupon": text, "customer": text}),
        list_codes,
    ),
)
