"""A model provider's own usage block, read into our counts: nobody need translate it first.

Reads what OpenAI (chat and responses), Anthropic, Gemini, Bedrock and Cohere return, and those who
copy their forms. Owns the link to the library's readers (genai-prices). Invariant: in what comes
out every token is counted once, cached ones in the input, reasoning in the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import Provider, Usage

from portal.core.costs import ModelUsage

#: The largest count that is taken, as in the plain form.
LARGEST_COUNT = 1_000_000_000_000


class UnknownShape(ValueError):
    """A block that is no provider's; the message says what is expected."""


class _Form(NamedTuple):
    """How a family of blocks is known, who it is read as, and where the block lies in a response.

    ``total`` names the provider's own sum of all tokens, "" where it gives none.
    """

    marks: frozenset[str]
    provider: str
    flavour: str
    place: str
    total: str


#: In the order they are tried: what marks a later form may stand in an earlier one too.
_FORMS = (
    _Form(
        frozenset({"prompt_tokens", "completion_tokens"}),
        "openai", "chat", "usage", "total_tokens",
    ),
    _Form(
        frozenset({"promptTokenCount", "candidatesTokenCount", "totalTokenCount"}),
        "google", "default", "usageMetadata", "totalTokenCount",
    ),
    _Form(frozenset({"inputTokens", "outputTokens"}), "aws", "default", "usage", "totalTokens"),
    _Form(frozenset({"billed_units"}), "cohere", "default", "usage", ""),
    _Form(
        frozenset(
            {"cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation"}
            | {"server_tool_use", "service_tier", "iterations"}
        ),
        "anthropic", "default", "usage", "",
    ),
    _Form(
        frozenset(
            {"input_tokens_details", "output_tokens_details", "input_token_details"}
            | {"output_token_details", "total_tokens"}
        ),
        "openai", "responses", "usage", "total_tokens",
    ),
)  # fmt: skip
KNOWN = "OpenAI, Anthropic, Gemini, Bedrock or Cohere"


def read_usage(block: Mapping[str, Any], provider: str) -> ModelUsage:
    """Return the counts of a provider's own usage block; ``provider`` is "" where nobody said.

    Raises UnknownShape where it is not a block of any form that is known.
    """
    form = next((one for one in _FORMS if one.marks & block.keys()), None)
    if form is None:
        raise UnknownShape(f"is neither our own form of usage nor one of {KNOWN}")
    reader, flavour = _reader(form, provider)
    try:
        used = _extract(reader, flavour, form, block)
        for part in _parts_beside(block):
            used = used + _extract(reader, flavour, form, part)
    except (ValueError, TypeError, LookupError) as error:
        raise UnknownShape(
            f"looks like the usage of {reader.name} and cannot be read as such: {error}"
        ) from error
    return _counts(used, block.get(form.total))


def _extract(reader: Provider, flavour: str, form: _Form, block: Mapping[str, Any]) -> Usage:
    return reader.extract_usage({form.place: block}, api_flavor=flavour)[1]


@lru_cache(maxsize=256)
def _reader(form: _Form, provider: str) -> tuple[Provider, str]:
    """Return who reads a form: the provider itself where it has its own way to count, in that form.

    x-AI, for one, returns OpenAI's form and leaves reasoning out of the completion.
    """
    snapshot = get_snapshot()
    if provider and form.flavour in {"chat", "responses"}:
        try:
            own = snapshot.find_provider(None, provider, None)
        except LookupError:
            own = None
        if own is not None and any(
            one.api_flavor == form.flavour and one.root == form.place
            for one in own.extractors or ()
        ):
            return own, form.flavour
    return snapshot.find_provider(None, form.provider, None), form.flavour


def _parts_beside(block: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what Anthropic bills beside the top-level counts: passes that compacted the context.

    Source: Anthropic's Messages API, "usage.iterations".
    """
    passes = block.get("iterations")
    if not isinstance(passes, list):
        return []
    return [one for one in passes if isinstance(one, Mapping) and one.get("type") == "compaction"]


#: Counts that have a field of their own; every other one is priced by its own name.
_FIELDS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cached_input_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
}


def _counts(used: Usage, total: Any) -> ModelUsage:
    found: dict[str, int] = {}
    further: dict[str, int] = {}
    for name, value in used.__dict__.items():
        if value != int(value) or value > LARGEST_COUNT:
            raise UnknownShape(f"has a count that is not a whole number up to {LARGEST_COUNT:,}")
        if name in _FIELDS:
            found[_FIELDS[name]] = int(value)
        elif value:
            further[name] = int(value)
    missing = _left_out(found, total)
    if missing:
        found["output_tokens"] = found.get("output_tokens", 0) + missing
        found["reasoning_tokens"] = found.get("reasoning_tokens", 0) + missing
    return ModelUsage(**found, input_counts_cached=True, further=tuple(sorted(further.items())))


def _left_out(found: Mapping[str, int], total: Any) -> int:
    """Return the tokens a provider's total has beyond input and output: reasoning it left out.

    Gemini behind OpenAI's form does so: 35 in, 12 out, 109 in all.
    """
    if isinstance(total, bool) or not isinstance(total, int) or total > LARGEST_COUNT:
        return 0
    return max(total - found.get("input_tokens", 0) - found.get("output_tokens", 0), 0)
