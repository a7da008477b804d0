"""Caps, as the operator's backend or an organization's own key sets them."""

from __future__ import annotations

from flask import Response

from portal import accounts, limits
from portal.caps import CapRequest
from portal.core.caps import THRESHOLDS
from portal.core.errors import InvalidRequest
from portal.web.api import answers, blueprint
from portal.web.api.access import caller, need, own
from portal.web.api.body import read
from portal.web.api.shapes import CapBody, CapChangeBody, micro
from portal.web.services import services


@blueprint.get("/organizations/<organization_id>/caps")
def get_caps(organization_id: str) -> tuple[Response, int]:
    """Answer every cap with what it has counted."""
    need("read")
    parts = services()
    with parts.database.reading() as tx:
        accounts.find_organization(tx, own(organization_id))
    states = limits.list_caps(parts.database, organization_id, now=parts.clock())
    return answers.answer({"data": [answers.cap(state) for state in states], "next_cursor": None})


@blueprint.post("/organizations/<organization_id>/caps")
def post_cap(organization_id: str) -> tuple[Response, int]:
    """Make a cap."""
    need("manage")
    body = read(CapBody)
    parts = services()
    state = limits.set_cap(
        parts.database,
        own(organization_id),
        CapRequest(
            scope=body.scope,
            target=body.target or "",
            action=body.action or "",
            window=body.window,
            limit_micro=micro(body.limit.credits, "/limit/credits"),
            mode=body.mode,
            thresholds=tuple(body.thresholds or THRESHOLDS),
        ),
        actor=caller().name,
        now=parts.clock(),
    )
    return answers.answer(answers.cap(state), 201)


@blueprint.patch("/organizations/<organization_id>/caps/<cap_id>")
def patch_cap(organization_id: str, cap_id: str) -> tuple[Response, int]:
    """Raise, lower, harden or soften a cap."""
    need("manage")
    body = read(CapChangeBody)
    if body.limit is None and body.mode is None:
        raise InvalidRequest.at("", "must change limit or mode")
    parts = services()
    state = limits.change_cap(
        parts.database,
        own(organization_id),
        cap_id,
        limit_micro=micro(body.limit.credits, "/limit/credits") if body.limit else None,
        mode=body.mode,
        actor=caller().name,
        now=parts.clock(),
    )
    return answers.answer(answers.cap(state))


@blueprint.delete("/organizations/<organization_id>/caps/<cap_id>")
def delete_cap(organization_id: str, cap_id: str) -> tuple[Response, int]:
    """Remove a cap."""
    need("manage")
    parts = services()
    limits.remove_cap(
        parts.database, own(organization_id), cap_id, actor=caller().name, now=parts.clock()
    )
    return answers.answer({"id": cap_id, "removed": True})
