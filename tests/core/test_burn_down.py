"""What a pace does to the credits at hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from portal.core.burn_down import burn_down, pace_of
from portal.core.ledger import Lot
from portal.core.units import MICRO

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
END = datetime(2026, 12, 1, tzinfo=UTC)
TEN_A_DAY = pace_of(10 * MICRO, timedelta(days=1))


def lot(name: str, whole: int, expires_in: int | None) -> Lot:
    expires_at = None if expires_in is None else NOW + timedelta(days=expires_in)
    return Lot(name, "pack", 50, NOW, expires_at, whole * MICRO, whole * MICRO)


def test_a_lot_that_never_ends_lasts_as_long_as_the_pace_says() -> None:
    found = burn_down([lot("a", 35, None)], micro_per_second=TEN_A_DAY, now=NOW, until=END)
    assert found.runs_out_at == NOW + timedelta(days=3.5)
    assert found.unspent_micro == {}


def test_what_outlasts_the_horizon_does_not_run_out() -> None:
    found = burn_down([lot("a", 500, None)], micro_per_second=TEN_A_DAY, now=NOW, until=END)
    assert found.runs_out_at is None


def test_what_expires_before_it_is_spent_is_lost_and_the_next_lot_goes_on() -> None:
    lots = [lot("first", 50, 2), lot("second", 10, None)]
    found = burn_down(lots, micro_per_second=TEN_A_DAY, now=NOW, until=END)
    assert found.unspent_micro == {"first": 30 * MICRO}
    assert found.runs_out_at == NOW + timedelta(days=3)


def test_a_lot_that_waits_its_turn_may_expire_meanwhile() -> None:
    lots = [lot("first", 100, None), lot("second", 20, 5)]
    found = burn_down(lots, micro_per_second=TEN_A_DAY, now=NOW, until=END)
    assert found.unspent_micro == {"second": 20 * MICRO}


def test_without_a_pace_nothing_runs_out_and_all_that_expires_is_left() -> None:
    found = burn_down([lot("a", 5, 3)], micro_per_second=Fraction(0), now=NOW, until=END)
    assert not found.paced
    assert found.runs_out_at is None
    assert found.unspent_micro == {"a": 5 * MICRO}


def test_no_credits_have_run_out_now() -> None:
    found = burn_down([], micro_per_second=TEN_A_DAY, now=NOW, until=END)
    assert found.runs_out_at == NOW


def test_no_pace_comes_of_nothing_to_spend_or_no_time() -> None:
    assert pace_of(0, timedelta(days=1)) == 0
    assert pace_of(MICRO, timedelta(0)) == 0
