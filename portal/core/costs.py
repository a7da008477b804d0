"""What work costs the operator: the six layers, the quality of a figure, the shape of model usage.

Invariant: a cost that is not known is of quality UNKNOWN and carries no amount; it is never zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LAYERS = ("inference", "retrieval", "processing", "storage", "orchestration", "external")

#: Providers whose ``input_tokens`` leave cached tokens out; everyone else counts them in.
#: Source: Anthropic's Messages API, "usage.input_tokens" (cache reads and writes come beside it).
INPUT_EXCLUDES_CACHED = frozenset({"anthropic"})


class Quality(StrEnum):
    """How a cost became known."""

    MEASURED = "measured"
    PRICED = "priced"
    ALLOCATED = "allocated"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ModelUsage:
    """What one model call consumed, as the provider counts it."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def total_input(self, provider: str) -> int:
        """Return all input tokens, cached ones counted once, whatever the provider's habit."""
        if provider in INPUT_EXCLUDES_CACHED:
            return self.input_tokens + self.cached_input_tokens + self.cache_write_tokens
        return self.input_tokens


@dataclass(frozen=True)
class CostLine:
    """One cost of one event. ``amount_nano_usd`` is None exactly where the quality is UNKNOWN."""

    layer: str
    quality: Quality
    amount_nano_usd: int | None
    provider: str = ""
    model: str = ""
    resource: str = ""
    usage: ModelUsage = ModelUsage()
    price_source: str = ""

    def __post_init__(self) -> None:
        if (self.amount_nano_usd is None) != (self.quality is Quality.UNKNOWN):
            raise AssertionError("a cost has an amount exactly where its quality is not unknown")
