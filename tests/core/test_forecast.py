"""The forecast's own rules: what it says of any history, and what of some that are well known."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.core.forecast import MOST_DAYS, Course, History

MONDAY = date(2026, 6, 1)
DAYS = st.lists(st.one_of(st.just(0), st.integers(0, 10**12)), max_size=120)
LEFT = st.lists(st.floats(0, 1), max_size=40)


def course(amounts: list[float], days: int = 20) -> Course:
    return Course(History(MONDAY, amounts), horizon_days=days)


def weeks(count: int, *, workday: float = 100, weekend: float = 0) -> list[float]:
    return ([workday] * 5 + [weekend] * 2) * count


@settings(deadline=None, max_examples=60)
@given(DAYS, LEFT)
def test_an_estimate_is_in_order_never_below_zero_and_always_a_number(
    amounts: list[float], left: list[float]
) -> None:
    found = Course(History(MONDAY, amounts), horizon_days=sum(left)).ahead(left)
    assert 0 <= found.low <= found.middle <= found.high
    assert math.isfinite(found.high)


@settings(deadline=None, max_examples=30)
@given(DAYS, st.sampled_from([0.001, 7, 10**6]))
def test_an_estimate_scales_with_its_history(amounts: list[float], scale: float) -> None:
    one = course(amounts).ahead([1.0] * 20)
    other = course([amount * scale for amount in amounts]).ahead([1.0] * 20)
    for figure in ("low", "middle", "high"):
        assert getattr(other, figure) == pytest.approx(getattr(one, figure) * scale, rel=1e-6)


def test_nothing_comes_of_no_time_and_of_no_history() -> None:
    assert course([10.0] * 30).ahead([]).high == 0
    assert course([10.0] * 30).ahead([0.0]).high == 0
    assert course([]).ahead([1.0] * 20).high == 0
    assert course([0.0] * 50).ahead([1.0] * 20).high == 0


def test_a_steady_pace_is_carried_on() -> None:
    found = course([10.0] * 60).ahead([1.0] * 20)
    assert found.middle == pytest.approx(200)
    assert found.low > 100
    assert found.high < 300


def test_each_weekday_is_carried_on_by_itself() -> None:
    found = course(weeks(8), days=7)
    assert found.ahead([1.0] * 5).middle == pytest.approx(500)
    assert found.ahead([1.0] * 7).middle == pytest.approx(500, rel=0.01)


def test_the_days_before_the_first_use_are_not_idle_days() -> None:
    late = course([0.0] * 21 + weeks(6))
    assert late.ahead([1.0] * 20) == course(weeks(6)).ahead([1.0] * 20)


def test_one_spike_moves_the_days_to_come_little() -> None:
    calm = [100.0] * 60
    spike = [*calm[:-3], 5000.0, *calm[-2:]]
    assert course(spike).ahead([1.0] * 5).middle < 1.1 * course(calm).ahead([1.0] * 5).middle


def test_the_latest_weeks_count_more_than_those_before() -> None:
    grown = [100.0] * 42 + [200.0] * 21
    found = course(grown).ahead([1.0] * 10).middle
    assert 1800 < found <= 2000


def test_of_a_day_that_is_half_over_half_is_to_come() -> None:
    whole = course([10.0] * 30, days=1)
    assert whole.ahead([0.5]).middle == pytest.approx(whole.ahead([1.0]).middle / 2)


def test_before_two_weeks_are_known_the_last_whole_week_is_carried_on() -> None:
    amounts = [9999.0, *weeks(1)]
    assert course(amounts).ahead([1.0] * 14).middle == pytest.approx(1000)


def test_a_range_is_wider_for_a_wilder_history_for_longer_and_for_newer() -> None:
    def width(amounts: list[float], days: int = 20) -> float:
        found = course(amounts, days).ahead([1.0] * days)
        return found.high - found.low

    wild = [100.0 + 60 * ((place * 7919) % 3 - 1) for place in range(84)]
    calm = [100.0 + 6 * ((place * 7919) % 3 - 1) for place in range(84)]
    assert width(wild) > 3 * width(calm)
    assert width(calm, 20) > width(calm, 5)
    assert width(calm[-8:]) > width(calm)


def test_a_year_ago_tells_of_the_days_to_come_but_not_all() -> None:
    amounts = [100.0] * MOST_DAYS
    then = len(amounts) - 364
    amounts[then : then + 20] = [50.0] * 20
    found = course(amounts).ahead([1.0] * 20).middle
    assert 1000 < found < 1900


def test_no_more_than_some_four_hundred_days_are_looked_at() -> None:
    recent = [10.0 + place % 5 for place in range(MOST_DAYS)]
    first = MONDAY - timedelta(days=500)
    longer = History(first, [*([7.0] * 500), *recent])
    assert Course(longer, horizon_days=9).ahead([1.0] * 9) == course(recent, 9).ahead([1.0] * 9)
