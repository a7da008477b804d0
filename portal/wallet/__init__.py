"""The ledger: the only writer of its rows. Any use case may call it.

A wallet is opened under a lock that always exists (its row is made with the organization), changed
in memory by the rules of ``core.ledger`` and written once. Invariant: every change is a transfer
between two accounts of one organization, with an entry on each that carries the balance before and
after and the account's next version; the guard stands in the UPDATE, doubled by a CHECK.
"""

from __future__ import annotations

from portal.wallet.credits import Paid, Wallet
from portal.wallet.standing import (
    EVERY_STANDING,
    FIXED_ACCOUNTS,
    STANDING,
    create,
    lot_of,
    with_expired,
)

__all__ = [
    "EVERY_STANDING",
    "FIXED_ACCOUNTS",
    "STANDING",
    "Paid",
    "Wallet",
    "create",
    "lot_of",
    "with_expired",
]
