"""Payment intents by the API: made, confirmed, changed, cancelled and listed.

A confirmation that is refused is answered with 402 and shows the intent, which stays: it can be
paid otherwise.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from sandbox import checkout, methods, payments
from sandbox.api import Route, retrieve
from sandbox.errors import ApiError, intent_unexpected, lacks_method, parameter_invalid
from sandbox.least_charge import least_charge
from sandbox.lists import matching, page
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
from sandbox.payments import OPEN
from sandbox.store import Object, Store

CANCELLABLE = "requires_payment_method, requires_capture, requires_confirmation, requires_action"
_TYPES = each(choice("card", "sepa_debit", "us_bank_account"))
_DESCRIBED: dict[str, Kind] = {
    "description": clearable(text),
    "metadata": metadata,
    "receipt_email": clearable(email),
    "setup_future_usage": clearable(choice("off_session", "on_session")),
    "statement_descriptor": text,
    "statement_descriptor_suffix": text,
}
_CONFIRMED: dict[str, Kind] = {
    "error_on_requires_action": boolean,
    "off_session": boolean,
    "payment_method": text,
    "return_url": web_address,
}
# What only a confirmation reads, and the intent does not show.
_OF_CONFIRMATION = ("confirm", "error_on_requires_action", "off_session", "return_url")


def create(store: Store, params: Object) -> Object:
    """Make an intent, and confirm it at once where that is asked for."""
    _check_amount(params["amount"], params["currency"])
    confirms = params.get("confirm", False)
    for field in ("error_on_requires_action", "off_session", "return_url"):
        if field in params and not confirms:
            message = f"You may only use {field} when confirming: set `confirm` to true."
            raise parameter_invalid(field, message)
    if "customer" in params:
        store.get("customer", params["customer"], "customer")
    method = methods.chosen(store, params, params.get("customer"))
    if confirms and method is None:
        raise lacks_method("PaymentIntent")
    chosen = {key: value for key, value in params.items() if key not in _OF_CONFIRMATION}
    given = chosen.pop("automatic_payment_methods", None)
    automatic = None
    if "payment_method_types" not in params:
        automatic = {"allow_redirects": "always", "enabled": True, **(given or {})}
    if confirms:
        _check_return(params, automatic)
    chosen["metadata"] = merged({}, chosen.get("metadata", {}))
    chosen["payment_method"] = method and method["id"]
    intent = payments.create_intent(store, automatic_payment_methods=automatic, **chosen)
    if method:
        intent["status"] = "requires_confirmation"
    return _confirmed(store, intent, method, params) if confirms and method else intent


def _check_amount(amount_minor: int, currency_code: str) -> None:
    """Refuse what is too little to charge."""
    least = least_charge(currency_code)
    if amount_minor < least:
        message = f"Amount must be at least {least} minor units."
        raise parameter_invalid("amount", message, "amount_too_small")


def _check_return(params: Object, automatic: Object | None) -> None:
    """Insist on a way back where a method might lead the payer away."""
    away = params.get("off_session") or params.get("error_on_requires_action")
    redirects = automatic is not None and automatic["allow_redirects"] != "never"
    if redirects and not away and "return_url" not in params:
        message = (
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. "
            "Because some of these payment methods might redirect your customer off of your page, "
            "you must provide a `return_url`."
        )
        raise parameter_invalid("return_url", message)


def confirm(store: Store, params: Object, identifier: str) -> Object:
    """Attempt to pay an intent, with the method given now or before."""
    intent = store.get("payment_intent", identifier)
    if intent["status"] == "succeeded":
        raise ApiError(
            "You cannot confirm this PaymentIntent because it has already succeeded after being "
            "previously confirmed.",
            code="payment_intent_unexpected_state",
            about={"payment_intent": deepcopy(intent)},
        )
    if intent["status"] not in OPEN:
        raise intent_unexpected("PaymentIntent", intent["status"], "confirm", ", ".join(OPEN))
    method = methods.chosen(store, params, intent["customer"])
    if method is None and intent["payment_method"]:
        method = store.get("payment_method", intent["payment_method"])
    if method is None:
        raise lacks_method("PaymentIntent")
    intent.update({key: params[key] for key in _DESCRIBED if key in params and key != "metadata"})
    try:
        return _confirmed(store, intent, method, params)
    finally:
        payments.follow(store, intent)


def _confirmed(store: Store, intent: Object, method: Object, params: Object) -> Object:
    alone = params.get("off_session", False) or params.get("error_on_requires_action", False)
    status = payments.charge_saved(store, intent, method, off_session=alone)
    if status == "requires_action":
        intent["next_action"]["redirect_to_url"]["return_url"] = params.get("return_url")
    if status == "requires_payment_method":
        raise refusal_of(intent)
    return intent


def refusal_of(intent: Object) -> ApiError:
    """Return the refusal that tells why an intent was not paid, for the API to raise."""
    error: dict[str, Any] = dict(intent["last_payment_error"])
    about = {key: error[key] for key in error.keys() & {"charge", "payment_method"}}
    about["payment_intent"] = deepcopy(intent)
    return ApiError(
        error["message"],
        status=402,
        kind=error["type"],
        code=error["code"],
        decline_code=error.get("decline_code"),
        about=about,
    )


def update(store: Store, params: Object, identifier: str) -> Object:
    """Change an intent that is not paid yet; metadata and description may change later too."""
    intent = store.get("payment_intent", identifier)
    if intent["status"] not in OPEN and params.keys() - {"metadata", "description"}:
        message = (
            "This PaymentIntent's parameters cannot be updated because it has a status of "
            f"{intent['status']}."
        )
        raise ApiError(message, code="payment_intent_unexpected_state")
    changed = dict(params)
    if "amount" in params:
        _check_amount(params["amount"], intent["currency"])
    if "customer" in params:
        store.get("customer", params["customer"], "customer")
    method = methods.chosen(store, params, params.get("customer", intent["customer"]))
    if method:
        changed.update(payment_method=method["id"], status="requires_confirmation")
    if "metadata" in params:
        changed["metadata"] = merged(intent["metadata"], params["metadata"])
    intent.update(changed)
    return intent


def cancel(store: Store, params: Object, identifier: str) -> Object:
    """Give up an intent that is not paid; one of a checkout is given up with its session."""
    intent = store.get("payment_intent", identifier)
    if intent["status"] not in OPEN:
        raise intent_unexpected("PaymentIntent", intent["status"], "cancel", CANCELLABLE)
    if checkout.session_of(store, intent):
        raise ApiError(
            "You cannot cancel this PaymentIntent because it was created by a Checkout Session. "
            "Expire the Checkout Session instead.",
            code="payment_intent_unexpected_state",
        )
    payments.give_up(store, intent, reason=params.get("cancellation_reason"))
    return intent


def list_all(store: Store, params: Object) -> Object:
    """List payment intents by customer and age."""
    found = matching(store.newest_first("payment_intent"), params, ["customer"])
    return page("/v1/payment_intents", found, params)


ROUTES = (
    Route(
        "POST",
        "/v1/payment_intents",
        asked(
            {
                **_DESCRIBED,
                **_CONFIRMED,
                "amount": integer(1, 99_999_999),
                "automatic_payment_methods": record(
                    {"allow_redirects": choice("always", "never"), "enabled": boolean}, ["enabled"]
                ),
                "capture_method": choice("automatic", "automatic_async"),
                "confirm": boolean,
                "currency": currency,
                "customer": text,
                "payment_method_types": _TYPES,
            },
            required=["amount", "currency"],
        ),
        create,
    ),
    retrieve("payment_intent", "/v1/payment_intents"),
    Route(
        "POST",
        "/v1/payment_intents/<identifier>",
        asked(
            {
                **_DESCRIBED,
                "amount": integer(1, 99_999_999),
                "customer": text,
                "payment_method": text,
            }
        ),
        update,
    ),
    Route(
        "POST",
        "/v1/payment_intents/<identifier>/confirm",
        asked({**_DESCRIBED, **_CONFIRMED}),
        confirm,
    ),
    Route(
        "POST",
        "/v1/payment_intents/<identifier>/cancel",
        asked(
            {
                "cancellation_reason": choice(
                    "abandoned", "duplicate", "fraudulent", "requested_by_customer"
                )
            }
        ),
        cancel,
    ),
    Route("GET", "/v1/payment_intents", listed({"customer": text}), list_all),
)
