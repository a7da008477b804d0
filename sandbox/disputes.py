"""Disputes: a payer's bank takes a payment back, or asks about it first.

Opened and decided by control (``/_sandbox/disputes``) or by a card's number; answered and given up
by the API. An inquiry (``warning_…``) moves no money. Whatever moves money is in the dispute's own
balance transactions: one when it is withdrawn, with Stripe's fee, and one when it is given back.
"""

from __future__ import annotations

from copy import deepcopy

from sandbox import balance, shapes
from sandbox.api import Route, retrieve
from sandbox.errors import ApiError, parameter_invalid
from sandbox.lists import matching, page
from sandbox.parameters import (
    Kind,
    asked,
    boolean,
    clearable,
    listed,
    merged,
    metadata,
    record,
    text,
)
from sandbox.shapes_money_back import EVIDENCE
from sandbox.store import Object, Store, new_id

FEE_MINOR = 1500
ANSWER_WITHIN_SECONDS = 9 * 24 * 60 * 60
CLOSED = ("won", "lost", "warning_closed")
INQUIRIES = ("warning_needs_response", "warning_under_review")
OPENED_AS = ("needs_response", "warning_needs_response")
REASONS = (
    "bank_cannot_process",
    "credit_not_processed",
    "customer_initiated",
    "duplicate",
    "fraudulent",
    "general",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
    "unrecognized",
)
# What may become of a dispute, by where it stands.
_BECOMES = {
    "needs_response": ("funds_withdrawn", "under_review", "won", "lost"),
    "under_review": ("funds_withdrawn", "won", "lost"),
    "warning_needs_response": ("funds_withdrawn", "under_review", "warning_closed"),
    "warning_under_review": ("funds_withdrawn", "warning_closed"),
}


def open_dispute(
    store: Store,
    charge: Object,
    *,
    status: str = "needs_response",
    amount_minor: int | None = None,
    reason: str = "fraudulent",
) -> Object:
    """Open a dispute over a charge, for all of it unless an amount is given; withdraw nothing."""
    amount = charge["amount"] if amount_minor is None else amount_minor
    if charge["status"] != "succeeded":
        raise ApiError(f"Charge {charge['id']} was not paid; nobody can dispute it.")
    if any(one["charge"] == charge["id"] for one in store.newest_first("dispute")):
        raise ApiError(f"Charge {charge['id']} has been disputed already.", code="charge_disputed")
    if not 1 <= amount <= charge["amount"]:
        raise parameter_invalid("amount", f"amount must be from 1 to {charge['amount']}.")
    inquiry = status in INQUIRIES
    dispute = shapes.new(
        "dispute",
        id=new_id("dp_1"),
        amount=amount,
        charge=charge["id"],
        created=store.now(),
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        is_charge_refundable=inquiry,
        payment_intent=charge["payment_intent"],
        payment_method_details=_details(charge, inquiry=inquiry),
        reason=reason,
        status=status,
    )
    dispute["evidence_details"]["due_by"] = store.now() + ANSWER_WITHIN_SECONDS
    store.add("dispute", dispute)
    charge["disputed"] = True
    store.emit("charge.dispute.created", dispute)
    return dispute


def _details(charge: Object, *, inquiry: bool) -> Object:
    kind: str = charge["payment_method_details"]["type"]
    if kind != "card":
        return {"type": kind}
    brand = charge["payment_method_details"]["card"]["brand"]
    card = {
        "brand": brand,
        "case_type": "inquiry" if inquiry else "chargeback",
        "network": brand,
        "network_reason_code": "10.4",
    }
    return {"card": card, "type": "card"}


def dispute_at_once(store: Store, charge: Object) -> None:
    """Dispute a charge as the card does that is known for it: as fraud, the money withdrawn."""
    decide(store, open_dispute(store, charge), "funds_withdrawn")


def decide(store: Store, dispute: Object, becomes: str) -> Object:
    """Move a dispute on: withdraw the money, or let the bank look into it or decide."""
    if becomes not in _BECOMES.get(dispute["status"], ()) or (
        becomes == "funds_withdrawn" and dispute["balance_transactions"]
    ):
        message = f"A dispute that is {dispute['status']} cannot become {becomes}."
        raise parameter_invalid("to", message)
    if becomes == "funds_withdrawn":
        _withdraw(store, dispute)
    elif becomes == "under_review":
        inquiry = dispute["status"] in INQUIRIES
        reviewed = "warning_under_review" if inquiry else "under_review"
        store.change("charge.dispute.updated", dispute, {"status": reviewed})
    else:
        _close(store, dispute, becomes)
    return dispute


def _withdraw(store: Store, dispute: Object) -> None:
    if dispute["status"] in INQUIRIES:  # the bank was not content with asking
        details = deepcopy(dispute["payment_method_details"])
        details.get("card", {})["case_type"] = "chargeback"
        changes = {
            "is_charge_refundable": False,
            "payment_method_details": details,
            "status": "needs_response",
        }
        store.change("charge.dispute.updated", dispute, changes)
    _book(store, dispute, -dispute["amount"], FEE_MINOR, "dispute", "withdrawal")
    store.emit("charge.dispute.funds_withdrawn", dispute, {"balance_transactions": []})


def _close(store: Store, dispute: Object, verdict: str) -> None:
    withdrawn = bool(dispute["balance_transactions"])
    if verdict == "lost" and not withdrawn:
        _withdraw(store, dispute)
    store.change("charge.dispute.closed", dispute, {"status": verdict})
    if verdict == "won" and withdrawn:
        before = deepcopy(dispute["balance_transactions"])
        _book(store, dispute, dispute["amount"], 0, "dispute_reversal", "reversal")
        store.emit("charge.dispute.funds_reinstated", dispute, {"balance_transactions": before})


def _book(
    store: Store, dispute: Object, amount_minor: int, fee_minor: int, category: str, what: str
) -> None:
    booked = balance.book(
        store,
        dispute,
        kind="adjustment",
        amount_minor=amount_minor,
        fee_minor=fee_minor,
        fee_for="Dispute fee",
        category=category,
        description=f"Chargeback {what} for {dispute['charge']}",
    )
    dispute["balance_transactions"].append(deepcopy(booked))


def update(store: Store, params: Object, identifier: str) -> Object:
    """Answer a dispute with evidence; it is submitted unless ``submit`` says to wait."""
    dispute = store.get("dispute", identifier)
    changes: Object = {}
    if "metadata" in params:
        changes["metadata"] = merged(dispute["metadata"], params["metadata"])
    if "evidence" in params or "submit" in params:
        if dispute["status"] not in ("needs_response", "warning_needs_response"):
            raise ApiError("This dispute is already under review or closed; it takes no evidence.")
        changes |= _answered(dispute, params)
    return store.change("charge.dispute.updated", dispute, changes)


def _answered(dispute: Object, params: Object) -> Object:
    evidence = {**dispute["evidence"], **params.get("evidence", {})}
    details = {**dispute["evidence_details"]}
    details["has_evidence"] = any(value for value in evidence.values())
    if not params.get("submit", True):
        return {"evidence": evidence, "evidence_details": details}
    details["submission_count"] += 1
    warned = dispute["status"] in INQUIRIES
    return {
        "evidence": evidence,
        "evidence_details": details,
        "status": "warning_under_review" if warned else "under_review",
    }


def close(store: Store, _params: Object, identifier: str) -> Object:
    """Give a dispute up: it is lost."""
    dispute = store.get("dispute", identifier)
    if dispute["status"] in CLOSED or dispute["status"] in INQUIRIES:
        raise ApiError(f"This dispute is {dispute['status']} and cannot be closed.")
    return decide(store, dispute, "lost")


def list_all(store: Store, params: Object) -> Object:
    """List disputes by charge, payment intent and age."""
    found = matching(store.newest_first("dispute"), params, ["charge", "payment_intent"])
    return page("/v1/disputes", found, params)


_EVIDENCE: dict[str, Kind] = dict.fromkeys(EVIDENCE, clearable(text))
ROUTES = (
    retrieve("dispute", "/v1/disputes"),
    Route(
        "POST",
        "/v1/disputes/<identifier>",
        asked({"evidence": record(_EVIDENCE), "metadata": metadata, "submit": boolean}),
        update,
    ),
    Route("POST", "/v1/disputes/<identifier>/close", asked({}), close),
    Route("GET", "/v1/disputes", listed({"charge": text, "payment_intent": text}), list_all),
)
