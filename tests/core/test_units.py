"""Exact numbers in and out; one rounding, half to even."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.rating import rate
from portal.core.units import (
    LARGEST_CREDITS,
    MICRO,
    NotExact,
    divide_half_even,
    format_micro,
    format_nano_usd,
    format_scaled,
    parse_micro,
    parse_nano_usd,
    parse_scaled,
)

LARGEST = LARGEST_CREDITS * MICRO
amounts = st.integers(-LARGEST, LARGEST)
positive = st.integers(1, 10**18)


@pytest.mark.parametrize(
    ("value", "micro"),
    [
        (0, 0), (1, 1_000_000), ("12.5", 12_500_000), ("0.000001", 1), ("-0.000001", -1),
        (Decimal("2.50"), 2_500_000), ("1.0000000000", 1_000_000), (0.1, 100_000),
        ("007", 7_000_000), ("-0", 0), (Decimal("-0"), 0), (1_000_000_000, LARGEST),
    ],
)  # fmt: skip
def test_a_plain_decimal_is_read_exactly(value: str | int | Decimal | float, micro: int) -> None:
    assert parse_micro(value) == micro


def test_a_small_number_is_read_as_it_was_written() -> None:
    assert parse_nano_usd(Decimal("0.000000004")) == 4
    assert parse_nano_usd(Decimal("0.0000000040")) == 4
    with pytest.raises(NotExact):
        parse_nano_usd(Decimal("0.0000000004"))


@pytest.mark.parametrize(
    "value",
    [
        "NaN", "sNaN", "Infinity", "-Infinity", "1E+3000000", "1e2", "1_0", "１２", "²", "", " ",
        " 1", "1 ", "1\n", "+1", ".5", "5.", "0x10", "1,5", "١٢", "1.2.3", "--1", "1-", "\x001",
        float("nan"), float("inf"), float("-inf"), 1e400, 1e22, 1e-7, 0.1 + 0.2,
        Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1E+3000000"),
        Decimal("1E+2"), Decimal("1E-7"), True, False, "0.0000001", 0.0000005,
        "1000000000.000001", 1_000_000_001, 10**5000, -(10**13), "9" * 5000, "1." + "0" * 25,
        9007199254740993.0,
    ],
    ids=lambda value: repr(value)[:30] if not isinstance(value, int) else str(value.bit_length()),
)  # fmt: skip
def test_anything_else_is_refused(value: str | int | Decimal | float) -> None:
    with pytest.raises(NotExact):
        parse_micro(value)


def test_a_cost_is_read_to_the_billionth() -> None:
    assert parse_nano_usd("0.0000000375"[:11]) == 37
    assert parse_nano_usd("0.000000001") == 1
    with pytest.raises(NotExact):
        parse_nano_usd("0.0000000375")


@given(amounts)
def test_what_is_written_is_read_back(micro: int) -> None:
    text = format_micro(micro)
    assert parse_micro(text) == micro
    assert parse_micro(Decimal(text)) == micro
    assert Fraction(text) == Fraction(micro, MICRO)


@given(amounts)
def test_it_is_written_as_short_as_can_be(micro: int) -> None:
    text = format_micro(micro)
    assert not text.startswith("-0") or "." in text
    assert "e" not in text.lower()
    assert not ("." in text and text.endswith(("0", ".")))


@given(st.integers(-(10**13) + 1, 10**13 - 1), st.integers(0, 9))
def test_every_scale_is_read_back(amount: int, places: int) -> None:
    text = format_scaled(amount, places=places)
    assert parse_scaled(text, places=places, largest=10**15) == amount


@given(st.integers(0, 10**15))
def test_costs_are_read_back(nano: int) -> None:
    assert parse_nano_usd(format_nano_usd(nano)) == nano


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_taken_as_it_is_written_or_not_at_all(value: float) -> None:
    try:
        micro = parse_micro(value)
    except NotExact:
        return
    assert Fraction(repr(value)) == Fraction(micro, MICRO)


@given(st.text(max_size=30))
def test_no_text_does_anything_but_be_exact_or_be_refused(text: str) -> None:
    try:
        micro = parse_micro(text)
    except NotExact:
        return
    assert Fraction(text) * MICRO == micro


@given(st.integers(-(10**24), 10**24), positive)
def test_rounding_is_half_to_even(numerator: int, denominator: int) -> None:
    assert divide_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@pytest.mark.parametrize(
    ("numerator", "expected"), [(5, 0), (15, 2), (25, 2), (35, 4), (-5, 0), (-15, -2), (26, 3)]
)
def test_halves_go_to_the_even_neighbour(numerator: int, expected: int) -> None:
    assert divide_half_even(numerator, 10) == expected


@given(st.integers(0, 10**15), st.integers(0, 10**12))
def test_a_price_is_rounded_once_and_by_less_than_one_millionth(quantity: int, price: int) -> None:
    exact = Fraction(quantity * price, MICRO)
    rated = rate(quantity_micro=quantity, price_micro=price)
    assert rated == round(exact)
    assert abs(rated - exact) <= Fraction(1, 2)
