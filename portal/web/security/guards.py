"""Who may ask what: routes, names, texts and methods that are refused before a view is asked.

Invariant: every route belongs to an audience, and a route without one is refused at start.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from flask import Flask, abort, request

from portal.core.errors import InvalidRequest, NotAllowed
from portal.web.security.sessions import WITHOUT_SESSION, visitor_here
from portal.web.services import Services

#: Endpoints that answer anybody. Everything else needs a key, a member or an operator.
OPEN = frozenset(
    {
        "static",
        "auth.sign_in",
        "auth.sign_in_by_password",
        "auth.sign_in_by_link",
        "auth.back_to_the_door",
        "auth.mail_link",
        "auth.ask_before_signing_in",
        "auth.sign_in_by_mail",
        "auth.depart",
        "auth.arrive",
        "auth.ask_for_passkey",
        "auth.sign_in_by_passkey",
        "auth.choose",
        "auth.go_there",
        "auth.sign_out",
        "auth.unsubscribe",
    }
)
OPEN_BLUEPRINTS = frozenset({"brand", "health", "webhooks", "invited"})


def close_by_default(app: Flask) -> None:
    """Refuse to start with a route that no audience guards."""
    guarded = {"api", "customer", "operator"} | OPEN_BLUEPRINTS
    for rule in app.url_map.iter_rules():
        owner = rule.endpoint.partition(".")[0]
        if rule.endpoint not in OPEN and owner not in guarded and owner != "auth":
            raise AssertionError(f"{rule} has no audience")


#: Names of this machine: nothing a visitor sees is ever made from the host of a request.
HERE = frozenset({"localhost", "127.0.0.1", "::1"})


def refuse_other_hosts(parts: Services) -> Callable[[], None]:
    """Refuse pages asked for under a name that is not the portal's, whoever says that name."""
    known = HERE | {urlsplit(parts.settings.portal_base_url).hostname}

    def refuse() -> None:
        if request.path.startswith(WITHOUT_SESSION):
            return
        asked = request.headers.get("Host") or request.host
        said = [asked, *request.headers.get("X-Forwarded-Host", "").split(",")]
        if any(_hostname(one) not in known for one in said if one.strip()):
            abort(400, "This portal is not reached by that name.")

    return refuse


def _hostname(host: str) -> str | None:
    if not re.fullmatch(r"[\w.\-]+(:\d+)?|\[[\da-fA-F:]+\](:\d+)?", host.strip(), re.ASCII):
        return None
    return urlsplit(f"//{host.strip()}").hostname


#: What an operator who looks on as a member may still send: the way out.
WAYS_OUT = frozenset({"operator.end_view", "auth.sign_out"})
#: Pages that do something by being looked at: where people come back to from paying.
ACT_ON_LOOKING = frozenset({"customer.thanks", "customer.returned_from_stripe", "customer.change"})


def look_only() -> None:
    """Refuse everything but looking to an operator who looks on as a member. Raises NotAllowed."""
    if not visitor_here().watched_by or request.endpoint in WAYS_OUT:
        return
    if request.method not in {"GET", "HEAD", "OPTIONS"} or request.endpoint in ACT_ON_LOOKING:
        raise NotAllowed(
            "You look on as somebody else: nothing can be changed. End the view first."
        )


def refuse_odd_text() -> None:
    """Refuse bytes that are no text, which have been read as U+FFFD, so that two names would be
    one, and NUL, which one store would cut short and the other choke on. Raises InvalidRequest.
    """
    for name, value in (*request.args.items(multi=True), *(request.view_args or {}).items()):
        text = f"{name}{value}"
        if "\x00" in text:
            raise InvalidRequest.at(f"/{name}".replace("\x00", ""), "contains NUL")
        if "\ufffd" in text:
            raise InvalidRequest.at(f"/{name}", "is not UTF-8")
