"""Checkout sessions in payment mode: from the cart to the charge.

A session is open, then complete or expired, and pays at most once. Its order (what is bought, and
what the payment intent shall carry) is kept beside it, since the session itself does not show it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sandbox import catalog, customers, debits, methods, payments, shapes
from sandbox.api import Route, retrieve
from sandbox.cards import Card
from sandbox.errors import ApiError, parameter_invalid, parameter_missing
from sandbox.lists import INCLUDABLE, matching, page
from sandbox.methods import Way
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
AMOUNT_MINOR_MIN = 50
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
        "expires_at": integer(),
        "invoice_creation": record(
            {"enabled": boolean, "invoice_data": record(_INVOICE_FIELDS)}, required=["enabled"]
        ),
        "line_items": each(_LINE),
        "locale": text,
        "metadata": metadata,
        "mode": choice("payment", "setup"),
        "origin_context": choice("mobile_app", "web"),
        "payment_intent_data": record(_INTENT_FIELDS),
        "payment_method_types": each(choice("card", "sepa_debit", "us_bank_account")),
        "phone_number_collection": _ENABLED,
        "setup_intent_data": record({"description": text, "metadata": metadata}),
        "submit_type": choice("auto", "book", "donate", "pay"),
        "success_url": web_address,
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
    "origin_context",
    "phone_number_collection",
    "submit_type",
    "success_url",
)


# Other modes than payment: who opens a session in one, and who settles what its payer chose.
OPENERS: dict[str, Callable[[Store, Object], Object]] = {}
PAYERS: dict[str, Callable[[Store, Object, Way, str], str]] = {}


def create(store: Store, params: Object) -> Object:
    """Open a session for what is bought, with the address of its hosted page."""
    if params["mode"] in OPENERS:
        return OPENERS[params["mode"]](store, params)
    customer = _customer(store, params)
    expires_at = _expiry(store, params)
    items = _items(store, params.get("line_items", []))
    total = sum(item["amount_total"] for item in items)
    if total < AMOUNT_MINOR_MIN:
        message = f"The Checkout Session's total must be at least {AMOUNT_MINOR_MIN} minor units."
        raise ApiError(message, code="amount_too_small")
    known_email = params.get("customer_email") or (customer or {}).get("email")
    identifier = new_id("cs_test_a1", 58)
    session = shapes.new(
        "checkout.session",
        id=identifier,
        amount_subtotal=total,
        amount_total=total,
        created=store.now(),
        currency=items[0]["currency"],
        customer_creation=None if customer else params.get("customer_creation", "if_required"),
        customer_details=_details(known_email) if known_email else None,
        expires_at=expires_at,
        invoice_creation=_invoice_creation(params.get("invoice_creation", {})),
        metadata=merged({}, params.get("metadata", {})),
        payment_method_types=params.get("payment_method_types")
        or ["card", debits.type_for(items[0]["currency"])],
        url=f"{store.cause.base_url}/c/pay/{identifier}",
        **{field: params[field] for field in _ECHOED if field in params},
    )
    session["automatic_tax"]["enabled"] = params.get("automatic_tax", {}).get("enabled", False)
    intent_fields = params.get("payment_intent_data", {})
    order = {"id": _order_id(identifier), "items": items, "intent_fields": intent_fields}
    store.add("checkout.order", order)
    return store.add("checkout.session", session)


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
        mode="setup",
        payment_status="no_payment_required",
        setup_intent=setup_intent,
        total_details=None,
        url=f"{store.cause.base_url}/c/pay/{identifier}",
        **{field: params[field] for field in _ECHOED if field in params},
    )
    store.add("checkout.order", {"id": _order_id(identifier), "items": [], "intent_fields": {}})
    return store.add("checkout.session", session)


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


def _items(store: Store, lines: list[Object]) -> list[Object]:
    if not lines:
        raise parameter_missing("line_items")
    items = [_item(store, line, f"line_items[{index}]") for index, line in enumerate(lines)]
    currencies = {item["currency"] for item in items}
    if len(currencies) > 1:
        raise parameter_invalid("line_items", "All prices must be in one currency.")
    return items


def _item(store: Store, line: dict[str, Any], name: str) -> Object:
    price = catalog.priced(store, line, name)
    if price["type"] == "recurring":
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


def items_of(store: Store, session: Object) -> list[Object]:
    """Return what is bought in a session."""
    items: list[Object] = store.get("checkout.order", _order_id(session["id"]))["items"]
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


def expire_overdue(store: Store) -> None:
    """Close the sessions whose time is over."""
    for session in store.newest_first("checkout.session"):
        if session["status"] == "open" and session["expires_at"] <= store.now():
            _expire(store, session)


def _expire(store: Store, session: Object) -> Object:
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


def pay(store: Store, session: Object, way: Way, email_address: str) -> str:
    """Pay an open session and return its intent's status; unless refused, the session completes.

    ``requires_action`` leaves it open until the payer has authenticated.
    """
    order = store.get("checkout.order", _order_id(session["id"]))
    order["email"] = email_address
    if session["mode"] in PAYERS:
        return PAYERS[session["mode"]](store, session, way, email_address)
    intent_fields = order["intent_fields"]
    refused = isinstance(way, Card) and way.kind.decline
    intent = _intent(store, session, intent_fields)
    customer = session["customer"] or intent["customer"]
    wants_customer = "setup_future_usage" in intent_fields or _wants_customer(session)
    if customer is None and not refused and wants_customer:
        customer = customers.create(store, {"email": email_address})["id"]
    intent["customer"] = customer
    method = methods.create_of(store, way, session["currency"], email=email_address)
    status = payments.charge_saved(
        store, intent, method, off_session=False, receipt_url=_receipt(store, session)
    )
    if status in ("succeeded", "processing"):
        complete(store, session, intent)
    return status


def _receipt(store: Store, session: Object) -> str:
    return f"{store.cause.base_url}/c/pay/{session['id']}"


def complete(store: Store, session: Object, intent: Object) -> None:
    """Close a session whose intent is paid, is being paid, or has set up what it should."""
    email_address = store.get("checkout.order", _order_id(session["id"]))["email"]
    if session["mode"] == "payment":
        session["payment_status"] = "paid" if intent["status"] == "succeeded" else "unpaid"
    session.update(
        status="complete",
        customer=intent["customer"],
        customer_details=_details(email_address),
        url=None,
    )
    store.emit("checkout.session.completed", session)


def session_of(store: Store, intent: Object) -> Object | None:
    """Return the session an intent belongs to, if it came of one."""
    field: str = intent["object"]
    sessions = store.newest_first("checkout.session")
    return next((one for one in sessions if one[field] == intent["id"]), None)


def follow_intent(store: Store, intent: Object) -> None:
    """Go on with the session of an intent whose payer, or bank, has answered."""
    session = session_of(store, intent)
    if session is None or session["mode"] != "payment":
        return
    if session["status"] == "open":
        if intent["status"] in ("succeeded", "processing"):
            complete(store, session, intent)
    elif session["payment_status"] == "unpaid" and session["status"] == "complete":
        paid = intent["status"] == "succeeded"
        session["payment_status"] = "paid" if paid else "unpaid"
        outcome = "succeeded" if paid else "failed"
        store.emit(f"checkout.session.async_payment_{outcome}", session)


payments.FOLLOWERS.append(follow_intent)


def _wants_customer(session: Object) -> bool:
    return bool(session["customer_creation"] == "always" or session["invoice_creation"]["enabled"])


def _intent(store: Store, session: Object, fields: Object) -> Object:
    if session["payment_intent"]:
        return store.get("payment_intent", session["payment_intent"])
    intent = payments.create_intent(
        store,
        amount=session["amount_total"],
        currency=session["currency"],
        customer=session["customer"],
        **{**fields, "metadata": merged({}, fields.get("metadata", {}))},
    )
    session["payment_intent"] = intent["id"]
    return intent


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
