"""What work costs the operator: the six layers, the quality of a figure, the shape of model usage.

Invariant: a cost that is not known is of quality UNKNOWN and carries no amount; it is never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

LAYERS = ("inference", "retrieval", "processing", "storage", "orchestration", "external")

#: Providers whose ``input_tokens`` leave cached tokens out; everyone else counts them in.
#: Sources: Anthropic's Messages API, "usage.input_tokens" (cache reads and writes come beside it);
#: Amazon Bedrock's Converse API, "TokenUsage.inputTokens" (the same).
INPUT_EXCLUDES_CACHED = frozenset({"anthropic", "aws"})

#: A stated amount this many times the book's, or less than that part of it, is not believed.
SUSPECT_FACTOR = 10


class Quality(StrEnum):
    """How a cost became known."""

    MEASURED = "measured"
    PRICED = "priced"
    ALLOCATED = "allocated"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ModelUsage:
    """What one model call consumed.

    ``input_counts_cached`` says whether ``input_tokens`` has cached tokens in it; None where only
    the provider's habit tells. Reasoning tokens are part of ``output_tokens``. ``further`` are
    counts with a price of their own (audio, hour-long cache writes, searches), by the name that the
    model prices have for them.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    input_counts_cached: bool | None = None
    further: tuple[tuple[str, int], ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether nothing at all was counted, so that there is nothing to price."""
        return not (self.input_tokens or self.output_tokens or self.further or self.cached)

    @property
    def cached(self) -> int:
        """Tokens read from a cache or written to one."""
        return self.cached_input_tokens + self.cache_write_tokens

    def whole(self, provider: str) -> ModelUsage:
        """Return the same use with every input token, cached ones too, counted in input once.

        Where the sender does not say how it counts, the provider's habit decides; an input smaller
        than what was cached cannot have it in.
        """
        if not self.cached or self.input_counts_cached:
            return self
        beside = (
            self.input_counts_cached is False
            or provider in INPUT_EXCLUDES_CACHED
            or self.cached > self.input_tokens
        )
        more = self.cached if beside else 0
        return replace(self, input_tokens=self.input_tokens + more, input_counts_cached=True)


def is_suspect(stated_nano_usd: int, booked_nano_usd: int) -> bool:
    """Tell whether what a sender says a thing cost is too far from the book to be believed.

    Ten times the book's amount or more, or a tenth of it or less; the book's smallest amount is
    one billionth of a dollar here, so that rounding alone never accuses anybody.
    """
    too_much = stated_nano_usd >= SUSPECT_FACTOR * max(booked_nano_usd, 1)
    too_little = booked_nano_usd > 0 and stated_nano_usd * SUSPECT_FACTOR <= booked_nano_usd
    return too_much or too_little


@dataclass(frozen=True)
class CostLine:
    """One cost of one event. ``amount_nano_usd`` is None exactly where the quality is UNKNOWN.

    ``stated_nano_usd`` is what the sender said it cost; a ``suspect`` line is booked at the cost
    book's amount instead, until the operator decides.
    """

    layer: str
    quality: Quality
    amount_nano_usd: int | None
    provider: str = ""
    model: str = ""
    resource: str = ""
    usage: ModelUsage = ModelUsage()
    price_source: str = ""
    stated_nano_usd: int | None = None
    suspect: bool = False

    def __post_init__(self) -> None:
        if (self.amount_nano_usd is None) != (self.quality is Quality.UNKNOWN):
            raise AssertionError("a cost has an amount exactly where its quality is not unknown")
        if self.suspect and self.stated_nano_usd is None:
            raise AssertionError("only a stated amount can be suspect")
