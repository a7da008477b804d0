"""Acme's credits and limits in plain Python and lists: what the product must agree with.

Written from the rules and apart from the product: nothing is shared but the names. Everything
that falls due by itself (holds past their deadline, expiry, the next period) happens in
``pass_to``, in the order of the instants.
"""

from __future__ import annotations

from tests.properties.model.deeds import Model
from tests.properties.model.things import OVERAGE_PRICE, PRICE_MICRO, Cap, Hold, Lot, Spender

__all__ = ["OVERAGE_PRICE", "PRICE_MICRO", "Cap", "Hold", "Lot", "Model", "Spender"]
