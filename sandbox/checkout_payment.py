"""How a checkout is paid: at once, after its payer has authenticated, or later by their bank."""

from __future__ import annotations

from collections.abc import Callable

from sandbox import billing, checkout, checkout_billing, customers, methods, payments
from sandbox.cards import Card
from sandbox.methods import Way
from sandbox.parameters import merged
from sandbox.store import Object, Store

# Modes that take no payment, each with who settles what the payer chose.
PAYERS: dict[str, Callable[[Store, Object, Way, str], str]] = {}


def pay(store: Store, session: Object, way: Way, email_address: str) -> str:
    """Pay an open session and return its intent's status; unless refused, the session completes.

    ``requires_action`` leaves it open until the payer has authenticated.
    """
    order = checkout.order_of(store, session)
    order["email"] = email_address
    if session["mode"] in PAYERS:
        return PAYERS[session["mode"]](store, session, way, email_address)
    refused = isinstance(way, Card) and way.kind.decline
    customer = session["customer"] or order["customer"]
    reusable = session["mode"] == "subscription" or "setup_future_usage" in order["intent_fields"]
    if customer is None and not refused and (reusable or _wants_customer(session)):
        customer = customers.create(store, {"email": email_address})["id"]
    order["customer"] = customer
    method = methods.create_of(store, way, session["currency"], email=email_address)
    order["method"] = method["id"]
    if not _to_charge(store, session):
        if reusable and customer:
            methods.attach_to(store, method, customer)
        return _complete(store, session, None)
    intent = _intent(store, session, order)
    intent["customer"] = customer
    receipt_url = f"{store.cause.base_url}/c/pay/{session['id']}"
    status = payments.charge_saved(
        store, intent, method, off_session=False, receipt_url=receipt_url
    )
    return _complete(store, session, intent) if status in ("succeeded", "processing") else status


def _complete(store: Store, session: Object, intent: Object | None) -> str:
    order = checkout.order_of(store, session)
    checkout.describe_payer(store, session, order["customer"])
    status: str = intent["status"] if intent else "succeeded"
    if status == "succeeded":
        checkout_billing.fulfil(store, session, order, intent)
    paid = "unpaid" if status == "processing" else "paid" if intent else "no_payment_required"
    checkout.complete(store, session, payment_status=paid)
    return status


def follow_intent(store: Store, intent: Object) -> None:
    """Go on with the session of an intent whose payer, or bank, has answered."""
    session = checkout.session_of(store, intent)
    if session is None or session["mode"] in PAYERS:
        return
    if session["status"] == "open":
        if intent["status"] in ("succeeded", "processing"):
            _complete(store, session, intent)
    elif session["payment_status"] == "unpaid" and session["status"] == "complete":
        paid = intent["status"] == "succeeded"
        session["payment_status"] = "paid" if paid else "unpaid"
        if paid:
            checkout_billing.fulfil(store, session, checkout.order_of(store, session), intent)
        outcome = "succeeded" if paid else "failed"
        store.emit(f"checkout.session.async_payment_{outcome}", session)


def _to_charge(store: Store, session: Object) -> int:
    """Return what is charged: a subscription's first invoice takes up the customer's balance."""
    total: int = session["amount_total"]
    if session["mode"] != "subscription" or not session["customer"]:
        return total
    balance: int = store.get("customer", session["customer"])["balance"]
    return billing.to_charge(total + balance, session["currency"])


def _wants_customer(session: Object) -> bool:
    invoiced = (session["invoice_creation"] or {}).get("enabled", False)
    return bool(session["customer_creation"] == "always" or invoiced)


def _intent(store: Store, session: Object, order: Object) -> Object:
    amount = _to_charge(store, session)
    if order["intent"]:
        intent = store.get("payment_intent", order["intent"])
        intent["amount"] = amount
        return intent
    fields = dict(order["intent_fields"])
    if session["mode"] == "subscription":
        fields.update(description="Subscription creation", setup_future_usage="off_session")
    intent = payments.create_intent(
        store,
        amount=amount,
        currency=session["currency"],
        customer=session["customer"],
        **{**fields, "metadata": merged({}, fields.get("metadata", {}))},
    )
    order["intent"] = intent["id"]
    if session["mode"] == "payment":  # a subscription's is found by its invoice
        session["payment_intent"] = intent["id"]
    return intent


payments.FOLLOWERS.append(follow_intent)
