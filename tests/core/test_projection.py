"""What a period comes to: in all, by action, held back by caps, priced, and when credits end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.core.caps import Cap
from portal.core.forecast import History
from portal.core.ledger import Lot
from portal.core.overage import Rate
from portal.core.projection import (
    Driver,
    Outlook,
    Projection,
    driver,
    project,
    too_wide,
    why_not,
)
from portal.core.repricing import Room, Terms, beyond, bounded, burn, room_of_caps, runs_out
from portal.core.units import MICRO

FIRST = date(2026, 9, 7)
NOW = datetime(2026, 11, 20, tzinfo=UTC)
END = NOW + timedelta(days=10)
ENDS = [NOW + timedelta(days=place + 1) for place in range(10)]
AMOUNTS = st.lists(st.integers(0, 10**10), min_size=3, max_size=60)


def history(amounts: list[int]) -> History:
    return History(FIRST, amounts)


def outlook(low: int, middle: int, high: int, *, spent: int = 100) -> Outlook:
    whole = Projection(spent, low, middle, high)
    parts = {
        "document": Projection(spent, min(low, middle - 100), middle - 100, high),
        "image": Projection(0, 0, 100, 200),
    }
    return Outlook(whole, parts, [Projection(spent, spent, spent + 10, spent + 20), whole])


@settings(deadline=None, max_examples=40)
@given(AMOUNTS, AMOUNTS, st.lists(st.floats(0, 1), max_size=35), st.integers(0, 10**12))
def test_actions_add_up_to_the_whole_and_nothing_is_below_what_was_spent(
    documents: list[int], images: list[int], left: list[float], spent: int
) -> None:
    images = (images + [0] * len(documents))[: len(documents)]
    both = [one + other for one, other in zip(documents, images, strict=True)]
    by_action = {"document": history(documents), "image": history(images)}
    found = project(history(both), by_action, left, {"document": spent, "note": 7})
    for one in (found.whole, *found.course, *found.by_action.values()):
        assert one.spent_micro <= one.low_micro <= one.middle_micro <= one.high_micro
    assert sum(part.middle_micro for part in found.by_action.values()) == found.whole.middle_micro
    for before, behind in zip(found.course, found.course[1:], strict=False):
        assert before.middle_micro <= behind.middle_micro
        assert before.high_micro <= behind.high_micro


def test_at_the_periods_end_it_is_what_was_spent() -> None:
    found = project(history([10] * 30), {"document": history([10] * 30)}, [], {"document": 300})
    assert found.whole == Projection(300, 300, 300, 300)
    assert found.by_action == {"document": Projection(300, 300, 300, 300)}


@pytest.mark.parametrize(
    ("amounts", "said"),
    [
        ([], "nothing was used on a whole day yet, and a projection needs three"),
        ([0, 5], "there is one whole day of use so far, and a projection needs three"),
        ([5, 0, 5, 0], "there are 2 whole days of use so far, and a projection needs three"),
        (
            [5] * 20 + [0] * 52 + [5] * 4,
            "credits were used on 4 days of the last 56, too seldom to foresee",
        ),
        (
            [5] * 20 + [0] * 60,
            "credits were used on none of the last 56, too seldom to foresee",
        ),
    ],
)
def test_what_says_too_little_is_refused_in_words(amounts: list[int], said: str) -> None:
    assert why_not(history(amounts)) == said


def test_three_days_of_use_say_something() -> None:
    assert why_not(history([5, 5, 5])) is None


def test_a_range_that_could_be_anything_is_refused() -> None:
    assert too_wide(Projection(0, 10, 100, 400)) is None
    assert too_wide(Projection(0, 10, 100, 411)) is not None


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 1000), min_size=3, max_size=3),
    st.integers(0, 1500),
    st.none() | st.integers(0, 500),
)
def test_a_hard_cap_bounds_the_projection_and_actions_still_add_up(
    more: list[int], room: int, room_for_images: int | None
) -> None:
    low, middle, high = (100 + 100 + one for one in sorted(more))
    by_action = {} if room_for_images is None else {"image": room_for_images}
    found = bounded(outlook(low, middle, high), Room(room, by_action))
    assert 100 <= found.whole.low_micro <= found.whole.middle_micro <= found.whole.high_micro
    assert found.whole.high_micro <= 100 + room
    assert sum(part.middle_micro for part in found.by_action.values()) == found.whole.middle_micro
    if room_for_images is not None:
        assert found.by_action["image"].high_micro <= room_for_images
    for part in found.by_action.values():
        assert part.spent_micro <= part.low_micro <= part.middle_micro <= part.high_micro
    assert all(step.high_micro <= found.whole.high_micro for step in found.course)


def test_without_a_limit_nothing_is_held_back() -> None:
    found = outlook(200, 400, 600)
    assert bounded(found, Room(None, {})) == found


def cap(limit: int, window: str = "period", action: str = "", **more: str) -> Cap:
    given = {"scope": "organization", "target": "", "mode": "hard"} | more
    return Cap("cap", action=action, window=window, limit_micro=limit, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "room"),
    [
        (cap(1000), Room(1000 - 100 - 30, {})),
        (cap(120), Room(0, {})),
        # Friday: 30 of today's 50, then five whole days.
        (cap(50, "day"), Room(20 + 5 * 50, {})),
        # 130 of this week's 200; the next week begins on Monday.
        (cap(200, "week"), Room(70 + 200, {})),
        (cap(40, action="image"), Room(None, {"image": 10})),
        (cap(10, mode="soft"), Room(None, {})),
        (cap(10, scope="member", target="cleo"), Room(None, {})),
    ],
)
def test_a_cap_leaves_what_its_windows_have_left(one: Cap, room: Room) -> None:
    assert _room(one) == room


@pytest.mark.parametrize(
    ("one", "room"),
    [
        (cap(1000), Room(1000 + 60 - 100 - 30, {})),
        # What today is raised by is today's alone.
        (cap(50, "day"), Room(20 + 60 + 5 * 50, {})),
        (cap(40, action="image"), Room(None, {"image": 10 + 60})),
    ],
)
def test_a_raise_leaves_more_in_the_window_of_today_alone(one: Cap, room: Room) -> None:
    assert _room(one, raised_micro=60) == room


def _room(one: Cap, raised_micro: int = 0) -> Room:
    friday = date(2026, 11, 20)
    spent = {
        (friday, "image"): 30,
        (friday - timedelta(days=1), "document"): 100,
        (friday - timedelta(days=30), "image"): 999,
    }
    return room_of_caps(
        [one],
        spent,
        first_day=date(2026, 11, 1),
        today=friday,
        last_day=friday + timedelta(days=5),
        raised_micro={one.cap_id: raised_micro},
    )


def test_credits_run_out_on_the_day_the_course_says() -> None:
    lots = [Lot("a", "pack", 50, NOW, None, 35)]
    fast, middle, slow = (
        burn(lots, 100, [100 + pace * day for day in range(1, 11)], ENDS, now=NOW, until=END)
        for pace in (20, 10, 2)
    )
    out = runs_out(fast, middle, slow, end=END)
    assert out is not None
    assert out.early == NOW + timedelta(days=1.75)
    assert out.middle == NOW + timedelta(days=3.5)
    assert out.late is None
    assert (fast.spent_micro, middle.spent_micro, slow.spent_micro) == (35, 35, 20)
    assert runs_out(slow, slow, slow, end=END) is None


def test_an_idle_weekend_postpones_the_end_of_the_credits() -> None:
    lots = [Lot("a", "pack", 50, NOW, None, 15)]
    sums = [110, 110, 110, 120, 130, 140, 150, 160, 160, 160]
    found = burn(lots, 100, sums, ENDS, now=NOW, until=END)
    assert found.runs_out_at == NOW + timedelta(days=3.5)


def test_what_goes_beyond_the_grants_is_priced_once_and_within_its_room() -> None:
    eight_cents = 8 * MICRO
    terms = Terms(eight_cents, [Rate(eight_cents, 10 * MICRO, 0)], 100 * MICRO)
    found = beyond(terms, 50 * MICRO, 500 * MICRO)
    assert (found.middle_minor, found.high_minor) == (8 * 60, 8 * 110)
    none = beyond(Terms(None, [Rate(eight_cents, 10 * MICRO, 0)], 0), 50 * MICRO, 500 * MICRO)
    assert (none.middle_minor, none.high_minor) == (80, 80)


def test_the_driver_is_the_action_that_moved_most_and_whoever_clearly_moved_it() -> None:
    before = {
        ("document", "", "ana"): 100 * MICRO,
        ("image", "research", "cleo"): 50 * MICRO,
        ("image", "", "ben"): 50 * MICRO,
    }
    last = before | {
        ("document", "", "ana"): 110 * MICRO,
        ("image", "research", "cleo"): 85 * MICRO,
        ("image", "", "ben"): 53 * MICRO,
    }
    assert driver(last, before) == Driver("image", 38 * MICRO, 38, "research", "cleo")
    assert driver(before, last) == Driver("image", -38 * MICRO, -28, "research", "cleo")


def test_a_new_action_moves_without_a_percentage() -> None:
    before = {("document", "", "ana"): 100 * MICRO}
    last = before | {("image", "", "ana"): 20 * MICRO}
    assert driver(last, before) == Driver("image", 20 * MICRO, None)


def test_little_and_a_first_week_move_nothing() -> None:
    before = {("document", "", "ana"): 100 * MICRO}
    assert driver({("document", "", "ana"): 105 * MICRO}, before) is None
    assert driver(before, {}) is None
