"""Keys of the organization's own: made, replaced, revoked. A key is shown once, by its making."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, url_for
from werkzeug.wrappers import Response

from portal import accounts, keyring
from portal import keys as read
from portal.accounts import Member, Organization
from portal.core.errors import InvalidRequest
from portal.web.customer.settings.page import Section, add, again, settings_page
from portal.web.customer.shell import blueprint, entitled
from portal.web.services import services


def _fill(organization: Organization, member: Member) -> dict[str, Any]:  # noqa: ARG001 # a section's
    parts, now = services(), services().clock()
    with parts.database.reading() as tx:
        found = read.of_organization(tx, organization.organization_id)
        names = accounts.names(tx, organization.organization_id, "member")
    return {
        "keys": [one for one in found if one.in_force(now)],
        "ended_keys": [one for one in found if not one.in_force(now)],
        "names": names,
        "new_key": None,
        "replaced": None,
    }


add(Section(30, "keys", "API keys", "see_settings", _fill))


@blueprint.post("/settings/keys")
def make_key() -> str | tuple[str, int]:
    """Make a key and show it, this once."""
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
    return settings_page(new_key=key)


@blueprint.post("/settings/keys/<key_id>/replace")
def replace_key(key_id: str) -> str | tuple[str, int]:
    """Make a key in another's place and show it, this once."""
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
    return settings_page(new_key=key, replaced=old)


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
