"""The hosted checkout page, where a payer enters a card, and the sandbox's own front page.

Everything that reads or pays a session happens under the store's lock, so that two posts at the
same instant pay once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from babel.numbers import format_currency, get_currency_precision
from flask import Blueprint, Response, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from sandbox import checkout
from sandbox.api import Gate
from sandbox.cards import CARDS, CardProblems, read_card
from sandbox.errors import ApiError
from sandbox.parameters import email as email_kind
from sandbox.store import Cause, Object, Store
from sandbox.webhooks import Courier

LATEST = 10
FIELDS = ("email", "number", "expiry", "cvc")


def money(amount_minor: int, currency: str) -> str:
    """Write an amount in its currency, as a reader expects it."""
    code = currency.upper()
    amount = Decimal(amount_minor).scaleb(-get_currency_precision(code))
    return format_currency(amount, code, locale="en_US")


def instant(timestamp: int) -> str:
    """Write an instant."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%d %b %Y, %H:%M:%S UTC")


def blueprint(gate: Gate, courier: Courier) -> Blueprint:
    """Make the pages."""
    pages = Blueprint("hosted", __name__)
    store = gate.store

    @pages.get("/")
    def home() -> Response:
        with store.acting(Cause(gate.base_url())):
            charges = [dict(charge) for charge in store.newest_first("charge")[:LATEST]]
        deliveries = courier.deliveries()[: -LATEST - 1 : -1]
        return hosted_page("home.html", charges=charges, deliveries=deliveries)

    @pages.get("/c/pay/<identifier>")
    def show(identifier: str) -> Response:
        with store.acting(Cause(gate.base_url())):
            return _show(store, identifier)

    @pages.post("/c/pay/<identifier>")
    def pay(identifier: str) -> AnyResponse:
        with store.acting(Cause(gate.base_url())):
            return _pay(store, identifier)

    return pages


def _show(store: Store, identifier: str) -> Response:
    if not store.has("checkout.session", identifier):
        return hosted_page("closed.html", status=404, session=None)
    session = store.get("checkout.session", identifier)
    if session["status"] != "open":
        return _closed(store, session)
    return _form(store, session)


def _pay(store: Store, identifier: str) -> AnyResponse:
    if not store.has("checkout.session", identifier):
        return hosted_page("closed.html", status=404, session=None)
    session = store.get("checkout.session", identifier)
    if session["status"] == "complete":  # a second click: it is paid, so go on as the first did
        return redirect(checkout.success_address(session), 303)
    if session["status"] != "open":
        return _closed(store, session)
    typed = {field: request.form.get(field, "").strip() for field in FIELDS}
    problems: dict[str, str] = {}
    email_address = _known_email(session) or typed["email"]
    try:
        email_kind(email_address, "email")
    except ApiError:
        problems["email"] = "Enter an e-mail address, like ana@example.com."
    try:
        now = datetime.fromtimestamp(store.now(), UTC)
        card = read_card(typed["number"], typed["expiry"], typed["cvc"], now=now)
    except CardProblems as found:
        problems.update(found.problems)
    if "number" in problems:
        typed["number"] = ""  # whose number it is we cannot know, so it is not shown again
    if problems:
        return _form(store, session, typed=typed, problems=problems, status=422)
    try:
        checkout.pay(store, session, card, email_address)
    except ApiError as refusal:
        return _form(store, session, typed=typed, declined=refusal.message, status=402)
    return redirect(checkout.success_address(session), 303)


def _known_email(session: Object) -> str | None:
    """Return the payer's e-mail where whoever opened the session gave it."""
    known: str | None = (session["customer_details"] or {}).get("email")
    return known


def _form(
    store: Store,
    session: Object,
    *,
    typed: dict[str, str] | None = None,
    problems: dict[str, str] | None = None,
    declined: str | None = None,
    status: int = 200,
) -> Response:
    return hosted_page(
        "pay.html",
        status=status,
        session=session,
        items=checkout.items_of(store, session),
        known_email=_known_email(session),
        typed=typed or dict.fromkeys(FIELDS, ""),
        problems=problems or {},
        declined=declined,
        cards=CARDS,
        goes_to=session["success_url"],
    )


def _closed(store: Store, session: Object) -> Response:
    return hosted_page(
        "closed.html",
        session=session,
        items=checkout.items_of(store, session),
        back=checkout.success_address(session)
        if session["status"] == "complete"
        else session["cancel_url"],
    )


def hosted_page(template: str, *, status: int = 200, goes_to: str = "", **shown: Any) -> Response:
    """Render one of the pages, under a policy without anything inline."""
    response = make_response(render_template(template, **shown), status)
    # Browsers hold a form's redirect to the policy too, so the seller's site is named in it.
    parts = urlsplit(goes_to)
    target = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        f"form-action 'self'{target}; base-uri 'none'; frame-ancestors 'none'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response
