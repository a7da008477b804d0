"""The price book: what a customer pays, read from TOML and checked line by line.

Owns the shape of actions, tiers and packs. Invariant: a PriceBook that exists is whole and exact;
a file that is not is refused with the line, the key and what is expected there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from portal.core.documents import TableReader, a_table, a_text, an_instant, entries, read_document
from portal.core.units import NotExact, parse_micro, parse_scaled

TIER_KINDS = ("credits", "per_seat", "flat", "custom")
#: How often a tier is billed and its allowance granted.
INTERVALS = ("month", "year")
#: Currencies whose minor unit is the unit itself (ISO 4217 exponent 0), as Stripe charges them.
ZERO_DECIMAL = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv"}
    | {"xaf", "xof", "xpf"}
)
#: Currencies without a smaller unit that Stripe still counts in hundredths: 500 is five of them.
WHOLE_HUNDREDS = frozenset({"isk", "ugx"})
#: Currencies whose minor unit is a thousandth (exponent 3). Stripe takes them in whole tens alone.
THREE_DECIMAL = frozenset({"bhd", "iqd", "jod", "kwd", "lyd", "omr", "tnd"})


@dataclass(frozen=True)
class Action:
    """A unit a buyer understands, and its price in millionths of a credit."""

    key: str
    name: str
    plural: str
    price_micro: int


@dataclass(frozen=True)
class Tier:
    """What an organization subscribes to: a price and an allowance for each ``interval``.

    ``overage_price_micro_minor`` is the price of one credit beyond all grants, in millionths of
    the currency's minor unit: 8 cents = 8_000_000. None where the tier has no overage.
    """

    key: str
    name: str
    kind: str
    price_minor: int | None
    allowance_micro: int
    overage_price_micro_minor: int | None
    rollover: bool
    summary: str
    interval: str

    @property
    def paid_anyway(self) -> bool:
        """Whether it costs the same whatever is used: by the seat, or flat."""
        return self.kind in {"per_seat", "flat"}


@dataclass(frozen=True)
class Pack:
    """Credits bought once: the amount, the price in minor units, and how many days they last."""

    key: str
    name: str
    credits_micro: int
    price_minor: int
    expires_after_days: int | None


@dataclass(frozen=True)
class PriceBook:
    """One version of the prices, in force from ``effective_at`` until the next version.

    ``retired`` are the tiers of earlier versions that this one sells no more: who has one keeps it.
    """

    currency: str
    actions: Mapping[str, Action]
    tiers: Mapping[str, Tier]
    packs: Mapping[str, Pack]
    effective_at: datetime | None = None
    version: int = 0
    document: str = field(default="", repr=False)
    retired: Mapping[str, Tier] = field(default_factory=dict, repr=False)

    def plan_of(self, tier: str | None) -> Tier | None:
        """Return the tier that somebody has, be it sold no more; None where none was ever so."""
        return self.tiers.get(tier or "") or self.retired.get(tier or "")

    def overage_price(self, tier: str | None) -> int | None:
        """Return the price of a credit beyond all grants on a tier, in millionths of a minor unit.

        None where the tier sells none.
        """
        found = self.plan_of(tier)
        return found.overage_price_micro_minor or None if found else None

    def credit_value(self, tier: str | None) -> int | None:
        """Return what a credit counts for in a limit stated in money, as ``overage_price`` does.

        The tier's own price of a further credit; where it has none the dearest of the book, so that
        a limit is never looser than it reads. None where the book prices no credit at all.
        """
        prices = [self.overage_price(key) or 0 for key in self.tiers]
        return self.overage_price(tier) or max(prices, default=0) or None

    def examples(
        self, credits_micro: int, *, first: Sequence[str] = (), most: int
    ) -> list[tuple[int, Action]]:
        """Return what credits would buy if spent on one action, those named ``first`` first.

        What they do not buy once is left out.
        """
        order = [*first, *(key for key in self.actions if key not in first)]
        priced = [self.actions[key] for key in order if key in self.actions]
        counted = [
            (credits_micro // action.price_micro, action) for action in priced if action.price_micro
        ]
        return [one for one in counted if one[0]][:most]


def tier_called(key: str, names: Mapping[str, str]) -> str:
    """Return what a plan is called; one without a name is its key as a person would write it."""
    return names.get(key) or key.replace("_", " ").capitalize()


def minor_places(currency: str) -> int:
    """Return how many decimal places the unit has that Stripe counts a currency in."""
    if currency.lower() in THREE_DECIMAL:
        return 3
    return 0 if currency.lower() in ZERO_DECIMAL else 2


def charged_in(currency: str) -> int:
    """Return the minor units that every amount Stripe moves has to be whole multiples of."""
    if currency.lower() in WHOLE_HUNDREDS:
        return 100
    return 10 if currency.lower() in THREE_DECIMAL else 1


#: Currencies that people know by a sign; the others are written by their code.
_SIGNS = {
    "usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "cad": "CA$", "aud": "A$", "nzd": "NZ$",
    "brl": "R$", "mxn": "MX$", "hkd": "HK$", "twd": "NT$", "cny": "CN¥", "inr": "₹", "krw": "₩",
    "ils": "₪", "vnd": "₫", "php": "₱",
}  # fmt: skip


def currency_sign(currency: str) -> str:
    """Return what stands before an amount: $, or CHF and a space that does not break."""
    return _SIGNS.get(currency.lower(), f"{currency.upper()}\u00a0")


def money_words(amount_minor: int, currency: str) -> str:
    """Write an amount in minor units as pages and letters do: $1,290.00, ¥3,900, −CHF 39.00."""
    places = minor_places(currency)
    whole, fraction = divmod(abs(amount_minor), 10**places)
    digits = f"{whole:,}{f'.{fraction:0{places}d}' if places else ''}"
    return f"{'−' if amount_minor < 0 else ''}{currency_sign(currency)}{digits}"


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 36_500:
        raise ValueError
    return value


def _credits(value: Any) -> int:
    micro = parse_micro(value)
    if micro < 0:
        raise NotExact("is negative")
    return micro


def _price(places: int, *, least: int = 0, step: int = 1) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        minor = parse_scaled(value, places=places, largest=1_000_000)
        if minor < least:
            raise NotExact("must be above zero" if least and minor == 0 else "is negative")
        if minor % step:
            zeros = str(step)[1:]
            raise NotExact(f"must end in {zeros}: banks take no less in this currency")
        return minor

    return convert


def _kind(value: Any) -> str:
    if value not in TIER_KINDS:
        raise ValueError
    return str(value)


def _interval(value: Any) -> str:
    if value not in INTERVALS:
        raise ValueError
    return str(value)


def _currency(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z]{3}", value):
        raise ValueError
    return value


def parse(document: str) -> PriceBook:
    """Read a price book from TOML text.

    Raises CatalogError with the line, the key and what is expected.
    """
    top = read_document(document)
    currency = top.take("currency", 'a currency code such as "usd"', _currency)
    effective_at = top.take(
        "effective_at", "an instant with an offset, such as 2026-12-01T00:00:00Z", an_instant, None
    )
    tables = {
        name: top.take(name, f"at least one [{name}.<key>] table", a_table)
        for name in ("actions", "tiers", "packs")
    }
    top.finish()
    money = minor_places(currency), charged_in(currency)
    actions = {k: _action(r) for k, r in entries(document, "actions", tables["actions"])}
    tiers = {k: _tier(r, *money) for k, r in entries(document, "tiers", tables["tiers"])}
    packs = {k: _pack(r, *money) for k, r in entries(document, "packs", tables["packs"])}
    return PriceBook(currency, actions, tiers, packs, effective_at, document=document)


def _action(reader: TableReader) -> Action:
    key = reader.name
    name = reader.take("name", 'a name such as "Document"', a_text)
    action = Action(
        key=key,
        name=name,
        plural=reader.take("plural", 'the plural such as "Documents"', a_text, f"{name}s"),
        price_micro=reader.take("credits", "the price in credits, such as 5 or 0.5", _credits),
    )
    reader.finish()
    return action


def _tier(reader: TableReader, places: int, step: int) -> Tier:
    kind = reader.take("kind", "one of " + ", ".join(TIER_KINDS), _kind, "credits")
    price_missing: Any = None if kind == "custom" else ...
    credits_missing: Any = ... if kind == "credits" else 0
    tier = Tier(
        key=reader.name,
        name=reader.take("name", 'a name such as "Starter"', a_text),
        kind=kind,
        price_minor=reader.take(
            "price",
            "a price for each interval, such as 29.00",
            _price(places, step=step),
            price_missing,
        ),
        allowance_micro=reader.take(
            "credits", "the credits included in each interval", _credits, credits_missing
        ),
        overage_price_micro_minor=reader.take(
            "overage",
            "the price of one further credit, such as 0.08",
            _price(places + 6, least=1),
            None,
        ),
        rollover=reader.take("rollover", "true or false", _truth, False),
        summary=reader.take("summary", "a short sentence", a_text, ""),
        interval=reader.take("interval", "one of " + ", ".join(INTERVALS), _interval, "month"),
    )
    reader.finish()
    return tier


def _pack(reader: TableReader, places: int, step: int) -> Pack:
    pack = Pack(
        key=reader.name,
        name=reader.take("name", 'a name such as "500 credits"', a_text),
        credits_micro=reader.take("credits", "the credits in the pack", _credits),
        price_minor=reader.take("price", "a price such as 39.00", _price(places, step=step)),
        expires_after_days=reader.take(
            "expires_after_days", "a whole number of days", _whole, None
        ),
    )
    if pack.credits_micro == 0 or pack.price_minor == 0:
        raise reader.refuse("credits" if pack.credits_micro == 0 else "price", "must be above zero")
    reader.finish()
    return pack
