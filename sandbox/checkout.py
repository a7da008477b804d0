"""Checkout sessions: from the cart to the hosted page, and to their end.

A session is open, then complete or expired, and pays at most once. Its order (what is bought, and
what the payment intent shall carry) is kept beside it, since the session itself does not show it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sandbox import (
    catalog,
    checkout_billing,
    checkout_totals,
    debits,
    payments,
    setup,
    shapes,
)
from sandbox.api import Route, retrieve
from sandbox.errors import ApiError, parameter_invalid, parameter_missing
from sandbox.least_charge import least_charge
from sandbox.lists import INCLUDABLE, matching, page
from sandbox.parameters import (
    Kind,
    asked,
    boolean,
    choice,
    clearable,
    currency,
    each,
    email,
    integer,
    listed,
    merged,
    metadata,
    record,
    text,
    web_address,
)
from sandbox.store import Object, Store, new_id

LIFETIME_SECONDS = 24 * 60 * 60
LIFETIME_SECONDS_MIN = 30 * 60
SESSION_PLACEHOLDER = "{CHECKOUT_SESSION_ID}"

_ENABLED = record({"enabled": boolean}, required=["enabled"])
_INVOICE_FIELDS: dict[str, Kind] = {
    "description": text,
    "footer": text,
    "metadata": metadata,
    "custom_fields": clearable(each(record({"name": text, "value": text}, ["name", "value"]), 4)),
}
_LINE = record(
    {
        "metadata": metadata,
        "price": text,
        "price_data": catalog.PRICE_DATA,
        "quantity": integer(1, 999_999),
    },
    required=["quantity"],
)
_INTENT_FIELDS: dict[str, Kind] = {
    "description": text,
    "metadata": metadata,
    "receipt_email": email,
    "setup_future_usage": choice("off_session", "on_session"),
    "statement_descriptor": text,
    "statement_descriptor_suffix": text,
}
_CREATE = asked(
    {
        "allow_promotion_codes": boolean,
        "automatic_tax": _ENABLED,
        "billing_address_collection": choice("auto", "required"),
        "cancel_url": web_address,
        "client_reference_id": text,
        "customer": text,
        "customer_creation": choice("always", "if_required"),
        "currency": currency,
        "customer_email": email,
        "customer_update": record(dict.fromkeys(("address", "name"), choice("auto", "never"))),
        "discounts": checkout_totals.DISCOUNTS,
        "expires_at": integer(),
        "invoice_creation": record(
            {"enabled": boolean, "invoice_data": record(_INVOICE_FIELDS)}, required=["enabled"]
        ),
        "line_items": each(_LINE),
        "locale": text,
        "metadata": metadata,
        "mode": choice("payment", "setup", "subscription"),
        "origin_context": choice("mobile_app", "web"),
        "payment_intent_data": record(_INTENT_FIELDS),
        "payment_method_types": each(choice("card", "sepa_debit", "us_bank_account")),
        "phone_number_collection": _ENABLED,
        "setup_intent_data": record({"description": text, "metadata": metadata}),
        "submit_type": choice("auto", "book", "donate", "pay"),
        "subscription_data": checkout_billing.SUBSCRIPTION_DATA,
        "success_url": web_address,
        "tax_id_collection": _ENABLED,
        "ui_mode": choice("hosted_page"),
    },
    required=["mode", "success_url"],
)
# What the session shows as it was given.
_ECHOED = (
    "allow_promotion_codes",
    "billing_address_collection",
    "cancel_url",
    "client_reference_id",
    "customer",
    "customer_email",
    "locale",
    "mode",
    "origin_context",
    "phone_number_collection",
    "submit_type",
    "success_url",
)


# Modes that sell nothing, each with who opens its sessions.
OPENERS: dict[str, Callable[[Store, Object], Object]] = {}


def create(store: Store, params: Object) -> Object:
    """Open a session for what is bought, with the address of its hosted page."""
    if params["mode"] in OPENERS:
        return OPENERS[params["mode"]](store, params)
    customer = _customer(store, params)
    expires_at = _expiry(store, params)
    items = _items(store, params.get("line_items", []), params["mode"])
    checkout_billing.check_mode(params, items)
    total = sum(item["amount_total"] for item in items)
    known_email = params.get("customer_email") or (customer or {}).get("email")
    identifier = new_id("cs_test_a1", 58)
    session = shapes.new(
        "checkout.session",
        id=identifier,
        amount_subtotal=total,
        amount_total=total,
        created=store.now(),
        currency=items[0]["currency"],
        customer_creation=None if customer else _customer_creation(params),
        customer_details=_details(known_email) if known_email else None,
        expires_at=expires_at,
        invoice_creation=_invoice_creation(params.get("invoice_creation", {}))
        if params["mode"] == "payment"
        else None,
        metadata=merged({}, params.get("metadata", {})),
        payment_method_types=params.get("payment_method_types")
        or _offered(params["mode"], items[0]["currency"]),
        url=f"{store.cause.base_url}/c/pay/{identifier}",
        **{field: params[field] for field in _ECHOED if field in params},
    )
    session["automatic_tax"]["enabled"] = params.get("automatic_tax", {}).get("enabled", False)
    intent_fields = params.get("payment_intent_data", {})
    order = _keep_order(
        store,
        session,
        items=items,
        intent_fields=intent_fields,
        subscription_data=params.get("subscription_data", {}),
    )
    checkout_totals.open_with(store, session, order, params)
    free = session["amount_total"] == 0 and order["coupon"]
    least = least_charge(session["currency"])
    if session["amount_total"] < least and not free:
        store.remove("checkout.order", order["id"])
        message = f"The Checkout Session's total must be at least {least} minor units."
        raise ApiError(message, code="amount_too_small")
    return store.add("checkout.session", session)


def _keep_order(store: Store, session: Object, **known: object) -> Object:
    blank: Object = {
        **dict.fromkeys(("code", "country", "coupon", "customer", "email", "intent", "method")),
        "saves_country": False,
        "intent_fields": {},
        "items": [],
        "subscription_data": {},
    }
    order = {**blank, "id": _order_id(session["id"]), "session": session["id"], **known}
    store.wake(session["expires_at"], "checkout.session", session["id"])
    return store.add("checkout.order", order)


def open_setup(store: Store, params: Object, setup_intent: str) -> Object:
    """Open a session that takes no payment, only a card for later ones."""
    customer = _customer(store, params)
    known_email = params.get("customer_email") or (customer or {}).get("email")
    identifier = new_id("cs_test_a1", 58)
    session = shapes.new(
        "checkout.session",
        id=identifier,
        amount_subtotal=None,
        amount_total=None,
        created=store.now(),
        currency=params.get("currency"),
        customer_details=_details(known_email) if known_email else None,
        expires_at=_expiry(store, params),
        metadata=merged({}, params.get("metadata", {})),
        payment_status="no_payment_required",
        setup_intent=setup_intent,
        total_details=None,
        url=f"{store.cause.base_url}/c/pay/{identifier}",
        **{field: params[field] for field in _ECHOED if field in params},
    )
    _keep_order(store, session, intent=setup_intent)
    return store.add("checkout.session", session)


def _offered(mode: str, currency: str) -> list[str]:
    """Return the ways to pay where none are asked for: a subscription begins with a card."""
    return ["card"] if mode == "subscription" else ["card", debits.type_for(currency)]


def _customer_creation(params: Object) -> str:
    by_default = "always" if params["mode"] == "subscription" else "if_required"
    chosen: str = params.get("customer_creation", by_default)
    return chosen


def _customer(store: Store, params: Object) -> Object | None:
    if "customer" not in params:
        return None
    for field in ("customer_email", "customer_creation"):
        if field in params:
            message = f"You may only specify one of these parameters: customer, {field}."
            raise parameter_invalid("customer", message)
    return store.get("customer", params["customer"], "customer")


def _expiry(store: Store, params: Object) -> int:
    latest = store.now() + LIFETIME_SECONDS
    expires_at: int = params.get("expires_at", latest)
    bound = "at least 30 minutes" if expires_at < store.now() + LIFETIME_SECONDS_MIN else None
    bound = "less than 24 hours" if expires_at > latest else bound
    if bound:
        message = f"The `expires_at` timestamp must be {bound} from Checkout Session creation."
        raise parameter_invalid("expires_at", message)
    return expires_at


def _items(store: Store, lines: list[Object], mode: str) -> list[Object]:
    if not lines:
        raise parameter_missing("line_items")
    items = [_item(store, line, f"line_items[{index}]", mode) for index, line in enumerate(lines)]
    currencies = {item["currency"] for item in items}
    if len(currencies) > 1:
        raise parameter_invalid("line_items", "All prices must be in one currency.")
    return items


def _item(store: Store, line: dict[str, Any], name: str, mode: str) -> Object:
    price = catalog.priced(store, line, name)
    if price["type"] == "recurring" and mode == "payment":
        message = (
            "You specified `payment` mode but passed a recurring price. "
            "Use only one-time prices in this mode."
        )
        raise parameter_invalid(name, message)
    quantity: int = line["quantity"]
    exact = Decimal(price["unit_amount_decimal"]) * quantity
    amount = int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))
    return shapes.new(
        "item",
        id=new_id("li_1"),
        amount_subtotal=amount,
        amount_total=amount,
        currency=price["currency"],
        description=store.get("product", price["product"])["name"],
        metadata=merged({}, line.get("metadata", {})),
        price=price,
        quantity=quantity,
    )


def _invoice_creation(given: Object) -> Object:
    blank = ("account_tax_ids", "custom_fields", "description", "footer", "issuer")
    return {
        "enabled": given.get("enabled", False),
        "invoice_data": {
            **dict.fromkeys(blank),
            "metadata": {},
            "rendering_options": None,
            **given.get("invoice_data", {}),
        },
    }


def _details(email_address: str) -> Object:
    return {
        "address": None,
        "business_name": None,
        "email": email_address,
        "individual_name": None,
        "name": None,
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": None,
    }


def _order_id(session_id: str) -> str:
    return f"{session_id}/order"


def order_of(store: Store, session: Object) -> Object:
    """Return what a session does not show: what is bought, and what was typed so far."""
    return store.get("checkout.order", _order_id(session["id"]))


def items_of(store: Store, session: Object) -> list[Object]:
    """Return what is bought in a session."""
    items: list[Object] = order_of(store, session)["items"]
    return items


def _list_items(store: Store, params: Object, identifier: str) -> Object:
    session = store.get("checkout.session", identifier)
    url = f"/v1/checkout/sessions/{identifier}/line_items"
    return page(url, items_of(store, session), params)


INCLUDABLE["checkout.session", "line_items"] = lambda store, session: _list_items(
    store, {}, session["id"]
)


def expire(store: Store, _params: Object, identifier: str) -> Object:
    """Close an open session before its time."""
    session = store.get("checkout.session", identifier)
    if session["status"] != "open":
        raise ApiError(
            'Only Checkout Sessions with a status in ["open"] can be expired. '
            f"This Checkout Session has a status of `{session['status']}`."
        )
    return _expire(store, session)


def attend(store: Store) -> None:
    """Have sessions closed when their time is over."""
    store.when_due("checkout.session", _expire_due, rank=5)


def _expire_due(store: Store, identifier: str) -> None:
    session = store.get("checkout.session", identifier)
    if session["status"] == "open":
        _expire(store, session)


def _expire(store: Store, session: Object) -> Object:
    intent = store.find(order_of(store, session)["intent"] or "")
    if intent:
        gives_up = payments.give_up if intent["object"] == "payment_intent" else setup.give_up
        gives_up(store, intent, reason=None)
    session.update(status="expired", url=None)
    store.emit("checkout.session.expired", session)
    return session


def list_all(store: Store, params: Object) -> Object:
    """List sessions by customer, payment intent, status, the payer's e-mail and age."""
    fields = ["customer", "payment_intent", "status", "subscription", "payment_link"]
    found = matching(store.newest_first("checkout.session"), params, fields)
    if "customer_details" in params:
        wanted = params["customer_details"]["email"]
        found = [one for one in found if (one["customer_details"] or {}).get("email") == wanted]
    return page("/v1/checkout/sessions", found, params)


def session_of(store: Store, intent: Object) -> Object | None:
    """Return the session an intent belongs to, if it came of one."""
    for order in store.newest_first("checkout.order"):
        if order["intent"] == intent["id"]:
            return store.get("checkout.session", order["session"])
    return None


def describe_payer(store: Store, session: Object, customer: str | None) -> None:
    """Have a session show who has paid it, or is about to."""
    details = _details(order_of(store, session)["email"])
    session.update(customer=customer, customer_details=details)


def complete(store: Store, session: Object, **changes: object) -> None:
    """Close a session whose payer has done what it asks for."""
    session.update(status="complete", url=None, **changes)
    store.emit("checkout.session.completed", session)


def success_address(session: Object) -> str:
    """Return where the payer goes once paid."""
    address: str = session["success_url"]
    return address.replace(SESSION_PLACEHOLDER, session["id"])


ROUTES = (
    Route("POST", "/v1/checkout/sessions", _CREATE, create),
    retrieve("checkout.session", "/v1/checkout/sessions"),
    Route(
        "GET",
        "/v1/checkout/sessions",
        listed(
            {
                "customer": text,
                "customer_details": record({"email": text}, required=["email"]),
                "payment_intent": text,
                "payment_link": text,
                "status": choice("complete", "expired", "open"),
                "subscription": text,
            }
        ),
        list_all,
    ),
    Route("GET", "/v1/checkout/sessions/<identifier>/line_items", listed(), _list_items),
    Route("POST", "/v1/checkout/sessions/<identifier>/expire", asked({}), expire),
)
