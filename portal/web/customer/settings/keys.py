"""Keys of the organization's own: made, replaced, revoked. One is shown once, after its making."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, url_for
from werkzeug.wrappers import Response

from portal import accounts, keyring
from portal import keys as read
from portal.accounts import Member, Organization
from portal.core.errors import InvalidRequest
from portal.web import showing
from portal.web.customer.settings.page import Section, add, again
from portal.web.customer.shell import blueprint, entitled
from portal.web.services import services

#: What a key that was just made waits as, to be shown.
NEW_KEY = "key"


def _fill(organization: Organization, member: Member) -> dict[str, Any]:  # noqa: ARG001 # a section's
    parts, now = services(), services().clock()
    with parts.database.reading() as tx:
        found = read.of_organization(tx, organization.organization_id)
        names = accounts.names(tx, organization.organization_id, "member")
    return {
        "keys": [one for one in found if one.in_force(now)],
        "ended_keys": [one for one in found if not one.in_force(now)],
        "names": names,
        "new_key": showing.take(NEW_KEY),
    }


add(Section(30, "keys", "API keys", "see_settings", _fill))


def _shown(key: str) -> Response:
    showing.put_aside(NEW_KEY, key)
    return redirect(url_for(".settings", _anchor="keys"), 303)


@blueprint.post("/settings/keys")
def make_key() -> Response | tuple[str, int]:
    """Make a key, which the settings show once."""
    organization, member = entitled("manage_keys")
    parts = services()
    try:
        key = keyring.make(
            parts.database,
            organization.organization_id,
            name=request.form.get("name", ""),
            scopes=tuple(request.form.getlist("scope")),
            lifetime=request.form.get("lifetime", ""),
            by=member,
            now=parts.clock(),
        )
    except InvalidRequest as error:
        return again("key", request.form, error)
    return _shown(key)


@blueprint.post("/settings/keys/<key_id>/replace")
def replace_key(key_id: str) -> Response | tuple[str, int]:
    """Make a key in another's place, which the settings show once."""
    organization, member = entitled("manage_keys")
    parts = services()
    try:
        key, old = keyring.replace(
            parts.database,
            organization.organization_id,
            key_id,
            overlap=request.form.get("overlap", ""),
            by=member,
            now=parts.clock(),
        )
    except InvalidRequest as error:
        return again(key_id, request.form, error)
    flash(f"{old.name} has a new key. The old one ends as it says below, or is over already.")
    return _shown(key)


@blueprint.post("/settings/keys/<key_id>/revoke")
def revoke_key(key_id: str) -> Response:
    """Take a key back."""
    organization, member = entitled("manage_keys")
    parts = services()
    found = keyring.revoke(
        parts.database, organization.organization_id, key_id, by=member, now=parts.clock()
    )
    flash(f"The key {found.name} is revoked. Its next request is refused.")
    return redirect(url_for(".settings", _anchor="keys"), 303)
