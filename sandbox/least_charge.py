"""The least that can be charged in a currency: what is less waits for the next invoice.

The figures are those that Stripe publishes for an account that is paid out in the same currency.
"""

from __future__ import annotations

_OF_MOST_MINOR = 50
_MINOR = {
    **dict.fromkeys(("aed", "myr", "pln", "ron"), 200),
    **dict.fromkeys(("nok", "sek"), 300),
    **dict.fromkeys(("mxn", "thb"), 1_000),
    "bgn": 100,
    "czk": 1_500,
    "dkk": 250,
    "gbp": 30,
    "hkd": 400,
    "huf": 17_500,
}


def least_charge(currency: str) -> int:
    """Return the least charge in a currency, in its minor units."""
    return _MINOR.get(currency, _OF_MOST_MINOR)
