"""Bodies about who is told: webhook endpoints."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from portal.web.api.shapes.fields import Id, Strict


class EndpointBody(Strict):
    """POST /v1/webhook_endpoints: without types it is told of everything"""

    url: Annotated[str, Meta(max_length=2000)]
    types: Annotated[list[Id], Meta(max_length=50)] | None = None


class EndpointChangeBody(Strict):
    """PATCH /v1/webhook_endpoints/{endpoint}"""

    enabled: bool


class NothingBody(Strict):
    """A call that takes nothing: its address says all"""
