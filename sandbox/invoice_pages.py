"""The hosted page of an invoice, where it is read and paid, and its document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from sandbox import (
    billing,
    challenge,
    checkout,
    invoice_lines,
    invoice_payments,
    payments,
)
from sandbox.api import Gate
from sandbox.cards import CARDS, Card, CardProblems, read_card
from sandbox.documents import pdf
from sandbox.invoices import refusal
from sandbox.pages import day, money, page
from sandbox.store import Cause, Object, Store

FIELDS = ("number", "expiry", "cvc")


def _way_back(store: Store, intent: Object, _succeeded: bool) -> str | None:
    """Return a payer who has authenticated to the invoice, unless they came of a checkout."""
    if checkout.session_of(store, intent):
        return None
    invoice = invoice_payments.invoice_of(store, intent["id"])
    address: str | None = invoice["hosted_invoice_url"] if invoice else None
    return address


challenge.WAYS_BACK.append(_way_back)


def blueprint(gate: Gate) -> Blueprint:
    """Make the pages."""
    pages = Blueprint("invoices", __name__)
    store = gate.store

    @pages.get("/i/<identifier>")
    def show(identifier: str) -> Response:
        with store.acting(Cause(gate.base_url())):
            invoice = _find(store, identifier)
            return _page(store, invoice) if invoice else _nowhere()

    @pages.post("/i/<identifier>")
    def pay(identifier: str) -> AnyResponse:
        with store.acting(Cause(gate.base_url())):
            invoice = _find(store, identifier)
            return _pay(store, invoice) if invoice else _nowhere()

    @pages.get("/i/<identifier>/pdf")
    def document(identifier: str) -> Response:
        with store.acting(Cause(gate.base_url())):
            invoice = _find(store, identifier)
            if invoice is None:
                return _nowhere()
            return Response(pdf(_document(store, invoice)), mimetype="application/pdf")

    return pages


def _find(store: Store, identifier: str) -> Object | None:
    """Return a finalized invoice; a draft has no page."""
    known = store.has("invoice", identifier)
    invoice = store.get("invoice", identifier) if known else None
    return invoice if invoice and invoice["status"] != "draft" else None


def _nowhere() -> Response:
    return page("closed.html", status=404, session=None)


def _page(store: Store, invoice: Object, *, status: int = 200, **more: Any) -> Response:
    shown: dict[str, Any] = {
        "typed": dict.fromkeys(FIELDS, ""),
        "problems": {},
        "declined": None,
        "authenticate": _to_authenticate(store, invoice),
        **more,
    }
    return page(
        "invoice.html",
        status=status,
        invoice=invoice,
        lines=invoice_lines.all_of(store, invoice),
        payable=invoice["status"] in ("open", "uncollectible"),
        cards=CARDS,
        **shown,
    )


def _pay(store: Store, invoice: Object) -> AnyResponse:
    if invoice["status"] not in ("open", "uncollectible"):
        return redirect(request.path, 303)
    typed = {field: request.form.get(field, "").strip() for field in FIELDS}
    try:
        now = datetime.fromtimestamp(store.now(), UTC)
        card = read_card(typed["number"], typed["expiry"], typed["cvc"], now=now)
    except CardProblems as found:
        if "number" in found.problems:
            typed["number"] = ""  # whose number it is we cannot know, so it is not shown again
        return _page(store, invoice, status=422, typed=typed, problems=found.problems)
    outcome = _charge(store, invoice, card)
    if outcome == "requires_payment_method":
        declined = refusal(store, invoice, outcome).message
        return _page(store, invoice, status=402, typed=typed, declined=declined)
    return redirect(_to_authenticate(store, invoice) or request.path, 303)


def _to_authenticate(store: Store, invoice: Object) -> str | None:
    """Return where the payer authenticates, if the payment waits for that."""
    intent = invoice_payments.intent_of(store, invoice) or {}
    action = (intent.get("next_action") or {}).get("redirect_to_url") or {}
    address: str | None = action.get("url")
    return address


def _charge(store: Store, invoice: Object, card: Card) -> str:
    """Charge a card that was typed; one that pays a subscription is kept for its renewals."""
    customer = store.get("customer", invoice["customer"])
    method = payments.create_method(
        store,
        card,
        email=customer["email"] or "",
        customer=None if card.kind.decline else customer["id"],
    )
    owner = billing.subscription_of(invoice)
    billing.collection(store, invoice)["keeps_card"] = owner is not None
    return billing.collect(store, invoice, method=method, automatic=False, off_session=False)


def _document(store: Store, invoice: Object) -> list[str]:
    code = invoice["currency"]
    lines = [
        "Invoice from the sandbox: no money moves",
        "",
        f"Number {invoice['number']}",
        f"Date {day(invoice['effective_at'])}",
        f"To {invoice['customer_name'] or invoice['customer_email'] or invoice['customer']}",
        "",
    ]
    lines += [
        f"{line['description']}: {money(line['amount'], code)}"
        for line in invoice_lines.all_of(store, invoice)
    ]
    balance = (invoice["ending_balance"] or 0) - invoice["starting_balance"]
    lines += ["", f"Subtotal {money(invoice['subtotal'], code)}"]
    lines += [
        f"Discount {money(-one['amount'], code)}" for one in invoice["total_discount_amounts"]
    ]
    lines += [f"Tax {money(one['amount'], code)}" for one in invoice["total_taxes"]]
    lines.append(f"Total {money(invoice['total'], code)}")
    if balance:
        lines.append(f"From your balance {money(-balance, code)}")
    lines.append(f"Amount due {money(invoice['amount_due'], code)}")
    return [*lines, f"Status: {invoice['status']}"]
