"""At random dates and between random tiers: what is previewed is charged, to the cent, and given.

What is too little to be charged is shown as going on the next invoice, and is in fact charged with
that; so all that was billed is what was taken and what is still carried, whatever came between.

The short form tries a few changes on each store, a soak some two hundred.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

import pytest
import requests

from portal.billing.changes import Preview
from tests.clock import Clock
from tests.faults import soak
from tests.subscribers import HOUR, MICRO, Subscriber, subscriber

pytestmark = pytest.mark.soak

#: What a cycle costs, in minor units, and includes.
TIERS = {"starter": (2_900, 500), "keeper": (4_900, 1_000), "pro": (9_900, 2_500),
         "team": (29_900, 10_000)}  # fmt: skip
OFF = (None, None, 10, 25, 33)


@pytest.fixture
def acme(store: str, clock: Clock) -> Iterator[Subscriber]:
    with subscriber(store, clock) as made:
        yield made


def any_second(dice: random.Random, days: int) -> timedelta:
    return timedelta(seconds=dice.randrange(1, days * 86_400))


def begin(acme: Subscriber, dice: random.Random, tier: str) -> int:
    """Subscribe some days later, with a promotion now and then; returns its per cent."""
    acme.to(acme.clock() + any_second(dice, 40))
    percent = dice.choice(OFF)
    url = acme.open(tier)
    if percent:
        coupon = acme.stripe.v1.coupons.create({"percent_off": percent, "duration": "forever"})
        promotion = {"type": "coupon", "coupon": coupon.id}
        code = acme.stripe.v1.promotion_codes.create({"promotion": promotion})  # type: ignore[arg-type]
        form = {"promotion_code": code.code, "apply": "1"}
        assert requests.post(url, data=form, timeout=10).status_code == 200
    assert acme.pay(url).status_code == 303
    acme.tell()
    return percent or 0


def left(acme: Subscriber, found: Preview) -> Fraction:
    """Return which part of the cycle is left when a change takes effect."""
    cycle = acme.billed.cycle
    second = timedelta(seconds=1)
    return Fraction((cycle.end - found.effective_at) // second, (cycle.end - cycle.start) // second)


def at_list(acme: Subscriber, found: Preview) -> int:
    """Return what a change costs without any discount, each tier's part rounded to the cent."""
    part = left(acme, found)
    tiers = (TIERS[found.from_tier][0], TIERS[found.to_tier][0])
    back, charged = (int(price * part + Fraction(1, 2)) for price in tiers)
    return charged - back


@dataclass(frozen=True)
class Before:
    """How Acme stood before a change: its allowances, what was taken of it, what it owed."""

    granted: int
    taken_minor: int
    carried_minor: int

    @classmethod
    def of(cls, acme: Subscriber) -> Before:
        return cls(len(acme.granted_micro()), acme.taken_minor, acme.carried_minor)


def holds(acme: Subscriber, found: Preview, before: Before, percent: int) -> None:
    """Compare a preview with the invoice, the payment and the grant that came of it."""
    invoice = acme.invoices()[0]
    lines = [line.amount for line in invoice.lines.data]
    given = acme.granted_micro()[before.granted :]
    # What is shown as charged now is what was taken, by the invoice and by the card.
    assert invoice.amount_paid == found.charge_minor, found
    assert acme.taken_minor - before.taken_minor == found.charge_minor, found
    # What is shown to go on the next invoice is what Stripe will add to that.
    assert acme.carried_minor == found.carried_minor, found
    # Both together are what the change costs, and what was owed before it.
    costs = found.charge_minor + found.carried_minor - before.carried_minor
    assert costs == invoice.total, found
    assert sum(micro for micro, _ in given) == found.credits_micro, found
    assert [paid for _, paid in given] in ([], [costs]), found
    assert (invoice.created, invoice.status) == (int(acme.clock().timestamp()), "paid")
    # No credit is ever bought below what it costs in the tier that it comes with: before the
    # discount that was agreed, which Stripe's lines have taken off already.
    price, included = TIERS[found.to_tier]
    step = price - TIERS[found.from_tier][0], included - TIERS[found.from_tier][1]
    listed = at_list(acme, found)
    discounted = bool(percent) and listed - sum(lines) > 2
    charged = listed if discounted else sum(lines)
    assert charged * step[1] * MICRO >= found.credits_micro * step[0]
    assert abs(sum(lines) - Fraction(listed * (100 - percent), 100)) <= 2
    assert Fraction(found.credits_micro, MICRO) <= step[1]
    # Nor is any of the time that is left kept back, but for what rounding to cents makes.
    by_time, cent = step[1] * left(acme, found), Fraction(step[1], step[0])
    assert Fraction(found.credits_micro, MICRO) > by_time - 3 * cent - Fraction(1, MICRO)


def pause(acme: Subscriber, dice: random.Random, renewals: int) -> None:
    """Let a part of what is left of the cycle pass, or all of it and a part of the next."""
    for _ in range(renewals):
        acme.to(acme.billed.cycle_end)
    left = acme.billed.cycle_end - acme.clock()
    acme.to(acme.clock() + timedelta(seconds=dice.randrange(1, left // timedelta(seconds=1))))


def end_at_once(acme: Subscriber) -> None:
    """Stripe's dashboard ends the plan; the next one begins in a cycle of its own."""
    end = acme.billed.cycle_end
    acme.stripe.v1.subscriptions.cancel(acme.billed.stripe_subscription_id)
    acme.to(end + HOUR)


@pytest.mark.parametrize("seed", range(soak.rounds(2, 16)))
def test_what_is_previewed_is_charged_and_given(acme: Subscriber, seed: int) -> None:
    dice = random.Random(f"{seed} {acme.database.dialect}")
    tried = 0
    while tried < soak.size(6, 13):
        ladder = sorted(dice.sample(list(TIERS), dice.choice((2, 3, 4))), key=TIERS.__getitem__)
        percent = begin(acme, dice, ladder[0])
        for tier in ladder[1:]:
            renewals = dice.choice((0, 0, 1))
            pause(acme, dice, renewals)
            before = Before.of(acme)
            found = acme.preview(tier)
            acme.to(acme.clock() + timedelta(seconds=dice.randrange(0, 60)))
            if acme.clock() >= found.renews_at:
                break
            assert acme.confirm(found).status == "done"
            acme.tell()
            holds(acme, found, before, percent)
            tried += 1
        assert acme.differences() == []
        end_at_once(acme)
        assert acme.billed_minor == acme.taken_minor + acme.carried_minor
