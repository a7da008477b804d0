"""What work cost, as it was sent: amounts, resources, and model calls in any provider's form.

Invariant: a field that belongs to no form is an error, and one cost has one way of being priced.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from portal.core.costs import ModelUsage
from portal.core.errors import InvalidRequest
from portal.core.events import StatedCost
from portal.core.units import NotExact, parse_nano_usd
from portal.provider_usage import LARGEST_COUNT, UnknownShape, read_usage
from portal.web.api.shapes.fields import Id, Number, SentUsage, Strict, micro

Count = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)]


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
    found += [_stated(body, f"{at}/costs/{number}") for number, body in enumerate(bodies)]
    return tuple(found)


def _stated(body: CostBody, at: str) -> StatedCost:
    amount = None
    if body.amount_usd is not None:
        pointer = f"{at}/amount_usd"
        try:
            amount = parse_nano_usd(body.amount_usd.sent)
        except NotExact as error:
            raise InvalidRequest.at(pointer, str(error)) from error
        if amount < 0:
            raise InvalidRequest.at(pointer, "is negative")
    elif body.model is None and body.resource is None:
        raise InvalidRequest.at(at, "needs amount_usd, model with usage, or resource")
    elif body.model is None and body.quantity is None:
        raise InvalidRequest.at(
            f"{at}/quantity", "is missing: a resource is priced by its quantity"
        )
    return StatedCost(
        layer=body.layer,
        amount_nano_usd=amount,
        provider=body.provider or "",
        model=body.model or "",
        usage=model_usage(body.usage, f"{at}/usage", body.provider or ""),
        resource=body.resource or "",
        quantity_micro=micro(body.quantity, f"{at}/quantity") if body.quantity else 0,
    )
