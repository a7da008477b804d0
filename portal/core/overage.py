"""The rules of overage: what credits beyond all grants cost, and how many more a limit allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from portal.core.units import MICRO, money_for


@dataclass(frozen=True)
class Place:
    """Where overage is counted: the billing period that began then, at this price.

    The price is in millionths of the minor unit.
    """

    since: datetime
    price_micro_minor: int


@dataclass(frozen=True)
class Rate:
    """Overage of one billing period at one price; the price in millionths of the minor unit."""

    price_micro_minor: int
    spent_micro: int
    held_micro: int

    @property
    def amount_minor(self) -> int:
        """What was spent costs, in minor units."""
        return money_for(self.spent_micro, self.price_micro_minor)


def room(rates: Iterable[Rate], price_micro_minor: int, limit_minor: int) -> int:
    """Return the credits, in millionths, that a limit in minor units still allows at a price.

    The limit holds for the exact price of what is spent and held, before any rounding.
    """
    if price_micro_minor <= 0:
        return 0
    used = sum((rate.spent_micro + rate.held_micro) * rate.price_micro_minor for rate in rates)
    return max(0, (limit_minor * MICRO * MICRO - used) // price_micro_minor)


def worst_case_minor(*, tier_minor: int, used_minor: int, limit_minor: int | None) -> int:
    """Return the most a billing period can cost, in minor units.

    The tier's price and the overage: what is used already or, where more is allowed, the limit.
    """
    return tier_minor + max(used_minor, limit_minor or 0)
