"""The verdict on pricing by the seat: each condition holds, fails, or cannot be told."""

from __future__ import annotations

from datetime import date

import pytest

from portal.core.margin.figures import Span
from portal.core.signal_kinds import Customer
from portal.core.verdict import Holds, Pattern, Selling, pattern_of, per_seat

QUARTER = Span(date(2026, 7, 1), date(2026, 10, 1))
ALIKE = [10] * 30


def customers(*costs: int, revenue: int = 100) -> list[Customer]:
    return [Customer(f"c{place}", cost, revenue) for place, cost in enumerate(costs)]


def test_it_works_where_everybody_uses_a_little_alike() -> None:
    found = per_seat(customers(*[5] * 30), ALIKE, Selling(per_seat=30, metered=30), QUARTER)
    assert found.works is Holds.YES
    assert [one.holds for one in found.conditions] == [Holds.YES] * 3
    assert [one.figure for one in found.conditions] == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("costs", "uses", "failed"),
    [
        # A quarter of customers costs more than a tenth of what they pay: it is the product.
        ([5] * 30 + [30] * 10, ALIKE, ["feature"]),
        # One in a hundred people does seven times what the middle one does.
        ([5] * 30, [10] * 90 + [70] * 10, ["natural-cap"]),
        # Two lose 500 each; the others earn 28 times 98.
        ([2] * 28 + [600] * 2, ALIKE, ["feature", "affordable"]),
    ],
)
def test_it_has_stopped_working_where_one_condition_fails(
    costs: list[int], uses: list[int], failed: list[str]
) -> None:
    found = per_seat(customers(*costs), uses, Selling(), QUARTER)
    assert [one.key for one in found.conditions if one.holds is Holds.NO] == failed
    assert found.works is Holds.NO


def test_who_is_under_water_is_named_the_deepest_first() -> None:
    found = per_seat(customers(*[2] * 28, 300, 600), ALIKE, Selling(), QUARTER)
    affordable = found.conditions[2]
    assert affordable.customers == ("c29", "c28")
    assert affordable.figure == pytest.approx(700 / (28 * 98))
    assert "600%" in affordable.says


def test_what_is_not_known_neither_holds_nor_fails() -> None:
    found = per_seat(customers(5, 5), [], Selling(), QUARTER)
    assert {one.holds for one in found.conditions} == {Holds.UNKNOWN}
    assert found.works is Holds.UNKNOWN
    assert {one.figure for one in found.conditions} == {None}


@pytest.mark.parametrize(
    ("selling", "asks", "says"),
    [
        (Selling(per_seat=30), "Has pricing by the seat stopped working?",
         "Pricing by the seat has stopped working. Not true: "),
        (Selling(flat=30), "Has one price for any use stopped working?",
         "One price for any use has stopped working. Not true: "),
        (Selling(per_seat=3, credits=37), "Has pricing by the seat stopped working?",
         "3 of 40 customers pay so. Pricing by the seat has stopped working. Not true: "),
        (Selling(per_seat=20, flat=10), "Has pricing by the seat or at one price stopped working?",
         "Pricing by the seat or at one price has stopped working. Not true: "),
        (Selling(credits=30, metered=30), "Would pricing by the seat work here?",
         "Nobody is sold seats. They would not work here. Not true: "),
        (Selling(custom=30), "Would pricing by the seat work here?",
         "Nobody is sold seats. They would not work here. Not true: "),
        (Selling(), "Would pricing by the seat work here?",
         "Nobody is on a plan yet. Seats would not work here. Not true: "),
    ],
)  # fmt: skip
def test_what_is_said_is_true_of_how_is_sold(selling: Selling, asks: str, says: str) -> None:
    found = per_seat(customers(*[5] * 30, *[30] * 10), ALIKE, selling, QUARTER)
    assert found.asks == asks
    assert found.says == f"{says}AI is a feature, not the product."


@pytest.mark.parametrize("costs", [[5] * 30, [5] * 2, [5] * 30 + [30] * 10])
def test_seats_that_nobody_is_sold_neither_work_still_nor_have_stopped(costs: list[int]) -> None:
    found = per_seat(customers(*costs), ALIKE, Selling(credits=30, metered=30), QUARTER)
    assert "stopped" not in found.says
    assert "still" not in found.says


@pytest.mark.parametrize(
    ("selling", "pattern", "dangerous"),
    [
        (Selling(per_seat=10, metered=2), Pattern.SEATS_UNTRACKED, True),
        (Selling(per_seat=10, metered=9), Pattern.SEATS_TRACKED, False),
        (Selling(flat=10, per_seat=2, metered=12), Pattern.FLAT, True),
        (Selling(credits=10, metered=2), Pattern.CREDITS_UNMETERED, True),
        (Selling(credits=10, metered=10, open_ended=9), Pattern.USE_WITHOUT_CAPS, True),
        (Selling(credits=10, metered=10, open_ended=1), Pattern.HYBRID, False),
        (Selling(custom=10, metered=10), Pattern.ARRANGED, False),
        (Selling(), Pattern.NONE, False),
    ],
)
def test_the_pattern_is_that_of_most_customers(
    selling: Selling, pattern: Pattern, dangerous: bool
) -> None:
    found = pattern_of(selling)
    assert (found.pattern, found.dangerous) == (pattern, dangerous)
    assert found.why
