"""What fields are made of: texts, amounts, times; and how each becomes the domain's.

Invariant: an amount is exact, a time has an offset, and what is wrong with one is told with its
place.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from portal.core.catalog import minor_places
from portal.core.errors import InvalidRequest
from portal.core.units import NotExact, parse_micro, parse_scaled

_ID = r"^(?=.*\S)[^\x00-\x1f\x7f]+$(?!\n)"
_NAME = r"\S"
_EMAIL = r"^[^@\s]+@[^@\s]+$(?!\n)"
_CURRENCY = r"^[a-z]{3}$(?!\n)"
#: What a text that does not fit a pattern should have been.
FORMS = {
    _ID: "is blank, or has a line break or another control character in it",
    _NAME: "is blank",
    _EMAIL: 'is not an address such as "ana@example.com"',
    _CURRENCY: 'is not a currency in small letters, such as "usd"',
}

#: Neither is only blanks: nobody could see it, or tell it from another.
Id = Annotated[str, Meta(min_length=1, max_length=128, pattern=_ID)]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=_NAME)]
Email = Annotated[str, Meta(max_length=254, pattern=_EMAIL)]
Currency = Annotated[str, Meta(pattern=_CURRENCY)]
Text = Annotated[str, Meta(max_length=500)]


class Number:
    """A decimal as it was sent, a string or a number; exactness is checked when it is used."""

    def __init__(self, sent: str | int | Decimal) -> None:
        self.sent = sent


def once() -> Number:
    """Return how often something happened where nobody says."""
    return Number(1)


class SentUsage:
    """A model call's usage as it was sent: in our own form, or a provider's own block."""

    def __init__(self, sent: dict[str, Any]) -> None:
        self.sent = sent


def take_as_sent(kind: type, sent: Any) -> Number | SentUsage:
    """Let a number or a usage pass as it is; msgspec adds the place to what is raised."""
    if kind is SentUsage:
        if not isinstance(sent, dict):
            raise ValueError("must be an object of token counts")
        return SentUsage(sent)
    if kind is not Number or isinstance(sent, bool) or not isinstance(sent, str | int | Decimal):
        raise ValueError("expected a number, or a string that holds one")
    return Number(sent)


#: The largest amount of money a limit can be.
LARGEST_AMOUNT = 1_000_000_000

#: What a time may be: years that every store and zone file can hold.
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A body in which a misspelt field is an error."""


def micro(value: Number, pointer: str, *, positive: bool = False) -> int:
    """Return a non-negative amount in millionths. Raises InvalidRequest that names the field."""
    try:
        amount = parse_micro(value.sent)
    except NotExact as error:
        raise InvalidRequest.at(pointer, str(error)) from error
    if amount < 0 or (positive and amount == 0):
        raise InvalidRequest.at(pointer, "must be above zero" if positive else "is negative")
    return amount


def money(value: Number, pointer: str, currency: str) -> int:
    """Return an amount in minor units of a currency. Raises InvalidRequest that names the field."""
    try:
        amount = parse_scaled(value.sent, places=minor_places(currency), largest=LARGEST_AMOUNT)
    except NotExact as error:
        raise InvalidRequest.at(pointer, str(error)) from error
    if amount < 0:
        raise InvalidRequest.at(pointer, "is negative")
    return amount


def instant(value: str, pointer: str) -> datetime:
    """Return an RFC 3339 time with an offset, in UTC. Raises InvalidRequest."""
    expected = 'is not a time with an offset such as "2026-11-01T09:30:00Z"'
    if not _RFC3339.fullmatch(value):
        raise InvalidRequest.at(pointer, expected)
    whole, _, rest = value.upper().replace(" ", "T").partition(".")
    if rest:
        digits = re.match(r"\d+", rest)
        fraction = digits[0] if digits else ""
        value = f"{whole}.{fraction[:6].ljust(6, '0')}{rest[len(fraction) :]}"
    try:
        parsed = datetime.fromisoformat(value)
        if not EARLIEST.year <= parsed.year < LATEST.year:
            raise InvalidRequest.at(pointer, "lies outside 1971 to 2199")
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest.at(pointer, expected) from error
