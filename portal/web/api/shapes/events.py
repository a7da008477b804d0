"""Bodies about usage events, in CloudEvents form, and how one becomes the domain's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from portal.core.costs import LAYERS
from portal.core.errors import FieldError, InvalidEvent, InvalidRequest
from portal.core.events import OWN_SOURCES, UsageEvent
from portal.core.json_values import plain
from portal.web.api.shapes.costs import CostBody, stated_costs
from portal.web.api.shapes.fields import Id, Number, SentUsage, Strict, instant, micro, once


class CorrectsBody(Strict):
    """The identity of the event that is corrected."""

    source: Id
    id: Id


class EventDataBody(Strict):
    """An event's data; what has no field of its own goes into properties."""

    quantity: Number = msgspec.field(default_factory=once)
    member: Id | None = None
    team: Id | None = None
    project: Id | None = None
    run: Id | None = None
    request_type: Id | None = None
    authorization: Id | None = None
    model: Annotated[str, Meta(max_length=128)] | None = None
    provider: Annotated[str, Meta(max_length=128)] | None = None
    usage: SentUsage | None = None
    costs: Annotated[list[CostBody], Meta(max_length=50)] = msgspec.field(default_factory=list)
    charge: bool = True
    corrects: Id | CorrectsBody | None = None
    properties: dict[str, Any] = msgspec.field(default_factory=dict)


class EventBody(msgspec.Struct, frozen=True, kw_only=True):
    """A usage event in CloudEvents form; its other attributes are let through."""

    specversion: Literal["1.0"]
    id: Id
    source: Id
    subject: Id
    type: Id
    time: str | None = None
    data: EventDataBody = msgspec.field(default_factory=EventDataBody)


class ReplayBody(Strict):
    """POST …/rejected-events/replay: those of one code, or all."""

    code: Id | None = None


def usage_event(body: EventBody) -> UsageEvent:
    """Return an event in the domain's words. Raises InvalidEvent that names each wrong field."""
    data = body.data
    if body.source.startswith(OWN_SOURCES):
        raise InvalidEvent(
            "The source is one of Clearmeter's own.",
            [FieldError("/source", f"must not begin with {OWN_SOURCES}")],
        )
    layer = _layer(body.type)
    try:
        return UsageEvent(
            source=body.source,
            event_id=body.id,
            organization_id=body.subject,
            type=body.type,
            time=instant(body.time, "/time") if body.time is not None else None,
            quantity_micro=micro(data.quantity, "/data/quantity"),
            member=data.member or "",
            team=data.team or "",
            project=data.project or "",
            run=data.run or "",
            request_type=data.request_type or "",
            authorization=data.authorization or "",
            costs=stated_costs(
                data.costs,
                model=data.model,
                provider=data.provider,
                usage=data.usage,
                layer=layer,
                at="/data",
            ),
            charge=data.charge,
            corrects=_corrected(data.corrects, body.source),
            properties=_plain(data.properties),
        )
    except InvalidEvent:
        raise
    except InvalidRequest as error:
        listed = [FieldError(one["pointer"], one["detail"]) for one in error.fields["errors"]]
        raise InvalidEvent(error.detail, listed) from error


def _layer(event_type: str) -> str:
    """Return the cost layer of what an event states at its top. Raises InvalidEvent."""
    if not event_type.startswith("cost."):
        return "inference"
    layer = event_type.removeprefix("cost.")
    if layer not in LAYERS:
        raise InvalidEvent(
            f"There is no cost layer {layer!r}.",
            [FieldError("/type", "expected cost. and one of " + ", ".join(LAYERS))],
        )
    return layer


def _corrected(sent: str | CorrectsBody | None, source: str) -> tuple[str, str] | None:
    """Return the identity of the event that is corrected: of the same source, unless it says."""
    if sent is None:
        return None
    return (source, sent) if isinstance(sent, str) else (sent.source, sent.id)


def _plain(properties: dict[str, Any]) -> dict[str, Any]:
    """Return properties as JSON can keep them: exact decimals become strings."""
    if len(properties) > 50:
        raise InvalidRequest.at("/data/properties", "has more than 50 entries")
    found: dict[str, Any] = plain(properties) if properties else properties
    return found
