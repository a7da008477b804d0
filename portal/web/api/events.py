"""Usage events in: CloudEvents one by one or in batches, with an answer for each."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response, request

from portal import accounts, metering, rejections
from portal.core.errors import FieldError, InvalidEvent, InvalidRequest, PayloadTooLarge
from portal.core.events import UsageEvent
from portal.metering import BatchAnswer, Sent
from portal.web.api import answers, blueprint, cursors
from portal.web.api.access import caller, need, need_service
from portal.web.api.body import (
    Parsed,
    Refused,
    field_error,
    find_refused,
    parse_json,
    raw_body,
    read_optional,
)
from portal.web.api.organizations import page_size
from portal.web.api.shapes import EventBody, ReplayBody, take_as_sent, usage_event
from portal.web.services import services

LARGEST_BATCH = 1_000
ONE = "application/cloudevents+json"
MANY = "application/cloudevents-batch+json"
EITHER = "application/json"

#: Where in an event the reason lies for a refusal that names no field itself.
_PLACES = {"unknown-organization": "/subject", "event-conflict": "/id"}


#: What was put there would be passed over, and the event taken for one of quantity 1.
_ENCODED = "is not read: send data as JSON, in data"


@blueprint.post("/events")
def post_events() -> tuple[Response, int]:
    """Take one event or a batch."""
    need("meter")
    parsed = parse_json(raw_body())
    content = _content(parsed)
    contents = content if isinstance(content, list) else [content]
    _check_size(contents)
    parts = services()
    taken = metering.ingest(
        parts.database,
        [received(index, one, clean=parsed.clean) for index, one in enumerate(contents)],
        now=parts.clock(),
        backfill="backfill" in caller().scopes,
        only=caller().organization_id,
    )
    body = {
        "accepted": taken.accepted,
        "duplicates": taken.duplicates,
        "uncollected": taken.uncollected,
        "rejected": [
            {"index": one.index, "id": one.event_id or None, "code": one.code, "detail": one.detail}
            for one in taken.rejected
        ],
    }
    if taken.rejected and not taken.accepted and not taken.duplicates:
        return _all_rejected(body, taken, batch=isinstance(content, list))
    return answers.answer(body)


def _all_rejected(body: dict[str, Any], taken: BatchAnswer, *, batch: bool) -> tuple[Response, int]:
    first = body["rejected"][0]
    problem = {
        "type": "/problems/invalid-event",
        "title": "No event was taken",
        "status": 422,
        "detail": f"Every event was rejected; the first because: {first['detail']}",
        "errors": [
            {
                "pointer": f"/{one.index}{field.pointer}" if batch else field.pointer,
                "detail": field.detail,
            }
            for one in taken.rejected
            for field in one.fields or [FieldError(_PLACES.get(one.code, ""), one.detail)]
        ],
        **body,
    }
    response, _ = answers.answer(problem)
    response.content_type = "application/problem+json"
    return response, 422


def _content(parsed: Parsed) -> Any:
    """Return a body of one event or many, by its content type. Raises InvalidRequest."""
    kind = request.mimetype
    if kind not in {ONE, MANY, EITHER}:
        raise InvalidRequest(f"Content-Type {kind or 'none'} is not taken. Send {MANY}.")
    content = parsed.value
    if isinstance(content, Refused):
        raise InvalidRequest.at(content.pointer, content.why)
    if kind == ONE and not isinstance(content, dict):
        raise InvalidRequest(
            "The body must be one event, an object.", [FieldError("", "is no object")]
        )
    if kind == MANY and not isinstance(content, list):
        raise InvalidRequest(
            "The body must be an array of events.", [FieldError("", "is no array")]
        )
    return content


def _check_size(contents: list[Any]) -> None:
    if len(contents) > LARGEST_BATCH:
        raise PayloadTooLarge(
            f"A batch has at most {LARGEST_BATCH:,} events, this one has {len(contents):,}. "
            "Split it.",
            errors=[{"pointer": "", "detail": f"has more than {LARGEST_BATCH} events"}],
        )
    if not contents:
        raise InvalidRequest("The batch is empty.", [FieldError("", "has no event")])


def received(index: int, content: Any, *, clean: bool) -> Sent:
    """Return one event of a batch as it arrived and as it was understood.

    ``clean`` where nothing in it can be refused, so that nobody need look.
    """
    wrong = None if clean else find_refused(content)
    if wrong is not None:
        return Sent(index, content, error=InvalidEvent("The event cannot be read.", [wrong]))
    try:
        return Sent(index, content, event=read_event(content))
    except InvalidEvent as error:
        return Sent(index, content, error=error)


def read_event(content: Any) -> UsageEvent:
    """Return an event as it was understood. Raises InvalidEvent."""
    if isinstance(content, dict) and "data_base64" in content:
        raise InvalidEvent("The event cannot be read.", [FieldError("/data_base64", _ENCODED)])
    try:
        body = msgspec.convert(content, EventBody, strict=True, dec_hook=take_as_sent)
    except msgspec.ValidationError as error:
        raise InvalidEvent("The event cannot be read.", [field_error(error, EventBody)]) from error
    return usage_event(body)


@blueprint.get("/organizations/<organization_id>/rejected-events")
def get_rejected_events(organization_id: str) -> tuple[Response, int]:
    """Answer the events that were not taken and wait to be tried again."""
    need("read")
    need_service()
    limit = page_size()
    (after,) = cursors.sent("rejected-events", parts=1) or [""]
    with services().database.reading() as tx:
        accounts.find_organization(tx, organization_id)
        found = rejections.waiting(
            tx,
            organization_id,
            after=after,
            code=request.args.get("code"),
            limit=limit + 1,
        )
    page = found[:limit]
    return answers.answer(
        {
            "data": [
                {
                    "rejection": one.rejection_id,
                    "source": one.source or None,
                    "id": one.event_id or None,
                    "code": one.code,
                    "detail": one.detail,
                    "received_at": answers.when(one.received_at),
                    "event": one.content,
                }
                for one in page
            ],
            "next_cursor": cursors.written("rejected-events", page[-1].rejection_id)
            if len(found) > limit
            else None,
        }
    )


@blueprint.post("/organizations/<organization_id>/rejected-events/replay")
def replay_rejected_events(organization_id: str) -> tuple[Response, int]:
    """Try rejected events again, up to a thousand at a time."""
    need("manage")
    need_service()
    body = read_optional(ReplayBody)
    parts = services()
    taken = metering.replay(
        parts.database,
        organization_id,
        read_event,
        code=body.code,
        limit=LARGEST_BATCH,
        now=parts.clock(),
        backfill="backfill" in caller().scopes,
    )
    return answers.answer(
        {
            "accepted": taken.accepted,
            "duplicates": taken.duplicates,
            "uncollected": taken.uncollected,
            "still_rejected": len(taken.rejected),
        }
    )
