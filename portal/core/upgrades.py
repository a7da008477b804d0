"""What a larger tier adds to a cycle that has begun: credits in the proportion of the money.

Pure. Invariant: in one cycle the allowances of a subscription never add up to more than its largest
tier includes, however often it goes up and down; a step never gives more credits than its prorated
charge, before discounts, buys at the price of the step between the two tiers, so that where nothing
is charged even at list price nothing is given. A discount takes off the money, never off the
credits. The preview and the grant ask the same function.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.core.periods import Period

_SECOND = timedelta(seconds=1)
#: How far two lines may be off the list price, where one gives back what was itself rounded.
ROUNDING_MINOR = 2


@dataclass(frozen=True)
class Included:
    """What a tier asks for a whole cycle, in minor units, and includes, in millionths."""

    price_minor: int
    allowance_micro: int


@dataclass(frozen=True)
class Step:
    """A change of tier within a cycle, as it was billed or would be.

    ``charge_minor`` is what Stripe prorates for the rest of the cycle, before discounts and tax;
    below zero where the change gives money back. Where a discount is in Stripe's lines already it
    is what they come to at list price (see ``at_list``).
    """

    at: datetime
    origin: Included
    target: Included
    charge_minor: int


def at_list(origin: Included, target: Included, *, at: datetime, cycle: Period) -> int:
    """Return what a step costs for the rest of a cycle at list price, in minor units.

    Each tier's part is rounded for itself, halves up, as Stripe rounds its lines.
    """
    whole = (cycle.end - cycle.start) // _SECOND
    left = (cycle.end - min(max(at, cycle.start), cycle.end)) // _SECOND
    back, charged = (
        (2 * tier.price_minor * left + whole) // (2 * whole) for tier in (origin, target)
    )
    return charged - back


def before_discounts(charge_minor: int, listed_minor: int) -> int:
    """Return what a step costs before the discounts that Stripe's lines have taken off already.

    That is the charge itself, unless it is less than the list price by more than rounding makes.
    """
    discounted = listed_minor - charge_minor > ROUNDING_MINOR
    return listed_minor if discounted else charge_minor


def credits_of(step: Step, *, cycle: Period, largest_micro: int) -> int:
    """Return the credits a step adds, in millionths, never below zero.

    ``largest_micro`` is the most that any tier of the cycle included before the step.
    """
    origin, target = step.origin, step.target
    base = max(largest_micro, origin.allowance_micro)
    whole = (cycle.end - cycle.start) // _SECOND
    left = (cycle.end - min(max(step.at, cycle.start), cycle.end)) // _SECOND
    by_time = max(0, target.allowance_micro - base) * left // whole
    return min(by_time, _bought(step))


def _bought(step: Step) -> int:
    """Return what a step's charge buys at the price of the step, in millionths."""
    price = step.target.price_minor - step.origin.price_minor
    more = step.target.allowance_micro - step.origin.allowance_micro
    if price <= 0 or more <= 0:
        price, more = step.target.price_minor, step.target.allowance_micro
    if step.charge_minor <= 0 or price <= 0:
        return 0
    return step.charge_minor * more // price


def credits_of_all(steps: Sequence[Step], *, cycle: Period, begun_micro: int) -> list[int]:
    """Return the credits of each step that was paid in a cycle, in millionths.

    The steps are in the order in which they took effect. ``begun_micro`` is what the tier included
    that the cycle began with.
    """
    largest = begun_micro
    found = []
    for step in steps:
        found.append(credits_of(step, cycle=cycle, largest_micro=largest))
        largest = largest_of([step], begun_micro=largest)
    return found


def largest_of(steps: Iterable[Step], *, begun_micro: int) -> int:
    """Return the most that any tier of a cycle includes, in millionths."""
    included = [one.allowance_micro for step in steps for one in (step.origin, step.target)]
    return max([begun_micro, *included])


@dataclass(frozen=True)
class Earlier:
    """An allowance given before: when it lives, and what of it was not taken back."""

    life: Period
    credits_micro: int


def beginning(allowance_micro: int, *, cycle: Period, earlier: Iterable[Earlier]) -> int:
    """Return the allowance of a cycle that begins while earlier ones still live, in millionths.

    The days that an earlier allowance was given for are not given for again.
    """
    given = 0
    for one in earlier:
        both = min(one.life.end, cycle.end) - max(one.life.start, cycle.start)
        if both > timedelta(0):
            whole = one.life.end - one.life.start
            given += one.credits_micro * (both // _SECOND) // max(1, whole // _SECOND)
    return max(0, allowance_micro - given)
