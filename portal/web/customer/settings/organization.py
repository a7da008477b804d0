"""The organization itself: its name, its time zone, and whether members see the balance."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, url_for
from werkzeug.wrappers import Response

from portal import preferences
from portal.accounts import Member, Organization
from portal.core.errors import InvalidRequest
from portal.core.periods import zone_names
from portal.preferences import Preferences
from portal.web import formats
from portal.web.customer.settings.page import Section, add, again
from portal.web.customer.shell import blueprint, entitled
from portal.web.services import services


def _fill(organization: Organization, member: Member) -> dict[str, Any]:
    now = services().clock()
    coming = organization.zone.to_come(now)
    return {
        "zones": sorted(zone_names()) if member.may("manage_settings") else [],
        "zone_now": organization.zone.name_at(now),
        "zone_coming": coming,
    }


add(Section(10, "organization", "Organization", "see_settings", _fill))


@blueprint.post("/settings/organization")
def change_organization() -> Response | tuple[str, int]:
    """Keep the name, the zone and who sees the balance."""
    organization, member = entitled("manage_settings")
    parts, now = services(), services().clock()
    asked = Preferences(
        request.form.get("name", ""),
        request.form.get("timezone", ""),
        request.form.get("members_see_balance") == "yes",
    )
    try:
        found = preferences.choose(
            parts.database, organization.organization_id, asked, by=member, now=now
        )
    except InvalidRequest as error:
        return again("organization", request.form, error)
    coming = found.zone.to_come(now)
    words = "Saved."
    if coming is not None:
        when = formats.day(coming.at, found.zone)
        words = (
            f"Saved. {formats.place(coming.name).capitalize()} begins with the next period, {when}."
        )
    flash(words)
    return redirect(url_for(".settings"), 303)
