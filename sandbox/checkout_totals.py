"""What a checkout comes to, with what the payer typed: a promotion code, a country.

The payer sees a changed total before paying it. What is shown is what the invoice of a
subscription adds up to: the same rules, over the lines in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping

from sandbox import coupons, customers, discounts, tax
from sandbox.errors import parameter_invalid
from sandbox.least_charge import least_charge
from sandbox.parameters import Kind, each, record, text
from sandbox.store import Object, Store

DISCOUNTS: Kind = each(record({"coupon": text, "promotion_code": text}), 1)


def open_with(store: Store, session: Object, order: Object, params: Object) -> None:
    """Set what a new session comes to."""
    order.update(coupon=None, code=None, country=None, saves_country=False)
    given = params.get("discounts", [])
    if given and params.get("allow_promotion_codes"):
        message = "You may only specify one of these parameters: allow_promotion_codes, discounts."
        raise parameter_invalid("discounts", message)
    if given:
        _take_given(store, session, order, given[0])
    if session["automatic_tax"]["enabled"]:
        session["automatic_tax"]["liability"] = {"type": "self"}
        _check_place(store, session, order, params)
    total_up(store, session, order)


def _take_given(store: Store, session: Object, order: Object, given: Object) -> None:
    coupon = given.get("coupon")
    if "promotion_code" in given:
        name = "discounts[0][promotion_code]"
        code = store.get("promotion_code", given["promotion_code"], name)
        problem = _problem(store, session, code)
        if problem or not code["active"]:
            raise parameter_invalid(name, problem or "This promotion code is not active.")
        order["code"], coupon = code["id"], code["promotion"]["coupon"]
    if coupon is None:
        raise parameter_invalid("discounts[0]", "Give a coupon or a promotion code.")
    order["coupon"] = coupons.coupon_of(store, coupon, "discounts[0][coupon]")["id"]


def _check_place(store: Store, session: Object, order: Object, params: Object) -> None:
    customer = store.get("customer", session["customer"]) if session["customer"] else None
    saves = params.get("customer_update", {}).get("address") == "auto"
    if customer and not saves and tax.status(customer["address"]) != "complete":
        raise parameter_invalid(
            "customer",
            "Automatic tax calculation in Checkout requires a valid address on the Customer. "
            "Add one, or set `customer_update[address]` to 'auto'.",
            "customer_tax_location_invalid",
        )
    order["saves_country"] = customer is None or saves


def _problem(store: Store, session: Object, code: Object) -> str | None:
    return coupons.problem_of(
        store,
        code,
        customer=session["customer"],
        amount=session["amount_subtotal"],
        currency_code=session["currency"],
    )


def total_up(store: Store, session: Object, order: Object) -> None:
    """Add a session up: its items, what is taken off, and the tax."""
    # Invoice items come before the subscription's on an invoice, so the parts are spread alike.
    items = sorted(order["items"], key=lambda one: one["price"]["recurring"] is not None)
    coupon = store.get("coupon", order["coupon"]) if order["coupon"] else None
    amounts = [item["amount_subtotal"] for item in items]
    parts = discounts.taken_off(amounts, coupon) if coupon else [0] * len(items)
    taxes = session["automatic_tax"]["enabled"]
    address, exempt = _place(store, session, order)
    rate = tax.percent(address, exempt) if taxes else None
    for item, part in zip(items, parts, strict=True):
        net = item["amount_subtotal"] - part
        inclusive = item["price"]["tax_behavior"] == "inclusive"
        amount = tax.of_amount(net, rate, inclusive=inclusive) if rate is not None else 0
        item.update(
            amount_discount=part,
            amount_tax=amount,
            amount_total=net if inclusive else net + amount,
        )
    if taxes:
        session["automatic_tax"]["status"] = tax.status(address)
    session.update(
        amount_subtotal=sum(amounts),
        amount_total=sum(item["amount_total"] for item in items),
        discounts=[{"coupon": order["coupon"], "promotion_code": order["code"]}] if coupon else [],
        total_details={
            "amount_discount": sum(parts),
            "amount_shipping": 0,
            "amount_tax": sum(item["amount_tax"] for item in items),
        },
    )
    if order["code"]:
        session["discounts"][0]["coupon"] = None


def _place(store: Store, session: Object, order: Object) -> tuple[Object | None, str]:
    customer = store.get("customer", session["customer"]) if session["customer"] else {}
    address = {"country": order["country"]} if order["country"] else customer.get("address")
    return address, customer.get("tax_exempt", "none")


def asks_country(session: Object, order: Object) -> bool:
    """Tell whether the payer is asked where they live."""
    return bool(session["automatic_tax"]["enabled"] and order["saves_country"])


def code_of(store: Store, order: Object) -> str:
    """Return the letters of the promotion code that is applied, if one is."""
    applied = store.get("promotion_code", order["code"]) if order["code"] else {"code": ""}
    letters: str = applied["code"]
    return letters


def missing(store: Store, session: Object, order: Object) -> dict[str, str]:
    """Return what the payer has yet to say before the total is known."""
    place, _ = _place(store, session, order)
    if asks_country(session, order) and tax.status(place) != "complete":
        return {"country": "Choose the country you live in, so that the tax is known."}
    return {}


def adjust(store: Store, session: Object, order: Object, form: Mapping[str, str]) -> dict[str, str]:
    """Take up the code and the country that the payer typed; return what is wrong with them."""
    problems: dict[str, str] = {}
    if session["allow_promotion_codes"]:
        problem = _take_code(store, session, order, form.get("promotion_code", "").strip())
        if problem:
            problems["promotion_code"] = problem
    if asks_country(session, order):
        country = form.get("country", "")
        if country in tax.COUNTRIES:
            order["country"] = country
        else:
            problems["country"] = "Choose the country you live in."
    total_up(store, session, order)
    return problems


def _take_code(store: Store, session: Object, order: Object, typed: str) -> str | None:
    kept = {"coupon": order["coupon"], "code": order["code"]}
    order.update(coupon=None, code=None)
    if not typed:
        return None
    code = coupons.find_code(store, typed)
    problem = _problem(store, session, code) if code else "This code is not valid."
    if code and not problem:
        order.update(coupon=code["promotion"]["coupon"], code=code["id"])
        total_up(store, session, order)
        if 0 < session["amount_total"] < least_charge(session["currency"]):
            problem = "This code leaves too little to charge."
    if problem:
        order.update(kept)
    return problem


def settle(store: Store, session: Object, order: Object) -> None:
    """Keep the country with the customer, where it was asked for."""
    if not order["country"]:
        return
    session["customer_details"]["address"] = _address(order["country"])
    if session["customer"] and order["saves_country"]:
        params = {"address": _address(order["country"])}
        customers.update(store, params, session["customer"])


def _address(country: str) -> Object:
    blank = ("city", "line1", "line2", "postal_code", "state")
    return {**dict.fromkeys(blank), "country": country}


def discount_for(store: Store, session: Object, order: Object, **owner: object) -> list[str]:
    """Give the customer the discount that the session was paid with, if there was one."""
    if not order["coupon"]:
        return []
    coupon = store.get("coupon", order["coupon"])
    given = discounts.grant(
        store,
        coupon,
        order["code"],
        checkout_session=session["id"],
        customer=session["customer"],
        **owner,
    )
    return [given["id"]]
