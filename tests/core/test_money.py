"""Credits to money and back: one rounding, and a limit that holds before it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portal.core.units import MICRO, credits_within, money_for

EIGHT_CENTS = 8 * MICRO
credits_ = st.integers(0, 10**15)
amounts = st.integers(0, 10**12)
#: From a millionth of a minor unit to ten thousand dollars for one credit.
prices = st.integers(1, 10**12)


def exact(credits_micro: int, price_micro_minor: int) -> Fraction:
    """Return the price in minor units, unrounded."""
    return Fraction(credits_micro, MICRO) * Fraction(price_micro_minor, MICRO)


@given(credits_, prices)
@example(500_000, MICRO)
@example(1_500_000, MICRO)
def test_credits_cost_their_exact_price_rounded_once_half_to_even(micro: int, price: int) -> None:
    assert money_for(micro, price) == round(exact(micro, price))


@pytest.mark.parametrize(
    ("micro", "minor"),
    [
        (1_000_000, 8), (62_500, 0), (187_500, 2), (312_500, 2), (437_500, 4),
        (62_501, 1), (187_499, 1), (0, 0), (12_500_000, 100),
    ],
)  # fmt: skip
def test_half_a_cent_goes_to_the_even_cent(micro: int, minor: int) -> None:
    assert money_for(micro, EIGHT_CENTS) == minor


@given(amounts, prices)
@example(1, 3)
@example(0, 1)
def test_a_limit_holds_before_rounding_and_therefore_after(amount: int, price: int) -> None:
    most = credits_within(amount, price)
    assert exact(most, price) <= amount
    assert money_for(most, price) <= amount


@given(amounts, prices)
@example(1, 3)
def test_one_millionth_of_a_credit_more_would_pass_the_limit(amount: int, price: int) -> None:
    assert exact(credits_within(amount, price) + 1, price) > amount


@given(amounts, amounts, prices)
def test_a_higher_limit_never_allows_less(one: int, other: int, price: int) -> None:
    low, high = sorted((one, other))
    assert credits_within(low, price) <= credits_within(high, price)


@given(credits_, credits_, prices)
def test_more_credits_never_cost_less(one: int, other: int, price: int) -> None:
    low, high = sorted((one, other))
    assert money_for(low, price) <= money_for(high, price)


@given(amounts, prices, prices)
def test_a_higher_price_never_allows_more(amount: int, one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert credits_within(amount, high) <= credits_within(amount, low)


@given(st.lists(st.integers(0, 10**9), max_size=30), amounts, prices)
def test_spending_step_by_step_up_to_the_limit_never_costs_more_than_it(
    steps: list[int], amount: int, price: int
) -> None:
    limit = credits_within(amount, price)
    used = 0
    for step in steps:
        used += min(step, limit - used)
        assert money_for(used, price) <= amount


@pytest.mark.parametrize("price", [0, -1])
def test_no_limit_in_money_can_hold_without_a_price(price: int) -> None:
    with pytest.raises(ValueError, match="above zero"):
        credits_within(100, price)
