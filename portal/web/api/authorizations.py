"""Authorize, capture, increment, release: the meter before and after the work."""

from __future__ import annotations

from datetime import datetime

from flask import Response

from portal import authorization
from portal.authorization import AuthorizeRequest, CaptureRequest
from portal.core.errors import InvalidRequest
from portal.core.events import REACH_AHEAD, REACH_BACK
from portal.core.json_values import plain
from portal.web.api import answers, blueprint
from portal.web.api.access import caller, need, own
from portal.web.api.body import read, read_optional
from portal.web.api.shapes import (
    AuthorizationBody,
    CaptureBody,
    IncrementBody,
    ReleaseBody,
    instant,
    micro,
    stated_costs,
)
from portal.web.services import services


@blueprint.post("/authorizations")
def post_authorization() -> tuple[Response, int]:
    """Set credits aside for work about to start, or refuse it."""
    need("meter")
    body = read(AuthorizationBody)
    parts = services()
    stored = authorization.authorize(
        parts.database,
        AuthorizeRequest(
            organization_id=own(body.organization),
            action=body.action,
            quantity_micro=micro(body.quantity, "/quantity", positive=True),
            member=body.member or "",
            team=body.team or "",
            project=body.project or "",
            run=body.run or "",
            expires_in_seconds=body.expires_in,
        ),
        key=answers.idempotency_key(),
        now=parts.clock(),
    )
    return answers.stored_answer(stored)


@blueprint.get("/authorizations/<hold_id>")
def get_authorization(hold_id: str) -> tuple[Response, int]:
    """Answer an authorization as it stands."""
    need("read")
    parts = services()
    return answers.answer(
        authorization.state_of(
            parts.database, hold_id, only=caller().organization_id, now=parts.clock()
        )
    )


@blueprint.post("/authorizations/<hold_id>/capture")
def post_capture(hold_id: str) -> tuple[Response, int]:
    """Charge what the work took."""
    need("meter")
    body = read_optional(CaptureBody)
    parts, now = services(), services().clock()
    stored = authorization.capture(
        parts.database,
        hold_id,
        CaptureRequest(
            quantity_micro=None if body.quantity is None else micro(body.quantity, "/quantity"),
            time=None if body.time is None else _time(body.time, now),
            costs=stated_costs(
                body.costs, model=body.model, provider=body.provider, usage=body.usage
            ),
            properties=plain(body.properties),
        ),
        key=answers.idempotency_key(),
        only=caller().organization_id,
        now=now,
    )
    return answers.stored_answer(stored)


def _time(value: str, now: datetime) -> datetime:
    at = instant(value, "/time")
    if not now - REACH_BACK <= at <= now + REACH_AHEAD:
        raise InvalidRequest.at("/time", "must lie between 35 days ago and 5 minutes ahead")
    return at


@blueprint.post("/authorizations/<hold_id>/increment")
def post_increment(hold_id: str) -> tuple[Response, int]:
    """Set more aside for work that grows."""
    need("meter")
    body = read(IncrementBody)
    parts = services()
    stored = authorization.increment(
        parts.database,
        hold_id,
        micro(body.quantity, "/quantity", positive=True),
        key=answers.idempotency_key(),
        only=caller().organization_id,
        now=parts.clock(),
    )
    return answers.stored_answer(stored)


@blueprint.post("/authorizations/<hold_id>/release")
def post_release(hold_id: str) -> tuple[Response, int]:
    """Return all that was set aside."""
    need("meter")
    read_optional(ReleaseBody)
    parts = services()
    stored = authorization.release(
        parts.database,
        hold_id,
        key=answers.idempotency_key(),
        only=caller().organization_id,
        now=parts.clock(),
    )
    return answers.stored_answer(stored)
