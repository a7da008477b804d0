"""Signing in by a passkey: a question to the browser, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import jsonify, request
from flask_limiter.util import get_remote_address
from werkzeug.wrappers import Response

from portal import access
from portal.access import passkeys
from portal.access.passkeys import Challenge, Site
from portal.core.errors import InvalidRequest, Unauthenticated
from portal.web.auth import sites
from portal.web.auth.door import blueprint, current_session, let_in, log
from portal.web.security import Session, limiter
from portal.web.services import services

#: The challenge a visitor was given, and what for.
CHALLENGE = "challenge"


def site() -> Site:
    """Return the site passkeys are for. Raises InvalidRequest where there can be none."""
    found = sites.here()
    if found is None:
        raise InvalidRequest("Passkeys need the portal's name, not its number, in the address.")
    return found


def keep_challenge(session: Session, purpose: str, challenge: Challenge) -> None:
    """Remember what a visitor was asked to sign, for this purpose only."""
    session[CHALLENGE] = [purpose, challenge.value, challenge.expires_at.isoformat()]


def take_challenge(session: Session, purpose: str) -> Challenge:
    """Return what this visitor was asked to sign, once. Raises Unauthenticated."""
    kept = session.pop(CHALLENGE, None)
    if not isinstance(kept, list) or kept[0] != purpose:
        raise Unauthenticated("This took too long, or was begun elsewhere. Begin again.")
    return Challenge(kept[1], datetime.fromisoformat(kept[2]))


def answer_of_device() -> Mapping[str, Any]:
    """Return what a browser sent as JSON. Raises InvalidRequest."""
    sent = request.get_json(silent=True)
    if not isinstance(sent, dict):
        raise InvalidRequest("Send what the browser answered, as JSON.")
    return sent


def told(error: Unauthenticated | InvalidRequest) -> tuple[Response, int]:
    """Return a refusal for the script that asked."""
    return jsonify(detail=error.detail), error.status


@blueprint.post("/sign-in/passkey/challenge")
@limiter.limit("60 per minute")
def ask_for_passkey() -> Response | tuple[Response, int]:
    """Ask a browser for one of its passkeys, whoever's."""
    try:
        options, challenge = passkeys.ask_to_sign_in(site(), now=services().clock())
    except InvalidRequest as error:
        return told(error)
    keep_challenge(current_session(), "sign in", challenge)
    return jsonify(options)


@blueprint.post("/sign-in/passkey")
@limiter.limit("30 per minute")
def sign_in_by_passkey() -> Response | tuple[Response, int]:
    """Sign in whoever's passkey answered; tells the script where to go."""
    parts, session = services(), current_session()
    try:
        organization_id, member_id = passkeys.use(
            parts.database,
            site(),
            take_challenge(session, "sign in"),
            answer_of_device(),
            now=parts.clock(),
        )
    except (Unauthenticated, InvalidRequest) as error:
        log.warning("sign-in refused", method=access.BY_PASSKEY, address=get_remote_address())
        return told(error)
    place = access.Place(organization_id, "", member_id)
    led = let_in([place], method=access.BY_PASSKEY)
    return jsonify(goal=led.headers["Location"])
