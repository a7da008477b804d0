"""The rules of overage: what credits beyond all grants cost, and how many more a limit allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from portal.core.units import MICRO, apportion, money_for


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

    @property
    def most_minor(self) -> int:
        """What was spent and what is held cost, in minor units."""
        return money_for(self.spent_micro + self.held_micro, self.price_micro_minor)


def room(rates: Iterable[Rate], price_micro_minor: int, limit_minor: int) -> int:
    """Return the credits, in millionths, that a limit in minor units still allows at a price.

    The limit holds for the exact price of what is spent and held, before any rounding.
    """
    if price_micro_minor <= 0:
        return 0
    used = sum((rate.spent_micro + rate.held_micro) * rate.price_micro_minor for rate in rates)
    return max(0, (limit_minor * MICRO * MICRO - used) // price_micro_minor)


@dataclass(frozen=True)
class Part:
    """What one action has of a period's overage at a price: credits, and their share of money."""

    credits_micro: int = 0
    amount_minor: int = 0

    def __sub__(self, other: Part) -> Part:
        return Part(
            self.credits_micro - other.credits_micro, self.amount_minor - other.amount_minor
        )


def itemised(credits_micro: Mapping[str, int], price_micro_minor: int) -> dict[str, Part]:
    """Split what a period costs at a price among its actions, so that the parts add up to it.

    ``credits_micro`` is what each action spent beyond all grants. What it comes to is rounded once,
    as the page rounds it; the largest remainders take what rounding the parts left over. The same
    credits are split the same way whatever was billed before.
    """
    actions = sorted(credits_micro)
    spent = [credits_micro[action] for action in actions]
    shares = apportion(money_for(sum(spent), price_micro_minor), spent)
    return {
        action: Part(credits_, share)
        for action, credits_, share in zip(actions, spent, shares, strict=True)
    }


def still_due(whole: Mapping[str, Part], billed: Mapping[str, Part]) -> dict[str, Part]:
    """Return what is to be billed by action, on top of what was; below zero it is given back."""
    nothing = Part()
    more = {
        action: whole.get(action, nothing) - billed.get(action, nothing)
        for action in sorted(whole.keys() | billed.keys())
    }
    return {action: part for action, part in more.items() if part != nothing}
