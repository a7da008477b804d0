"""Hearing no more by mail: the link asks, its button acts, and so does a mail program's own.

The link is signed and for one person and one group, so it needs no session and no form's field.
"""

from __future__ import annotations

from flask import render_template, request

from portal import telling
from portal.notices import links
from portal.notices.kinds import GROUPS
from portal.web.auth import blueprint
from portal.web.security import csrf, limiter
from portal.web.services import services

__all__ = ["blueprint"]


@blueprint.route("/unsubscribe/<signed>", methods=["GET", "POST"])
@limiter.limit("60 per minute")
@csrf.exempt  # type: ignore[untyped-decorator] # flask_wtf has no types
def unsubscribe(signed: str) -> str:
    """Ask whether somebody wants to hear no more of something; with POST, so be it."""
    whose = links.unsubscribing(services().settings.secret_key, signed)
    done = request.method == "POST"
    if done:
        telling.unsubscribe(services().database, whose)
    about = next((one.name for one in GROUPS if one.key == whose.group), "")
    return render_template("auth/unsubscribe.html", about=about, done=done, signed=signed)
