"""The shapes of request bodies: what a client may send, and how each becomes the domain's words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from portal.core.catalog import minor_places
from portal.core.costs import LAYERS, ModelUsage
from portal.core.errors import FieldError, InvalidEvent, InvalidRequest
from portal.core.events import OWN_SOURCES, StatedCost, UsageEvent
from portal.core.units import NotExact, parse_micro, parse_nano_usd, parse_scaled
from portal.provider_usage import LARGEST_COUNT, UnknownShape, read_usage

_ID = r"^(?=.*\S)[^\x00-\x1f\x7f]+$(?!\n)"
_NAME = r"\S"
_EMAIL = r"^[^@\s]+@[^@\s]+$(?!\n)"
_CURRENCY = r"^[a-z]{3}$(?!\n)"
#: What a text that does not fit a pattern should have been.
FORMS = {
    _ID: "is blank, or has a line break or another control character in it",
    _NAME: "is blank",
    _EMAIL: 'is not an address such as "ana@example.com"',
    _CURRENCY: 'is not a currency in small letters, such as "usd"',
}

#: Neither is only blanks: nobody could see it, or tell it from another.
Id = Annotated[str, Meta(min_length=1, max_length=128, pattern=_ID)]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=_NAME)]
Email = Annotated[str, Meta(max_length=254, pattern=_EMAIL)]
Currency = Annotated[str, Meta(pattern=_CURRENCY)]
Text = Annotated[str, Meta(max_length=500)]
Count = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)]


class Number:
    """A decimal as it was sent, a string or a number; exactness is checked when it is used."""

    def __init__(self, sent: str | int | Decimal) -> None:
        self.sent = sent


def _one() -> Number:
    return Number(1)


class SentUsage:
    """A model call's usage as it was sent: in our own form, or a provider's own block."""

    def __init__(self, sent: dict[str, Any]) -> None:
        self.sent = sent


def take_as_sent(kind: type, sent: Any) -> Number | SentUsage:
    """Let a number or a usage pass as it is; msgspec adds the place to what is raised."""
    if kind is SentUsage:
        if not isinstance(sent, dict):
            raise ValueError("must be an object of token counts")
        return SentUsage(sent)
    if kind is not Number or isinstance(sent, bool) or not isinstance(sent, str | int | Decimal):
        raise ValueError("expected a number, or a string that holds one")
    return Number(sent)


#: The largest amount of money a limit can be.
LARGEST_AMOUNT = 1_000_000_000

#: What a time may be: years that every store and zone file can hold.
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A body in which a misspelt field is an error."""


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


class AuthorizationBody(Strict):
    """POST /v1/authorizations"""

    organization: Id
    action: Id
    quantity: Number = msgspec.field(default_factory=_one)
    member: Id | None = None
    team: Id | None = None
    project: Id | None = None
    run: Id | None = None
    expires_in: Annotated[int, Meta(ge=1, le=86_400)] = 900


class UsageBody(Strict):
    """What one model call consumed, in our own form; a provider's own block is taken as well.

    ``input_includes_cached`` says how the sender counts, where it is not as the provider does.
    """

    input_tokens: Count = 0
    output_tokens: Count = 0
    cached_input_tokens: Count = 0
    cache_write_tokens: Count = 0
    reasoning_tokens: Count = 0
    input_includes_cached: bool | None = None


class CostBody(Strict):
    """One cost: an amount, a model's use, or a quantity of a resource."""

    layer: Literal["inference", "retrieval", "processing", "storage", "orchestration", "external"]
    amount_usd: Number | None = None
    provider: Annotated[str, Meta(max_length=128)] | None = None
    model: Annotated[str, Meta(max_length=128)] | None = None
    usage: SentUsage | None = None
    resource: Id | None = None
    quantity: Number | None = None


class CaptureBody(Strict):
    """POST …/capture"""

    quantity: Number | None = None
    time: str | None = None
    costs: Annotated[list[CostBody], Meta(max_length=50)] = []
    provider: Annotated[str, Meta(max_length=128)] | None = None
    model: Annotated[str, Meta(max_length=128)] | None = None
    usage: SentUsage | None = None
    properties: dict[str, Any] | None = None


class IncrementBody(Strict):
    """POST …/increment"""

    quantity: Number


class ReleaseBody(Strict):
    """POST …/release: nothing to say."""


class LimitBody(Strict):
    """A cap's limit: credits, or an amount of money."""

    credits: Number | None = None
    amount: Number | None = None
    currency: Currency | None = None


class CapBody(Strict):
    """POST …/caps"""

    scope: Literal["organization", "team", "member", "project"]
    limit: LimitBody
    target: Id | None = None
    action: Id | None = None
    window: Literal["period", "day", "week"] = "period"
    mode: Literal["hard", "soft"] = "hard"
    thresholds: Annotated[list[Annotated[int, Meta(ge=1, le=100)]], Meta(max_length=10)] | None = (
        None
    )


class CapChangeBody(Strict):
    """PATCH …/caps/{cap}"""

    limit: LimitBody | None = None
    mode: Literal["hard", "soft"] | None = None
    thresholds: Annotated[list[Annotated[int, Meta(ge=1, le=100)]], Meta(max_length=10)] | None = (
        None
    )


class RaiseBody(Strict):
    """POST …/caps/{cap}/raise_requests: who asks, for how many credits more"""

    member: Id
    credits: Number
    reason: Text = ""


class RaiseAnswerBody(Strict):
    """POST …/raise_requests/{request}/answer: with credits, so many and not as asked"""

    answer: Literal["allow", "decline"]
    credits: Number | None = None


class NothingBody(Strict):
    """A call that takes nothing: its address says all"""


class EndpointBody(Strict):
    """POST /v1/webhook_endpoints: without types it is told of everything"""

    url: Annotated[str, Meta(max_length=2000)]
    types: Annotated[list[Id], Meta(max_length=50)] | None = None


class EndpointChangeBody(Strict):
    """PATCH /v1/webhook_endpoints/{endpoint}"""

    enabled: bool


class VoidBody(Strict):
    """POST …/grants/{grant}/void"""

    reason: Text = ""


class ReplayBody(Strict):
    """POST …/rejected-events/replay: those of one code, or all."""

    code: Id | None = None


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


class CorrectsBody(Strict):
    """The identity of the event that is corrected."""

    source: Id
    id: Id


class EventDataBody(Strict):
    """An event's data; what has no field of its own goes into properties."""

    quantity: Number = msgspec.field(default_factory=_one)
    member: Id | None = None
    team: Id | None = None
    project: Id | None = None
    run: Id | None = None
    request_type: Id | None = None
    authorization: Id | None = None
    model: Annotated[str, Meta(max_length=128)] | None = None
    provider: Annotated[str, Meta(max_length=128)] | None = None
    usage: SentUsage | None = None
    costs: Annotated[list[CostBody], Meta(max_length=50)] = []
    charge: bool = True
    corrects: Id | CorrectsBody | None = None
    properties: dict[str, Any] = {}


class EventBody(msgspec.Struct, frozen=True, kw_only=True):
    """A usage event in CloudEvents form; its other attributes are let through."""

    specversion: Literal["1.0"]
    id: Id
    source: Id
    subject: Id
    type: Id
    time: str | None = None
    data: EventDataBody = msgspec.field(default_factory=EventDataBody)


def micro(value: Number, pointer: str, *, positive: bool = False) -> int:
    """Return a non-negative amount in millionths. Raises InvalidRequest that names the field."""
    try:
        amount = parse_micro(value.sent)
    except NotExact as error:
        raise InvalidRequest.at(pointer, str(error)) from error
    if amount < 0 or (positive and amount == 0):
        raise InvalidRequest.at(pointer, "must be above zero" if positive else "is negative")
    return amount


def money(value: Number, pointer: str, currency: str) -> int:
    """Return an amount in minor units of a currency. Raises InvalidRequest that names the field."""
    try:
        amount = parse_scaled(value.sent, places=minor_places(currency), largest=LARGEST_AMOUNT)
    except NotExact as error:
        raise InvalidRequest.at(pointer, str(error)) from error
    if amount < 0:
        raise InvalidRequest.at(pointer, "is negative")
    return amount


def limit(body: LimitBody, currency: str) -> tuple[int | None, int | None]:
    """Return a cap's limit: millionths of a credit, or minor units of the organization's currency.

    Raises InvalidRequest where both are given, or neither, or another currency.
    """
    if body.credits is not None and body.amount is None and body.currency is None:
        return micro(body.credits, "/limit/credits"), None
    if body.credits is not None or body.amount is None:
        raise InvalidRequest.at("/limit", "must have credits, or amount and currency")
    if body.currency not in {None, currency}:
        raise InvalidRequest.at("/limit/currency", f"must be the organization's, {currency!r}")
    return None, money(body.amount, "/limit/amount", currency)


def instant(value: str, pointer: str) -> datetime:
    """Return an RFC 3339 time with an offset, in UTC. Raises InvalidRequest."""
    expected = 'is not a time with an offset such as "2026-11-01T09:30:00Z"'
    if not _RFC3339.fullmatch(value):
        raise InvalidRequest.at(pointer, expected)
    whole, _, rest = value.upper().replace(" ", "T").partition(".")
    if rest:
        digits = re.match(r"\d+", rest)
        fraction = digits[0] if digits else ""
        value = f"{whole}.{fraction[:6].ljust(6, '0')}{rest[len(fraction) :]}"
    try:
        parsed = datetime.fromisoformat(value)
        if not EARLIEST.year <= parsed.year < LATEST.year:
            raise InvalidRequest.at(pointer, "lies outside 1971 to 2199")
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest.at(pointer, expected) from error


_OWN_COUNTS = frozenset(field.name for field in msgspec.structs.fields(UsageBody))
#: Fields that only our own form has: beside a provider's they are a mistake, not another detail.
_ONLY_OURS = frozenset({"cached_input_tokens", "cache_write_tokens", "input_includes_cached"})


def model_usage(usage: SentUsage | None, pointer: str, provider: str) -> ModelUsage | None:
    """Return a model's use in the domain's words, from our own form or a provider's own block.

    Raises InvalidRequest that names the field.
    """
    if usage is None:
        return None
    sent = usage.sent
    strange = sent.keys() - _OWN_COUNTS
    if not strange:
        return _own_usage(sent, pointer)
    try:
        if sent.keys() & _ONLY_OURS:
            raise UnknownShape("mixes our own form of usage with another")
        return read_usage(sent, provider)
    except UnknownShape as error:
        own = ", ".join(UsageBody.__struct_fields__)
        name = min(strange)
        raise InvalidRequest.at(
            f"{pointer}/{name[:128]}",
            f"is not a field of usage, which {error}. Our own form has: {own}",
        ) from error


def _own_usage(sent: dict[str, Any], pointer: str) -> ModelUsage:
    includes = sent.get("input_includes_cached")
    if includes is not None and not isinstance(includes, bool):
        raise InvalidRequest.at(f"{pointer}/input_includes_cached", "must be true or false")
    found = ModelUsage(
        input_tokens=_count(sent, "input_tokens", pointer),
        output_tokens=_count(sent, "output_tokens", pointer),
        cached_input_tokens=_count(sent, "cached_input_tokens", pointer),
        cache_write_tokens=_count(sent, "cache_write_tokens", pointer),
        reasoning_tokens=_count(sent, "reasoning_tokens", pointer),
        input_counts_cached=includes,
    )
    if includes and found.cached > found.input_tokens:
        raise InvalidRequest.at(
            f"{pointer}/input_tokens", "is less than the cached ones it is said to include"
        )
    return found


def _count(sent: dict[str, Any], name: str, pointer: str) -> int:
    value = sent.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest.at(f"{pointer}/{name}", "must be a whole number")
    if not 0 <= value <= LARGEST_COUNT:
        raise InvalidRequest.at(f"{pointer}/{name}", f"must lie between 0 and {LARGEST_COUNT:,}")
    return value


def stated_costs(
    bodies: list[CostBody],
    *,
    model: str | None,
    provider: str | None,
    usage: SentUsage | None,
    layer: str = "inference",
    at: str = "",
) -> tuple[StatedCost, ...]:
    """Return the costs an event states, the top-level model call first. Raises InvalidRequest."""
    found = []
    if model is not None or usage is not None:
        found.append(
            StatedCost(
                layer=layer,
                provider=provider or "",
                model=model or "",
                usage=model_usage(usage, f"{at}/usage", provider or ""),
            )
        )
    for number, body in enumerate(bodies):
        amount = None
        if body.amount_usd is not None:
            pointer = f"{at}/costs/{number}/amount_usd"
            try:
                amount = parse_nano_usd(body.amount_usd.sent)
            except NotExact as error:
                raise InvalidRequest.at(pointer, str(error)) from error
            if amount < 0:
                raise InvalidRequest.at(pointer, "is negative")
        elif body.model is None and body.resource is None:
            raise InvalidRequest.at(
                f"{at}/costs/{number}", "needs amount_usd, model with usage, or resource"
            )
        elif body.model is None and body.quantity is None:
            raise InvalidRequest.at(
                f"{at}/costs/{number}/quantity", "is missing: a resource is priced by its quantity"
            )
        found.append(
            StatedCost(
                layer=body.layer,
                amount_nano_usd=amount,
                provider=body.provider or "",
                model=body.model or "",
                usage=model_usage(body.usage, f"{at}/costs/{number}/usage", body.provider or ""),
                resource=body.resource or "",
                quantity_micro=micro(body.quantity or Number(0), f"{at}/costs/{number}/quantity"),
            )
        )
    return tuple(found)


def usage_event(body: EventBody) -> UsageEvent:
    """Return an event in the domain's words. Raises InvalidEvent that names each wrong field."""
    data = body.data
    if body.source.startswith(OWN_SOURCES):
        raise InvalidEvent(
            "The source is one of Clearmeter's own.",
            [FieldError("/source", f"must not begin with {OWN_SOURCES}")],
        )
    layer = "inference"
    if body.type.startswith("cost."):
        layer = body.type.removeprefix("cost.")
        if layer not in LAYERS:
            raise InvalidEvent(
                f"There is no cost layer {layer!r}.",
                [FieldError("/type", "expected cost. and one of " + ", ".join(LAYERS))],
            )
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


def _corrected(sent: str | CorrectsBody | None, source: str) -> tuple[str, str] | None:
    """Return the identity of the event that is corrected: of the same source, unless it says."""
    if sent is None:
        return None
    return (source, sent) if isinstance(sent, str) else (sent.source, sent.id)


def _plain(properties: dict[str, Any]) -> dict[str, Any]:
    """Return properties as JSON can keep them: exact decimals become strings."""
    if len(properties) > 50:
        raise InvalidRequest.at("/data/properties", "has more than 50 entries")
    found: dict[str, Any] = plain(properties)
    return found


def plain(value: Any) -> Any:
    """Return a parsed value as JSON can keep it: Decimals and what was refused as text."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return str(value)


# msgspec reads a shape when it first meets it, and a second thread that meets a shape half read
# brings the whole process down: all are read here, where there is one thread.
for _shape in (*Strict.__subclasses__(), EventBody):
    msgspec.json.Decoder(_shape)
