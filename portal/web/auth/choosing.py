"""Choosing where to be signed in, for whoever belongs to several organizations."""

from __future__ import annotations

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import access
from portal.core.errors import NotFound
from portal.web.auth.door import OPERATORS_PAGE, blueprint, current_session
from portal.web.security import move
from portal.web.services import services


@blueprint.get("/sign-in/choose")
def choose() -> Response | str:
    """Show where somebody belongs; of each no more than its name and their role."""
    session = current_session()
    if session.stored is None:
        return redirect(url_for("auth.sign_in"))
    with services().database.reading() as tx:
        places = access.choices_of(tx, session.stored)
    if not places:
        return redirect(url_for("customer.overview"))
    return render_template("auth/choose.html", places=places)


@blueprint.post("/sign-in/choose")
def go_there() -> Response:
    """Lead a session to one of the places its person belongs to, and to no other."""
    session, form = current_session(), request.form
    if session.stored is None:
        return redirect(url_for("auth.sign_in"))
    with services().database.reading() as tx:
        places = access.choices_of(tx, session.stored)
    wanted = form.get("organization", ""), form.get("member", "")
    found = next((one for one in places if (one.organization_id, one.member_id) == wanted), None)
    if found is None:
        raise NotFound("organization", wanted[0])
    move(session, found)
    page = "customer.overview" if found.organization_id else OPERATORS_PAGE
    return redirect(url_for(page), 303)
