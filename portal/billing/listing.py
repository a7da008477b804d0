"""What is sold, made known to Stripe as products and prices.

Invariant: a price at Stripe is never edited; running it again makes only what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from portal.billing.gateway import Gateway
from portal.core.catalog import PriceBook


@dataclass(frozen=True)
class Listed:
    """A pack or a tier of the book, and the price of Stripe's that stands for it."""

    kind: str
    key: str
    price_id: str


def push(payments: Gateway, book: PriceBook) -> Iterator[Listed]:
    """Make packs and tiers known to Stripe, one after the other. Raises Unavailable."""
    for pack in book.packs.values():
        price = payments.ensure_price(
            f"clearmeter-pack-{pack.key}",
            name=pack.name,
            amount_minor=pack.price_minor,
            currency=book.currency,
        )
        yield Listed("pack", pack.key, price)
    for tier in book.tiers.values():
        if not tier.price_minor:
            continue
        price = payments.ensure_price(
            f"clearmeter-tier-{tier.key}",
            name=tier.name,
            amount_minor=tier.price_minor,
            currency=book.currency,
            interval=tier.interval,
        )
        yield Listed("tier", tier.key, price)
