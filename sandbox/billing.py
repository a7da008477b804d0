"""An invoice's life: a draft, then open, then paid, void or uncollectible.

An invoice is numbered and takes up the customer's balance once, when it is finalized. Its payment
intent decides what becomes of it: whoever brings that to success, by whichever way, has paid the
invoice. A payment that fails is tried again three, five and seven days after the first failure.
"""

from __future__ import annotations

from copy import deepcopy

from sandbox import customer_balance, discounts, invoice_lines, invoice_payments, payments, shapes
from sandbox.errors import ApiError
from sandbox.least_charge import least_charge
from sandbox.store import Object, Store, new_id

FINALIZED_AFTER_SECONDS = 60 * 60
DAY_SECONDS = 24 * 60 * 60
RETRY_DAYS = (3, 5, 7)
_PAYER = ("email", "name", "phone", "address", "shipping", "tax_exempt")
_DESCRIPTIONS = {
    "subscription_create": "Subscription creation",
    "subscription_cycle": "Subscription update",
    "subscription_update": "Subscription update",
}


def attend(store: Store) -> None:
    """Have invoices finalized and tried again when it is time, and settled by their payments."""
    store.when_due("invoice.finalization", _finalize_due, rank=3)
    store.when_due("invoice.retry", _retry_due, rank=4)
    store.follow(_follow)


def build(store: Store, customer: Object, **fields: object) -> Object:
    """Build a draft without keeping it."""
    return shapes.new(
        "invoice",
        id=new_id("in_1"),
        created=store.now(),
        customer=customer["id"],
        **{f"customer_{field}": deepcopy(customer[field]) for field in _PAYER},
        **fields,
    )


def of_subscription(store: Store, subscription: Object) -> Object:
    """Return the fields by which an invoice tells which subscription it is for."""
    details = {"metadata": dict(subscription["metadata"]), "subscription": subscription["id"]}
    return {
        "currency": subscription["currency"],
        "collection_method": subscription["collection_method"],
        "automatic_tax": {
            **subscription["automatic_tax"],
            "provider": None,
            "status": None,
        },
        "discounts": discounts.running(store, subscription),
        "parent": {
            "quote_details": None,
            "subscription_details": details,
            "type": "subscription_details",
        },
    }


def subscription_of(invoice: Object) -> str | None:
    """Return the subscription an invoice is for, if any."""
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    found: str | None = details.get("subscription")
    return found


def draft(store: Store, invoice: Object, lines: list[Object]) -> Object:
    """Keep a built invoice as a draft; the invoice items among its lines belong to it now."""
    store.add("invoice", invoice)
    blank = dict.fromkeys(("automatic", "exhausted", "keeps_card", "pending_update"), False)
    state = {**blank, "id": _state_id(invoice["id"]), "failed_at": None}
    store.add("invoice.collection", state)
    for line in lines:
        item = invoice_lines.item_of(line)
        if item:
            store.get("invoiceitem", item)["invoice"] = invoice["id"]
    invoice_lines.put(store, invoice, lines)
    discounts.use(store, invoice)
    if invoice["auto_advance"]:
        due = store.now() + FINALIZED_AFTER_SECONDS
        invoice.update(automatically_finalizes_at=due, next_payment_attempt=due)
        store.wake(due, "invoice.finalization", invoice["id"])
    store.emit("invoice.created", invoice)
    return invoice


def _state_id(identifier: str) -> str:
    return f"{identifier}/collection"


def collection(store: Store, invoice: Object) -> Object:
    """Return how the collection of an invoice stands, which the invoice does not show."""
    return store.get("invoice.collection", _state_id(invoice["id"]))


def finalize(store: Store, invoice: Object, intent: Object | None = None) -> Object:
    """Number a draft, take up the balance, and open it; where nothing is due, it is paid.

    An ``intent`` given has been paid already, on a hosted page.
    """
    if invoice["status"] != "draft":
        message = f"Only draft invoices can be finalized; this one is {invoice['status']}."
        raise ApiError(message, code="invoice_not_editable")
    customer = store.get("customer", invoice["customer"])
    invoice_lines.show(store, invoice, invoice_lines.all_of(store, invoice))
    if intent and not subscription_of(invoice):
        invoice["starting_balance"] = 0  # what was paid at a checkout is not netted
    owed = invoice["total"] + invoice["starting_balance"]
    due = to_charge(owed, invoice["currency"])
    base = f"{store.cause.base_url}/i/{invoice['id']}"
    invoice.update(
        status="open",
        amount_due=due,
        amount_remaining=due,
        automatically_finalizes_at=None,
        effective_at=store.now(),
        ending_balance=owed - due,
        hosted_invoice_url=base,
        invoice_pdf=f"{base}/pdf",
        number=f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04}",
        status_transitions={**invoice["status_transitions"], "finalized_at": store.now()},
    )
    customer["next_invoice_sequence"] += 1
    _apply_balance(store, invoice, customer, "invoice_too_small" if 0 < owed != due else None)
    if due:
        invoice_payments.ask(store, invoice, intent or _new_intent(store, invoice))
    store.emit("invoice.finalized", invoice)
    if due == 0 or intent:
        _paid(store, invoice)
    return invoice


def to_charge(owed: int, currency: str) -> int:
    """Return what is charged of what is owed: nothing of what is too small, or a credit."""
    return owed if owed >= least_charge(currency) else 0


def _apply_balance(store: Store, invoice: Object, customer: Object, kind: str | None) -> None:
    change = invoice["ending_balance"] - invoice["starting_balance"]
    customer_balance.change(
        store,
        customer,
        change,
        kind or "applied_to_invoice",
        currency=invoice["currency"],
        invoice=invoice["id"],
    )


def _new_intent(store: Store, invoice: Object) -> Object:
    return payments.create_intent(
        store,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description=_DESCRIPTIONS.get(invoice["billing_reason"], f"Invoice {invoice['number']}"),
    )


def method_of(store: Store, invoice: Object) -> Object | None:
    """Return the saved card an invoice is charged to: its own, the subscription's, the payer's."""
    owner = subscription_of(invoice)
    subscription = store.get("subscription", owner) if owner else {}
    settings = store.get("customer", invoice["customer"])["invoice_settings"]
    chosen = (
        invoice["default_payment_method"]
        or subscription.get("default_payment_method")
        or settings["default_payment_method"]
    )
    return store.get("payment_method", chosen) if chosen else None


def collect(
    store: Store,
    invoice: Object,
    *,
    method: Object | None = None,
    automatic: bool = True,
    off_session: bool = True,
) -> str:
    """Charge an open invoice; return what became of it, as a payment intent's status.

    ``automatic`` tells an attempt that nobody asked for, ``off_session`` that the payer is away.
    """
    collection(store, invoice)["automatic"] = automatic
    method = method or method_of(store, invoice)
    intent = invoice_payments.intent_of(store, invoice)
    if method is None or intent is None:
        _failed(store, invoice)
        return "requires_payment_method"
    return payments.charge_saved(store, intent, method, off_session=off_session)


def advance(store: Store, invoice: Object, *, off_session: bool = True) -> None:
    """Finalize a draft and charge it, as it happens by itself an hour after its creation."""
    finalize(store, invoice)
    if invoice["status"] == "open" and invoice["collection_method"] == "charge_automatically":
        collect(store, invoice, off_session=off_session)


def _finalize_due(store: Store, identifier: str) -> None:
    invoice = store.get("invoice", identifier) if store.has("invoice", identifier) else None
    if invoice and invoice["auto_advance"] and invoice["status"] == "draft":
        advance(store, invoice)
    elif invoice and invoice["auto_advance"] and not invoice["attempted"]:
        _retry_due(store, identifier)


def _retry_due(store: Store, identifier: str) -> None:
    invoice = store.get("invoice", identifier)
    due = invoice["next_payment_attempt"]
    if invoice["status"] == "open" and due is not None and due <= store.now():
        collect(store, invoice)


def charge_soon(store: Store, invoice: Object) -> None:
    """Have an invoice that was finalized by hand charged at the next opportunity."""
    invoice["next_payment_attempt"] = store.now()
    store.wake(store.now(), "invoice.retry", invoice["id"])


def _follow(store: Store, happened: str, about: Object) -> None:
    """Follow what becomes of an invoice's payment intent."""
    outcome = happened.removeprefix("payment_intent.")
    if outcome not in ("succeeded", "payment_failed", "requires_action"):
        return
    invoice = invoice_payments.invoice_of(store, about["id"])
    if invoice is None or invoice["status"] not in ("open", "uncollectible"):
        return
    if outcome == "succeeded":
        _paid(store, invoice)
    else:
        error = about["last_payment_error"] or {}
        wanted = error.get("code") == "authentication_required"
        _failed(store, invoice, action=wanted or outcome == "requires_action")


def _paid(store: Store, invoice: Object) -> None:
    counts = invoice["amount_due"] > 0 and _counts(store, invoice)
    asked = [one for one in invoice_payments.of(store, invoice)[:1] if one["status"] != "canceled"]
    for payment in asked:
        payment.update(
            amount_paid=invoice["amount_due"],
            status="paid",
            status_transitions={**payment["status_transitions"], "paid_at": store.now()},
        )
        store.emit("invoice_payment.paid", payment)
    changes = {
        "status": "paid",
        "amount_paid": invoice["amount_due"],
        "amount_remaining": 0,
        "attempted": True,
        "attempt_count": invoice["attempt_count"] + counts,
        "auto_advance": False,
        "next_payment_attempt": None,
        "status_transitions": {**invoice["status_transitions"], "paid_at": store.now()},
    }
    store.change("invoice.updated", invoice, changes)
    store.emit("invoice.paid", invoice)
    store.emit("invoice.payment_succeeded", invoice)


def _counts(store: Store, invoice: Object) -> bool:
    """Tell whether an attempt is counted: the first is, then only those made by themselves."""
    return bool(collection(store, invoice)["automatic"]) or not invoice["attempted"]


def _failed(store: Store, invoice: Object, *, action: bool = False) -> None:
    state = collection(store, invoice)
    counts = _counts(store, invoice)
    state["failed_at"] = state["failed_at"] or store.now()
    retry = _next_attempt(store, invoice, state)
    if retry is not None:
        store.wake(retry, "invoice.retry", invoice["id"])
    elif invoice["auto_advance"] and not state["pending_update"]:
        state["exhausted"] = True
    changes = {
        "attempted": True,
        "attempt_count": invoice["attempt_count"] + counts,
        "auto_advance": retry is not None,
        "next_payment_attempt": retry,
    }
    store.change("invoice.updated", invoice, changes)
    if action:
        store.emit("invoice.payment_action_required", invoice)
    store.emit("invoice.payment_failed", invoice)


def _next_attempt(store: Store, invoice: Object, state: Object) -> int | None:
    if not invoice["auto_advance"] or state["pending_update"]:
        return None
    attempts = (state["failed_at"] + days * DAY_SECONDS for days in RETRY_DAYS)
    return next((attempt for attempt in attempts if attempt > store.now()), None)


def void(store: Store, invoice: Object) -> Object:
    """Take an open invoice back, with what it took up of the customer's balance."""
    if invoice["status"] not in ("open", "uncollectible"):
        message = f"You can only void an open invoice; this one is {invoice['status']}."
        raise ApiError(message)
    _stop(store, invoice)
    customer_balance.change(
        store,
        store.get("customer", invoice["customer"]),
        invoice["starting_balance"] - invoice["ending_balance"],
        "unapplied_from_invoice",
        currency=invoice["currency"],
        invoice=invoice["id"],
    )
    return _close(store, invoice, "void", "voided")


def give_up(store: Store, invoice: Object) -> Object:
    """Mark an open invoice as uncollectible; it can still be paid."""
    if invoice["status"] != "open":
        message = f"You can only mark an open invoice; this one is {invoice['status']}."
        raise ApiError(message)
    return _close(store, invoice, "uncollectible", "marked_uncollectible")


def _close(store: Store, invoice: Object, status: str, word: str) -> Object:
    transitions = {**invoice["status_transitions"], f"{word}_at": store.now()}
    changes = {"status": status, "status_transitions": transitions, "auto_advance": False}
    store.change("invoice.updated", invoice, {**changes, "next_payment_attempt": None})
    store.emit(f"invoice.{word}", invoice)
    return invoice


def _stop(store: Store, invoice: Object) -> None:
    """Cancel what was asked for an invoice that is no longer to be paid."""
    for payment in invoice_payments.of(store, invoice)[:1]:
        transitions = {**payment["status_transitions"], "canceled_at": store.now()}
        payment.update(status="canceled", status_transitions=transitions)
        intent = store.get("payment_intent", payment["payment"]["payment_intent"])
        if intent["status"] not in ("succeeded", "canceled"):
            reason = {"canceled_at": store.now(), "cancellation_reason": "void_invoice"}
            intent.update(status="canceled", next_action=None, **reason)
            store.emit("payment_intent.canceled", intent)


def pay_outside(store: Store, invoice: Object) -> None:
    """Mark an open invoice as paid by other means."""
    _stop(store, invoice)
    _paid(store, invoice)
