"""Cost lines for stated costs: amounts as measured, model use as priced, the rest as unknown.

Owns the link to the dated model prices (genai-prices, offline). Invariant: what has no price is
unknown, never zero.
"""

from __future__ import annotations

import importlib.metadata
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider

from portal.core.costs import CostLine, ModelUsage, Quality
from portal.core.events import StatedCost
from portal.core.units import MICRO, NANO

PRICE_SOURCE = f"genai-prices {importlib.metadata.version('genai-prices')}"


def cost_line(stated: StatedCost, *, at: datetime) -> CostLine:
    """Return the cost of one stated line, at the prices of ``at``."""
    usage = stated.usage or ModelUsage()
    if stated.amount_nano_usd is not None:
        return CostLine(
            stated.layer,
            Quality.MEASURED,
            stated.amount_nano_usd,
            stated.provider,
            stated.model,
            stated.resource,
            usage,
            "stated by the sender",
        )
    amount = None
    if stated.model and stated.usage is not None:
        amount = model_cost_nano_usd(stated.provider, stated.model, stated.usage, at=at)
    return CostLine(
        stated.layer,
        Quality.UNKNOWN if amount is None else Quality.PRICED,
        amount,
        stated.provider,
        stated.model,
        stated.resource,
        usage,
        "" if amount is None else PRICE_SOURCE,
    )


#: Prices that have a say in a call of plain text beside those for input and output tokens.
_OTHER_PRICES = frozenset(
    {"requests_kcount", "input_mchars", "output_mchars", "input_text_messages_kcount"}
    | {"output_reasoning_mtok", "output_citation_mtok"}
)


@lru_cache(maxsize=4096)
def _known_model(provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
    try:
        return get_snapshot().find_provider_model(model, None, provider or None, None)
    except LookupError:
        return None


def _flat_prices(
    info: ModelInfo, usage: ModelUsage, at: datetime
) -> tuple[Decimal, Decimal] | None:
    """Return dollars for a million input and output tokens, where nothing else has a say.

    The library's own calculation weighs every unit it knows and takes 0.4 ms; most calls have
    neither cached tokens nor tiered prices, and then it comes to these two products.
    """
    if usage.cached_input_tokens or usage.cache_write_tokens:
        return None
    prices = info.get_prices(at)
    if any(getattr(prices, name, None) is not None for name in _OTHER_PRICES):
        return None
    per_input, per_output = prices.input_mtok, prices.output_mtok
    if isinstance(per_input, Decimal) and isinstance(per_output, Decimal):
        return per_input, per_output
    return None


def model_cost_nano_usd(
    provider: str, model: str, usage: ModelUsage, *, at: datetime
) -> int | None:
    """Return what a model call cost at the prices of ``at``, in billionths of a US dollar.

    None where no price for the model is known.
    """
    found = _known_model(provider, model)
    if found is None:
        return None
    owner, info = found
    flat = _flat_prices(info, usage, at)
    if flat is not None:
        per_input, per_output = flat
        exact = usage.input_tokens * per_input + usage.output_tokens * per_output
        return int((exact * NANO / MICRO).to_integral_value("ROUND_HALF_EVEN"))
    counted = Usage(
        input_tokens=usage.total_input(owner.id),
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
    )
    try:
        price = info.calc_price(counted, owner, genai_request_timestamp=at)
    except (LookupError, ValueError):
        return None
    return int((Decimal(price.total_price) * NANO).to_integral_value("ROUND_HALF_EVEN"))
