"""Showing once what is never shown again: an act puts it aside, the page it leads to shows it.

So a page that is loaded again shows it no more, and sends no form a second time.
"""

from __future__ import annotations

from typing import cast

from flask import request, session

from portal.access import Safe
from portal.core.errors import Unauthenticated
from portal.web.security import Session
from portal.web.services import services

#: Where a session keeps what waits to be shown.
ASIDE = "aside"
#: What a page is given where something waited that cannot be shown any more.
TOO_LATE = ""


def put_aside(about: str, text: str) -> None:
    """Keep a text for the next page that asks for what it is ``about``; one waits at a time."""
    session[ASIDE] = _safe().seal(text, about=about, now=services().clock())


def take(about: str) -> str | None:
    """Return what was put aside, once: None where nothing was, TOO_LATE where it waited too long.

    Only a page that is looked at takes it.
    """
    kept = session.get(ASIDE)
    if request.method != "GET" or kept is None or kept["about"] != about:
        return None
    del session[ASIDE]
    parts = services()
    try:
        with parts.database.transaction() as tx:
            return _safe().open_once(tx, kept, now=parts.clock())
    except Unauthenticated:
        return TOO_LATE


def _safe() -> Safe:
    own = cast(Session, session._get_current_object())  # type: ignore[attr-defined] # a proxy
    return Safe(services().settings.secret_key, own.secret)
