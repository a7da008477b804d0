"""Asking for more of a cap and answering, for a product that has pages of its own for it."""

from __future__ import annotations

from typing import Any

from flask import Response

from portal import raises
from portal.core.units import format_micro
from portal.raises import RaiseRequest
from portal.web.api import answers, blueprint
from portal.web.api.access import caller, current, need, own
from portal.web.api.answers import when
from portal.web.api.body import read
from portal.web.api.shapes import RaiseAnswerBody, RaiseBody, micro
from portal.web.services import services


@blueprint.get("/organizations/<organization_id>/raise_requests")
def get_raise_requests(organization_id: str) -> tuple[Response, int]:
    """Answer the requests for more that wait, the oldest first."""
    need("read")
    parts = services()
    found = current(organization_id)
    with parts.database.reading() as tx:
        waiting = raises.waiting(tx, found.organization_id, at=parts.clock())
    return answers.answer({"data": [_request(one) for one in waiting], "next_cursor": None})


@blueprint.post("/organizations/<organization_id>/caps/<cap_id>/raise_requests")
def post_raise_request(organization_id: str, cap_id: str) -> tuple[Response, int]:
    """Ask, for a member, for more of a cap until its window ends."""
    need("manage")
    body, parts = read(RaiseBody), services()
    asked = raises.ask(
        parts.database,
        own(organization_id),
        cap_id,
        body.member,
        micro(body.credits, "/credits", positive=True),
        reason=body.reason,
        now=parts.clock(),
    )
    return answers.answer(_request(asked), 201)


@blueprint.post("/organizations/<organization_id>/raise_requests/<request_id>/answer")
def answer_raise_request(organization_id: str, request_id: str) -> tuple[Response, int]:
    """Allow what is asked for, or another amount, until the window ends; or decline."""
    need("manage")
    body, parts = read(RaiseAnswerBody), services()
    with parts.database.reading() as tx:
        asked_micro = raises.find(tx, own(organization_id), request_id).asked_micro
    granted: int | None = asked_micro
    if body.answer == "decline":
        granted = None
    elif body.credits is not None:
        granted = micro(body.credits, "/credits", positive=True)
    answered = raises.answer(
        parts.database,
        own(organization_id),
        request_id,
        granted_micro=granted,
        actor=caller().actor,
        now=parts.clock(),
    )
    return answers.answer(_request(answered))


def _request(found: RaiseRequest) -> dict[str, Any]:
    return {
        "id": found.request_id,
        "cap": found.cap_id,
        "member": found.member_id,
        "credits": format_micro(found.asked_micro),
        "reason": found.reason,
        "status": found.status,
        "granted": None if found.granted_micro is None else format_micro(found.granted_micro),
        "asked_at": when(found.asked_at),
        "until": when(found.window_end),
        "answered_by": found.answered_by or None,
        "answered_at": when(found.answered_at),
    }
