"""The price book: what a customer pays, read from TOML and checked line by line.

Owns the shape of actions, tiers and packs. Invariant: a PriceBook that exists is whole and exact;
a file that is not is refused with the line, the key and what is expected there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from portal.core.errors import CatalogError
from portal.core.units import NotExact, parse_micro, parse_scaled

KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
TIER_KINDS = ("credits", "per_seat", "flat", "custom")
#: Currencies whose minor unit is the unit itself (ISO 4217 exponent 0), as Stripe charges them.
ZERO_DECIMAL = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv"}
    | {"xaf", "xof", "xpf"}
)


@dataclass(frozen=True)
class Action:
    """A unit a buyer understands, and its price in millionths of a credit."""

    key: str
    name: str
    plural: str
    price_micro: int


@dataclass(frozen=True)
class Tier:
    """What an organization subscribes to.

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
    """One version of the prices, in force from ``effective_at`` until the next version."""

    currency: str
    actions: Mapping[str, Action]
    tiers: Mapping[str, Tier]
    packs: Mapping[str, Pack]
    effective_at: datetime | None = None
    version: int = 0
    document: str = field(default="", repr=False)

    def overage_price(self, tier: str | None) -> int | None:
        """Return the price of a credit beyond all grants on a tier, in millionths of a minor unit.

        None where the tier sells none.
        """
        found = self.tiers.get(tier or "")
        return found.overage_price_micro_minor or None if found else None

    def credit_value(self, tier: str | None) -> int | None:
        """Return what a credit counts for in a limit stated in money, as ``overage_price`` does.

        The tier's own price of a further credit; where it has none the dearest of the book, so that
        a limit is never looser than it reads. None where the book prices no credit at all.
        """
        prices = [self.overage_price(key) or 0 for key in self.tiers]
        return self.overage_price(tier) or max(prices, default=0) or None


def minor_places(currency: str) -> int:
    """Return how many decimal places a currency's minor unit has (ISO 4217)."""
    return 0 if currency.lower() in ZERO_DECIMAL else 2


class _Reader:
    """Reads one table of the document; every refusal names line, key and expectation."""

    def __init__(self, document: str, path: str, table: Mapping[str, Any]) -> None:
        self.document, self.path, self.table = document, path, table
        self.seen: set[str] = set()

    def refuse(self, key: str, expected: str) -> CatalogError:
        line = _line_of(self.document, self.path, key)
        where = f"{self.path}.{key}" if self.path else key
        return CatalogError(f"Line {line}, key {where}: {expected}.", line=line, key=where)

    def take(
        self, key: str, expected: str, convert: Callable[[Any], Any], default: Any = ...
    ) -> Any:
        """Return a converted value; ``convert`` raises ValueError where the value does not fit."""
        self.seen.add(key)
        if key not in self.table:
            if default is ...:
                raise self.refuse(key, f"is missing; expected {expected}")
            return default
        try:
            return convert(self.table[key])
        except (ValueError, TypeError) as error:
            reason = f" ({error})" if isinstance(error, NotExact) else ""
            found = repr(self.table[key])[:40]
            raise self.refuse(key, f"expected {expected}, found {found}{reason}") from error

    def finish(self) -> None:
        """Refuse keys nobody asked for: a misspelt key must not pass silently."""
        for key in self.table:
            if key not in self.seen:
                known = ", ".join(sorted(self.seen))
                raise self.refuse(key, f"is not a key of this table; expected one of {known}")


def _line_of(document: str, path: str, key: str) -> int:
    """Find the line of ``key`` in table ``path``, or the table's own line, or 1."""
    current, header_line = "", 1
    for number, line in enumerate(document.splitlines(), start=1):
        header = re.match(r"\s*\[([^\[\]]+)\]", line)
        if header:
            current = header[1].strip()
            if current == path:
                header_line = number
        elif current == path and re.match(rf"\s*{re.escape(key)}\s*=", line):
            return number
        if re.match(rf"\s*\[{re.escape(f'{path}.{key}'.lstrip('.'))}\]", line):
            return number
    return header_line


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 200:
        raise ValueError
    return value.strip()


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _instant(value: Any) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError
    return value.astimezone(UTC)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 36_500:
        raise ValueError
    return value


def _credits(value: Any) -> int:
    micro = parse_micro(value)
    if micro < 0:
        raise NotExact("is negative")
    return micro


def _price(places: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        minor = parse_scaled(value, places=places, largest=1_000_000)
        if minor < 0:
            raise NotExact("is negative")
        return minor

    return convert


def _kind(value: Any) -> str:
    if value not in TIER_KINDS:
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
    try:
        root = tomllib.loads(document, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found[1]) if found else len(document.splitlines())
        raise CatalogError(f"Line {line}: is not TOML: {error}.", line=line, key="") from error
    top = _Reader(document, "", root)
    currency = top.take("currency", 'a currency code such as "usd"', _currency)
    effective_at = top.take(
        "effective_at", "an instant with an offset, such as 2026-12-01T00:00:00Z", _instant, None
    )
    tables = {
        name: top.take(name, f"at least one [{name}.<key>] table", _table)
        for name in ("actions", "tiers", "packs")
    }
    top.finish()
    places = minor_places(currency)
    actions = {k: _action(r) for k, r in _entries(document, "actions", tables["actions"])}
    tiers = {k: _tier(r, places) for k, r in _entries(document, "tiers", tables["tiers"])}
    packs = {k: _pack(r, places) for k, r in _entries(document, "packs", tables["packs"])}
    return PriceBook(currency, actions, tiers, packs, effective_at, document=document)


def _entries(document: str, name: str, table: dict[str, Any]) -> list[tuple[str, _Reader]]:
    parent = _Reader(document, name, table)
    if not table:
        raise parent.refuse("", f"expected at least one [{name}.<key>] table")
    entries = []
    for key, value in table.items():
        if not KEY.fullmatch(key):
            raise parent.refuse(key, "expected a key of a-z, 0-9, _ and -, beginning with a letter")
        if not isinstance(value, dict):
            raise parent.refuse(key, f"expected a table [{name}.{key}]")
        entries.append((key, _Reader(document, f"{name}.{key}", value)))
    return entries


def _key_of(reader: _Reader) -> str:
    return reader.path.rpartition(".")[2]


def _action(reader: _Reader) -> Action:
    key = _key_of(reader)
    name = reader.take("name", 'a name such as "Document"', _text)
    action = Action(
        key=key,
        name=name,
        plural=reader.take("plural", 'the plural such as "Documents"', _text, f"{name}s"),
        price_micro=reader.take("credits", "the price in credits, such as 5 or 0.5", _credits),
    )
    reader.finish()
    return action


def _tier(reader: _Reader, places: int) -> Tier:
    kind = reader.take("kind", "one of " + ", ".join(TIER_KINDS), _kind, "credits")
    price_missing: Any = None if kind == "custom" else ...
    credits_missing: Any = ... if kind == "credits" else 0
    tier = Tier(
        key=_key_of(reader),
        name=reader.take("name", 'a name such as "Starter"', _text),
        kind=kind,
        price_minor=reader.take(
            "price", "a monthly price such as 29.00", _price(places), price_missing
        ),
        allowance_micro=reader.take(
            "credits", "the credits included each month", _credits, credits_missing
        ),
        overage_price_micro_minor=reader.take(
            "overage", "the price of one further credit, such as 0.08", _price(places + 6), None
        ),
        rollover=reader.take("rollover", "true or false", _truth, False),
        summary=reader.take("summary", "a short sentence", _text, ""),
    )
    reader.finish()
    return tier


def _pack(reader: _Reader, places: int) -> Pack:
    pack = Pack(
        key=_key_of(reader),
        name=reader.take("name", 'a name such as "500 credits"', _text),
        credits_micro=reader.take("credits", "the credits in the pack", _credits),
        price_minor=reader.take("price", "a price such as 39.00", _price(places)),
        expires_after_days=reader.take(
            "expires_after_days", "a whole number of days", _whole, None
        ),
    )
    if pack.credits_micro == 0 or pack.price_minor == 0:
        raise reader.refuse("credits" if pack.credits_micro == 0 else "price", "must be above zero")
    reader.finish()
    return pack
