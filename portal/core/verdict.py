"""The verdict on one price whatever the use: whether each condition under which it works holds.

Pure: what customers cost and pay, and how they are sold to, goes in. Invariant: a condition whose
figure cannot be known neither holds nor fails; it says what is missing. Of seats that nobody is
sold is said whether they would work, never that they have stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from portal.core.inference import quantile
from portal.core.margin.figures import Span
from portal.core.signal_kinds import FEWEST, NAMED, Customer

#: A customer uses it little whose cost is at most this part of what they pay.
LITTLE = 0.10
#: It is a feature where at least this part of customers use it little, and
FEATURE_CUSTOMERS = 0.80
#: all cost together is at most this part of revenue.
FEATURE_COST = 0.15
#: Use is capped by nature where the busiest people do at most this many times what the middle does.
NATURAL_CAP = 5.0
#: The heaviest can be afforded where what they lose is at most this part of what the rest earn.
AFFORDABLE = 0.10
#: A business tracks its use where at least this part of its customers send any.
TRACKED = 0.5


class Holds(StrEnum):
    """Whether a condition holds."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Condition:
    """One condition: its figure, the threshold it stands against, of how many, and what it means.

    ``figure`` is a share, or times where ``unit`` says so; None where it is not known.
    """

    key: str
    title: str
    unit: str
    figure: float | None
    threshold: float
    n: int
    holds: Holds
    says: str
    customers: tuple[str, ...] = ()


class Pattern(StrEnum):
    """How a business sells what it pays for by use."""

    SEATS_UNTRACKED = "seats-without-tracking"
    SEATS_TRACKED = "seats-with-tracking"
    USE_WITHOUT_CAPS = "tokens-without-caps"
    CREDITS_UNMETERED = "credits-without-metering"
    FLAT = "flat"
    ARRANGED = "arranged"
    HYBRID = "hybrid"
    NONE = "nothing-sold"


@dataclass(frozen=True)
class Selling:
    """How customers are sold to, in numbers of customers.

    ``open_ended``: who may be charged for use without a limit of their own. ``metered``: who has
    sent any use in the period.
    """

    per_seat: int = 0
    flat: int = 0
    credits: int = 0
    custom: int = 0
    metered: int = 0
    open_ended: int = 0

    @property
    def customers(self) -> int:
        """All who are on a plan."""
        return self.per_seat + self.flat + self.credits + self.custom

    @property
    def by_use(self) -> bool:
        """Whether nobody pays one price whatever they use, and somebody pays for use."""
        return self.credits > 0 and not self.per_seat + self.flat


@dataclass(frozen=True)
class PatternFound:
    """The pattern a business is in, whether it is dangerous, and why."""

    pattern: Pattern
    dangerous: bool
    why: str
    selling: Selling


@dataclass(frozen=True)
class PerSeat:
    """The verdict: the three conditions, whether all hold, and the pattern."""

    span: Span
    conditions: tuple[Condition, ...]
    works: Holds
    says: str
    pattern: PatternFound
    #: The question that was answered, and whose conditions they are.
    asks: str
    needs: str


def per_seat(
    customers: Sequence[Customer], uses_of_members: Sequence[int], selling: Selling, span: Span
) -> PerSeat:
    """Return whether pricing by the seat still works, for a period.

    ``uses_of_members`` is how much each person used, in any unit that is the same for all.
    """
    there = [one for one in customers if not one.left]
    conditions = (
        _feature(there),
        _natural_cap(uses_of_members),
        _affordable(there),
    )
    held = {one.holds for one in conditions}
    works = Holds.NO if Holds.NO in held else Holds.UNKNOWN if Holds.UNKNOWN in held else Holds.YES
    failed = "; ".join(_lower(one.title) for one in conditions if one.holds is Holds.NO)
    says, asks, needs = _answer(works, failed, selling)
    return PerSeat(span, conditions, works, says, pattern_of(selling), asks, needs)


def _answer(works: Holds, failed: str, selling: Selling) -> tuple[str, str, str]:
    """Return the answer, its question, and what the conditions are of, by how is sold today."""
    fixed = selling.per_seat + selling.flat
    if not fixed:
        nobody = "Nobody is sold seats." if selling.customers else "Nobody is on a plan yet."
        would = {
            Holds.YES: "They would work here: all three conditions hold.",
            Holds.NO: f"They would not work here. Not true: {failed}.",
            Holds.UNKNOWN: "Whether they would work cannot be said yet: a figure is missing.",
        }[works]
        if not selling.customers:
            would = would.replace("They would", "Seats would").replace("they would", "seats would")
        return f"{nobody} {would}", "Would pricing by the seat work here?", "pricing by the seat"
    name = _ONE_PRICE[selling.per_seat > 0, selling.flat > 0]
    few = fixed * 2 < selling.customers
    of_whom = f"{fixed} of {selling.customers} customers pay so. " if few else ""
    does = {
        Holds.YES: f"{name} still works: all three conditions hold.",
        Holds.NO: f"{name} has stopped working. Not true: {failed}.",
        Holds.UNKNOWN: f"Whether {_lower(name)} works cannot be said yet: a figure is missing.",
    }[works]
    return f"{of_whom}{does}", f"Has {_lower(name)} stopped working?", _lower(name)


#: What is sold whatever the use: by whether it is by the seat, and whether it is flat.
_ONE_PRICE = {
    (True, False): "Pricing by the seat",
    (False, True): "One price for any use",
    (True, True): "Pricing by the seat or at one price",
}


def _lower(words: str) -> str:
    """Write words as they stand inside a sentence; what is written in capitals stays."""
    return words if words[1].isupper() else words[0].lower() + words[1:]


def _feature(customers: Sequence[Customer]) -> Condition:
    """It is a feature, not the product: most customers use little of it."""
    key, title = "feature", "AI is a feature, not the product"
    paying = [one for one in customers if one.revenue_nano_usd]
    revenue = sum(one.revenue_nano_usd or 0 for one in paying)
    if len(paying) < FEWEST or revenue <= 0:
        return _missing(key, title, "share", FEATURE_CUSTOMERS, len(paying), "paying customers")
    cost = sum(one.cost_nano_usd for one in paying)
    little = [one for one in paying if one.cost_nano_usd <= (one.revenue_nano_usd or 0) * LITTLE]
    share, part = len(little) / len(paying), cost / revenue
    holds = Holds.YES if share >= FEATURE_CUSTOMERS and part <= FEATURE_COST else Holds.NO
    says = (
        f"{share:.0%} of customers cost at most {LITTLE:.0%} of what they pay (needed: "
        f"{FEATURE_CUSTOMERS:.0%}), and all together cost {part:.0%} of revenue (at most "
        f"{FEATURE_COST:.0%})."
    )
    heavy = sorted(set(paying) - set(little), key=lambda one: -one.cost_nano_usd)
    return Condition(
        key, title, "share", share, FEATURE_CUSTOMERS, len(paying), holds, says, _names(heavy)
    )


def _natural_cap(uses: Sequence[int]) -> Condition:
    """Use is capped by nature: nobody can do much more of it than others."""
    key, title = "natural-cap", "Use is capped by nature"
    some = sorted(one for one in uses if one > 0)
    if len(some) < FEWEST:
        return _missing(key, title, "times", NATURAL_CAP, len(some), "people who use it")
    times = quantile(some, 0.99) / quantile(some, 0.5)
    holds = Holds.YES if times <= NATURAL_CAP else Holds.NO
    says = (
        f"The busiest hundredth of people use {times:,.1f} times what the middle one does "
        f"(at most {NATURAL_CAP:.0f} times where nature caps it)."
    )
    return Condition(key, title, "times", times, NATURAL_CAP, len(some), holds, says)


def _affordable(customers: Sequence[Customer]) -> Condition:
    """The subsidy can be afforded: the heaviest lose little of what the rest earn."""
    key, title = "affordable", "The heaviest can be afforded"
    known = [one for one in customers if one.revenue_nano_usd is not None]
    profits = {one.customer: (one.revenue_nano_usd or 0) - one.cost_nano_usd for one in known}
    earned = sum(one for one in profits.values() if one > 0)
    lost = -sum(one for one in profits.values() if one < 0)
    if len(known) < FEWEST or (earned == 0 and lost == 0):
        return _missing(key, title, "share", AFFORDABLE, len(known), "customers with a margin")
    share = lost / earned if earned else float("inf")
    heaviest = max(known, key=lambda one: one.cost_nano_usd)
    holds = Holds.YES if share <= AFFORDABLE else Holds.NO
    says = (
        f"Customers under water lose {share:.0%} of what the others earn (at most "
        f"{AFFORDABLE:.0%}). {_heaviest(heaviest)}"
    )
    under = sorted((one for one in profits if profits[one] < 0), key=profits.__getitem__)
    return Condition(
        key, title, "share", share if earned else None, AFFORDABLE, len(known), holds, says,
        tuple(under[:NAMED]),
    )  # fmt: skip


def _heaviest(one: Customer) -> str:
    if not one.revenue_nano_usd:
        return "The heaviest pays nothing."
    return f"The heaviest costs {one.cost_nano_usd / one.revenue_nano_usd:.0%} of what it pays."


def _missing(key: str, title: str, unit: str, threshold: float, n: int, what: str) -> Condition:
    says = f"{n} {what} are too few to tell: {FEWEST} are needed."
    return Condition(key, title, unit, None, threshold, n, Holds.UNKNOWN, says)


def _names(customers: Sequence[Customer]) -> tuple[str, ...]:
    return tuple(one.customer for one in customers[:NAMED])


def pattern_of(selling: Selling) -> PatternFound:
    """Return the pattern a business is in: that of most of its customers."""
    pattern = _pattern(selling)
    dangerous, why = _WHY[pattern]
    return PatternFound(pattern, dangerous, why, selling)


def _pattern(selling: Selling) -> Pattern:
    if not selling.customers:
        return Pattern.NONE
    tracked = selling.metered >= TRACKED * selling.customers
    most = max(("per_seat", "flat", "credits"), key=lambda kind: getattr(selling, kind))
    if most == "per_seat" and selling.per_seat:
        return Pattern.SEATS_TRACKED if tracked else Pattern.SEATS_UNTRACKED
    if most == "flat" and selling.flat:
        return Pattern.FLAT
    if not selling.credits:
        return Pattern.ARRANGED
    if not tracked:
        return Pattern.CREDITS_UNMETERED
    if selling.open_ended * 2 > selling.customers:
        return Pattern.USE_WITHOUT_CAPS
    return Pattern.HYBRID


_WHY = {
    Pattern.SEATS_UNTRACKED: (
        True,
        (
            "Seats are sold and most customers' use is not tracked: what a customer costs is not "
            "known before the provider's bill comes."
        ),
    ),
    Pattern.SEATS_TRACKED: (
        False,
        "Seats are sold and use is tracked: the signals tell when a seat costs more than it pays.",
    ),
    Pattern.USE_WITHOUT_CAPS: (
        True,
        (
            "Use is charged and most customers have set no limit: the next invoice surprises them, "
            "and surprised customers leave."
        ),
    ),
    Pattern.CREDITS_UNMETERED: (
        True,
        (
            "Credits are sold and most customers' use is not metered: a balance that does not move "
            "promises what nobody counts."
        ),
    ),
    Pattern.FLAT: (
        True,
        "One price for any use: whoever uses most is who costs most, and nothing stops it.",
    ),
    Pattern.ARRANGED: (
        False,
        (
            "Each customer's price is arranged with them, and what it follows is not known here: "
            "the signals tell where one costs more than it brings."
        ),
    ),
    Pattern.HYBRID: (
        False,
        (
            "A price that includes an allowance, and use beyond it that is metered and limited: "
            "cost and revenue can move together, and no invoice is a surprise."
        ),
    ),
    Pattern.NONE: (False, "Nobody is on a plan yet."),
}
