"""The page of a card's bank, where a payer authenticates (3-D Secure) or does not.

It serves payment intents and setup intents alike, whoever made them: a checkout, an invoice, the
portal or the API. Once answered, the payer goes back to where the intent came from.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode, urlsplit, urlunsplit

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from sandbox import checkout, payments, setup
from sandbox.api import Gate
from sandbox.pages import page
from sandbox.store import Cause, Object, Store

# Who else sends payers here, and where they go then; the first that knows the intent decides.
# It is asked with whether the payer authenticated.
WAYS_BACK: list[Callable[[Store, Object, bool], str | None]] = []


def blueprint(gate: Gate) -> Blueprint:
    """Make the page."""
    pages = Blueprint("challenge", __name__)
    store = gate.store

    @pages.get("/c/authenticate/<identifier>")
    def show(identifier: str) -> Response:
        with store.acting(Cause(gate.base_url())):
            return _show(store, _find(store, identifier))

    @pages.post("/c/authenticate/<identifier>")
    def answer(identifier: str) -> AnyResponse:
        with store.acting(Cause(gate.base_url())):
            return _answer(store, _find(store, identifier))

    return pages


def _find(store: Store, identifier: str) -> Object | None:
    kind = "setup_intent" if identifier.startswith("seti_") else "payment_intent"
    return store.get(kind, identifier) if store.has(kind, identifier) else None


def _show(store: Store, intent: Object | None, *, choose: bool = False) -> Response:
    if intent is None:
        return page("challenge.html", status=404, intent=None)
    waits = intent["status"] == "requires_action"
    method = store.get("payment_method", intent["payment_method"]) if waits else None
    return page(
        "challenge.html",
        status=422 if choose else 200,
        goes_to=_goes_to(store, intent),
        intent=intent,
        method=method,
        choose=choose,
        back=_way_back(store, intent),
    )


def _answer(store: Store, intent: Object | None) -> AnyResponse:
    if intent is None or intent["status"] != "requires_action":
        return _show(store, intent)
    outcome = request.form.get("outcome")
    if outcome not in ("complete", "fail"):
        return _show(store, intent, choose=True)
    return_url = intent["next_action"]["redirect_to_url"]["return_url"]
    follow = payments if intent["object"] == "payment_intent" else setup
    step = follow.authenticated if outcome == "complete" else follow.not_authenticated
    step(store, intent)
    way = _way_back(store, intent)
    if way is None and return_url:
        way = _returned(return_url, intent)
    return redirect(way, 303) if way else _show(store, intent)


def _goes_to(store: Store, intent: Object) -> str:
    """Return where the form may lead in the end, if all goes well."""
    return _way(store, intent, succeeded=True) or ""


def _way_back(store: Store, intent: Object) -> str | None:
    return _way(store, intent, succeeded=intent["status"] in ("succeeded", "processing"))


def _way(store: Store, intent: Object, *, succeeded: bool) -> str | None:
    for known in WAYS_BACK:
        way = known(store, intent, succeeded)
        if way:
            return way
    session = checkout.session_of(store, intent)
    if session:
        return checkout.success_address(session) if succeeded else session["url"]
    action = intent["next_action"] or {}
    way_back: str | None = action.get("redirect_to_url", {}).get("return_url")
    return way_back


def _returned(return_url: str, intent: Object) -> str:
    """Add what Stripe adds to the address a payer returns to."""
    noun = str(intent["object"])
    succeeded = intent["status"] in ("succeeded", "processing")
    told = urlencode(
        {
            noun: intent["id"],
            f"{noun}_client_secret": intent["client_secret"],
            "redirect_status": "succeeded" if succeeded else "failed",
        }
    )
    parts = urlsplit(return_url)
    query = f"{parts.query}&{told}" if parts.query else told
    return urlunsplit(parts._replace(query=query))
