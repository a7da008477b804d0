"""Signing in by the OpenID provider: on the way there and on the way back."""

from __future__ import annotations

from datetime import datetime

from flask import redirect, request
from werkzeug.wrappers import Response

from portal import access
from portal.access.openid import Departure
from portal.core.errors import NotFound, Unauthenticated, Unavailable
from portal.web.auth.door import blueprint, cannot, current_session, let_in, refuse
from portal.web.security import limiter
from portal.web.services import services

#: What must come back, in the visitor's own signed cookie.
DEPARTURE = "departure"
UNKNOWN = (
    "{email} is not known here. If you have another address here, sign in with that one; "
    "else ask an admin of your organization to add this one."
)


@blueprint.get("/sign-in/provider")
@limiter.limit("60 per minute")
def depart() -> Response:
    """Send a visitor to the provider."""
    parts = services()
    if not parts.provider.configured:
        raise NotFound("page", "provider")
    try:
        gone = parts.provider.depart(now=parts.clock())
    except Unavailable as error:
        return cannot(error)
    except Unauthenticated as error:
        return refuse(access.BY_PROVIDER, error)
    current_session()[DEPARTURE] = [
        gone.state,
        gone.nonce,
        gone.verifier,
        gone.expires_at.isoformat(),
    ]
    return redirect(gone.url)


@blueprint.get("/sign-in/provider/back")
@limiter.limit("60 per minute")
def arrive() -> Response:
    """Sign in whoever comes back from the provider with what they were sent with."""
    parts, session = services(), current_session()
    if not parts.provider.configured:
        raise NotFound("page", "provider")
    kept = session.pop(DEPARTURE, None)
    if not isinstance(kept, list):
        return refuse(access.BY_PROVIDER, Unauthenticated("This sign-in was not begun here."))
    if "error" in request.args:
        return refuse(access.BY_PROVIDER, Unauthenticated("You did not go on over there."))
    departure = Departure("", kept[0], kept[1], kept[2], datetime.fromisoformat(kept[3]))
    try:
        email = parts.provider.arrive(
            parts.database,
            departure,
            state=request.args.get("state", ""),
            code=request.args.get("code", ""),
            now=parts.clock(),
        )
    except Unavailable as error:
        return cannot(error)
    except Unauthenticated as error:
        return refuse(access.BY_PROVIDER, error)
    with parts.database.reading() as tx:
        places = access.places_of(tx, email)
    if not places:
        return refuse(access.BY_PROVIDER, Unauthenticated(UNKNOWN.format(email=email)))
    return let_in(places, method=access.BY_PROVIDER, email=email, proven=True)
