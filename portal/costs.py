"""Cost lines for stated costs: priced by the cost book and the dated model prices, or measured.

Owns the link to the dated model prices (genai-prices, offline). Invariants: what has no price is
unknown, never zero; a stated amount far from the book's is booked at the book's and marked.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider
from sqlalchemy import Connection

from portal.core.cost_book import CostBook, ModelPrices
from portal.core.costs import CostLine, ModelUsage, Quality, is_suspect
from portal.core.events import StatedCost
from portal.core.units import MICRO, NANO
from portal.cost_books import CostBooks, cost_books_of

PRICE_SOURCE = f"genai-prices {importlib.metadata.version('genai-prices')}"


class Booked(NamedTuple):
    """What the book says a thing cost, in billionths of a dollar, and which book says so."""

    amount_nano_usd: int
    source: str


class Costing:
    """Turns stated costs into cost lines; reads the books once, when the first cost needs them."""

    def __init__(self, tx: Connection) -> None:
        self._tx = tx
        self._books: CostBooks | None = None

    def lines(self, stated: Sequence[StatedCost], *, at: datetime) -> tuple[CostLine, ...]:
        """Return the costs of one event, at the prices of ``at``."""
        if not stated:
            return ()
        if self._books is None:
            self._books = cost_books_of(self._tx)
        return cost_lines(stated, at=at, books=self._books)


def cost_lines(
    stated: Sequence[StatedCost], *, at: datetime, books: CostBooks
) -> tuple[CostLine, ...]:
    """Return the costs of one event, at the prices of ``at`` by the book in force then."""
    book = books.in_force(at)
    return tuple(cost_line(one, at=at, book=book) for one in stated)


def cost_line(stated: StatedCost, *, at: datetime, book: CostBook | None = None) -> CostLine:
    """Return the cost of one stated line, at the prices of ``at`` and of the book in force then."""
    found = _known_model(stated.provider, stated.model) if stated.model else None
    usage = stated.usage or ModelUsage()
    whole = usage.whole(found[0].id if found else stated.provider.lower())
    booked = _booked(stated, whole, at, book)
    quality, amount, source, suspect = Quality.UNKNOWN, None, "", False
    said = stated.amount_nano_usd
    if booked is not None:
        quality, amount, source = Quality.PRICED, booked.amount_nano_usd, booked.source
        suspect = said is not None and _counted(stated) and is_suspect(said, amount)
    if said is not None and not suspect:
        quality, amount, source = Quality.MEASURED, said, "stated by the sender"
    return CostLine(
        stated.layer,
        quality,
        amount,
        stated.provider,
        stated.model,
        stated.resource,
        whole,
        source,
        said,
        suspect,
    )


def _counted(stated: StatedCost) -> bool:
    """Tell whether the sender counted anything, so that a price says something about it."""
    return bool(stated.quantity_micro) or (stated.usage is not None and not stated.usage.is_nothing)


def _booked(
    stated: StatedCost, usage: ModelUsage, at: datetime, book: CostBook | None
) -> Booked | None:
    """Return what the operator's book says a line cost, or else the public model prices."""
    if stated.model and stated.usage is not None:
        own = book.model_prices(stated.provider, stated.model) if book else None
        if own is not None and book is not None:
            amount = _amount(_own_prices(own), usage)
            return None if amount is None else Booked(amount, f"cost book {book.version}")
        amount = model_cost_nano_usd(stated.provider, stated.model, usage, at=at)
        return None if amount is None else Booked(amount, PRICE_SOURCE)
    if stated.resource and book is not None:
        unit = book.unit_price(stated.layer, stated.resource)
        if unit is not None:
            return Booked(unit.cost_nano_usd(stated.quantity_micro), f"cost book {book.version}")
    return None


#: What the library calls the kinds of tokens that a cost book prices.
_NAMES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
    "input_audio": "input_audio_mtok",
    "output_audio": "output_audio_mtok",
    "input_image": "input_image_mtok",
    "output_image": "output_image_mtok",
}
#: Prices that have a say in a call of plain text beside those for input and output tokens.
_OTHER_PRICES = frozenset(
    {"requests_kcount", "input_mchars", "output_mchars", "input_text_messages_kcount"}
    | {"output_reasoning_mtok", "output_citation_mtok"}
)


def _own_prices(own: ModelPrices) -> ModelPrice:
    return ModelPrice(
        **{_NAMES[kind]: Decimal(price) / NANO for kind, price in own.per_million_nano_usd.items()}
    )


@lru_cache(maxsize=4096)
def _known_model(provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
    """Return a model of a provider; without one also by a gateway's name, as anthropic/claude-….

    To the library that way to name both at once is LiteLLM's.
    """
    ways = [provider] if provider else [None, "litellm"]
    for one in ways:
        try:
            return get_snapshot().find_provider_model(model, None, one, None)
        except LookupError:
            continue
    return None


def _flat_prices(prices: ModelPrice, usage: ModelUsage) -> tuple[Decimal, Decimal] | None:
    """Return dollars for a million input and output tokens, where nothing else has a say.

    The library's own calculation weighs every unit it knows and takes 0.4 ms; most calls have
    neither cached tokens nor tiered prices, and then it comes to these two products.
    """
    if usage.cached or usage.further:
        return None
    # What a model has no price for is absent here; asking the library for it by name is slow.
    known = vars(prices)
    if any(map(known.get, _OTHER_PRICES)):
        return None
    per_input, per_output = known.get("input_mtok"), known.get("output_mtok")
    if isinstance(per_input, Decimal) and isinstance(per_output, Decimal):
        return per_input, per_output
    return None


def _amount(prices: ModelPrice, usage: ModelUsage) -> int | None:
    """Return what a use with its cached tokens counted in costs, rounded once, half to even.

    None where the prices do not tell.
    """
    flat = _flat_prices(prices, usage)
    if flat is not None:
        per_input, per_output = flat
        exact = usage.input_tokens * per_input + usage.output_tokens * per_output
        return int((exact * NANO / MICRO).to_integral_value("ROUND_HALF_EVEN"))
    counted = {
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "output_tokens": usage.output_tokens,
        # Reasoning is a part of the output: more of it than output cannot be priced apart.
        "output_reasoning_tokens": min(usage.reasoning_tokens, usage.output_tokens),
    }
    try:
        price = prices.calc_price(Usage(**counted | dict(usage.further)))
    except (LookupError, ValueError):
        return None
    return int((Decimal(price["total_price"]) * NANO).to_integral_value("ROUND_HALF_EVEN"))


def model_cost_nano_usd(
    provider: str, model: str, usage: ModelUsage, *, at: datetime
) -> int | None:
    """Return what a model call cost at the public prices of ``at``, in billionths of a US dollar.

    None where no price for the model is known.
    """
    found = _known_model(provider, model)
    if found is None:
        return None
    owner, info = found
    return _amount(info.get_prices(at), usage.whole(owner.id))
