"""The hosted checkout page, where a payer enters a card, and the sandbox's own front page.

Everything that reads or pays a session happens under the store's lock, so that two posts at the
same instant pay once.
"""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from sandbox import checkout, checkout_payment, checkout_totals, debits, payments, tax
from sandbox.api import Gate
from sandbox.cards import CARDS, CardProblems, read_card
from sandbox.debits import DEBITS
from sandbox.errors import ApiError
from sandbox.methods import Way
from sandbox.pages import page
from sandbox.parameters import email as email_kind
from sandbox.store import Cause, Object, Store
from sandbox.webhooks import Courier

LATEST = 10
FIELDS = ("email", "number", "expiry", "cvc", "way")


def blueprint(gate: Gate, courier: Courier) -> Blueprint:
    """Make the pages."""
    pages = Blueprint("hosted", __name__)
    store = gate.store

    @pages.get("/")
    def home() -> Response:
        with store.acting(Cause(gate.base_url())):
            charges = [dict(charge) for charge in store.newest_first("charge")[:LATEST]]
        deliveries = courier.deliveries()[: -LATEST - 1 : -1]
        return page("home.html", charges=charges, deliveries=deliveries)

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
        return page("closed.html", status=404, session=None)
    session = store.get("checkout.session", identifier)
    if session["status"] != "open":
        return _closed(store, session)
    return _form(store, session, declined=_refusal(store, session))


def _pay(store: Store, identifier: str) -> AnyResponse:
    if not store.has("checkout.session", identifier):
        return page("closed.html", status=404, session=None)
    session = store.get("checkout.session", identifier)
    if session["status"] == "complete":  # a second click: it is paid, so go on as the first did
        return redirect(checkout.success_address(session), 303)
    if session["status"] != "open":
        return _closed(store, session)
    order = checkout.order_of(store, session)
    if "apply" in request.form:
        return _form(
            store, session, problems=checkout_totals.adjust(store, session, order, request.form)
        )
    typed = {field: request.form.get(field, "").strip() for field in FIELDS}
    problems = checkout_totals.missing(store, session, order)
    email_address = _known_email(session) or typed["email"]
    try:
        email_kind(email_address, "email")
    except ApiError:
        problems["email"] = "Enter an e-mail address, like ana@example.com."
    try:
        now = datetime.fromtimestamp(store.now(), UTC)
        way = _read_way(session, typed, now)
    except CardProblems as found:
        problems.update(found.problems)
    if "number" in problems:
        typed["number"] = ""  # whose number it is we cannot know, so it is not shown again
    if problems:
        return _form(store, session, typed=typed, problems=problems, status=422)
    outcome = checkout_payment.pay(store, session, way, email_address)
    if outcome == "requires_payment_method":
        return _form(store, session, typed=typed, declined=_refusal(store, session), status=402)
    if outcome == "requires_action":
        return redirect(payments.challenge_address(store, _intent(store, session) or {}), 303)
    return redirect(checkout.success_address(session), 303)


def _read_way(session: Object, typed: dict[str, str], now: datetime) -> Way:
    """Return what the payer chose: a bank debit that the session takes, or the card typed in."""
    debit = debits.BY_NAME.get(typed["way"])
    if debit and len(session["payment_method_types"]) > 1:
        return debit
    return read_card(typed["number"], typed["expiry"], typed["cvc"], now=now)


def _intent(store: Store, session: Object) -> Object | None:
    identifier: str | None = checkout.order_of(store, session)["intent"]
    return store.find(identifier) if identifier else None


def _refusal(store: Store, session: Object) -> str | None:
    """Return why the last attempt failed, if one did."""
    intent = _intent(store, session) or {}
    error = intent.get("last_payment_error") or intent.get("last_setup_error") or {}
    message: str | None = error.get("message")
    return message


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
    order = checkout.order_of(store, session)
    return page(
        "pay.html",
        status=status,
        session=session,
        items=checkout.items_of(store, session),
        known_email=_known_email(session),
        typed=typed or dict.fromkeys(FIELDS, ""),
        problems=problems or {},
        declined=declined,
        cards=CARDS,
        debits=DEBITS if len(session["payment_method_types"]) > 1 else (),
        code=request.form.get("promotion_code", checkout_totals.code_of(store, order)).strip(),
        countries=tax.COUNTRIES if checkout_totals.asks_country(session, order) else {},
        country=order["country"],
        goes_to=session["success_url"],
    )


def _closed(store: Store, session: Object) -> Response:
    return page(
        "closed.html",
        session=session,
        items=checkout.items_of(store, session),
        back=checkout.success_address(session)
        if session["status"] == "complete"
        else session["cancel_url"],
    )
