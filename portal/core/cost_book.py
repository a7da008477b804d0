"""The cost book: what the operator pays, read from TOML and checked line by line.

Owns the operator's own model prices and the unit prices of the layers that are not a model's.
Invariant: prices are exact integers; what the book does not name it does not price.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from portal.core.catalog import minor_places
from portal.core.costs import LAYERS
from portal.core.documents import TableReader, a_table, a_text, an_instant, entries, read_document
from portal.core.units import MICRO, NotExact, divide_half_even, parse_scaled

#: Layers whose cost is a quantity of a resource; inference is priced by model.
UNIT_LAYERS = tuple(layer for layer in LAYERS if layer != "inference")
#: What a model may be priced by, in dollars for a million tokens. What is left out costs what the
#: tokens around it cost: cached ones and written ones as input, reasoning as output, and so on.
TOKEN_PRICES = (
    "input",
    "output",
    "cached_input",
    "cache_write",
    "reasoning",
    "input_audio",
    "output_audio",
    "input_image",
    "output_image",
)
LARGEST_PRICE_USD = 1_000_000
#: Decimal places of the price of one unit of a resource.
PRICE_PLACES = 15


@dataclass(frozen=True)
class ModelPrices:
    """What the operator pays for a model: billionths of a dollar for a million tokens, by kind.

    ``provider`` is "" where the price holds whoever serves the model.
    """

    model: str
    provider: str
    per_million_nano_usd: Mapping[str, int]


@dataclass(frozen=True)
class UnitPrice:
    """What one unit of a resource costs, in 10**-15 of a dollar: a query may cost 0.0000004."""

    layer: str
    resource: str
    unit: str
    price_femto_usd: int

    def cost_nano_usd(self, quantity_micro: int) -> int:
        """Return what a quantity costs in billionths of a dollar, rounded once, half to even."""
        return divide_half_even(quantity_micro * self.price_femto_usd, MICRO * MICRO)


@dataclass(frozen=True)
class Route:
    """The model that fits a class of request; ``provider`` is "" where the model tells it."""

    model: str
    provider: str = ""


@dataclass(frozen=True)
class CostBook:
    """One version of the operator's costs, in force from ``effective_at`` until the next one."""

    models: Mapping[tuple[str, str], ModelPrices]
    units: Mapping[tuple[str, str], UnitPrice]
    #: What a minor unit of another currency is worth, in billionths of a US dollar.
    rates: Mapping[str, int] = field(default_factory=dict)
    #: Which model fits a class of request, by the class or the sender's own request type.
    routing: Mapping[str, Route] = field(default_factory=dict)
    effective_at: datetime | None = None
    version: int = 0
    document: str = field(default="", repr=False)

    def model_prices(self, provider: str, model: str) -> ModelPrices | None:
        """Return the operator's price of a model: of this provider first, then of any."""
        name = model.lower()
        return self.models.get((provider.lower(), name)) or self.models.get(("", name))

    def unit_price(self, layer: str, resource: str) -> UnitPrice | None:
        """Return the price of a unit of a resource. None where the book does not name it."""
        return self.units.get((layer, resource))


def parse_cost_book(document: str) -> CostBook:
    """Read a cost book from TOML text.

    Raises CatalogError with the line, the key and what is expected.
    """
    top = read_document(document)
    effective_at = top.take(
        "effective_at", "an instant with an offset, such as 2026-12-01T00:00:00Z", an_instant, None
    )
    tables = {
        name: top.take(name, f"tables such as [{name}.<name>]", a_table, {})
        for name in ("models", "resources", "routing")
    }
    rates = top.take("rates", "a table [rates] of currencies in dollars", a_table, {})
    top.finish()
    if not any(tables.values()) and not rates:
        raise top.refuse("", "expected at least one [models.<name>] or [resources.<name>] table")
    routing = {
        reader.name: _route(reader) for _, reader in _named(document, "routing", tables["routing"])
    }
    models: dict[tuple[str, str], ModelPrices] = {}
    units: dict[tuple[str, str], UnitPrice] = {}
    for _, reader in _named(document, "models", tables["models"]):
        prices = _model(reader)
        _once(models, (prices.provider.lower(), prices.model.lower()), prices, reader)
    for _, reader in _named(document, "resources", tables["resources"]):
        unit = _unit(reader)
        _once(units, (unit.layer, unit.resource), unit, reader)
    return CostBook(
        models, units, _rates(document, rates), routing, effective_at, document=document
    )


def _rates(document: str, table: dict[str, Any]) -> dict[str, int]:
    """Return what minor units of other currencies are worth: exact, so that sums convert as one."""
    reader = TableReader(document, "rates", table)
    found = {}
    for currency in table:
        if not re.fullmatch(r"[a-z]{3}", currency) or currency == "usd":
            raise reader.refuse(currency, "expected another currency's code, such as eur")
        # A billionth of a dollar is the smallest worth of a minor unit that can be told.
        places = 9 - minor_places(currency)
        found[currency] = reader.take(
            currency,
            f"the dollars of one {currency.upper()}, above zero, of at most {places} places",
            _dollars(places, least=1),
        )
    return found


def _named(document: str, name: str, table: dict[str, Any]) -> list[tuple[str, TableReader]]:
    return entries(document, name, table, any_name=True) if table else []


def _once(found: dict[Any, Any], key: tuple[str, str], value: Any, reader: TableReader) -> None:
    if key in found:
        raise reader.refuse("", "prices what another table of this book prices already")
    found[key] = value


def _model(reader: TableReader) -> ModelPrices:
    model = reader.take("model", "the model's name as events send it", a_text, reader.name)
    provider = reader.take("provider", 'a provider such as "openai"', a_text, "")
    prices = {}
    for kind in TOKEN_PRICES:
        missing: Any = ... if kind in {"input", "output"} else None
        expected = f"dollars for a million {kind.replace('_', ' ')} tokens, such as 2.50"
        price = reader.take(kind, expected, _dollars(9), missing)
        if price is not None:
            prices[kind] = price
    reader.finish()
    return ModelPrices(model, provider, prices)


def _route(reader: TableReader) -> Route:
    route = Route(
        model=reader.take("model", "the model that fits this class of request", a_text),
        provider=reader.take("provider", 'a provider such as "openai"', a_text, ""),
    )
    reader.finish()
    return route


def _unit(reader: TableReader) -> UnitPrice:
    unit = UnitPrice(
        layer=reader.take("layer", "one of " + ", ".join(UNIT_LAYERS), _layer),
        resource=reader.take("resource", "the name as events send it", a_text, reader.name),
        unit=reader.take("unit", 'what is counted, such as "query"', a_text, "unit"),
        price_femto_usd=reader.take(
            "price", "dollars for one unit, such as 0.0000004", _dollars(PRICE_PLACES)
        ),
    )
    reader.finish()
    return unit


def _layer(value: Any) -> str:
    if value not in UNIT_LAYERS:
        raise ValueError
    return str(value)


def _dollars(places: int, *, least: int = 0) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        price = parse_scaled(value, places=places, largest=LARGEST_PRICE_USD)
        if price < least:
            raise NotExact("must be above zero" if least else "is negative")
        return price

    return convert
