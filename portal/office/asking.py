"""What a simulation is asked for in a form: words and numbers as people type them, made exact.

Invariant: a field that was filled in is read or refused with its name; none is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from portal.core.catalog import PriceBook, minor_places
from portal.core.errors import InvalidRequest
from portal.core.replay import TokenPrices
from portal.core.simulation import Kind
from portal.core.units import NotExact, parse_micro, parse_scaled
from portal.margin.simulation_runs import SimulationRequest

#: What each way to charge is called on the page.
KINDS = {
    Kind.BOOK: "An edited price book",
    Kind.CREDITS: "Credits with overage",
    Kind.PER_SEAT: "Per seat",
    Kind.FLAT: "Flat",
    Kind.PER_TOKEN: "Per token",
    Kind.TODAY: "Today's prices, to check the replay",
}
LARGEST_PRICE = 1_000_000
LONGEST_NAME = 100


def simulation_asked(given: Mapping[str, str], book: PriceBook) -> SimulationRequest:
    """Return what a form asks for; money is in the currency of the book in force.

    Raises InvalidRequest.
    """
    kind = _kind(given.get("kind", ""))
    places = minor_places(book.currency)
    plan = kind in {Kind.CREDITS, Kind.PER_SEAT, Kind.FLAT, Kind.PER_TOKEN}
    return SimulationRequest(
        name=given.get("name", "").strip()[:LONGEST_NAME] or KINDS[kind],
        kind=kind,
        start=_day(given, "from"),
        end=_day(given, "to") + timedelta(days=1),
        document=given.get("document", "").replace("\r\n", "\n") if kind is Kind.BOOK else "",
        tiers=_tiers(given.get("tiers", "")) if kind is Kind.BOOK else {},
        goes_on=given.get("goes_on") == "yes",
        price_minor=_money(given, "price", places) or 0 if plan else 0,
        allowance_micro=_credits(given) if kind is Kind.CREDITS else 0,
        overage_price_micro_minor=(
            _money(given, "overage", places + 6) if kind is Kind.CREDITS else None
        ),
        tokens=_tokens(given, places) if kind is Kind.PER_TOKEN else None,
    )


def _kind(given: str) -> Kind:
    try:
        return Kind(given)
    except ValueError as error:
        raise InvalidRequest.at("/kind", f"is not one of {', '.join(Kind)}") from error


def _day(given: Mapping[str, str], name: str) -> date:
    try:
        return date.fromisoformat(given.get(name, "").strip())
    except ValueError as error:
        raise InvalidRequest.at(f"/{name}", "is not a day such as 2026-11-30") from error


def _money(given: Mapping[str, str], name: str, places: int) -> int | None:
    typed = given.get(name, "").strip()
    if not typed:
        return None
    try:
        amount = parse_scaled(typed, places=places, largest=LARGEST_PRICE)
    except NotExact as error:
        raise InvalidRequest.at(f"/{name}", str(error)) from error
    if amount < 0:
        raise InvalidRequest.at(f"/{name}", "is negative")
    return amount


def _credits(given: Mapping[str, str]) -> int:
    try:
        amount = parse_micro(given.get("allowance", "").strip() or "0")
    except NotExact as error:
        raise InvalidRequest.at("/allowance", str(error)) from error
    if amount < 0:
        raise InvalidRequest.at("/allowance", "is negative")
    return amount


def _tokens(given: Mapping[str, str], places: int) -> TokenPrices:
    prices = [_money(given, name, places + 6) for name in ("input", "output")]
    if prices[0] is None or prices[1] is None:
        raise InvalidRequest.at("/input", "and output need a price for a million")
    return TokenPrices(prices[0], prices[1])


def _tiers(given: str) -> dict[str, str]:
    """Return what stands for which tier: ``old = new``, one a line."""
    found = {}
    for line in given.replace("\r\n", "\n").split("\n"):
        if line.strip():
            old, equals, new = (part.strip() for part in line.partition("="))
            if not (old and equals and new):
                raise InvalidRequest.at("/tiers", f"has {line.strip()!r}; write old = new")
            found[old] = new
    return found
