"""What all hosted pages have in common: how amounts and instants are written, and the policy."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from babel.numbers import format_currency, get_currency_precision
from flask import Response, make_response, render_template


def money(amount_minor: int, currency: str) -> str:
    """Write an amount in its currency, as a reader expects it."""
    code = currency.upper()
    amount = Decimal(amount_minor).scaleb(-get_currency_precision(code))
    return format_currency(amount, code, locale="en_US")


def instant(timestamp: int) -> str:
    """Write an instant."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%d %b %Y, %H:%M:%S UTC")


def day(timestamp: int) -> str:
    """Write the day of an instant."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%d %b %Y")


def page(template: str, *, status: int = 200, goes_to: str = "", **shown: Any) -> Response:
    """Render a page; ``goes_to`` is the address its form may lead to in the end."""
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
