"""One rounding: a million prices against exact fractions, and parts that add up to the whole."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from portal.core.rating import rate
from portal.core.units import MICRO, apportion, credits_within, divide_half_even, money_for

ROUNDS = 1_000_000
weights = st.lists(st.integers(0, 10**15), max_size=40)


def drawn(seed: int, count: int) -> list[tuple[int, int]]:
    """Return quantities and prices in millionths, of every size, a fifth of them exact halves."""
    chance = random.Random(seed)
    pairs = []
    for number in range(count):
        quantity = chance.getrandbits(chance.randrange(1, 50))
        price = chance.getrandbits(chance.randrange(1, 40))
        if number % 5 == 0:
            # An odd number of half millionths: where half to even and half up part ways.
            quantity, price = quantity * 2 + 1, (price * 2 + 1) * 500_000
        pairs.append((quantity, price))
    return pairs


def test_a_million_prices_are_the_exact_ones_rounded_half_to_even() -> None:
    halves = 0
    for quantity, price in drawn(2026, ROUNDS):
        exact = Fraction(quantity * price, MICRO)
        rated = rate(quantity_micro=quantity, price_micro=price)
        assert rated == round(exact)
        halves += exact.denominator == 2
    assert halves >= ROUNDS // 5


def test_a_price_is_off_by_less_than_a_millionth_of_a_credit_and_off_by_nothing_in_the_mean() -> (
    None
):
    off = Fraction(0)
    pairs = drawn(31, 20_000)
    for quantity, price in pairs:
        exact = Fraction(quantity * price, MICRO)
        error = rate(quantity_micro=quantity, price_micro=price) - exact
        assert abs(error) <= Fraction(1, 2)
        off += error
    # A fifth of them are halves: rounded up, they would be off by a tenth in the mean.
    assert abs(off / len(pairs)) < Fraction(1, 100)


@given(st.integers(-(10**24), 10**24), st.integers(1, 10**18), st.integers(1, 1000))
def test_rounding_does_not_depend_on_how_a_fraction_is_written(
    numerator: int, denominator: int, times: int
) -> None:
    rounded = divide_half_even(numerator, denominator)
    assert divide_half_even(numerator * times, denominator * times) == rounded
    assert divide_half_even(-numerator, denominator) == -rounded


@given(st.integers(-(10**18), 10**18), weights)
def test_parts_add_up_to_the_whole(whole: int, given_weights: list[int]) -> None:
    parts = apportion(whole, given_weights)
    total = sum(given_weights)
    assert len(parts) == len(given_weights)
    assert sum(parts) == (whole if total else 0)
    for part, weight in zip(parts, given_weights, strict=True):
        assert abs(part - Fraction(whole * weight, total or 1)) < 1
        assert weight or not part


@given(st.integers(0, 10**18), weights, st.randoms(use_true_random=False))
def test_a_larger_weight_never_gets_less(
    whole: int, given_weights: list[int], chance: random.Random
) -> None:
    parts = apportion(whole, given_weights)
    by_weight = sorted(zip(given_weights, parts, strict=True))
    for (lighter, less), (heavier, more) in itertools.pairwise(by_weight):
        assert less <= more or lighter == heavier


@given(st.lists(st.integers(0, 10**13), max_size=30), st.integers(1, 10**10))
def test_a_bill_split_by_its_lines_adds_up_to_the_bill(lines: list[int], price: int) -> None:
    bill = money_for(sum(lines), price)
    assert sum(apportion(bill, lines)) == bill


def test_a_hundred_thousand_limits_in_money_hold_exactly_and_leave_nothing_unused() -> None:
    chance = random.Random(7)
    for _ in range(100_000):
        amount = chance.getrandbits(chance.randrange(1, 40))
        price = chance.getrandbits(chance.randrange(1, 40)) or 1
        most = credits_within(amount, price)
        limit = amount * MICRO * MICRO
        assert most * price <= limit < (most + 1) * price
        assert money_for(most, price) <= amount
