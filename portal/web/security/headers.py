"""What every answer carries: a policy without inline code, no framing, no cache, its name."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, g, request

from portal.ids import new_id
from portal.web.services import Services


def headers_of(parts: Services) -> Callable[[Response], Response]:
    """Return what adds to every answer the headers that keep it closed."""
    # Forms that lead to where people pay, and to where they keep their cards.
    paying = sorted({parts.payments.checkout_origin, parts.payments.portal_origin})
    policy = "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            "connect-src 'self'",
            "manifest-src 'self'",
            "base-uri 'none'",
            "object-src 'none'",
            "frame-ancestors 'none'",
            " ".join(["form-action 'self'", *paying]),
        ]
    )

    def add(response: Response) -> Response:
        headers = response.headers
        headers["Request-Id"] = g.get("request_id") or new_id("req")
        headers["Content-Security-Policy"] = policy
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
        if parts.settings.secure_cookies:
            headers["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains"
        if "RateLimit-Reset" in headers and "pace" not in g:
            # The pages' limiter names an instant there, and in Retry-After the seconds until then.
            headers["RateLimit-Reset"] = headers.get("Retry-After", "1")
        if response.status_code not in {429, 503}:
            headers.pop("Retry-After", None)
        if not request.path.startswith("/static/"):
            headers.setdefault("Cache-Control", "no-store")
        return response

    return add


def name_request() -> None:
    """Give the request the name that its answer, the log and every error carry."""
    g.request_id = new_id("req")
