"""An operator's colour can be read, whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.colour import BLACK, TEXT, WHITE, Colour, colour, contrast, mixed, on, readable
from portal.web.brand import DARK, LIGHT, theme

colours = st.builds(Colour, *[st.integers(0, 255)] * 3)


def test_contrast_is_that_of_the_guidelines() -> None:
    assert contrast(BLACK, WHITE) == pytest.approx(21)
    assert contrast(WHITE, WHITE) == 1
    assert contrast(colour("#767676"), WHITE) == pytest.approx(4.54, abs=0.01)


@given(colours)
def test_text_in_any_accent_and_on_it_is_read_in_both_themes(accent: Colour) -> None:
    for surfaces, away in ((LIGHT, BLACK), (DARK, WHITE)):
        dress = theme(accent, surfaces, away=away)
        assert contrast(dress["on-accent"], dress["accent"]) >= TEXT
        for ground in (*surfaces, dress["wash"]):
            assert contrast(dress["accent"], ground) >= TEXT


@given(colours)
def test_what_can_be_read_already_stays_as_it_is(accent: Colour) -> None:
    if all(contrast(accent, ground) >= TEXT for ground in LIGHT):
        assert readable(accent, LIGHT, away=BLACK) == accent
    assert contrast(on(accent), accent) >= TEXT
    assert mixed(accent, WHITE, 1) == WHITE


@pytest.mark.parametrize("text", ["", "red", "#fff", "3252d0", "#3252d0;}", "#３252d0", "#3252d01"])
def test_anything_else_is_no_colour(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        colour(text)


def test_grounds_that_nothing_stands_out_from_are_refused() -> None:
    with pytest.raises(ValueError, match="does not stand out"):
        readable(WHITE, [BLACK, WHITE], away=BLACK)
