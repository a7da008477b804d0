"""Webhooks: the organization's endpoints, made, rotated, switched and removed; their deliveries."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import telling
from portal.accounts import Member, Organization
from portal.core.errors import InvalidRequest, NotAllowed
from portal.notices.kinds import TYPES
from portal.telling import Keeper
from portal.web import showing
from portal.web.customer.shell import blueprint, reader
from portal.web.services import services

#: What an endpoint's id and its new secret wait as, to be shown.
ENDPOINT = "webhook"


def fill(organization: Organization, member: Member) -> dict[str, Any]:  # noqa: ARG001 # a section's
    """Return what the section needs."""
    with services().database.reading() as tx:
        found = telling.listening(tx, organization.organization_id)
    new_secret = showing.take(ENDPOINT)
    return {
        "listening": found,
        "webhook_types": TYPES,
        "new_secret": new_secret.split() if new_secret else None,
        "is_too_late": new_secret == showing.TOO_LATE,
    }


def _manager() -> tuple[Organization, Member]:
    organization, member = reader()
    if not member.may_manage:
        raise NotAllowed("Only an owner or an admin keeps webhooks. Ask one of them.")
    return organization, member


def _keeper() -> Keeper:
    organization, member = _manager()
    settings = services().settings
    return Keeper(
        organization.organization_id,
        member.member_id,
        settings.secret_key,
        settings.webhooks_to_loopback,
    )


def _page(**more: Any) -> str:
    organization, member = _manager()
    given = fill(organization, member) | {"webhook_errors": {}} | more
    return render_template(
        "customer/settings/webhooks.html",
        organization=organization,
        member=member,
        as_of=services().clock(),
        typed=request.form,
        **given,
    )


@blueprint.get("/settings/webhooks")
def webhooks() -> str:
    """Show the endpoints."""
    return _page()


@blueprint.get("/settings/webhooks/<endpoint_id>")
def webhook_is_on_webhooks(endpoint_id: str) -> Response:
    """Lead back whoever loads the address a form was sent to."""
    return redirect(url_for(".webhooks", _anchor=endpoint_id))


def _shown(endpoint_id: str, secret: str) -> Response:
    showing.put_aside(ENDPOINT, f"{endpoint_id} {secret}")
    return redirect(url_for(".webhooks", _anchor=endpoint_id), 303)


@blueprint.post("/settings/webhooks")
def make_webhook() -> Response | tuple[str, int]:
    """Make an endpoint, whose secret its page shows once."""
    parts = services()
    try:
        made, secret = telling.make_endpoint(
            parts.database,
            _keeper(),
            request.form.get("url", "").strip(),
            request.form.getlist("type"),
            now=parts.clock(),
        )
    except InvalidRequest as error:
        listed = error.fields["errors"][0]
        return _page(webhook_errors={listed["pointer"].strip("/"): listed["detail"]}), 422
    return _shown(made.endpoint_id, secret)


@blueprint.post("/settings/webhooks/<endpoint_id>/rotate")
def rotate_webhook(endpoint_id: str) -> Response:
    """Give an endpoint a new secret, which its page shows once."""
    parts = services()
    found, secret = telling.rotate_endpoint(
        parts.database, _keeper(), endpoint_id, now=parts.clock()
    )
    return _shown(found.endpoint_id, secret)


@blueprint.post("/settings/webhooks/<endpoint_id>/switch")
def switch_webhook(endpoint_id: str) -> Response:
    """Switch an endpoint on or off."""
    parts = services()
    on = request.form.get("on") == "1"
    telling.switch_endpoint(parts.database, _keeper(), endpoint_id, on=on, now=parts.clock())
    flash("It is told again." if on else "It is told nothing until you switch it on again.")
    return redirect(url_for(".webhooks", _anchor=endpoint_id), 303)


@blueprint.post("/settings/webhooks/<endpoint_id>/remove")
def remove_webhook(endpoint_id: str) -> Response:
    """Remove an endpoint."""
    parts = services()
    telling.remove_endpoint(parts.database, _keeper(), endpoint_id, now=parts.clock())
    flash("The endpoint is removed.")
    return redirect(url_for(".webhooks"), 303)


@blueprint.post("/settings/webhooks/<endpoint_id>/deliveries/<delivery_id>")
def replay_delivery(endpoint_id: str, delivery_id: str) -> Response:
    """Send a delivery again."""
    parts = services()
    telling.replay(parts.database, _keeper(), endpoint_id, delivery_id, now=parts.clock())
    flash("It is sent again within a few seconds, under the same id.")
    return redirect(url_for(".webhooks", _anchor=endpoint_id), 303)
