"""Events that were not taken, to be tried again; and stated costs that wait for a decision."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import cost_review, rejections
from portal.core.errors import InvalidRequest
from portal.cost_review import ACCEPTED, REJECTED
from portal.office import places, replaying
from portal.web.api.events import read_event
from portal.web.operator.shell import actor, blueprint, reason
from portal.web.services import services

PAGE = 50


@blueprint.get("/events")
def events() -> str:
    """Show rejected events that wait, why, and of whom."""
    parts = services()
    code = request.args.get("code", "")
    organization = request.args.get("organization", "")
    with parts.database.reading() as tx:
        found = rejections.everywhere(
            tx,
            organization_id=organization or None,
            code=code,
            before=places.read(request.args.get("after", "")),
            limit=PAGE + 1,
        )
        codes = rejections.why(tx)
        suspects = len(cost_review.waiting(tx))
    lines = found[:PAGE]
    last = lines[-1] if len(found) > PAGE else None
    return render_template(
        "operator/events.html",
        lines=[(one, replaying.owner_of(one)) for one in lines],
        codes=codes,
        code=code,
        chosen=organization,
        suspects=suspects,
        following=places.written(last.received_at, last.rejection_id) if last else "",
        as_of=parts.clock(),
    )


@blueprint.post("/events/replay")
def replay_events() -> Response:
    """Try the chosen events again."""
    chosen = request.form.getlist("rejection")
    if not chosen:
        raise InvalidRequest("Choose at least one event.")
    parts = services()
    done = replaying.replay(parts.database, chosen, read_event, actor=actor(), now=parts.clock())
    known = f", {done.duplicates} were known already" if done.duplicates else ""
    left = f", {done.still_rejected} still cannot be taken" if done.still_rejected else ""
    flash(f"{done.accepted} landed{known}{left}.", "bad" if done.still_rejected else "good")
    return redirect(url_for(".events"), 303)


@blueprint.get("/events/reviews")
def reviews() -> str:
    """Show stated costs that are far from the book."""
    parts = services()
    with parts.database.reading() as tx:
        lines = cost_review.waiting(tx)
        rejected = sum(rejections.why(tx).values())
    return render_template(
        "operator/reviews.html", lines=lines[:200], count=len(lines), rejected=rejected,
        as_of=parts.clock(),
    )  # fmt: skip


@blueprint.post("/events/reviews")
def decide() -> Response:
    """Accept or reject what was stated for the chosen lines."""
    chosen, decision = request.form.getlist("review"), request.form.get("decision", "")
    if decision not in {ACCEPTED, REJECTED}:
        raise InvalidRequest.at("/decision", f"is not one of {ACCEPTED}, {REJECTED}")
    if not chosen:
        raise InvalidRequest("Choose at least one line.")
    parts = services()
    done = cost_review.decide(
        parts.database,
        chosen,
        decision,
        actor=actor(),
        reason=reason(),
        now=parts.clock(),
    )
    what = "cost what was stated" if decision == ACCEPTED else "cost what was booked"
    flash(f"{len(done)} {'line' if len(done) == 1 else 'lines'} {what}.")
    return redirect(url_for(".reviews"), 303)
