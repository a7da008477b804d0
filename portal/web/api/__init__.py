"""The HTTP API: keys, never cookies. One blueprint, one guard, a module for each noun."""

from __future__ import annotations

from flask import Blueprint

from portal.web.api import pace
from portal.web.api.access import guard
from portal.web.security import csrf

#: What one address may ask; a service of many processes counts in each of them.
LIMIT = "2000 per second"

blueprint = Blueprint("api", __name__, url_prefix="/v1")
blueprint.before_request(pace.keep)
blueprint.before_request(guard)
blueprint.after_request(pace.tell)
csrf.exempt(blueprint)

from portal.web.api import (  # noqa: E402 # the views attach themselves to the blueprint above
    authorizations,
    caps,
    events,
    margin,
    margin_routing,
    margin_signals,
    margin_simulations,
    organizations,
    raises,
    reading,
    statements,
    telling,
    traces,
)

__all__ = [
    "LIMIT",
    "authorizations",
    "blueprint",
    "caps",
    "events",
    "margin",
    "margin_routing",
    "margin_signals",
    "margin_simulations",
    "organizations",
    "pace",
    "raises",
    "reading",
    "statements",
    "telling",
    "traces",
]
