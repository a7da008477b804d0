"""Chart geometry: what is drawn stands inside its pane, adds up, and is never scaled away."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.units import MICRO
from portal.web.customer import charts

FIRST = date(2026, 11, 1)


def days(count: int) -> list[date]:
    return [FIRST + timedelta(days=place) for place in range(count)]


@pytest.mark.parametrize(
    ("top", "ceiling"),
    [(0, 1), (1, 1), (3, 3), (97, 100), (130, 150), (2_890, 3_000), (10_000, 10_000)],
)
def test_a_scale_ends_on_a_round_number_at_or_above_what_it_shows(top: int, ceiling: int) -> None:
    found, values = charts.scale(top * MICRO, steps=3)
    assert found == ceiling * MICRO
    assert values[0] == 0
    assert top == 0 or values[-1] == found


@given(st.integers(min_value=1, max_value=10**15), st.integers(min_value=1, max_value=6))
def test_a_scale_has_few_even_steps_for_any_amount(top: int, steps: int) -> None:
    ceiling, values = charts.scale(top, steps=steps)
    assert ceiling >= top
    assert len(values) <= steps + 1
    assert len({after - before for before, after in pairwise(values)}) == 1


@given(st.lists(st.lists(st.integers(0, 10**12), min_size=3, max_size=3), min_size=1, max_size=40))
def test_bars_stay_inside_their_pane(columns: list[list[int]]) -> None:
    drawn = charts.bars(columns, days(len(columns)), slots=len(columns), height=90)
    for bar, column in zip(drawn.bars, columns, strict=True):
        assert len(bar.segments) == sum(1 for value in column if value)
        for part in bar.segments:
            assert 0 <= part.y <= 90
            assert part.height >= charts.LEAST_PIXELS


def test_little_is_still_drawn() -> None:
    drawn = charts.bars([[1, 10**12]], days(1), slots=1, height=90)
    assert drawn.bars[0].segments[0].height == charts.LEAST_PIXELS


def test_today_takes_the_place_of_the_labels_near_it() -> None:
    marks = charts.marks(days(30), today=21)
    assert [mark.day.day for mark in marks] == [1, 7, 13, 22]
    assert [mark.today for mark in marks] == [False, False, False, True]


def test_labels_at_the_edges_turn_inwards() -> None:
    marks = charts.marks(days(30), today=29)
    assert (marks[0].x, marks[0].anchor) == ("0%", "start")
    assert (marks[-1].x, marks[-1].anchor) == ("100%", "end")


def course(**changes: object) -> charts.Course:
    given_: dict[str, object] = {
        "slots": 30,
        "elapsed": 0.5,
        "projected": (150 * MICRO, 200 * MICRO, 300 * MICRO),
        "limits": [("soft", 250 * MICRO)],
        "height": 100.0,
    }
    return charts.course([50 * MICRO, 100 * MICRO], **(given_ | changes))  # type: ignore[arg-type]


def test_the_course_goes_from_now_to_the_middle_of_the_projection() -> None:
    drawn = course()
    assert drawn.now_x == "50%"
    assert drawn.line.startswith("M0.00 100")
    assert drawn.ahead.startswith("M50.00")
    assert "L100.00" in drawn.ahead
    assert drawn.band.endswith("Z")


def test_without_a_projection_nothing_is_drawn_ahead() -> None:
    drawn = course(projected=None)
    assert (drawn.band, drawn.ahead, drawn.end_y) == ("", "", None)


def test_a_cap_far_above_everything_does_not_flatten_the_rest() -> None:
    drawn = course(limits=[("hard", 10_000 * MICRO), ("soft", 250 * MICRO)])
    assert [cap.limit_micro for cap in drawn.caps] == [250 * MICRO]
    assert drawn.ticks[-1].value_micro == 300 * MICRO


def test_labels_of_caps_that_are_close_do_not_touch() -> None:
    drawn = course(limits=[("hard", 251 * MICRO), ("soft", 250 * MICRO)])
    above, below = drawn.caps
    assert below.label_y - above.label_y >= charts.LABEL_PIXELS


def test_an_empty_period_is_a_flat_line_at_zero() -> None:
    drawn = charts.course([], slots=30, elapsed=0, projected=None, limits=[], height=100)
    assert drawn.line == "M0.00 100L0.00 100"


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=8))
def test_slices_fill_the_width_and_nothing_takes_no_room(parts: list[int]) -> None:
    laid = charts.slices(parts)
    widths = [float(one.width.rstrip("%")) for one in laid]
    assert all((part > 0) or width == 0 for part, width in zip(parts, widths, strict=True))
    assert sum(widths) <= 100.01
    if any(parts):
        gaps = 0.6 * (sum(1 for part in parts if part) - 1)
        assert sum(widths) + gaps == pytest.approx(100, abs=0.05)


def test_elapsed_never_leaves_the_period() -> None:
    assert charts.elapsed_part(timedelta(days=-1), timedelta(days=30)) == 0
    assert charts.elapsed_part(timedelta(days=40), timedelta(days=30)) == 1
