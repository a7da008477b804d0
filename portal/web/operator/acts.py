"""What the operator does for one customer: each act shows first what it would do, then does it.

The preview is a page of its own, so that it can be looked at again; the act is its form, sent with
the key it was made with.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import accounts, onboarding
from portal.accounts import Organization
from portal.core.errors import InvalidRequest
from portal.core.periods import start_of_day
from portal.core.units import NotExact, format_micro, parse_micro
from portal.office import adjusting, dossier, rehearsal
from portal.onboarding import GrantRequest
from portal.web.operator.shell import (
    actor,
    blueprint,
    form_key,
    reason,
    sent_key,
)
from portal.web.problems import error_words
from portal.web.services import services

GIVEN = ("promotion", "adjustment")
#: The most credits one form grants: a slip of a finger more is asked for twice.
LARGEST_GRANT_MICRO = 10**13


@dataclass(frozen=True)
class Previewed:
    """A form as it stands: what it would do, or why it cannot be done; neither before it is sent.

    ``key`` is what the act is known by, once the form is confirmed.
    """

    found: object | None = None
    wrong: str = ""
    key: str = ""


def organization_of(organization_id: str) -> Organization:
    """Return the customer that an act is about. Raises NotFound."""
    with services().database.reading() as tx:
        return accounts.find_organization(tx, organization_id)


def back_to(organization_id: str, anchor: str = "") -> Response:
    """Lead back to a customer's page."""
    return redirect(
        url_for(".customer", organization_id=organization_id, _anchor=anchor or None), 303
    )


def _credits(given: str) -> int:
    text = given.strip().replace(",", "")
    try:
        micro = parse_micro(text)
    except NotExact as error:
        raise InvalidRequest.at("/credits", str(error)) from error
    if not 0 < micro <= LARGEST_GRANT_MICRO:
        most = format_micro(LARGEST_GRANT_MICRO)
        raise InvalidRequest.at("/credits", f"must be above zero and at most {most}")
    return micro


def _quantity(given: str) -> int:
    try:
        micro = parse_micro(given.strip())
    except NotExact as error:
        raise InvalidRequest.at("/quantity", str(error)) from error
    if micro < 0:
        raise InvalidRequest.at("/quantity", "is negative")
    return micro


def _ends(given: str, organization: Organization) -> datetime | None:
    """Return the instant after the last day that was typed, in the organization's zone."""
    if not given.strip():
        return None
    try:
        day = date.fromisoformat(given.strip())
        ends = start_of_day(day + timedelta(days=1), organization.zone)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest.at("/last_day", "is not a day such as 2026-12-31") from error
    if ends <= services().clock():
        raise InvalidRequest.at("/last_day", "is over: they would end before they begin")
    return ends


def _grant_request(organization: Organization) -> GrantRequest:
    given = request.values
    source = given.get("source", "")
    if source not in GIVEN:
        raise InvalidRequest.at("/source", f"is not one of {', '.join(GIVEN)}")
    return GrantRequest(
        credits_micro=_credits(given.get("credits", "")),
        source=source,
        reason=reason(),
        expires_at=_ends(given.get("expires", ""), organization),
    )


@blueprint.get("/customers/<organization_id>/grant")
def grant(organization_id: str) -> str | tuple[str, int]:
    """Show the form of a grant, and what it would do."""
    parts, organization = services(), organization_of(organization_id)
    shown = Previewed()
    if "credits" in request.args:
        try:
            wanted = _grant_request(organization)
            found = rehearsal.grant(parts.database, organization_id, wanted, now=parts.clock())
            shown = Previewed(found, key=form_key())
        except InvalidRequest as error:
            shown = Previewed(wrong=error_words(error))
    page = render_template("operator/grant.html", organization=organization, shown=shown)
    return (page, 422) if shown.wrong else page


@blueprint.post("/customers/<organization_id>/grant")
def make_grant(organization_id: str) -> Response:
    """Grant credits."""
    parts, organization = services(), organization_of(organization_id)
    wanted = _grant_request(organization)
    onboarding.grant_once(
        parts.database,
        organization_id,
        wanted,
        key=sent_key(),
        actor=actor(),
        now=parts.clock(),
    )
    flash(f"{format_micro(wanted.credits_micro)} credits are granted.")
    return back_to(organization_id, "grants")


@blueprint.get("/customers/<organization_id>/grants/<grant_id>/void")
def void(organization_id: str, grant_id: str) -> str:
    """Show what voiding a grant would take back."""
    parts, organization = services(), organization_of(organization_id)
    now = parts.clock()
    with parts.database.reading() as tx:
        line = dossier.grant_of(tx, organization_id, grant_id, now=now)
    found = rehearsal.void(parts.database, organization_id, grant_id, now=now)
    return render_template(
        "operator/void.html",
        organization=organization,
        line=line,
        shown=Previewed(found, key=form_key()),
    )


@blueprint.post("/customers/<organization_id>/grants/<grant_id>/void")
def void_grant(organization_id: str, grant_id: str) -> Response:
    """Void a grant."""
    parts = services()
    taken = onboarding.void_grant(
        parts.database,
        organization_id,
        grant_id,
        reason=reason(),
        actor=actor(),
        key=sent_key(),
        now=parts.clock(),
    )
    flash(f"{format_micro(taken)} credits are taken back. What was spent of them stays spent.")
    return back_to(organization_id, "grants")


@blueprint.get("/customers/<organization_id>/correct")
def correct(organization_id: str) -> str | tuple[str, int]:
    """Show the form that corrects an event, and what it would give back."""
    parts, organization = services(), organization_of(organization_id)
    event = adjusting.event_of(
        parts.database, organization_id, request.args.get("source", ""), request.args.get("id", "")
    )
    shown = Previewed()
    if "quantity" in request.args:
        try:
            reason()
            key = form_key()
            wanted = adjusting.correction(
                organization_id,
                event,
                quantity_micro=_quantity(request.args["quantity"]),
                key=key,
            )
            found = rehearsal.correct(parts.database, wanted, now=parts.clock())
            shown = Previewed(found, key=key)
        except InvalidRequest as error:
            shown = Previewed(wrong=error_words(error))
    page = render_template(
        "operator/correct.html", organization=organization, event=event, shown=shown
    )
    return (page, 422) if shown.wrong else page


@blueprint.post("/customers/<organization_id>/correct")
def make_correction(organization_id: str) -> Response:
    """Correct an event."""
    parts = services()
    event = adjusting.event_of(
        parts.database, organization_id, request.form.get("source", ""), request.form.get("id", "")
    )
    wanted = adjusting.correction(
        organization_id,
        event,
        quantity_micro=_quantity(request.form.get("quantity", "")),
        key=sent_key(),
    )
    done = adjusting.adjust(
        parts.database, wanted, reason=reason(), actor=actor(), now=parts.clock()
    )
    flash("The event is corrected." if done else "The event was corrected so already.")
    return back_to(organization_id)
