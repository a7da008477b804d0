"""Payment intents, charges, payment methods: what becomes of an attempt to pay.

``attempt`` is the only maker of charges. A charge that fails is kept, told and then raised, so
that whoever asked for it learns of it as Stripe tells it: as a refusal of the card.
"""

from __future__ import annotations

from copy import deepcopy

from sandbox import shapes
from sandbox.api import Route, retrieve
from sandbox.cards import CARDS, Card, Decline
from sandbox.errors import ApiError, card_declined
from sandbox.lists import envelope, matching, page
from sandbox.parameters import listed, text
from sandbox.store import Object, Store, new_id

SETTLED_AFTER_SECONDS = 2 * 24 * 60 * 60


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


def create_method(store: Store, card: Card, *, email: str, customer: str | None) -> Object:
    """Make a payment method of a card, kept with the customer where there is one."""
    method = shapes.new("payment_method", id=new_id("pm_1"), created=store.now(), customer=customer)
    method["billing_details"]["email"] = email
    method["card"].update(
        brand="visa",
        display_brand="visa",
        exp_month=card.exp_month,
        exp_year=card.exp_year,
        fingerprint=f"sandbox{card.kind.number[-9:]}",
        last4=card.kind.number[-4:],
    )
    method["card"]["networks"]["available"] = ["visa"]
    store.add("payment_method", method)
    if customer:
        store.emit("payment_method.attached", method)
    return method


def attempt(
    store: Store, intent: Object, method: Object, decline: Decline | None, *, receipt_url: str
) -> Object:
    """Charge the intent's amount to the card; raise what the card's issuer objects."""
    charge = _charge(store, intent, method)
    intent["latest_charge"] = charge["id"]
    if decline:
        _fail(store, intent, charge, method, decline)
    charge.update(
        status="succeeded",
        paid=True,
        captured=True,
        amount_captured=charge["amount"],
        balance_transaction=_settle(store, charge)["id"],
        receipt_url=receipt_url,
        outcome=_outcome("authorized", "approved_by_network", None, "Payment complete."),
    )
    store.emit("charge.succeeded", charge)
    intent.update(
        status="succeeded",
        amount_received=intent["amount"],
        payment_method=method["id"],
        last_payment_error=None,
    )
    store.emit("payment_intent.succeeded", intent)
    return charge


def charge_saved(
    store: Store,
    intent: Object,
    method: Object,
    *,
    off_session: bool,  # noqa: ARG001 - no card asks to authenticate yet
) -> str:
    """Charge the intent's amount to a saved card; return the status the intent comes to.

    ``off_session`` tells that the payer is not there, who could be asked to authenticate.
    """
    receipt_url = f"{store.cause.base_url}/"
    intent["payment_method"] = method["id"]
    try:
        attempt(store, intent, method, kept_decline(method), receipt_url=receipt_url)
    except ApiError:
        intent["payment_method"] = None
        return "requires_payment_method"
    return "succeeded"


def kept_decline(method: Object) -> Decline | None:
    """Return what the issuer of a saved card objects to being charged, if anything."""
    printed = method["card"]["fingerprint"].removeprefix("sandbox")
    known = (card for card in CARDS if card.number.endswith(printed))
    return next((card.decline for card in known), None)


def _charge(store: Store, intent: Object, method: Object) -> Object:
    identifier = new_id("ch_3")
    carried = ("amount", "currency", "customer", "description", "receipt_email")
    descriptors = ("statement_descriptor", "statement_descriptor_suffix")
    return store.add(
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
            payment_method_details={
                "card": {
                    **shapes.card_details(method["card"]),
                    "amount_authorized": intent["amount"],
                },
                "type": "card",
            },
            refunds=envelope(f"/v1/charges/{identifier}/refunds", []),
            **{field: intent[field] for field in carried + descriptors},
        ),
    )


def _fail(store: Store, intent: Object, charge: Object, method: Object, decline: Decline) -> None:
    refusal = card_declined(decline.message, decline.code)
    charge.update(
        status="failed",
        failure_code=refusal.code,
        failure_message=refusal.message,
        outcome=_outcome(
            "issuer_declined", "declined_by_network", decline.code, decline.seller_message
        ),
    )
    charge["payment_method_details"]["card"]["amount_authorized"] = None
    store.emit("charge.failed", charge)
    intent["last_payment_error"] = {
        **refusal.body(),
        "charge": charge["id"],
        "payment_method": deepcopy(method),
    }
    store.emit("payment_intent.payment_failed", intent)
    raise refusal


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


def _settle(store: Store, charge: Object) -> Object:
    """Book the charge on the account's balance, less Stripe's usual 2.9 % and 30."""
    amount: int = charge["amount"]
    fee = (amount * 29 + 500) // 1000 + 30
    return store.add(
        "balance_transaction",
        shapes.new(
            "balance_transaction",
            id=new_id("txn_3"),
            amount=amount,
            available_on=store.now() + SETTLED_AFTER_SECONDS,
            created=store.now(),
            currency=charge["currency"],
            description=charge["description"],
            fee=fee,
            fee_details=[
                {
                    "amount": fee,
                    "application": None,
                    "currency": charge["currency"],
                    "description": "Stripe processing fees",
                    "type": "stripe_fee",
                }
            ],
            net=amount - fee,
            source=charge["id"],
        ),
    )


def list_intents(store: Store, params: Object) -> Object:
    """List payment intents by customer and age."""
    found = matching(store.newest_first("payment_intent"), params, ["customer"])
    return page("/v1/payment_intents", found, params)


def list_charges(store: Store, params: Object) -> Object:
    """List charges by customer, payment intent and age."""
    found = matching(store.newest_first("charge"), params, ["customer", "payment_intent"])
    return page("/v1/charges", found, params)


ROUTES = (
    retrieve("payment_intent", "/v1/payment_intents"),
    Route("GET", "/v1/payment_intents", listed({"customer": text}), list_intents),
    retrieve("charge", "/v1/charges"),
    Route("GET", "/v1/charges", listed({"customer": text, "payment_intent": text}), list_charges),
    retrieve("payment_method", "/v1/payment_methods"),
    retrieve("balance_transaction", "/v1/balance_transactions"),
)
