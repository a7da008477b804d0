"""Which customers to talk to first, and about what.

Pure: what each customer brought, cost and used in two spans of the same length goes in; the few
with the most at stake come out, each with the one thing to speak of. Invariant: what is at stake
is money, in billionths of a US dollar, so that reasons of different kinds are compared fairly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

#: Use that fell to this part or less, in percent, asks whether somebody is leaving.
LEAVING_PERCENT = 50
#: A margin that fell by at least this part of the revenue, in percent, is worth a word.
FELL_PERCENT = 10
#: The least at stake that is worth anybody's time: a dollar.
LEAST_NANO_USD = 10**9
#: The least use before that a fall is told of, in millionths of a credit.
LEAST_USE_MICRO = 20_000_000


class About(StrEnum):
    """What to speak of."""

    UNDER_WATER = "under_water"
    OVERDUE = "overdue"
    NOT_CHARGED = "not_charged"
    LEAVING = "leaving"
    FELL = "fell"


@dataclass(frozen=True)
class Known:
    """What is known of a customer; amounts in billionths of a US dollar, use in millionths.

    Revenue and margin are None where their currency has no rate.
    """

    customer: str
    revenue_nano_usd: int | None
    cost_nano_usd: int
    revenue_before_nano_usd: int | None
    cost_before_nano_usd: int
    used_micro: int
    used_before_micro: int
    leaked_nano_usd: int
    overdue: bool


@dataclass(frozen=True)
class Conversation:
    """A customer, what to speak of, and what is at stake in billionths of a US dollar.

    ``figure`` is what else the words need: percent for use that fell, else nothing.
    """

    customer: str
    about: About
    at_stake_nano_usd: int
    figure: int = 0


def choose(customers: Iterable[Known], *, most: int) -> list[Conversation]:
    """Return the customers with the most at stake, the most first, each once."""
    found = []
    for one in customers:
        reasons = sorted(_reasons(one), key=lambda reason: -reason.at_stake_nano_usd)
        if reasons and reasons[0].at_stake_nano_usd >= LEAST_NANO_USD:
            found.append(reasons[0])
    return sorted(found, key=lambda one: (-one.at_stake_nano_usd, one.customer))[:most]


def _reasons(one: Known) -> Iterator[Conversation]:
    revenue, before = one.revenue_nano_usd, one.revenue_before_nano_usd
    if revenue is not None and one.cost_nano_usd > revenue:
        yield Conversation(one.customer, About.UNDER_WATER, one.cost_nano_usd - revenue)
    if one.overdue and revenue is not None:
        yield Conversation(one.customer, About.OVERDUE, max(revenue, before or 0))
    yield Conversation(one.customer, About.NOT_CHARGED, one.leaked_nano_usd)
    if _leaves(one) and before is not None:
        fell = 100 - one.used_micro * 100 // one.used_before_micro
        yield Conversation(one.customer, About.LEAVING, before * fell // 100, fell)
    if revenue is not None and before is not None and revenue >= one.cost_nano_usd:
        less = (before - one.cost_before_nano_usd) - (revenue - one.cost_nano_usd)
        if revenue > 0 and less * 100 >= revenue * FELL_PERCENT:
            yield Conversation(one.customer, About.FELL, less)


def _leaves(one: Known) -> bool:
    return (
        one.used_before_micro >= LEAST_USE_MICRO
        and one.used_micro * 100 <= one.used_before_micro * LEAVING_PERCENT
    )
