"""Setup intents: a payment method made ready for payments while the payer is away.

One succeeds at most once; then the method belongs to the customer. What else waits for it (a
session, the portal) follows by ``FOLLOWERS``, once the payer has authenticated.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from sandbox import methods, payments, shapes
from sandbox.api import Route, retrieve
from sandbox.errors import ApiError, card_declined, intent_unexpected, lacks_method
from sandbox.lists import matching, page
from sandbox.parameters import (
    Kind,
    asked,
    boolean,
    choice,
    clearable,
    each,
    listed,
    merged,
    metadata,
    record,
    text,
    web_address,
)
from sandbox.payments import OPEN
from sandbox.store import Object, Store, new_id

FOLLOWERS: list[Callable[[Store, Object], None]] = []
_CHALLENGE_FAILED = (
    "The latest attempt to set up the payment method has failed because authentication failed."
)


def create_intent(store: Store, **fields: object) -> Object:
    """Make a setup intent that still wants a method."""
    identifier = new_id("seti_1")
    intent = shapes.new(
        "setup_intent",
        id=identifier,
        client_secret=new_id(f"{identifier}_secret_", 25),
        created=store.now(),
        payment_method_options={
            "card": {
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        **fields,
    )
    store.add("setup_intent", intent)
    store.emit("setup_intent.created", intent)
    return intent


def attempt(store: Store, intent: Object, method: Object) -> str:
    """Set a method up and return the intent's status: succeeded, requires_action or refused.

    A refusal is ``requires_payment_method``, for the reason in ``last_setup_error``.
    """
    intent.update(next_action=None, payment_method=method["id"])
    decline = methods.kind_of(method).setup_decline
    if decline:
        _refuse(store, intent, method, card_declined(decline.message, decline.code))
    elif methods.wants_challenge(store, method):
        redirect = {"return_url": None, "url": payments.challenge_address(store, intent)}
        intent.update(
            status="requires_action",
            next_action={"redirect_to_url": redirect, "type": "redirect_to_url"},
        )
        store.emit("setup_intent.requires_action", intent)
    else:
        _succeed(store, intent, method)
    status: str = intent["status"]
    return status


def authenticated(store: Store, intent: Object) -> None:
    """Go on with an intent whose payer has authenticated."""
    method = store.get("payment_method", intent["payment_method"])
    _succeed(store, intent, method)
    _follow(store, intent)


def not_authenticated(store: Store, intent: Object) -> None:
    """Have an intent fail whose payer did not authenticate."""
    method = store.get("payment_method", intent["payment_method"])
    refusal = ApiError(_CHALLENGE_FAILED, code="setup_intent_authentication_failure")
    _refuse(store, intent, method, refusal)
    _follow(store, intent)


def give_up(store: Store, intent: Object, *, reason: str | None) -> None:
    """Cancel an intent that has not succeeded."""
    if intent["status"] in OPEN:
        intent.update(status="canceled", cancellation_reason=reason, next_action=None)
        store.emit("setup_intent.canceled", intent)


def _follow(store: Store, intent: Object) -> None:
    for told in FOLLOWERS:
        told(store, intent)


def _succeed(store: Store, intent: Object, method: Object) -> None:
    methods.mark_set_up(store, method)
    if intent["customer"]:
        methods.attach_to(store, method, intent["customer"])
    intent.update(
        status="succeeded", next_action=None, last_setup_error=None, payment_method=method["id"]
    )
    store.emit("setup_intent.succeeded", intent)


def _refuse(store: Store, intent: Object, method: Object, refusal: ApiError) -> None:
    intent.update(
        status="requires_payment_method",
        last_setup_error={**refusal.body(), "payment_method": deepcopy(method)},
        next_action=None,
        payment_method=None,
    )
    store.emit("setup_intent.setup_failed", intent)


def create(store: Store, params: Object) -> Object:
    """Make an intent, and confirm it at once where that is asked for."""
    confirms = params.get("confirm", False)
    if "customer" in params:
        store.get("customer", params["customer"], "customer")
    method = methods.chosen(store, params, params.get("customer"))
    if confirms and method is None:
        raise lacks_method("SetupIntent")
    chosen = {k: v for k, v in params.items() if k not in ("confirm", "return_url")}
    given = chosen.pop("automatic_payment_methods", None)
    if "payment_method_types" not in params:
        chosen["automatic_payment_methods"] = {
            "allow_redirects": "always",
            "enabled": True,
            **(given or {}),
        }
    chosen["metadata"] = merged({}, chosen.get("metadata", {}))
    chosen["payment_method"] = method and method["id"]
    intent = create_intent(store, **chosen)
    if method:
        intent["status"] = "requires_confirmation"
    return _confirmed(store, intent, method, params) if confirms and method else intent


def confirm(store: Store, params: Object, identifier: str) -> Object:
    """Attempt to set a method up, the one given now or before."""
    intent = store.get("setup_intent", identifier)
    if intent["status"] not in OPEN:
        raise intent_unexpected("SetupIntent", intent["status"], "confirm", ", ".join(OPEN))
    method = methods.chosen(store, params, intent["customer"])
    if method is None and intent["payment_method"]:
        method = store.get("payment_method", intent["payment_method"])
    if method is None:
        raise lacks_method("SetupIntent")
    try:
        return _confirmed(store, intent, method, params)
    finally:
        _follow(store, intent)


def _confirmed(store: Store, intent: Object, method: Object, params: Object) -> Object:
    status = attempt(store, intent, method)
    if status == "requires_action":
        intent["next_action"]["redirect_to_url"]["return_url"] = params.get("return_url")
    if status == "requires_payment_method":
        error = intent["last_setup_error"]
        raise ApiError(
            error["message"],
            status=402,
            kind=error["type"],
            code=error["code"],
            decline_code=error.get("decline_code"),
            about={"payment_method": error["payment_method"], "setup_intent": deepcopy(intent)},
        )
    return intent


def cancel(store: Store, params: Object, identifier: str) -> Object:
    """Give up an intent that has not succeeded."""
    intent = store.get("setup_intent", identifier)
    if intent["status"] not in OPEN:
        raise intent_unexpected("SetupIntent", intent["status"], "cancel", ", ".join(OPEN))
    give_up(store, intent, reason=params.get("cancellation_reason"))
    return intent


def list_all(store: Store, params: Object) -> Object:
    """List setup intents by customer, payment method and age."""
    fields = ["customer", "payment_method"]
    found = matching(store.newest_first("setup_intent"), params, fields)
    return page("/v1/setup_intents", found, params)


_CONFIRMED: dict[str, Kind] = {"payment_method": text, "return_url": web_address}
ROUTES = (
    Route(
        "POST",
        "/v1/setup_intents",
        asked(
            {
                **_CONFIRMED,
                "automatic_payment_methods": record(
                    {"allow_redirects": choice("always", "never"), "enabled": boolean}, ["enabled"]
                ),
                "confirm": boolean,
                "customer": text,
                "description": clearable(text),
                "metadata": metadata,
                "payment_method_types": each(choice("card", "sepa_debit", "us_bank_account")),
                "usage": choice("off_session", "on_session"),
            }
        ),
        create,
    ),
    retrieve("setup_intent", "/v1/setup_intents"),
    Route("POST", "/v1/setup_intents/<identifier>/confirm", asked(_CONFIRMED), confirm),
    Route(
        "POST",
        "/v1/setup_intents/<identifier>/cancel",
        asked({"cancellation_reason": choice("abandoned", "duplicate", "requested_by_customer")}),
        cancel,
    ),
    Route("GET", "/v1/setup_intents", listed({"customer": text, "payment_method": text}), list_all),
)
