"""Looking on as a member of a customer: beginning a view, and ending it."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import accounts
from portal.access import VIEW
from portal.office import viewing
from portal.web.operator.shell import blueprint, current_session, operator, reason
from portal.web.services import services


@blueprint.get("/customers/<organization_id>/view")
def view(organization_id: str) -> str:
    """Ask as whom to look on, and why."""
    with services().database.reading() as tx:
        organization = accounts.find_organization(tx, organization_id)
        people = accounts.list_members(tx, organization_id)
    return render_template("operator/view.html", organization=organization, people=people)


@blueprint.post("/customers/<organization_id>/view")
def begin_view(organization_id: str) -> Response:
    """Begin to look on as a member; from here on nothing can be changed until the view ends."""
    parts = services()
    current_session()[VIEW] = viewing.look_on(
        parts.database,
        organization_id,
        request.form.get("member", ""),
        reason=reason(),
        operator=operator(),
        now=parts.clock(),
    )
    return redirect(url_for("customer.overview"), 303)


@blueprint.post("/view/end")
def end_view() -> Response:
    """End the view and lead back to the customer it was of."""
    found = current_session().pop(VIEW, None)
    if found is None:
        return redirect(url_for(".customers"), 303)
    parts = services()
    with parts.database.transaction() as tx:
        viewing.end(tx, found, operator=operator(), now=parts.clock())
    flash("The view is ended. Both its ends are on record.")
    return redirect(url_for(".customer", organization_id=found["organization"]), 303)
