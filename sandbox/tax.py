"""Automatic tax, by one simple rule: where a buyer lives in Germany, 19 %; anywhere else, none.

Tax comes on top of a price, unless the price says that it includes it. Each line is rounded for
itself, halves away from nought, and a line that gives back gives its tax back too.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sandbox.proration import rounded
from sandbox.store import Object

PERCENT_BY_COUNTRY = {"DE": Decimal(19)}
COUNTRIES = {"AT": "Austria", "DE": "Germany", "GB": "United Kingdom", "US": "United States"}


def percent(address: dict[str, Any] | None, exempt: str) -> Decimal:
    """Return the rate for a buyer with this address."""
    if exempt != "none":
        return Decimal(0)
    return PERCENT_BY_COUNTRY.get(str((address or {}).get("country")), Decimal(0))


def status(address: dict[str, Any] | None) -> str:
    """Tell whether the buyer's place is known."""
    return "complete" if (address or {}).get("country") else "requires_location_inputs"


def of_amount(amount: int, rate: Decimal, *, inclusive: bool) -> int:
    """Return the tax on an amount, or within it."""
    return rounded(amount * rate / (100 + rate if inclusive else 100))


def entry(amount: int, tax: int, rate: Decimal, *, inclusive: bool) -> Object:
    """Tell a tax as invoices and their lines tell it."""
    return {
        "amount": tax,
        "tax_behavior": "inclusive" if inclusive else "exclusive",
        "tax_rate_details": {"tax_rate": f"txr_sandbox_{rate}"},
        "taxability_reason": "standard_rated" if rate else "not_collecting",
        "taxable_amount": amount - tax if inclusive else amount,
        "type": "tax_rate_details",
    }


def summed(entries: list[Object]) -> list[Object]:
    """Add up the taxes of lines, one sum for each way they apply."""
    sums: dict[str, Object] = {}
    for one in entries:
        known = sums.setdefault(one["tax_behavior"], {**one, "amount": 0, "taxable_amount": 0})
        known["amount"] += one["amount"]
        known["taxable_amount"] += one["taxable_amount"]
    return list(sums.values())
