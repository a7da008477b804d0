"""What banks decide, on demand: under ``/_sandbox/``, for tests and demonstrations.

Bank debits and refunds that wait are answered; disputes are opened and decided.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from sandbox import disputes, payments, refunds
from sandbox.api import Gate
from sandbox.control import json_object, refused
from sandbox.errors import ApiError, parameter_invalid, parameter_missing, parameter_unknown
from sandbox.store import Cause, Object, Store


def blueprint(gate: Gate) -> Blueprint:
    """Make the endpoints."""
    banks = Blueprint("decisions", __name__, url_prefix="/_sandbox")
    banks.register_error_handler(ApiError, refused)
    store = gate.store

    @banks.post("/settle")
    def settle() -> Response:
        with store.acting(Cause(gate.base_url())):
            paid = payments.settle_due(store, at_once=True)
            return jsonify(payments=paid, refunds=refunds.settle_due(store, at_once=True))

    @banks.post("/refunds/<identifier>")
    def fail_refund(identifier: str) -> Response:
        becomes = _given("to", ("to",))
        if becomes not in refunds.NEVER_MADE:
            raise parameter_invalid("to", f"to must be one of {', '.join(refunds.NEVER_MADE)}.")
        with store.acting(Cause(gate.base_url())):
            refund = store.get("refund", identifier)
            if refund["status"] in refunds.NEVER_MADE:
                raise parameter_invalid("to", f"This refund has {refund['status']} already.")
            refunds.fail(store, refund, becomes)
            return jsonify(refund)

    @banks.post("/disputes")
    def open_dispute() -> Response:
        body = json_object()
        with store.acting(Cause(gate.base_url())):
            return jsonify(_open(store, body))

    @banks.post("/disputes/<identifier>")
    def decide(identifier: str) -> Response:
        becomes = str(_given("to", ("to",)))
        with store.acting(Cause(gate.base_url())):
            return jsonify(disputes.decide(store, store.get("dispute", identifier), becomes))

    return banks


def _given(name: str, known: tuple[str, ...]) -> Any:
    body = json_object()
    for field in body:
        if field not in known:
            raise parameter_unknown(field)
    if name not in body:
        raise parameter_missing(name)
    return body[name]


def _open(store: Store, body: Object) -> Object:
    for field in body.keys() - {"charge", "payment_intent", "status", "amount", "reason"}:
        raise parameter_unknown(field)
    status, reason = body.get("status", "needs_response"), body.get("reason", "fraudulent")
    for name, value, allowed in (
        ("status", status, disputes.OPENED_AS),
        ("reason", reason, disputes.REASONS),
    ):
        if value not in allowed:
            raise parameter_invalid(name, f"{name} must be one of {', '.join(allowed)}.")
    amount = body.get("amount")
    if amount is not None and (not isinstance(amount, int) or isinstance(amount, bool)):
        raise parameter_invalid("amount", "amount must be a whole number of minor units.")
    return disputes.open_dispute(
        store, _charge(store, body), status=status, amount_minor=amount, reason=reason
    )


def _charge(store: Store, body: Object) -> Object:
    if ("charge" in body) == ("payment_intent" in body):
        raise ApiError("Name one of charge and payment_intent.")
    if "charge" in body:
        return store.get("charge", str(body["charge"]), "charge")
    intent = store.get("payment_intent", str(body["payment_intent"]), "payment_intent")
    if not intent["latest_charge"]:
        raise parameter_invalid("payment_intent", "This payment intent has no charge.")
    return store.get("charge", intent["latest_charge"])
