"""Colours that can be read: a given accent, moved as little as needed to stand out from its ground.

Pure. Invariant: what ``readable`` returns has at least the contrast asked for against every surface
(WCAG 2.2: 4.5 for text), whatever the accent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

#: What text must have against its ground (WCAG 2.2, AA).
TEXT = 4.5
#: An accent is moved towards black or white in so many steps.
_STEPS = 64


class Colour(NamedTuple):
    """Red, green and blue, 0 to 255."""

    red: int
    green: int
    blue: int

    def __str__(self) -> str:
        return f"#{self.red:02x}{self.green:02x}{self.blue:02x}"


BLACK, WHITE = Colour(0, 0, 0), Colour(255, 255, 255)


def colour(text: str) -> Colour:
    """Read a colour such as #3252d0. Raises ValueError for anything else."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text, re.ASCII):
        raise ValueError(text)
    return Colour(*bytes.fromhex(text[1:]))


def mixed(one: Colour, other: Colour, part: float) -> Colour:
    """Return a colour with a part, 0 to 1, of another mixed in."""
    return Colour(*(round(a + (b - a) * part) for a, b in zip(one, other, strict=True)))


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(of: Colour) -> float:
    red, green, blue = (_linear(value / 255) for value in of)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def readable(
    accent: Colour, surfaces: Sequence[Colour], *, away: Colour, least: float = TEXT
) -> Colour:
    """Return the accent, moved towards ``away`` until it stands out from every surface.

    Raises ValueError where even ``away`` itself does not.
    """
    for step in range(_STEPS + 1):
        moved = mixed(accent, away, step / _STEPS)
        if all(contrast(moved, surface) >= least for surface in surfaces):
            return moved
    raise ValueError(f"{away} does not stand out from {surfaces}")


def on(ground: Colour) -> Colour:
    """Return black or white, whichever is read better on a ground; one of them always can be."""
    return max(BLACK, WHITE, key=lambda text: contrast(text, ground))
