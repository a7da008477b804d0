"""Whom to talk to first: who has the most at stake, each once, about the one thing."""

from __future__ import annotations

from dataclasses import replace

from portal.core.conversations import About, Known, choose

DOLLAR = 10**9
FINE = Known(
    customer="fine", revenue_nano_usd=100 * DOLLAR, cost_nano_usd=20 * DOLLAR,
    revenue_before_nano_usd=100 * DOLLAR, cost_before_nano_usd=20 * DOLLAR,
    used_micro=10**9, used_before_micro=10**9, leaked_nano_usd=0, overdue=False,
)  # fmt: skip


def told(*known: Known, most: int = 5) -> list[tuple[str, About, int]]:
    found = choose(known, most=most)
    return [(one.customer, one.about, one.at_stake_nano_usd // DOLLAR) for one in found]


def test_nobody_is_bothered_who_pays_for_what_they_cost() -> None:
    assert told(FINE) == []


def test_who_costs_more_than_they_bring_is_told_by_what_they_lose() -> None:
    under = replace(FINE, customer="under", cost_nano_usd=160 * DOLLAR)
    assert told(FINE, under) == [("under", About.UNDER_WATER, 60)]


def test_a_margin_that_fell_is_told_by_how_much_less_is_left() -> None:
    dearer = replace(FINE, cost_nano_usd=45 * DOLLAR)
    assert told(dearer) == [("fine", About.FELL, 25)]
    assert told(replace(FINE, cost_nano_usd=25 * DOLLAR)) == []


def test_who_uses_half_of_what_they_did_may_be_leaving_with_that_part_of_their_revenue() -> None:
    leaving = replace(FINE, customer="leaving", used_micro=25 * 10**7)
    assert told(leaving) == [("leaving", About.LEAVING, 75)]
    assert told(replace(leaving, used_micro=51 * 10**7)) == []


def test_a_small_use_that_ends_is_no_sign() -> None:
    assert told(replace(FINE, used_micro=0, used_before_micro=19_000_000)) == []


def test_work_that_is_not_charged_and_payments_that_are_late_are_told() -> None:
    leaks = replace(FINE, customer="leaks", leaked_nano_usd=7 * DOLLAR)
    late = replace(FINE, customer="late", overdue=True)
    assert told(leaks, late) == [("late", About.OVERDUE, 100), ("leaks", About.NOT_CHARGED, 7)]


def test_the_most_at_stake_comes_first_and_no_more_than_asked_for() -> None:
    many = [replace(FINE, customer=str(n), leaked_nano_usd=n * DOLLAR) for n in range(1, 9)]
    assert [one[0] for one in told(*many, most=3)] == ["8", "7", "6"]


def test_without_a_rate_only_what_is_known_is_told() -> None:
    foreign = replace(
        FINE, revenue_nano_usd=None, revenue_before_nano_usd=None, cost_nano_usd=500 * DOLLAR
    )
    assert told(foreign) == []
    assert told(replace(foreign, leaked_nano_usd=3 * DOLLAR)) == [("fine", About.NOT_CHARGED, 3)]
