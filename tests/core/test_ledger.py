"""In which order grants are spent, and what a receipt says about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from portal.core.ledger import (
    DEFAULT_PRIORITY,
    Lot,
    Take,
    available,
    in_burn_down_order,
    split_receipt,
    take,
)

NOW = datetime(2026, 11, 9, 12, tzinfo=UTC)
DAY = timedelta(days=1)
BASE = Lot("m", "promotion", 30, NOW - DAY, None, 100)


def order(*lots: Lot) -> list[str]:
    return [lot.grant_id for lot in in_burn_down_order(lots, now=NOW)]


def lot(grant_id: str, **changes: object) -> Lot:
    return replace(BASE, grant_id=grant_id, **changes)


def test_each_rule_decides_where_those_before_it_do_not() -> None:
    soon, later = NOW + DAY, NOW + 2 * DAY
    assert order(lot("a", priority=31, expires_at=soon), lot("b")) == ["b", "a"]
    assert order(lot("a"), lot("b", expires_at=later), lot("c", expires_at=soon)) == ["c", "b", "a"]
    paid = lot("a", paid=True, effective_at=NOW - 2 * DAY)
    assert order(paid, lot("b")) == ["b", "a"]
    assert order(lot("a"), lot("b", effective_at=NOW - 2 * DAY)) == ["b", "a"]
    assert order(lot("b"), lot("c"), lot("a")) == ["a", "b", "c"]


def test_what_is_included_comes_before_what_was_bought() -> None:
    sources = ["pack", "promotion", "rollover", "allowance"]
    lots = [lot(source, source=source, priority=DEFAULT_PRIORITY[source]) for source in sources]
    assert order(*lots) == ["rollover", "allowance", "promotion", "pack"]


def test_only_what_is_effective_unexpired_and_left_is_spent() -> None:
    lots = [
        lot("empty", remaining_micro=0),
        lot("future", effective_at=NOW + timedelta(microseconds=1)),
        lot("now", effective_at=NOW),
        lot("over", expires_at=NOW),
        lot("last", expires_at=NOW + timedelta(microseconds=1)),
    ]
    assert order(*lots) == ["last", "now"]
    assert available(lots, now=NOW) == 200


instants = st.integers(-3, 3).map(lambda days: NOW + days * DAY)
lots = st.builds(
    Lot,
    grant_id=st.text("abcdef", min_size=1, max_size=4),
    source=st.just("promotion"),
    priority=st.integers(0, 2),
    effective_at=instants,
    expires_at=st.none() | instants,
    remaining_micro=st.integers(0, 100),
    paid=st.booleans(),
)
many = st.lists(lots, max_size=8, unique_by=lambda one: one.grant_id)


@given(many, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_how_lots_arrive(found: list[Lot], random: object) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert order(*found) == order(*shuffled)


@given(many, st.integers(0, 1000))
def test_takes_and_what_is_missing_are_the_amount(found: list[Lot], amount: int) -> None:
    ordered = in_burn_down_order(found, now=NOW)
    receipt, missing = take(ordered, amount)
    assert sum(line.amount_micro for line in receipt) + missing == amount
    assert missing == max(0, amount - available(found, now=NOW))
    by_id = {one.grant_id: one for one in found}
    assert [line.account for line in receipt] == [one.account for one in ordered][: len(receipt)]
    for line in receipt[:-1]:
        assert line.amount_micro == by_id[line.account].remaining_micro
    assert all(0 < line.amount_micro <= by_id[line.account].remaining_micro for line in receipt)


receipts = st.lists(
    st.builds(Take, st.text("abcdef", min_size=1, max_size=3), st.integers(1, 100)),
    max_size=6,
    unique_by=lambda line: line.account,
)


@given(receipts, st.integers(0, 700))
def test_splitting_a_receipt_loses_nothing_and_uses_the_first_taken_first(
    receipt: list[Take], spend: int
) -> None:
    used, returned = split_receipt(receipt, spend)
    whole = sum(line.amount_micro for line in receipt)
    assert sum(line.amount_micro for line in used) == min(spend, whole)
    assert sum(line.amount_micro for line in used + returned) == whole
    assert all(line.amount_micro > 0 for line in used + returned)
    accounts = [line.account for line in receipt]
    assert [line.account for line in used] == accounts[: len(used)]
    assert [line.account for line in returned] == accounts[len(accounts) - len(returned) :]
    for line in receipt:
        parts = [one.amount_micro for one in used + returned if one.account == line.account]
        assert sum(parts) == line.amount_micro
