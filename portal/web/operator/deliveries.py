"""Webhooks that were given up: what could not be delivered, to whom, why, and sending it again."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import cost_review, rejections, telling
from portal.core.errors import InvalidRequest
from portal.notices import delivered
from portal.office import places
from portal.web.operator.shell import actor, blueprint
from portal.web.services import services

PAGE = 50


@blueprint.get("/events/undelivered")
def undelivered() -> str:
    """Show deliveries that were given up, of the operator's endpoints and of customers'."""
    parts = services()
    before = places.read(request.args.get("after", ""))
    with parts.database.figures() as tx:
        found = delivered.given_up(tx, before=before, limit=PAGE + 1)
        rejected, suspects = sum(rejections.why(tx).values()), len(cost_review.waiting(tx))
    lines = found[:PAGE]
    last = lines[-1].delivery if len(found) > PAGE else None
    return render_template(
        "operator/undelivered.html",
        lines=lines,
        rejected=rejected,
        suspects=suspects,
        following=places.written(last.done_at, last.delivery_id) if last and last.done_at else "",
        as_of=parts.clock(),
    )


@blueprint.post("/events/undelivered")
def send_again() -> Response:
    """Send the chosen ones again."""
    chosen = request.form.getlist("delivery")[:PAGE]
    if not chosen:
        raise InvalidRequest("Choose at least one delivery.")
    parts = services()
    number = telling.send_again(parts.database, chosen, actor=actor(), now=parts.clock())
    flash(f"{number} will be sent again." if number else "Those are on their way already.")
    return redirect(url_for(".undelivered"), 303)
