"""What goes back with the money: in proportion, rounded once, never more than was bought."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.refunds import (
    Dispute,
    Disputed,
    disputed,
    share_micro,
    taken_back,
    unspent_minor,
)

CREDITS = st.integers(1, 10**15)
PAID = st.integers(1, 10**9)


def dispute(status: str, *, id_: str = "dp_1", withdrawn: int = 0, moved: bool = False) -> Dispute:
    return Dispute(id_, status, 3900, withdrawn, moved or withdrawn > 0)


@given(CREDITS, PAID, st.integers(0, 10**9))
def test_a_part_of_a_payment_is_that_part_of_its_credits_rounded_up(
    credits_: int, paid: int, part: int
) -> None:
    share = share_micro(credits_, part, paid)
    exact = Fraction(credits_ * min(part, paid), paid)
    assert exact <= share < exact + 1
    assert (share == credits_) >= (part >= paid)


@given(CREDITS, PAID, st.lists(st.integers(0, 10**9), min_size=2))
def test_more_money_back_never_takes_fewer_credits(
    credits_: int, paid: int, parts: list[int]
) -> None:
    shares = [share_micro(credits_, part, paid) for part in sorted(parts)]
    assert all(less <= more for less, more in pairwise(shares))


@given(CREDITS, PAID, st.integers(0, 10**9), st.integers(0, 10**9))
def test_refunds_and_disputes_together_take_no_more_than_was_bought(
    credits_: int, paid: int, refunded: int, withdrawn: int
) -> None:
    refund, by_dispute = taken_back(
        credits_, paid, refunded_minor=refunded, disputed_minor=withdrawn
    )
    assert min(refund, by_dispute) >= 0
    assert refund + by_dispute == share_micro(credits_, refunded + withdrawn, paid)
    assert refund == share_micro(credits_, refunded, paid)


def test_a_full_refund_takes_exactly_all_of_it_and_a_free_grant_has_no_share() -> None:
    assert share_micro(500_000_001, 3900, 3900) == 500_000_001
    assert share_micro(500_000_000, 1, 3900) == 128_206
    with pytest.raises(ValueError, match="nothing was paid"):
        share_micro(1, 0, 0)


@given(CREDITS, PAID, st.data())
def test_what_nobody_spent_is_rounded_down_and_never_more_than_is_left(
    credits_: int, paid: int, data: st.DataObject
) -> None:
    left = data.draw(st.integers(0, credits_))
    refunded = data.draw(st.integers(0, paid))
    unspent = unspent_minor(
        paid, credits_micro=credits_, unspent_micro=left, refunded_minor=refunded
    )
    assert 0 <= unspent <= paid - refunded
    assert unspent <= Fraction(paid * left, credits_)


@pytest.mark.parametrize(
    ("told", "stands", "taken"),
    [
        (dispute("warning_needs_response"), "inquiry", 0),
        (dispute("warning_under_review"), "inquiry", 0),
        (dispute("warning_closed"), "none", 0),
        (dispute("needs_response"), "open", 0),
        (dispute("under_review"), "open", 0),
        (dispute("needs_response", withdrawn=3900), "withdrawn", 3900),
        (dispute("under_review", moved=True), "won", 0),
        (dispute("won", moved=True), "won", 0),
        (dispute("won"), "won", 0),
        (dispute("lost", withdrawn=3900), "lost", 3900),
        (dispute("lost"), "lost", 3900),
    ],
)
def test_a_dispute_stands_as_its_status_and_its_money_say(
    told: Dispute, stands: str, taken: int
) -> None:
    assert (told.standing, told.taken_minor) == (stands, taken)


def test_of_several_disputes_the_most_pressing_is_told_and_what_all_took_is_added_up() -> None:
    lost, open_ = dispute("lost"), dispute("needs_response", id_="dp_2")
    assert disputed([lost, open_]) == disputed([open_, lost]) == Disputed("open", "dp_2", 3900)
    assert disputed([]) == Disputed()
