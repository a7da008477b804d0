"""When money that was paid becomes revenue: fees by time, credits by use, each to the minor unit.

Pure. Invariant: what is recognised up to an instant is the exact share, rounded once, half to even;
what a day or a span has is the difference between two instants. So days add up to spans, spans to
the whole, and the whole is what was paid, whatever was recognised on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import zip_longest

from portal.core.units import divide_half_even, money_for

#: What bought credits become: used, gone at their end, or taken back with the money.
USED, EXPIRED, RETURNED = "credits_used", "credits_expired", "credits_returned"
OVERAGE, REFUNDS, FEES = "overage", "refunds", "fees"


def share(whole: int, done: int, of: int) -> int:
    """Return the part of a whole that is due when ``done`` of ``of`` steps are over.

    Steps before the first and after the last count as none and as all. Raises ValueError where
    there are no steps.
    """
    if of <= 0:
        raise ValueError("a whole is shared out over at least one step")
    return divide_half_even(whole * min(max(done, 0), of), of)


@dataclass(frozen=True)
class Fee:
    """What a tier costs for a time, day by day; ``amount_minor`` is for the whole of it.

    Days are numbered as ``date.toordinal`` does, in the organization's calendar. The fee is owed
    on the days ``[from_day, until_day)`` of the ``days`` from ``first_day`` on: a tier that was
    changed half way is owed for its half.
    """

    fee_id: str
    tier: str
    amount_minor: int
    first_day: int
    days: int
    from_day: int
    until_day: int

    def recognised(self, start: date, end: date) -> int:
        """Return what is revenue of the days ``[start, end)``, in minor units."""
        return self._until(end.toordinal()) - self._until(start.toordinal())

    def _until(self, day: int) -> int:
        day = min(max(day, self.from_day), self.until_day)
        return share(self.amount_minor, day - self.first_day, self.days)


@dataclass(frozen=True)
class Term:
    """What an organization subscribed to from an instant on; ``tier`` is "" where it had none.

    ``fee_minor`` is what the tier costs for the whole period, None where nobody stated a price or
    where Stripe bills it. The days are the organization's.
    """

    since: datetime
    since_day: int
    tier: str
    fee_minor: int | None
    period_first_day: int
    period_end_day: int


def fees_of_terms(terms: Sequence[Term]) -> list[Fee]:
    """Return what the tiers cost that the operator put in place, oldest first.

    A term ends where the next begins, or where its period ends; a day belongs to the last term
    that began on it.
    """
    found = []
    for term, following in zip_longest(terms, terms[1:]):
        end = term.period_end_day
        until = end if following is None else min(end, following.since_day)
        begin = max(term.since_day, term.period_first_day)
        if term.fee_minor and begin < until:
            days = end - term.period_first_day
            fee_id = f"term:{term.since.isoformat()}"
            found.append(
                Fee(fee_id, term.tier, term.fee_minor, term.period_first_day, days, begin, until)
            )
    return found


@dataclass(frozen=True)
class Consumed:
    """Credits of one origin that became revenue on a day, in millionths; below zero given back.

    ``part`` says how: USED, EXPIRED, RETURNED or OVERAGE.
    """

    day: date
    part: str
    credits_micro: int
    action: str = ""
    team: str = ""


@dataclass(frozen=True)
class Recognised:
    """Revenue of a day from one origin, in minor units of the organization's currency."""

    day: date
    part: str
    credits_micro: int
    amount_minor: int
    action: str = ""
    team: str = ""


def of_grant(
    consumed: Iterable[Consumed], *, paid_minor: int, granted_micro: int
) -> list[Recognised]:
    """Return what a bought grant is as revenue: at what that very grant cost.

    What is recognised up to a moment is the price's share of all that is consumed by then; once
    all of it is, that is the price.
    """
    return _in_turn(consumed, lambda micro: divide_half_even(paid_minor * micro, granted_micro))


def of_overage(consumed: Iterable[Consumed], *, price_micro_minor: int) -> list[Recognised]:
    """Return what overage of one billing period at one price is as revenue.

    All of it adds up to what the period's bill comes to.
    """
    return _in_turn(consumed, lambda micro: money_for(micro, price_micro_minor))


def _in_turn(consumed: Iterable[Consumed], worth_minor: Callable[[int], int]) -> list[Recognised]:
    """Return the parts of each day, one after the other: each has what it adds to the whole."""
    sums: dict[tuple[date, str, str, str], int] = {}
    for one in consumed:
        key = (one.day, one.part, one.action, one.team)
        sums[key] = sums.get(key, 0) + one.credits_micro
    found, before_micro = [], 0
    for key in sorted(sums):
        day, part, action, team = key
        after_micro = before_micro + sums[key]
        amount = worth_minor(after_micro) - worth_minor(before_micro)
        if sums[key] or amount:
            found.append(Recognised(day, part, sums[key], amount, action, team))
        before_micro = after_micro
    return found
