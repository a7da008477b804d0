"""Payment intents and their charges: what becomes of an attempt to pay.

Charges are made here and nowhere else. A charge that fails is kept and told; it is never raised:
the intent's status says what became of it, its ``last_payment_error`` why. Whoever keeps something
that waits for an intent (a session, an invoice) follows what becomes of it later by ``FOLLOWERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from sandbox import balance, debits, disputes, methods, shapes
from sandbox.api import Route, retrieve
from sandbox.cards import AUTHENTICATION_REQUIRED, Decline
from sandbox.errors import ApiError, card_declined
from sandbox.lists import matching, page
from sandbox.methods import create_method as create_method
from sandbox.parameters import listed, text
from sandbox.store import Object, Store, new_id

# Told of an intent that succeeded or failed after ``charge_saved`` had returned: its payer
# authenticated or would not, its bank answered, or the API confirmed it.
FOLLOWERS: list[Callable[[Store, Object], None]] = []
OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
CHALLENGE_FAILED = (
    "The provided PaymentMethod has failed authentication. You can provide payment_method_data or "
    "a new PaymentMethod to attempt to fulfill this PaymentIntent again."
)


def create_intent(store: Store, **fields: object) -> Object:
    """Make a payment intent that still wants a card."""
    identifier = new_id("pi_3")
    intent = shapes.new(
        "payment_intent",
        id=identifier,
        client_secret=new_id(f"{identifier}_secret_", 25),
        created=store.now(),
        payment_method_options={
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        **fields,
    )
    store.add("payment_intent", intent)
    store.emit("payment_intent.created", intent)
    return intent


def charge_saved(
    store: Store,
    intent: Object,
    method: Object,
    *,
    off_session: bool,
    receipt_url: str | None = None,
) -> str:
    """Pay an intent with a method and return the intent's status from then on.

    ``succeeded``; ``requires_action`` where the payer is there and has to authenticate;
    ``requires_payment_method`` where it was refused, for the reason in ``last_payment_error``;
    ``processing`` for a bank debit. ``off_session`` says that the payer is not there. Events tell
    each of these; a refusal is not raised.
    """
    intent.update(next_action=None, payment_method=method["id"])
    if not methods.wants_challenge(store, method):
        _pay(store, intent, method, receipt_url)
    elif off_session:
        _fail(store, intent, _charge(store, intent, method), method, AUTHENTICATION_REQUIRED)
    else:
        _challenge(store, intent)
    status: str = intent["status"]
    return status


def challenge_address(store: Store, intent: Object) -> str:
    """Return where the payer of an intent authenticates."""
    return f"{store.cause.base_url}/c/authenticate/{intent['id']}"


def _challenge(store: Store, intent: Object) -> None:
    redirect = {"return_url": None, "url": challenge_address(store, intent)}
    intent.update(
        status="requires_action",
        next_action={"redirect_to_url": redirect, "type": "redirect_to_url"},
    )
    store.emit("payment_intent.requires_action", intent)


def authenticated(store: Store, intent: Object, *, receipt_url: str | None = None) -> None:
    """Go on with an intent whose payer has authenticated."""
    method = store.get("payment_method", intent["payment_method"])
    if intent["setup_future_usage"]:
        methods.mark_set_up(store, method)
    intent["next_action"] = None
    _pay(store, intent, method, receipt_url)
    follow(store, intent)


def not_authenticated(store: Store, intent: Object) -> None:
    """Have an intent fail whose payer did not authenticate; there is no charge of it."""
    method = store.get("payment_method", intent["payment_method"])
    refusal = ApiError(CHALLENGE_FAILED, code="payment_intent_authentication_failure")
    _refuse(store, intent, method, refusal, charge=None)
    follow(store, intent)


def give_up(store: Store, intent: Object, *, reason: str | None) -> None:
    """Cancel an intent that is not paid, nor being paid."""
    if intent["status"] not in OPEN:
        return
    changes = {"canceled_at": store.now(), "cancellation_reason": reason, "next_action": None}
    intent.update(status="canceled", **changes)
    store.emit("payment_intent.canceled", intent)


def follow(store: Store, intent: Object) -> None:
    """Tell those who wait for an intent what became of it."""
    for told in FOLLOWERS:
        told(store, intent)


def _pay(store: Store, intent: Object, method: Object, receipt_url: str | None) -> None:
    kind = methods.kind_of(method)
    charge = _charge(store, intent, method)
    charge["receipt_url"] = receipt_url or f"{store.cause.base_url}/c/receipt/{charge['id']}"
    if method["type"] != "card":
        _process(store, intent, charge, method)
    elif kind.decline:
        _fail(store, intent, charge, method, kind.decline)
    else:
        _succeed(store, intent, charge, method)


def _process(store: Store, intent: Object, charge: Object, method: Object) -> None:
    _save(store, intent, method)
    due: Object = {"id": f"{intent['id']}/due", "at": store.now() + debits.SETTLED_AFTER_SECONDS}
    store.add("payment_intent.due", {**due, "intent": intent["id"]})
    store.wake(due["at"], "payment_intent.due", due["id"])
    charge["outcome"] = _outcome("authorized", "approved_by_network", None, "Payment pending.")
    store.emit("charge.pending", charge)
    intent.update(status="processing")
    store.emit("payment_intent.processing", intent)


def attend(store: Store) -> None:
    """Have banks answer when it is time."""
    store.when_due("payment_intent.due", lambda store, _due: settle_due(store), rank=2)


def settle_due(store: Store, *, at_once: bool = False) -> int:
    """Let banks answer whose time has come, or all of them; return how many did."""
    waiting = [
        (due, store.get("payment_intent", due["intent"]))
        for due in store.newest_first("payment_intent.due")[::-1]
    ]
    answered = [
        (due, intent)
        for due, intent in waiting
        if intent["status"] == "processing" and (at_once or due["at"] <= store.now())
    ]
    for due, intent in answered:
        due["at"] = 0
        _answer(store, intent)
    return len(answered)


def _answer(store: Store, intent: Object) -> None:
    method = store.get("payment_method", intent["payment_method"])
    charge = store.get("charge", intent["latest_charge"])
    decline = methods.kind_of(method).decline
    if decline:
        _fail(store, intent, charge, method, decline)
    else:
        _succeed(store, intent, charge, method)
    follow(store, intent)


def _succeed(store: Store, intent: Object, charge: Object, method: Object) -> None:
    _save(store, intent, method)
    amount: int = charge["amount"]
    charge.update(
        status="succeeded",
        paid=True,
        captured=True,
        amount_captured=amount,
        outcome=_outcome("authorized", "approved_by_network", None, "Payment complete."),
    )
    charge["balance_transaction"] = balance.book(
        store,
        charge,
        kind="charge" if method["type"] == "card" else "payment",
        amount_minor=amount,
        fee_minor=balance.processing_fee_minor(amount),
        description=charge["description"],
    )["id"]
    store.emit("charge.succeeded", charge)
    intent.update(
        status="succeeded",
        amount_received=intent["amount"],
        payment_method=method["id"],
        last_payment_error=None,
    )
    store.emit("payment_intent.succeeded", intent)
    if methods.kind_of(method).disputed:
        store.afterwards(lambda store: disputes.dispute_at_once(store, charge))


def _save(store: Store, intent: Object, method: Object) -> None:
    """Give the method to the intent's customer where it shall pay later ones too."""
    if intent["setup_future_usage"] and intent["customer"]:
        methods.attach_to(store, method, intent["customer"])


def _charge(store: Store, intent: Object, method: Object) -> Object:
    identifier = new_id("ch_3")
    carried = ("amount", "currency", "customer", "description", "receipt_email")
    descriptors = ("statement_descriptor", "statement_descriptor_suffix")
    charge = store.add(
        "charge",
        shapes.new(
            "charge",
            id=identifier,
            created=store.now(),
            calculated_statement_descriptor="SANDBOX",
            billing_details=deepcopy(method["billing_details"]),
            metadata=dict(intent["metadata"]),
            payment_intent=intent["id"],
            payment_method=method["id"],
            payment_method_details=_details(method, intent["amount"]),
            **{field: intent[field] for field in carried + descriptors},
        ),
    )
    intent["latest_charge"] = charge["id"]
    return charge


def _details(method: Object, amount_minor: int) -> Object:
    kind: str = method["type"]
    if kind != "card":
        return {kind: deepcopy(method[kind]), "type": kind}
    card = {**shapes.card_details(method["card"]), "amount_authorized": amount_minor}
    return {"card": card, "type": "card"}


def _fail(store: Store, intent: Object, charge: Object, method: Object, decline: Decline) -> None:
    refusal = card_declined(decline.message, decline.code)
    charge.update(
        status="failed",
        failure_code=refusal.code,
        failure_message=refusal.message,
        outcome=_outcome(
            "issuer_declined", "declined_by_network", decline.code, decline.seller_message
        ),
        receipt_url=None,
    )
    if "card" in charge["payment_method_details"]:
        charge["payment_method_details"]["card"]["amount_authorized"] = None
    store.emit("charge.failed", charge)
    _refuse(store, intent, method, refusal, charge=charge)


def _refuse(
    store: Store, intent: Object, method: Object, refusal: ApiError, *, charge: Object | None
) -> None:
    told = {**refusal.body(), "payment_method": deepcopy(method)}
    if charge:
        told["charge"] = charge["id"]
    intent.update(
        status="requires_payment_method",
        last_payment_error=told,
        next_action=None,
        payment_method=None,
    )
    store.emit("payment_intent.payment_failed", intent)


def _outcome(kind: str, network_status: str, reason: str | None, seller_message: str) -> Object:
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": network_status,
        "reason": reason,
        "risk_level": "normal",
        "risk_score": 1,
        "seller_message": seller_message,
        "type": kind,
    }


def list_charges(store: Store, params: Object) -> Object:
    """List charges by customer, payment intent and age."""
    found = matching(store.newest_first("charge"), params, ["customer", "payment_intent"])
    return page("/v1/charges", found, params)


ROUTES = (
    retrieve("charge", "/v1/charges"),
    Route("GET", "/v1/charges", listed({"customer": text, "payment_intent": text}), list_charges),
)
