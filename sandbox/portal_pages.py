"""The customer portal's pages: the card on file, subscriptions, invoices and tax ids.

One form, one change; each is made under the store's lock and told by its events.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from sandbox import methods, payments, portal, tax_ids
from sandbox.api import Gate
from sandbox.cards import CARDS, CardProblems, read_card
from sandbox.errors import ApiError
from sandbox.pages import page
from sandbox.store import Cause, Object, Store

FIELDS = ("number", "expiry", "cvc", "type", "value")


def blueprint(gate: Gate) -> Blueprint:
    """Make the pages."""
    pages = Blueprint("portal", __name__)
    store = gate.store

    @pages.get("/p/session/<secret>")
    def show(secret: str) -> Response:
        with store.acting(Cause(gate.base_url())):
            session = portal.find(store, secret)
            return _page(store, session) if session else _nowhere()

    @pages.post("/p/session/<secret>")
    def change(secret: str) -> AnyResponse:
        with store.acting(Cause(gate.base_url())):
            session = portal.find(store, secret)
            step = _STEPS.get(request.form.get("change", ""))
            if session is None:
                return _nowhere()
            return step(store, session) if step else _page(store, session, status=422)

    return pages


def _nowhere() -> Response:
    return page("portal.html", status=404, session=None)


def _page(
    store: Store,
    session: Object,
    *,
    status: int = 200,
    problems: dict[str, str] | None = None,
    refused: str | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    customer = store.get("customer", session["customer"])
    owned = [one for one in store.newest_first("invoice") if one["customer"] == customer["id"]]
    flow = session["flow"] or {}
    return page(
        "portal.html",
        status=status,
        goes_to=portal.after(session),
        session=session,
        customer=customer,
        methods=methods.list_all(store, {"customer": customer["id"], "limit": 100})["data"],
        default=customer["invoice_settings"]["default_payment_method"],
        subscriptions=portal.running(store, customer),
        invoices=[one for one in owned if one["status"] != "draft"],
        tax_ids=tax_ids.list_all(store, {}, customer["id"])["data"],
        tax_types={kind: named for kind, (named, _) in tax_ids.TYPES.items()},
        cards=CARDS,
        flow=flow.get("type"),
        wanted=(flow.get("subscription_cancel") or {}).get("subscription"),
        done=_done(session) if "done" in request.args else None,
        problems=problems or {},
        refused=refused or _failure(store, session),
        typed=typed or dict.fromkeys(FIELDS, ""),
    )


def _done(session: Object) -> str:
    after = (session["flow"] or {}).get("after_completion") or {}
    return (after.get("hosted_confirmation") or {}).get("custom_message") or "Your change is saved."


def _failure(store: Store, session: Object) -> str | None:
    """Return why the card was not saved with which the customer comes back from the bank."""
    identifier = request.args.get("failed", "")
    if not store.has("setup_intent", identifier):
        return None
    intent = store.get("setup_intent", identifier)
    error = intent["last_setup_error"] if intent["customer"] == session["customer"] else None
    return error and error["message"]


def _typed() -> dict[str, str]:
    return {field: request.form.get(field, "").strip() for field in FIELDS}


def _add_card(store: Store, session: Object) -> AnyResponse:
    typed = _typed()
    try:
        now = datetime.fromtimestamp(store.now(), UTC)
        card = read_card(typed["number"], typed["expiry"], typed["cvc"], now=now)
    except CardProblems as found:
        if "number" in found.problems:
            typed["number"] = ""
        return _page(store, session, status=422, problems=found.problems, typed=typed)
    intent = portal.save_card(store, session, card)
    if intent["status"] == "requires_action":
        return redirect(payments.challenge_address(store, intent), 303)
    if intent["status"] != "succeeded":
        message = intent["last_setup_error"]["message"]
        return _page(store, session, status=402, refused=message, typed=typed)
    return redirect(portal.after(session), 303)


def _own(store: Store, session: Object, kind: str) -> Object | None:
    """Return the object a form names, if it is one of the customer's own."""
    identifier = request.form.get("id", "")
    if not store.has(kind, identifier):
        return None
    found = store.get(kind, identifier)
    return found if found["customer"] == session["customer"] else None


def _make_default(store: Store, session: Object) -> AnyResponse:
    method = _own(store, session, "payment_method")
    if method is None:
        return _page(store, session, status=422)
    portal.make_default(store, store.get("customer", session["customer"]), method)
    return redirect(portal.after(session), 303)


def _remove_card(store: Store, session: Object) -> AnyResponse:
    method = _own(store, session, "payment_method")
    if method is None:
        return _page(store, session, status=422)
    methods.detach(store, {}, method["id"])
    return redirect(session["url"], 303)


def _cancel(store: Store, session: Object) -> AnyResponse:
    subscription = _own(store, session, "subscription")
    if subscription is None or subscription["status"] in portal.ENDED:
        return _page(store, session, status=422)
    portal.cancel(store, subscription)
    return redirect(portal.after(session), 303)


def _add_tax_id(store: Store, session: Object) -> AnyResponse:
    typed = _typed()
    problems: dict[str, str] = {}
    if typed["type"] not in tax_ids.TYPES:
        problems["type"] = "Choose one of these types."
    else:
        try:
            given = {"type": typed["type"], "value": typed["value"]}
            tax_ids.create(store, given, session["customer"])
        except ApiError:
            named = tax_ids.TYPES[typed["type"]][0]
            problems["value"] = f"This does not look like one. Enter the {named} as it is printed."
    if problems:
        return _page(store, session, status=422, problems=problems, typed=typed)
    return redirect(f"{session['url']}?done=1", 303)


def _remove_tax_id(store: Store, session: Object) -> AnyResponse:
    tax_id = _own(store, session, "tax_id")
    if tax_id is None:
        return _page(store, session, status=422)
    tax_ids.delete(store, {}, session["customer"], tax_id["id"])
    return redirect(session["url"], 303)


_STEPS: dict[str, Callable[[Store, Any], AnyResponse]] = {
    "add_card": _add_card,
    "add_tax_id": _add_tax_id,
    "cancel": _cancel,
    "make_default": _make_default,
    "remove_card": _remove_card,
    "remove_tax_id": _remove_tax_id,
}
