"""How long the proofs run: short with every change, as long as asked for under ``make soak``.

``CLEARMETER_SOAK=1`` asks for the long form, ``CLEARMETER_SOAK=0.1`` for a tenth of it. Without it
each proof runs its short form, which is also the least that any soak runs.
"""

from __future__ import annotations

import os

SCALE = float(os.environ.get("CLEARMETER_SOAK") or 0)


def rounds(short: int, long: int) -> int:
    """Return how often to do something."""
    return max(short, round(long * SCALE))


def size(short: int, long: int) -> int:
    """Return how many take part: a soak of any length has the long form's."""
    return long if SCALE else short
