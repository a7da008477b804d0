"""Notifications: what the reader hears by mail, and for admins when the balance is low."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import telling
from portal.accounts import Member, Organization
from portal.core.errors import InvalidRequest, NotAllowed
from portal.lookout import Threshold
from portal.web.customer.shell import blueprint, reader
from portal.web.customer.spending import credits_typed
from portal.web.services import services


def fill(organization: Organization, member: Member) -> dict[str, Any]:
    """Return what the section needs."""
    parts = services()
    with parts.database.reading() as tx:
        return {"hearing": telling.hearing(tx, organization, member, now=parts.clock())}


def _page(errors: dict[str, str] | None = None) -> str:
    organization, member = reader()
    return render_template(
        "customer/settings/notifications.html",
        organization=organization,
        member=member,
        as_of=services().clock(),
        low_errors=errors or {},
        typed=request.form,
        **fill(organization, member),
    )


@blueprint.get("/settings/notifications")
def notifications() -> str:
    """Show what the reader hears."""
    return _page()


@blueprint.post("/settings/notifications")
def choose_notifications() -> Response:
    """Keep what the reader hears by mail."""
    _, member = reader()
    telling.choose(services().database, member, request.form.getlist("mail"))
    flash("Saved. What you do not get by mail still stands on your pages.")
    return redirect(url_for(".notifications"), 303)


@blueprint.get("/settings/notifications/low-balance")
def low_balance_is_on_notifications() -> Response:
    """Lead back whoever loads the address the form was sent to."""
    return redirect(url_for(".notifications", _anchor="low"))


@blueprint.post("/settings/notifications/low-balance")
def choose_low_balance() -> Response | tuple[str, int]:
    """Set below what the balance is low, for everybody of the organization."""
    _, member = reader()
    if not member.may_manage:
        raise NotAllowed("Only an owner or an admin may set this. Ask one of them.")
    parts = services()
    try:
        chosen = _threshold(request.form.get("by", ""), request.form.get("low", ""))
        telling.set_threshold(parts.database, member, chosen, now=parts.clock())
    except InvalidRequest as error:
        return _page({"low": error.fields["errors"][0]["detail"]}), 422
    flash("Saved. You are told as soon as the balance is below that.")
    return redirect(url_for(".notifications", _anchor="low"), 303)


def _threshold(by: str, typed: str) -> Threshold:
    if by == "credits":
        return Threshold(None, credits_typed(typed, "/low"))
    if not (typed.isascii() and typed.strip().isdigit() and len(typed.strip()) <= 3):
        raise InvalidRequest.at("/low", "must be a whole number of percent, such as 10")
    return Threshold(int(typed), None)
