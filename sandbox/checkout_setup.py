"""Checkout sessions in setup mode: a card saved for later, and nothing paid."""

from __future__ import annotations

from sandbox import checkout, checkout_payment, methods, setup
from sandbox.errors import parameter_invalid
from sandbox.methods import Way
from sandbox.parameters import merged
from sandbox.store import Object, Store


def open_session(store: Store, params: Object) -> Object:
    """Open a session for a card to be saved, with its setup intent."""
    for field in ("line_items", "payment_intent_data", "invoice_creation"):
        if field in params:
            message = f"You can not pass `{field}` in `setup` mode."
            raise parameter_invalid(field, message)
    if "customer" in params:
        store.get("customer", params["customer"], "customer")
    data = params.get("setup_intent_data", {})
    intent = setup.create_intent(
        store,
        customer=params.get("customer"),
        description=data.get("description"),
        metadata=merged({}, data.get("metadata", {})),
    )
    return checkout.open_setup(store, params, intent["id"])


def pay(store: Store, session: Object, way: Way, email_address: str) -> str:
    """Save what the payer chose; unless refused or to be authenticated, the session completes."""
    intent = store.get("setup_intent", session["setup_intent"])
    method = methods.create_of(store, way, session["currency"] or "usd", email=email_address)
    status = setup.attempt(store, intent, method)
    if status == "succeeded":
        _complete(store, session, intent)
    return status


def follow_intent(store: Store, intent: Object) -> None:
    """Complete the session of an intent whose payer has authenticated."""
    session = checkout.session_of(store, intent)
    if session and session["status"] == "open" and intent["status"] == "succeeded":
        _complete(store, session, intent)


def _complete(store: Store, session: Object, intent: Object) -> None:
    checkout.describe_payer(store, session, intent["customer"])
    checkout.complete(store, session)


checkout.OPENERS["setup"] = open_session
checkout_payment.PAYERS["setup"] = pay
setup.FOLLOWERS.append(follow_intent)
