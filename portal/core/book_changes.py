"""What differs between two versions of a book: entry by entry, price by price.

Pure: two parsed books go in, changes come out in the order of the newer book. Invariant: two books
differ exactly where there is a change; an entry is named the same on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from portal.core.catalog import Action, Pack, PriceBook, Tier, minor_places, money_words
from portal.core.cost_book import PRICE_PLACES, CostBook, ModelPrices, UnitPrice
from portal.core.units import format_micro, format_nano_usd, format_scaled

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True)
class Change:
    """One entry, or one thing about it, that is not the same.

    ``what`` is what kind of entry it is, ``field`` what of it changed; before and after are in
    words. ``percent`` is by how much a price changed, where it is one.
    """

    kind: Kind
    what: str
    key: str
    name: str
    field: str = ""
    before: str = ""
    after: str = ""
    percent: int | None = None


#: A thing about an entry: its name, the figure or text itself, and how it is written.
Facts = Mapping[str, tuple[Any, str]]


def of_prices(old: PriceBook | None, new: PriceBook) -> list[Change]:
    """Return what changes from one price book to another; from none, everything is added."""
    changes: list[Change] = []
    if old is not None and old.currency != new.currency:
        changes.append(
            Change("changed", "book", "currency", "Currency", "", old.currency, new.currency)
        )
    changes += _entries("action", old.actions if old else {}, new.actions, _of_action)
    changes += _entries(
        "plan", old.tiers if old else {}, new.tiers, lambda one: _of_tier(one, new.currency)
    )
    return changes + _entries(
        "pack", old.packs if old else {}, new.packs, lambda one: _of_pack(one, new.currency)
    )


def of_costs(old: CostBook | None, new: CostBook) -> list[Change]:
    """Return what changes from one cost book to another; from none, everything is added."""
    return [
        *_entries("model", old.models if old else {}, new.models, _of_model),
        *_entries("resource", old.units if old else {}, new.units, _of_unit),
    ]


def _entries(
    what: str, old: Mapping[Any, Any], new: Mapping[Any, Any], facts: Callable[[Any], Facts]
) -> list[Change]:
    changes: list[Change] = []
    for key, one in new.items():
        if key not in old:
            listed = ", ".join(
                f"{name} {words}" for name, (_, words) in facts(one).items() if words
            )
            changes.append(Change("added", what, _key(key), _name(one), after=listed))
        else:
            changes += _changed(what, key, _name(one), facts(old[key]), facts(one))
    for key, one in old.items():
        if key not in new:
            listed = ", ".join(
                f"{name} {words}" for name, (_, words) in facts(one).items() if words
            )
            changes.append(Change("removed", what, _key(key), _name(one), before=listed))
    return changes


def _changed(what: str, key: Any, name: str, old: Facts, new: Facts) -> list[Change]:
    changes = []
    for field in {**old, **new}:
        was, now = old.get(field, (None, "")), new.get(field, (None, ""))
        if was[0] != now[0]:
            changes.append(
                Change("changed", what, _key(key), name, field, was[1], now[1], _percent(was, now))
            )
    return changes


def _percent(was: tuple[Any, str], now: tuple[Any, str]) -> int | None:
    before, after = was[0], now[0]
    figures = all(isinstance(one, int) and not isinstance(one, bool) for one in (before, after))
    return (after - before) * 100 // before if figures and before else None


def _key(key: Any) -> str:
    return key if isinstance(key, str) else " ".join(part for part in key if part)


def _name(one: Any) -> str:
    if isinstance(one, ModelPrices):
        return f"{one.model} ({one.provider})" if one.provider else one.model
    return one.resource if isinstance(one, UnitPrice) else str(one.name)


def _of_action(one: Action) -> Facts:
    return {
        "price": (one.price_micro, f"{format_micro(one.price_micro)} credits"),
        "name": (one.name, one.name),
        "plural": (one.plural, one.plural),
    }


def _of_tier(one: Tier, currency: str) -> Facts:
    places = minor_places(currency)
    overage = one.overage_price_micro_minor
    return {
        "price": (
            one.price_minor,
            ""
            if one.price_minor is None
            else f"{money_words(one.price_minor, currency)} a {one.interval}",
        ),
        "credits included": (one.allowance_micro, f"{format_micro(one.allowance_micro)} credits"),
        "price of a further credit": (
            overage,
            "" if overage is None else format_scaled(overage, places=places + 6),
        ),
        "kind": (one.kind, one.kind),
        "carries over": (one.rollover, "yes" if one.rollover else "no"),
        "name": (one.name, one.name),
        "summary": (one.summary, one.summary),
        "billed by": (one.interval, one.interval),
    }


def _of_pack(one: Pack, currency: str) -> Facts:
    days = one.expires_after_days
    return {
        "price": (one.price_minor, money_words(one.price_minor, currency)),
        "credits": (one.credits_micro, f"{format_micro(one.credits_micro)} credits"),
        "lasts": (days, f"{days} days" if days else "without end"),
        "name": (one.name, one.name),
    }


def _of_model(one: ModelPrices) -> Facts:
    return {
        f"{kind.replace('_', ' ')} for a million": (nano, f"${format_nano_usd(nano)}")
        for kind, nano in one.per_million_nano_usd.items()
    }


def _of_unit(one: UnitPrice) -> Facts:
    price = format_scaled(one.price_femto_usd, places=PRICE_PLACES)
    return {
        "price": (one.price_femto_usd, f"${price}"),
        "unit": (one.unit, one.unit),
        "layer": (one.layer, one.layer),
    }
