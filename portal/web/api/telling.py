"""Who is told by webhook: the operator's endpoints by a service key, an organization's by its own.

A call that names no organization is about the operator's endpoints, which hear of everybody.
"""

from __future__ import annotations

from typing import Any

from flask import Response

from portal import telling
from portal.notices.delivered import Delivery
from portal.notices.endpoints import Endpoint
from portal.notices.kinds import type_of
from portal.telling import SHOWN, Keeper
from portal.web.api import answers, blueprint
from portal.web.api.access import caller, need
from portal.web.api.answers import when
from portal.web.api.body import read, read_optional
from portal.web.api.shapes import EndpointBody, EndpointChangeBody, NothingBody
from portal.web.services import services


def _keeper() -> Keeper:
    """Return whose endpoints the key keeps: its organization's, or the operator's."""
    need("manage")
    settings = services().settings
    return Keeper(
        caller().organization_id,
        caller().actor,
        settings.secret_key,
        settings.webhooks_to_loopback,
    )


@blueprint.get("/webhook_endpoints")
def get_webhook_endpoints() -> tuple[Response, int]:
    """Answer the endpoints that are told."""
    need("read")
    with services().database.reading() as tx:
        found = telling.listening(tx, caller().organization_id)
    listed = [_endpoint(one) for one in found.endpoints]
    return answers.answer({"data": listed, "next_cursor": None})


@blueprint.post("/webhook_endpoints")
def post_webhook_endpoint() -> tuple[Response, int]:
    """Make an endpoint; its secret is in this answer alone."""
    keeper, body, parts = _keeper(), read(EndpointBody), services()
    made, secret = telling.make_endpoint(
        parts.database, keeper, body.url, body.types or [], now=parts.clock()
    )
    return answers.answer({**_endpoint(made), "secret": secret}, 201)


@blueprint.patch("/webhook_endpoints/<endpoint_id>")
def patch_webhook_endpoint(endpoint_id: str) -> tuple[Response, int]:
    """Switch an endpoint on or off."""
    keeper, body, parts = _keeper(), read(EndpointChangeBody), services()
    telling.switch_endpoint(parts.database, keeper, endpoint_id, on=body.enabled, now=parts.clock())
    with parts.database.reading() as tx:
        found = telling.listening(tx, keeper.organization_id).endpoints
    return answers.answer(_endpoint(next(one for one in found if one.endpoint_id == endpoint_id)))


@blueprint.delete("/webhook_endpoints/<endpoint_id>")
def delete_webhook_endpoint(endpoint_id: str) -> tuple[Response, int]:
    """Remove an endpoint."""
    parts = services()
    telling.remove_endpoint(parts.database, _keeper(), endpoint_id, now=parts.clock())
    return answers.answer({"id": endpoint_id, "removed": True})


@blueprint.post("/webhook_endpoints/<endpoint_id>/rotate")
def rotate_webhook_endpoint(endpoint_id: str) -> tuple[Response, int]:
    """Give an endpoint a new secret, in this answer alone; the old one signs too for a day."""
    keeper, parts = _keeper(), services()
    read_optional(NothingBody)
    found, secret = telling.rotate_endpoint(parts.database, keeper, endpoint_id, now=parts.clock())
    return answers.answer({**_endpoint(found), "secret": secret})


@blueprint.get("/webhook_endpoints/<endpoint_id>/deliveries")
def get_deliveries(endpoint_id: str) -> tuple[Response, int]:
    """Answer what was last delivered to an endpoint, and what was not, the newest first."""
    need("read")
    with services().database.reading() as tx:
        found = telling.deliveries(tx, caller().organization_id, endpoint_id, limit=5 * SHOWN)
    return answers.answer({"data": [_delivery(one) for one in found], "next_cursor": None})


@blueprint.post("/webhook_endpoints/<endpoint_id>/deliveries/<delivery_id>/replay")
def replay_delivery(endpoint_id: str, delivery_id: str) -> tuple[Response, int]:
    """Send a delivery again, under the same id."""
    keeper, parts = _keeper(), services()
    read_optional(NothingBody)
    telling.replay(parts.database, keeper, endpoint_id, delivery_id, now=parts.clock())
    return answers.answer({"id": delivery_id, "status": "due"})


def _endpoint(found: Endpoint) -> dict[str, Any]:
    return {
        "id": found.endpoint_id,
        "url": found.url,
        "types": list(found.kinds),
        "enabled": found.disabled_at is None,
        "detail": found.disabled_why,
        "created_at": when(found.created_at),
    }


def _delivery(found: Delivery) -> dict[str, Any]:
    return {
        "id": found.delivery_id,
        "message": found.message.message_id,
        "organization": found.message.organization_id,
        "sequence": found.message.sequence,
        "type": type_of(found.message.kind),
        "status": found.status,
        "attempts": found.attempts,
        "detail": found.detail,
        "next_try_at": when(found.due_at) if found.status == "due" else None,
        "done_at": when(found.done_at),
    }
