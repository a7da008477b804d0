"""Where a visitor wanted to go before signing in: a page of ours by name, never an address."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import request, url_for
from werkzeug.routing import BuildError

from portal.web.security.sessions import Session

#: Where a visitor wanted to go before signing in: a page of ours by name, never an address.
GOAL = "goal"
LONGEST_GOAL = 500


def remember_goal(session: Session) -> None:
    """Remember the page a visitor asked for, to lead there once they are signed in."""
    goal = {
        "endpoint": request.endpoint or "",
        "place": {name: str(value) for name, value in (request.view_args or {}).items()},
        "query": urlencode(list(request.args.items(multi=True))),
    }
    if len(str(goal)) <= LONGEST_GOAL:
        session[GOAL] = goal


def goal_of(session: Session, otherwise: str) -> str:
    """Return where somebody who has signed in wanted to go: one of our own pages, or ``otherwise``.

    Built by name, so that no address of anybody else's can come of it.
    """
    goal = session.get(GOAL)
    if not isinstance(goal, dict) or not str(goal.get("endpoint", "")).startswith("customer."):
        return url_for(otherwise)
    try:
        page = url_for(goal["endpoint"], **goal.get("place", {}))
    except (BuildError, TypeError):
        return url_for(otherwise)
    return f"{page}?{goal['query']}" if goal.get("query") else page
