"""Bodies about an organization: its people, its grants, how it spends, who comes to its portal."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from portal.web.api.shapes.fields import Currency, Email, Id, Name, Number, Strict, Text


class OrganizationBody(Strict):
    """PUT /v1/organizations/{id}"""

    name: Name
    email: Email | None = None
    timezone: Annotated[str, Meta(max_length=64)] | None = None
    currency: Currency | None = None
    tier: Id | None = None
    seats: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    charging: Literal["on", "shadow"] | None = None


class MemberBody(Strict):
    """PUT …/members/{member}"""

    email: Email
    name: Name | None = None
    role: Literal["owner", "admin", "billing", "member", "viewer"] | None = None
    team: Id | None = None


class NameBody(Strict):
    """PUT …/teams/{team} and …/projects/{project}"""

    name: Name


class PaidBody(Strict):
    """What was paid for a grant."""

    amount: Number
    currency: Currency


class GrantBody(Strict):
    """POST …/grants"""

    credits: Number
    source: Literal["promotion", "adjustment", "pack"]
    reason: Text
    expires_at: str | None = None
    effective_at: str | None = None
    priority: Annotated[int, Meta(ge=0, le=1000)] | None = None
    paid: PaidBody | None = None


class VoidBody(Strict):
    """POST …/grants/{grant}/void"""

    reason: Text = ""


class AutoTopUpBody(Strict):
    """Which pack to buy below which balance, and the most a month may cost."""

    threshold: Number
    pack: Id
    monthly_limit: Number


class SpendingBody(Strict):
    """PATCH …/spending"""

    on_empty: Literal["stop", "top_up", "overage"]
    overage_limit: Number | None = None
    auto_top_up: AutoTopUpBody | None = None


class PortalMemberBody(Strict):
    """Who a portal session is for."""

    id: Id
    email: Email
    name: Name | None = None
    role: Literal["owner", "admin", "billing", "member", "viewer"] | None = None


class PortalSessionBody(Strict):
    """POST /v1/portal_sessions"""

    organization: Id
    member: PortalMemberBody
    return_url: Annotated[str, Meta(max_length=1000)] | None = None
    page: Annotated[str, Meta(max_length=40)] = "overview"
