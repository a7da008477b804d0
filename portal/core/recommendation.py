"""Which tier costs least for what a period is going to use, with the arithmetic that says so.

Pure, and in the customer's favour: beyond what a tier includes it counts the cheaper of overage and
packs. Invariant: what is recommended never costs more than the tier they have, and a tie stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from portal.core.catalog import Pack, PriceBook, Tier
from portal.core.units import money_for

#: So many of the cheapest pack are counted out one by one; more than that are all of that pack.
_COUNTED = 3


@dataclass(frozen=True)
class Cost:
    """What a tier would cost; credits in millionths, amounts in minor units.

    ``beyond`` says how the credits it does not include are paid: ``overage``, ``packs`` or, where
    there are none, nothing. ``packs`` are the keys of those to buy.
    """

    tier: str
    price_minor: int
    included_micro: int
    beyond_micro: int
    beyond: str
    beyond_minor: int
    packs: Sequence[str] = ()

    @property
    def total_minor(self) -> int:
        """The tier's price and what goes beyond it."""
        return self.price_minor + self.beyond_minor


@dataclass(frozen=True)
class Recommendation:
    """Every tier's cost for the projected credits, cheapest first, and the one to change to."""

    projected_micro: int
    costs: Sequence[Cost]
    current: Cost | None
    best: Cost | None

    @property
    def saving_minor(self) -> int:
        """What the change would save; 0 where it is best to stay."""
        if self.best is None or self.current is None:
            return 0
        return self.current.total_minor - self.best.total_minor


def recommend(book: PriceBook, *, current: str | None, projected_micro: int) -> Recommendation:
    """Compare the book's tiers of credits for the credits a period is projected to use.

    ``best`` is None where it is best to stay: nothing costs less, or the tier they have is not one
    that can be compared. Only tiers billed as often as the one they have are compared.
    """
    mine = book.tiers.get(current or "")
    interval = mine.interval if mine else "month"
    costs = [
        found
        for tier in book.tiers.values()
        if tier.kind == "credits" and tier.interval == interval
        if (found := _cost(tier, book.packs.values(), projected_micro)) is not None
    ]
    costs.sort(key=lambda cost: (cost.total_minor, cost.tier != current, cost.price_minor))
    here = next((cost for cost in costs if cost.tier == current), None)
    best = costs[0] if costs else None
    if current is not None and (
        here is None or best is None or best.total_minor >= here.total_minor
    ):
        best = None
    return Recommendation(projected_micro, costs, here, best)


def _cost(tier: Tier, packs: Iterable[Pack], projected_micro: int) -> Cost | None:
    """Return what a tier costs; None where it has no price or sells nothing beyond what it has."""
    if tier.price_minor is None:
        return None
    beyond = max(0, projected_micro - tier.allowance_micro)
    ways: list[tuple[int, str, tuple[str, ...]]] = []
    if not beyond:
        ways.append((0, "", ()))
    elif tier.overage_price_micro_minor:
        ways.append((money_for(beyond, tier.overage_price_micro_minor), "overage", ()))
    if beyond:
        covered = cheapest_packs(packs, beyond)
        if covered is not None:
            ways.append((covered[0], "packs", covered[1]))
    if not ways:
        return None
    amount, how, bought = min(ways)
    return Cost(tier.key, tier.price_minor, tier.allowance_micro, beyond, how, amount, bought)


def cheapest_packs(packs: Iterable[Pack], credits_micro: int) -> tuple[int, tuple[str, ...]] | None:
    """Return what covering credits by packs costs at least, in minor units, and which to buy.

    Exact for what a few of the cheapest pack cover; beyond that those come first. None where there
    is no pack.
    """
    by_value = sorted(
        packs, key=lambda one: (one.price_minor * 10**9 // one.credits_micro, one.key)
    )
    if not by_value:
        return None
    best = by_value[0]
    many = max(0, credits_micro // best.credits_micro - _COUNTED)

    @cache
    def cover(rest: int, place: int) -> tuple[int, tuple[str, ...]]:
        if rest <= 0:
            return 0, ()
        pack = by_value[place]
        most = -(-rest // pack.credits_micro)
        if place == len(by_value) - 1:
            return most * pack.price_minor, (pack.key,) * most
        # More of a dearer pack than this costs more than one of the cheapest that covers it.
        most = most if place == 0 else min(most, best.price_minor // pack.price_minor + 1)
        found = []
        for count in range(most, -1, -1):
            amount, keys = cover(rest - count * pack.credits_micro, place + 1)
            found.append((amount + count * pack.price_minor, (pack.key,) * count + keys))
        return min(found, key=lambda one: (one[0], len(one[1])))

    amount, keys = cover(credits_micro - many * best.credits_micro, 0)
    return amount + many * best.price_minor, (best.key,) * many + keys
