"""Bodies about work in flight: authorize, capture, increment, release."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from portal.web.api.shapes.costs import CostBody
from portal.web.api.shapes.fields import Id, Number, SentUsage, Strict, once


class AuthorizationBody(Strict):
    """POST /v1/authorizations"""

    organization: Id
    action: Id
    quantity: Number = msgspec.field(default_factory=once)
    member: Id | None = None
    team: Id | None = None
    project: Id | None = None
    run: Id | None = None
    expires_in: Annotated[int, Meta(ge=1, le=86_400)] = 900


class CaptureBody(Strict):
    """POST …/capture"""

    quantity: Number | None = None
    time: str | None = None
    costs: Annotated[list[CostBody], Meta(max_length=50)] = msgspec.field(default_factory=list)
    provider: Annotated[str, Meta(max_length=128)] | None = None
    model: Annotated[str, Meta(max_length=128)] | None = None
    usage: SentUsage | None = None
    properties: dict[str, Any] | None = None


class IncrementBody(Strict):
    """POST …/increment"""

    quantity: Number


class ReleaseBody(Strict):
    """POST …/release: nothing to say."""
