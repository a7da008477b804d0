"""The cheapest tier for what a period will use, in the customer's favour and with reasons."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal import catalog
from portal.core.catalog import Pack, parse
from portal.core.recommendation import cheapest_packs, recommend
from portal.core.units import MICRO

BOOK = parse(catalog.DEFAULT_FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("current", "credits_", "best", "total"),
    [
        ("pro", 100, "starter", 2900),
        ("pro", 500, "starter", 2900),
        ("starter", 600, None, 3700),
        ("starter", 1375, None, 9900),
        ("starter", 1376, "pro", 9900),
        ("team", 2500, "pro", 9900),
        ("team", 10_000, None, 29_900),
        ("team", 11_000, None, 33_900),
        ("starter", 20_000, "team", 69_900),
        (None, 100, "starter", 2900),
        ("enterprise", 100, None, 2900),
        ("gone", 100, None, 2900),
    ],
)
def test_the_cheapest_is_recommended_and_a_tie_stays(
    current: str | None, credits_: int, best: str | None, total: int
) -> None:
    found = recommend(BOOK, current=current, projected_micro=credits_ * MICRO)
    assert (found.best.tier if found.best else None) == best
    assert found.costs[0].total_minor == total
    if best and current:
        assert found.saving_minor > 0


def test_the_arithmetic_is_told_for_every_tier() -> None:
    found = recommend(BOOK, current="starter", projected_micro=3000 * MICRO)
    told = {one.tier: (one.price_minor, one.beyond_micro, one.beyond, one.beyond_minor, one.packs)
            for one in found.costs}  # fmt: skip
    assert told == {
        "pro": (9900, 500 * MICRO, "overage", 3000, ()),
        "starter": (2900, 2500 * MICRO, "packs", 16_800, ("medium", "small")),
        "team": (29_900, 0, "", 0, ()),
    }


@given(st.integers(0, 40_000 * MICRO), st.sampled_from([None, *BOOK.tiers]))
def test_a_change_never_costs_more_than_staying(micro: int, current: str | None) -> None:
    found = recommend(BOOK, current=current, projected_micro=micro)
    assert found.costs == sorted(found.costs, key=lambda one: one.total_minor)
    if found.current is not None and found.best is not None:
        assert found.best.total_minor < found.current.total_minor
        assert found.best.tier != current
    if found.current is not None and found.best is None:
        assert found.current.total_minor == min(one.total_minor for one in found.costs)


@given(st.integers(1, 30_000))
def test_packs_cover_what_is_needed_at_the_least_price(credits_: int) -> None:
    packs = [replace(one, price_minor=price) for one, price in
             zip(BOOK.packs.values(), (3900, 12_900, 49_900), strict=True)]  # fmt: skip
    found = cheapest_packs(packs, credits_ * MICRO)
    assert found is not None
    by_key = {one.key: one for one in packs}
    assert sum(by_key[key].credits_micro for key in found[1]) >= credits_ * MICRO
    assert sum(by_key[key].price_minor for key in found[1]) == found[0]
    if credits_ <= 12_000:
        every = (
            chosen
            for count in range(1, 8)
            for chosen in combinations_with_replacement(packs, count)
        )
        assert found[0] == min(
            sum(one.price_minor for one in chosen)
            for chosen in every
            if sum(one.credits_micro for one in chosen) >= credits_ * MICRO
        )


def test_without_packs_or_overage_a_tier_that_is_too_small_is_no_choice() -> None:
    tiers = {key: replace(one, overage_price_micro_minor=None) for key, one in BOOK.tiers.items()}
    bare = replace(BOOK, tiers=tiers, packs={})
    found = recommend(bare, current="starter", projected_micro=600 * MICRO)
    assert [one.tier for one in found.costs] == ["pro", "team"]
    assert cheapest_packs([], MICRO) is None


def test_many_packs_are_counted_out_at_once() -> None:
    only = [Pack("one", "1", MICRO, 10, None), Pack("ten", "10", 10 * MICRO, 90, None)]
    found = cheapest_packs(only, 1_000_003 * MICRO)
    assert found is not None
    assert found[0] == 100_000 * 90 + 30
