"""The bodies of the operator's margin calls, and how each becomes the domain's words."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from portal.core.catalog import minor_places
from portal.core.errors import InvalidRequest
from portal.core.replay import TokenPrices
from portal.core.simulation import Kind
from portal.core.units import NotExact, parse_scaled
from portal.margin.simulation_runs import SimulationRequest
from portal.web.api.reading import calendar_day
from portal.web.api.shapes import Id, Name, Number, Strict, micro, money

#: The largest price of a credit, or of a million tokens.
LARGEST_PRICE = 1_000_000

Day = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$(?!\n)")]


class TokenPricesBody(Strict):
    """What a million tokens of a model cost a customer."""

    input: Number
    output: Number


class SimulationBody(Strict):
    """POST /v1/margin/simulations: a way to charge, and the days whose work it is replayed over.

    ``price`` is a month's; ``credits`` are included in it and ``overage`` is the price of one more.
    """

    name: Name
    kind: Literal["today", "book", "credits", "per_seat", "per_token", "flat"]
    start: Day
    end: Day
    book: Annotated[str, Meta(max_length=200_000)] | None = None
    tiers: dict[Id, Id] = field(default_factory=dict)
    beyond: Literal["as_chosen", "everybody"] = "as_chosen"
    price: Number | None = None
    credits: Number | None = None
    overage: Number | None = None
    actions: dict[Id, Number] = field(default_factory=dict)
    tokens: TokenPricesBody | None = None


#: What each kind needs, and what it takes beside that.
_NEEDS: dict[str, tuple[str, ...]] = {
    "today": (),
    "book": ("book",),
    "credits": ("price", "credits"),
    "per_seat": ("price",),
    "per_token": ("tokens",),
    "flat": ("price",),
}
_TAKES = {
    "book": ("tiers", "beyond"),
    "credits": ("overage", "actions"),
    "per_token": ("price",),
}


def simulation_request(body: SimulationBody, currency: str) -> SimulationRequest:
    """Return what is asked for, priced in a currency. Raises InvalidRequest."""
    _check(body)
    tokens = None
    if body.tokens is not None:
        tokens = TokenPrices(
            _price(body.tokens.input, "/tokens/input", currency),
            _price(body.tokens.output, "/tokens/output", currency),
        )
    return SimulationRequest(
        name=body.name,
        kind=Kind(body.kind),
        start=calendar_day(body.start, "/start"),
        end=calendar_day(body.end, "/end"),
        document=body.book or "",
        tiers=dict(body.tiers),
        goes_on=body.beyond == "everybody",
        price_minor=0 if body.price is None else money(body.price, "/price", currency),
        allowance_micro=0 if body.credits is None else micro(body.credits, "/credits"),
        overage_price_micro_minor=None
        if body.overage is None
        else _price(body.overage, "/overage", currency),
        action_prices_micro={
            key: micro(price, f"/actions/{key}") for key, price in body.actions.items()
        },
        tokens=tokens,
    )


def _check(body: SimulationBody) -> None:
    """Refuse what a kind lacks, and what it would not heed. Raises InvalidRequest."""
    needs = _NEEDS[body.kind]
    for name in needs:
        if getattr(body, name) is None:
            raise InvalidRequest.at(f"/{name}", f"is missing: {body.kind} needs it")
    takes = {*needs, *_TAKES.get(body.kind, ())}
    for name in ("book", "tiers", "beyond", "price", "credits", "overage", "actions", "tokens"):
        if name not in takes and getattr(body, name) not in (None, {}, "as_chosen"):
            raise InvalidRequest.at(f"/{name}", f"has no part in a simulation of {body.kind}")


def _price(value: Number, pointer: str, currency: str) -> int:
    """Return a price in millionths of the minor unit. Raises InvalidRequest."""
    try:
        price = parse_scaled(value.sent, places=minor_places(currency) + 6, largest=LARGEST_PRICE)
    except NotExact as error:
        raise InvalidRequest.at(pointer, str(error)) from error
    if price < 0:
        raise InvalidRequest.at(pointer, "is negative")
    return price
