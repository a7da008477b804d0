"""What an upgrade adds: in the proportion of the money, and never more than the largest tier."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from portal.core.cycles import Cycle
from portal.core.periods import Period
from portal.core.units import MICRO
from portal.core.upgrades import (
    Earlier,
    Included,
    Step,
    at_list,
    before_discounts,
    beginning,
    credits_of,
    credits_of_all,
    largest_of,
)

STARTER, PRO, TEAM = (
    Included(2900, 500 * MICRO),
    Included(9900, 2500 * MICRO),
    Included(29900, 10_000 * MICRO),
)
CYCLE = Period(datetime(2027, 1, 31, 9, 30, tzinfo=UTC), datetime(2027, 2, 28, 9, 30, tzinfo=UTC))
WHOLE = CYCLE.end - CYCLE.start


def charge(origin: Included, target: Included, at: datetime, cycle: Period = CYCLE) -> int:
    """Return what Stripe prorates: each tier's price by the second, each rounded to the cent."""
    left = Fraction((cycle.end - at) // timedelta(seconds=1))
    part = left / ((cycle.end - cycle.start) // timedelta(seconds=1))
    return round(target.price_minor * part) - round(origin.price_minor * part)


def step(at: datetime, origin: Included, target: Included, cycle: Period = CYCLE) -> Step:
    return Step(at, origin, target, charge(origin, target, at, cycle))


def added(one: Step, cycle: Period = CYCLE) -> int:
    return credits_of(one, cycle=cycle, largest_micro=one.origin.allowance_micro)


def test_half_way_an_upgrade_adds_half_of_what_the_larger_tier_has_more() -> None:
    half = CYCLE.start + WHOLE / 2
    assert added(step(half, STARTER, PRO)) == 1000 * MICRO
    assert added(step(CYCLE.start, STARTER, PRO)) == 2000 * MICRO


def test_a_charge_of_nothing_adds_nothing() -> None:
    late = step(CYCLE.end - timedelta(seconds=60), STARTER, PRO)
    assert (late.charge_minor, added(late)) == (0, 0)
    assert added(step(CYCLE.end, STARTER, TEAM)) == 0


def random_tiers(dice: random.Random) -> tuple[Included, Included]:
    """Return two tiers, the larger of which is no dearer by the credit, as price books have it."""
    price, credits_ = dice.randint(100, 20_000), dice.randint(10, 5_000)
    factor, bonus = dice.randint(2, 12), dice.randint(0, 3_000)
    small = Included(price, credits_ * MICRO)
    return small, Included(price * factor, (credits_ * factor + bonus) * MICRO)


def test_on_200_random_dates_and_pairs_no_upgrade_buys_credits_under_the_list_price() -> None:
    dice = random.Random(20_270_131)
    for _ in range(200):
        anchor = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=dice.randrange(10**8))
        cycle = Cycle(dice.choice(["month", "year"]), anchor).at(anchor)
        small, large = random_tiers(dice)
        seconds = (cycle.end - cycle.start) // timedelta(seconds=1)
        last_day = dice.random() < 0.4
        passed = seconds - dice.randrange(1, 86_400) if last_day else dice.randrange(seconds)
        at = cycle.start + timedelta(seconds=passed)
        found = step(at, small, large, cycle)
        more = added(found, cycle)
        assert 0 <= more <= large.allowance_micro - small.allowance_micro
        paid = small.price_minor + found.charge_minor
        had = small.allowance_micro + more
        assert Fraction(paid, had) >= Fraction(large.price_minor, large.allowance_micro)
        if found.charge_minor == 0:
            assert more == 0


def test_the_preview_and_the_grant_are_one_function_of_one_step() -> None:
    dice = random.Random(7)
    for _ in range(200):
        small, large = random_tiers(dice)
        at = CYCLE.start + timedelta(seconds=dice.randrange(int(WHOLE.total_seconds())))
        one = step(at, small, large)
        previewed = credits_of(one, cycle=CYCLE, largest_micro=small.allowance_micro)
        assert credits_of_all([one], cycle=CYCLE, begun_micro=small.allowance_micro) == [previewed]


def test_going_up_and_down_fifty_times_adds_nothing_to_the_first_time() -> None:
    steps = []
    for time in range(50):
        at = CYCLE.start + time * WHOLE / 60
        steps += [
            step(at, STARTER, TEAM),
            step(at + timedelta(minutes=5), TEAM, STARTER),
        ]
    found = credits_of_all(steps, cycle=CYCLE, begun_micro=STARTER.allowance_micro)
    assert found[0] == 9500 * MICRO
    assert sum(found) == found[0]
    assert largest_of(steps, begun_micro=0) == TEAM.allowance_micro


def test_a_cycle_that_began_larger_gains_nothing_by_going_down_and_up_again() -> None:
    down, up = (
        step(CYCLE.start + WHOLE / 4, TEAM, STARTER),
        step(CYCLE.start + WHOLE / 2, STARTER, PRO),
    )
    assert credits_of_all([down, up], cycle=CYCLE, begun_micro=TEAM.allowance_micro) == [0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_however_often_a_subscription_changes_it_never_has_more_than_its_largest_tier(
    seed: int,
) -> None:
    dice = random.Random(seed)
    tiers = [STARTER, PRO, TEAM]
    had = dice.choice(tiers)
    begun, at, steps = had, CYCLE.start, []
    for _ in range(dice.randrange(1, 30)):
        at += (CYCLE.end - at) * dice.randrange(1, 40) / 100
        following = dice.choice(tiers)
        steps.append(step(at, had, following))
        had = following
    total = begun.allowance_micro + sum(
        credits_of_all(steps, cycle=CYCLE, begun_micro=begun.allowance_micro)
    )
    assert total <= largest_of(steps, begun_micro=begun.allowance_micro)


def test_one_large_step_and_two_small_ones_at_once_add_the_same() -> None:
    at = CYCLE.start + WHOLE / 2
    small = credits_of_all(
        [step(at, STARTER, PRO), step(at, PRO, TEAM)],
        cycle=CYCLE, begun_micro=STARTER.allowance_micro,
    )  # fmt: skip
    assert sum(small) == added(step(at, STARTER, TEAM)) == 4750 * MICRO


def test_a_charge_below_the_list_price_is_discounted_but_for_rounding() -> None:
    assert before_discounts(8_095, 8_096) == 8_095
    assert before_discounts(8_094, 8_096) == 8_094
    assert before_discounts(4_048, 8_096) == 8_096
    assert before_discounts(9_000, 8_096) == 9_000
    half = CYCLE.start + WHOLE / 2
    assert at_list(STARTER, PRO, at=half, cycle=CYCLE) == charge(STARTER, PRO, half) == 3_500
    assert at_list(STARTER, PRO, at=CYCLE.end, cycle=CYCLE) == 0


def test_seats_and_prices_that_include_nothing_add_nothing() -> None:
    at = CYCLE.start + WHOLE / 2
    assert added(step(at, Included(5_000, 0), Included(10_000, 0))) == 0
    assert added(step(at, Included(5_000, 0), Included(5_000, 100 * MICRO))) == 0


def test_a_subscription_begun_again_is_not_given_for_the_same_days_twice() -> None:
    again = CYCLE.start + WHOLE / 2
    cycle = Period(again, again + WHOLE)
    earlier = [Earlier(CYCLE, 500 * MICRO)]
    assert beginning(500 * MICRO, cycle=cycle, earlier=earlier) == 250 * MICRO
    assert beginning(100 * MICRO, cycle=cycle, earlier=earlier) == 0
    assert beginning(500 * MICRO, cycle=cycle, earlier=[Earlier(CYCLE, 0)]) == 500 * MICRO
    assert beginning(500 * MICRO, cycle=cycle, earlier=[]) == 500 * MICRO
    following = Period(CYCLE.end, CYCLE.end + WHOLE)
    assert beginning(500 * MICRO, cycle=following, earlier=earlier) == 500 * MICRO
