"""Credits as the API writes them and as they are counted, and the prices of the book that ships."""

from __future__ import annotations

MICRO = 10**6
PRICE_MICRO = {"document": 5 * MICRO, "analysis": 10 * MICRO, "image": 2 * MICRO}


def credits_of(micro: int) -> str:
    """Return millionths as a request's decimal string."""
    return f"{micro // MICRO}.{micro % MICRO:06}"


def micro_of(credits_: str) -> int:
    """Return the millionths of an answer's decimal string."""
    whole, _, part = credits_.partition(".")
    return int(whole) * MICRO + int(part.ljust(6, "0"))
