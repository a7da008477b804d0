"""Exact quantities: credits in millionths, charges in minor units, costs in billionths of a dollar.

Invariant: every amount that is stored or added up is an ``int``; a decimal exists only on the way
in (parsed once, refused when it is not exact) and on the way out (a string).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

MICRO = 1_000_000
NANO = 1_000_000_000
#: The largest single amounts that are taken: sums of many thousand such rows still fit 64 bits.
LARGEST_CREDITS = 1_000_000_000
LARGEST_USD = 1_000_000

# Written out instead of Decimal(): '1E+3000000' as an int would occupy a worker for minutes.
_DECIMAL = re.compile(r"(-?)(\d{1,13})(?:\.(\d{1,24}))?", re.ASCII)

_WHOLE = re.compile(r"-?[0-9]{1,19}", re.ASCII)


class NotExact(ValueError):
    """A number that cannot be taken as an exact amount; the message says what is expected."""


def parse_scaled(value: str | int | Decimal | float, *, places: int, largest: int) -> int:
    """Return ``value`` as an integer of 10**-``places``, exactly.

    Raises NotExact for anything but a plain decimal with at most ``places`` places: exponents,
    NaN, infinities, other scripts' digits, more places than fit, or a magnitude over ``largest``.
    """
    if isinstance(value, bool):
        raise NotExact("is a truth value; a number is expected")
    if isinstance(value, int):
        text = str(value) if abs(value) < 10**13 else ""
    elif isinstance(value, Decimal):
        # 0.0000004 as it was written, not as 4E-7; what is longer than we take stays as it is.
        exponent = value.as_tuple().exponent
        small = isinstance(exponent, int) and -24 <= exponent <= 0
        text = f"{value:f}" if small else str(value)
    elif isinstance(value, float):
        text = repr(value)
    else:
        text = value
    found = _DECIMAL.fullmatch(text)
    if not found:
        raise NotExact('is not a plain decimal number of at most 13 digits, such as 12 or "12.5"')
    sign, whole, fraction = found[1], found[2], (found[3] or "").rstrip("0")
    if len(fraction) > places:
        raise NotExact(f"has more than {places} decimal places")
    scaled: int = int(whole) * 10**places + int(fraction.ljust(places, "0") or "0")
    if scaled > largest * 10**places:
        raise NotExact(f"is larger than {largest:,}")
    return -scaled if sign else scaled


def parse_micro(value: str | int | Decimal | float) -> int:
    """Return credits or a quantity in millionths. Raises NotExact."""
    return parse_scaled(value, places=6, largest=LARGEST_CREDITS)


def parse_nano_usd(value: str | int | Decimal | float) -> int:
    """Return an amount of US dollars in billionths. Raises NotExact."""
    return parse_scaled(value, places=9, largest=LARGEST_USD)


def parse_int64(text: str) -> int:
    """Return a whole number that both stores compare as it is. Raises NotExact."""
    if not _WHOLE.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise NotExact("is not a whole number of 64 bits")
    return int(text)


def format_scaled(amount: int, *, places: int) -> str:
    """Write an integer of 10**-``places`` as the shortest plain decimal: 12_500_000 -> "12.5"."""
    whole, fraction = divmod(abs(amount), 10**places)
    text = f"{whole}.{fraction:0{places}d}".rstrip("0").rstrip(".") if fraction else str(whole)
    return f"-{text}" if amount < 0 else text


def format_micro(amount_micro: int) -> str:
    """Write credits or a quantity as a decimal string."""
    return format_scaled(amount_micro, places=6)


def format_nano_usd(amount_nano: int) -> str:
    """Write a cost in US dollars as a decimal string."""
    return format_scaled(amount_nano, places=9)


def divide_half_even(numerator: int, denominator: int) -> int:
    """Divide integers, rounding half to even: the one rounding of the project (domain: Units)."""
    quotient, remainder = divmod(numerator, denominator)
    twice = remainder * 2
    if twice > denominator or (twice == denominator and quotient % 2):
        quotient += 1
    return quotient


def apportion(whole: int, weights: Sequence[int]) -> list[int]:
    """Split ``whole`` in proportion to weights of zero or more, so that the parts add up to it.

    The largest remainders take what rounding down left over. All zero where there is no weight.
    """
    total = sum(weights)
    if total == 0:
        return [0] * len(weights)
    parts = [whole * weight // total for weight in weights]
    by_remainder = sorted(
        range(len(weights)), key=lambda place: (-(whole * weights[place] % total), place)
    )
    for place in by_remainder[: whole - sum(parts)]:
        parts[place] += 1
    return parts


def money_for(credits_micro: int, price_micro_minor: int) -> int:
    """Return what credits cost, in minor units: rounded once, half to even.

    ``price_micro_minor`` is the price of one credit in millionths of a minor unit. Price a total,
    not its parts: the sum of rounded parts is not the rounded sum (see ``apportion``).
    """
    return divide_half_even(credits_micro * price_micro_minor, MICRO * MICRO)


def credits_within(amount_minor: int, price_micro_minor: int) -> int:
    """Return the most credits, in millionths, whose exact price does not pass an amount of money.

    The limit holds before rounding, so that ``money_for`` of what is returned never passes it
    either. For what is left of a limit take the credits used off the limit's credits, not the
    rounded money off the limit. Raises ValueError for a price that is not above zero.
    """
    if price_micro_minor <= 0:
        raise ValueError("a limit in money needs a price above zero")
    return amount_minor * MICRO * MICRO // price_micro_minor
