"""Caps, as the operator's backend or an organization's own key sets them."""

from __future__ import annotations

from flask import Response

from portal import limits
from portal.caps import CapChange, CapRequest
from portal.core.caps import THRESHOLDS
from portal.core.errors import InvalidRequest
from portal.web.api import answers, blueprint
from portal.web.api.access import caller, current, need, own
from portal.web.api.body import read
from portal.web.api.shapes import CapBody, CapChangeBody, limit
from portal.web.services import services


@blueprint.get("/organizations/<organization_id>/caps")
def get_caps(organization_id: str) -> tuple[Response, int]:
    """Answer every cap with what it has counted."""
    need("read")
    parts, organization = services(), current(organization_id)
    watched = limits.list_caps(parts.database, organization_id, now=parts.clock())
    return answers.answer(
        {"data": [answers.cap(one, organization) for one in watched], "next_cursor": None}
    )


@blueprint.post("/organizations/<organization_id>/caps")
def post_cap(organization_id: str) -> tuple[Response, int]:
    """Make a cap."""
    need("manage")
    body = read(CapBody)
    parts, organization = services(), current(organization_id)
    limit_micro, limit_minor = limit(body.limit, organization.currency)
    watched = limits.set_cap(
        parts.database,
        organization_id,
        CapRequest(
            scope=body.scope,
            target=body.target or "",
            action=body.action or "",
            window=body.window,
            limit_micro=limit_micro,
            mode=body.mode,
            limit_minor=limit_minor,
            thresholds=THRESHOLDS if body.thresholds is None else tuple(body.thresholds),
        ),
        actor=caller().actor,
        now=parts.clock(),
    )
    return answers.answer(answers.cap(watched, organization), 201)


@blueprint.patch("/organizations/<organization_id>/caps/<cap_id>")
def patch_cap(organization_id: str, cap_id: str) -> tuple[Response, int]:
    """Raise, lower, harden or soften a cap."""
    need("manage")
    body = read(CapChangeBody)
    if body.limit is None and body.mode is None and body.thresholds is None:
        raise InvalidRequest.at("", "must change limit, mode or thresholds")
    parts, organization = services(), current(organization_id)
    limit_micro, limit_minor = (
        limit(body.limit, organization.currency) if body.limit else (None, None)
    )
    watched = limits.change_cap(
        parts.database,
        organization_id,
        cap_id,
        CapChange(
            limit_micro=limit_micro,
            limit_minor=limit_minor,
            mode=body.mode,
            thresholds=None if body.thresholds is None else tuple(body.thresholds),
        ),
        actor=caller().actor,
        now=parts.clock(),
    )
    return answers.answer(answers.cap(watched, organization))


@blueprint.delete("/organizations/<organization_id>/caps/<cap_id>")
def delete_cap(organization_id: str, cap_id: str) -> tuple[Response, int]:
    """Remove a cap."""
    need("manage")
    parts = services()
    limits.remove_cap(
        parts.database, own(organization_id), cap_id, actor=caller().actor, now=parts.clock()
    )
    return answers.answer({"id": cap_id, "removed": True})
