"""What keeps the portal closed: sessions kept in the store, CSRF, headers, guards for all routes.

Invariant: every route belongs to an audience, and a route without one is refused at start.
"""

from __future__ import annotations

from flask import Flask, request, session
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_wtf.csrf import CSRFProtect

from portal.web.brand import version
from portal.web.counters import Counters
from portal.web.security.goals import goal_of, remember_goal
from portal.web.security.guards import (
    HERE,
    OPEN,
    OPEN_BLUEPRINTS,
    close_by_default,
    look_only,
    refuse_odd_text,
    refuse_other_hosts,
)
from portal.web.security.headers import headers_of, name_request
from portal.web.security.sessions import Session, StoreSessions, visitor_here
from portal.web.security.signing_in import ELSEWHERE, move, sign_in, sign_out
from portal.web.services import Services

__all__ = [
    "ELSEWHERE",
    "HERE",
    "OPEN",
    "OPEN_BLUEPRINTS",
    "Session",
    "close_by_default",
    "csrf",
    "goal_of",
    "limiter",
    "move",
    "register",
    "remember_goal",
    "sign_in",
    "sign_out",
]

LARGEST_FORM_BYTES = 64 * 1024


class _PageLimiter(Limiter):
    """The limits that routes name. The API keeps a pace of its own: nothing is asked here of it."""

    def _check_request_limit(
        self, callable_name: str | None = None, in_middleware: bool = True
    ) -> None:
        if request.blueprint != "api":
            super()._check_request_limit(callable_name, in_middleware)


csrf = CSRFProtect()
limiter = _PageLimiter(get_remote_address, headers_enabled=True, default_limits=[])


def register(app: Flask, parts: Services) -> None:
    """Set up sessions, CSRF, limits, sizes and headers."""
    settings = parts.settings
    app.config.update(
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=6 * 1024 * 1024,
        MAX_FORM_MEMORY_SIZE=LARGEST_FORM_BYTES,
        WTF_CSRF_TIME_LIMIT=None,
        RATELIMIT_HEADER_LIMIT="RateLimit-Limit",
        RATELIMIT_HEADER_REMAINING="RateLimit-Remaining",
        RATELIMIT_HEADER_RESET="RateLimit-Reset",
        RATELIMIT_STORAGE_URI=f"{Counters.STORAGE_SCHEME[0]}://",
    )
    app.session_interface = StoreSessions(parts)
    # Before the limiter and the forms' guard, so that what those refuse has its name too; what is
    # registered first is asked last about an answer.
    app.before_request(name_request)
    app.before_request(look_only)
    app.after_request(headers_of(parts))
    csrf.init_app(app)
    limiter.init_app(app)
    app.before_request(refuse_other_hosts(parts))
    app.before_request(refuse_odd_text)
    app.context_processor(
        lambda: {
            "brand": settings.brand,
            "brand_version": version(settings.brand),
            "visitor": visitor_here(),
            "demo": settings.demo,
            "payable": parts.payments.configured,
            "belongs_elsewhere": bool(session.get(ELSEWHERE)),
        }
    )
