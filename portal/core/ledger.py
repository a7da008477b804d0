"""The rules of the ledger: in which order grants are spent and what a transfer does to accounts.

Invariant: nothing here creates or destroys a credit; every amount taken from a lot is on a receipt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

_NEVER = datetime.max.replace(tzinfo=UTC)


class Account(StrEnum):
    """The accounts an organization has beside one for each grant."""

    ISSUED = "issued"
    HELD = "held"
    CAPTURED = "captured"
    EXPIRED = "expired"
    REVOKED = "revoked"
    FROZEN = "frozen"
    OVERAGE = "overage"
    UNCOLLECTED = "uncollected"
    DEBT = "debt"


#: Accounts that stand below zero by their nature: what was issued, what is owed.
MAY_BE_NEGATIVE = frozenset({Account.ISSUED, Account.OVERAGE, Account.DEBT})

#: What is included is spent before what was bought (domain: Burn-down).
DEFAULT_PRIORITY = {
    "rollover": 10,
    "allowance": 20,
    "promotion": 30,
    "adjustment": 30,
    "restoration": 30,
    "pack": 50,
}


@dataclass(frozen=True)
class Lot:
    """What can be taken from one grant now."""

    grant_id: str
    source: str
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    remaining_micro: int
    granted_micro: int = 0
    paid: bool = False

    @property
    def account(self) -> str:
        """The account this lot's credits stand on: it bears the grant's own id."""
        return self.grant_id

    def spendable(self, now: datetime) -> bool:
        """Tell whether the lot is effective and not yet expired at ``now``."""
        return self.effective_at <= now and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True)
class Take:
    """Credits taken from one account: a line of a receipt."""

    account: str
    amount_micro: int


def burn_down_key(lot: Lot) -> tuple[int, datetime, bool, datetime, str]:
    """Order lots: priority, earliest expiry (never last), promotional before paid, age, id."""
    return (lot.priority, lot.expires_at or _NEVER, lot.paid, lot.effective_at, lot.grant_id)


def in_burn_down_order(lots: Iterable[Lot], *, now: datetime) -> list[Lot]:
    """Return the lots that may be spent at ``now``, first to be spent first."""
    ready = (lot for lot in lots if lot.remaining_micro > 0 and lot.spendable(now))
    return sorted(ready, key=burn_down_key)


def available(lots: Iterable[Lot], *, now: datetime) -> int:
    """Return the credits, in millionths, that may be spent at ``now``."""
    return sum(lot.remaining_micro for lot in lots if lot.spendable(now))


def take(ordered: Iterable[Lot], amount_micro: int) -> tuple[list[Take], int]:
    """Take ``amount_micro`` from lots already in order.

    Returns the receipt and the shortfall, both in millionths; takes + shortfall = the amount.
    """
    receipt: list[Take] = []
    missing = amount_micro
    for lot in ordered:
        if missing == 0:
            break
        part = min(lot.remaining_micro, missing)
        if part > 0:
            receipt.append(Take(lot.account, part))
            missing -= part
    return receipt, missing


def split_receipt(receipt: Iterable[Take], spend_micro: int) -> tuple[list[Take], list[Take]]:
    """Divide a hold's receipt into what a capture of ``spend_micro`` uses and what goes back.

    The first taken is the first used, so what returns is what burn-down would spend last.
    """
    used: list[Take] = []
    returned: list[Take] = []
    for line in receipt:
        spent = min(line.amount_micro, spend_micro)
        spend_micro -= spent
        if spent:
            used.append(Take(line.account, spent))
        if line.amount_micro - spent:
            returned.append(Take(line.account, line.amount_micro - spent))
    return used, returned
