"""Invoice payments: which payment intent is to pay an invoice, and whether it has."""

from __future__ import annotations

from sandbox import shapes
from sandbox.api import Route, retrieve
from sandbox.lists import INCLUDABLE, envelope, matching, page
from sandbox.parameters import choice, listed, record, text
from sandbox.store import Object, Store, new_id


def ask(store: Store, invoice: Object, intent: Object) -> Object:
    """Have an invoice paid by an intent."""
    store.add("invoice.of_intent", {"id": _link_id(intent["id"]), "invoice": invoice["id"]})
    return store.add(
        "invoice_payment",
        shapes.new(
            "invoice_payment",
            id=new_id("inpay_1"),
            amount_requested=invoice["amount_due"],
            created=store.now(),
            currency=invoice["currency"],
            invoice=invoice["id"],
            payment={"payment_intent": intent["id"], "type": "payment_intent"},
        ),
    )


def _link_id(intent: str) -> str:
    return f"{intent}/invoice"


def invoice_of(store: Store, intent: str) -> Object | None:
    """Return the invoice an intent is to pay, if it is for one."""
    if not store.has("invoice.of_intent", _link_id(intent)):
        return None
    return store.get("invoice", store.get("invoice.of_intent", _link_id(intent))["invoice"])


def of(store: Store, invoice: Object) -> list[Object]:
    """Return the payments asked for an invoice, newest first."""
    every = store.newest_first("invoice_payment")
    return [payment for payment in every if payment["invoice"] == invoice["id"]]


def intent_of(store: Store, invoice: Object) -> Object | None:
    """Return the payment intent of an invoice, if it has one."""
    found = of(store, invoice)
    return store.get("payment_intent", found[0]["payment"]["payment_intent"]) if found else None


def _payments(store: Store, invoice: Object) -> Object:
    return envelope(f"/v1/invoice_payments?invoice={invoice['id']}", of(store, invoice))


def _confirmation(store: Store, invoice: Object) -> Object:
    intent = intent_of(store, invoice) or {}
    return {"client_secret": intent.get("client_secret"), "type": "payment_intent"}


INCLUDABLE["invoice", "payments"] = _payments
INCLUDABLE["invoice", "confirmation_secret"] = _confirmation


def _list_all(store: Store, params: Object) -> Object:
    found = matching(store.newest_first("invoice_payment"), params, ["invoice", "status"])
    wanted = params.get("payment", {}).get("payment_intent")
    if wanted:
        found = [one for one in found if one["payment"]["payment_intent"] == wanted]
    return page("/v1/invoice_payments", found, params)


ROUTES = (
    retrieve("invoice_payment", "/v1/invoice_payments"),
    Route(
        "GET",
        "/v1/invoice_payments",
        listed(
            {
                "invoice": text,
                "payment": record({"payment_intent": text, "type": choice("payment_intent")}),
                "status": choice("canceled", "open", "paid"),
            }
        ),
        _list_all,
    ),
)
