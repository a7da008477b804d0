"""The shapes of request bodies: what a client may send, and how each becomes the domain's words."""

from __future__ import annotations

import msgspec

from portal.web.api.shapes.caps import CapBody, CapChangeBody, RaiseAnswerBody, RaiseBody, limit
from portal.web.api.shapes.costs import UsageBody, stated_costs
from portal.web.api.shapes.events import EventBody, ReplayBody, usage_event
from portal.web.api.shapes.fields import (
    EARLIEST,
    FORMS,
    LATEST,
    Id,
    Name,
    Number,
    SentUsage,
    Strict,
    instant,
    micro,
    money,
    take_as_sent,
)
from portal.web.api.shapes.organizations import (
    AutoTopUpBody,
    GrantBody,
    MemberBody,
    NameBody,
    OrganizationBody,
    PortalSessionBody,
    SpendingBody,
    VoidBody,
)
from portal.web.api.shapes.telling import EndpointBody, EndpointChangeBody, NothingBody
from portal.web.api.shapes.work import AuthorizationBody, CaptureBody, IncrementBody, ReleaseBody

__all__ = [
    "EARLIEST",
    "FORMS",
    "LATEST",
    "AuthorizationBody",
    "AutoTopUpBody",
    "CapBody",
    "CapChangeBody",
    "CaptureBody",
    "EndpointBody",
    "EndpointChangeBody",
    "EventBody",
    "GrantBody",
    "Id",
    "IncrementBody",
    "MemberBody",
    "Name",
    "NameBody",
    "NothingBody",
    "Number",
    "OrganizationBody",
    "PortalSessionBody",
    "RaiseAnswerBody",
    "RaiseBody",
    "ReleaseBody",
    "ReplayBody",
    "SentUsage",
    "SpendingBody",
    "Strict",
    "UsageBody",
    "VoidBody",
    "instant",
    "limit",
    "micro",
    "money",
    "stated_costs",
    "take_as_sent",
    "usage_event",
]

# msgspec reads a shape when it first meets it, and a second thread that meets a shape half read
# brings the whole process down: all are read here, where there is one thread.
for _shape in (*Strict.__subclasses__(), EventBody):
    msgspec.json.Decoder(_shape)
