"""Rating: what a quantity of an action costs in credits.

Invariant: rounding happens here, once, half to even; everything downstream adds stored integers.
"""

from __future__ import annotations

from portal.core.units import MICRO, divide_half_even


def rate(*, quantity_micro: int, price_micro: int) -> int:
    """Return the credits, in millionths, of ``quantity_micro`` at ``price_micro`` credits each."""
    return divide_half_even(quantity_micro * price_micro, MICRO)
