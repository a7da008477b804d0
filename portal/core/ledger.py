"""The rules of the ledger: in which order grants are spent and what a transfer does to accounts.

Invariant: nothing here creates or destroys a credit; every amount taken from a lot is on a receipt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
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
    """What can be taken from one grant now; ``reason`` is what it was granted for, in words."""

    grant_id: str
    source: str
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    remaining_micro: int
    granted_micro: int = 0
    paid: bool = False
    frozen: bool = False
    voided: bool = False
    claimed_micro: int = 0
    reason: str = ""

    @property
    def account(self) -> str:
        """The account this lot's credits stand on: it bears the grant's own id."""
        return self.grant_id

    def plus(self, amount_micro: int) -> Lot:
        """Return the lot with more left of it, or less."""
        return replace(self, remaining_micro=self.remaining_micro + amount_micro)

    def after(self, back: WayBack) -> Lot:
        """Return the lot as it stands once credits have come back to it."""
        return replace(
            self,
            remaining_micro=self.remaining_micro + back.kept_micro,
            claimed_micro=self.claimed_micro - back.claimed_micro,
        )

    def expired(self, now: datetime) -> bool:
        """Tell whether the lot's last instant has passed at ``now``."""
        return self.expires_at is not None and self.expires_at <= now

    def spendable(self, now: datetime) -> bool:
        """Tell whether the lot is effective, not yet expired and not frozen at ``now``."""
        return self.effective_at <= now and not self.expired(now) and not self.frozen


@dataclass(frozen=True)
class Take:
    """Credits taken from one account: a line of a receipt."""

    account: str
    amount_micro: int


def beyond_grants(receipt: Iterable[Take]) -> int:
    """Return what a receipt took beyond all grants, in millionths."""
    return sum(line.amount_micro for line in receipt if line.account == Account.OVERAGE)


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


@dataclass(frozen=True)
class WayBack:
    """What becomes of credits that come back to a lot: the parts add up to what came."""

    kept_micro: int = 0
    revoked_micro: int = 0
    frozen_micro: int = 0
    expired_micro: int = 0
    claimed_micro: int = 0


def way_back(lot: Lot, amount_micro: int, *, at: datetime) -> WayBack:
    """Return what becomes of credits that come back to a lot at ``at``.

    What a refund has claimed of them is taken first; the rest of a voided lot is revoked, of a
    frozen one frozen, of an expired one expired.
    """
    claimed = min(lot.claimed_micro, amount_micro)
    rest = amount_micro - claimed
    if lot.voided:
        return WayBack(revoked_micro=rest, claimed_micro=claimed)
    if lot.frozen:
        return WayBack(frozen_micro=rest, claimed_micro=claimed)
    if lot.expired(at):
        return WayBack(expired_micro=rest, claimed_micro=claimed)
    return WayBack(kept_micro=rest, claimed_micro=claimed)


def settling_order(lots: Iterable[Lot], *, now: datetime) -> list[Lot]:
    """Return the lots that pay a debt: what may be spent in its order, then what is to come."""
    alive = (
        lot for lot in lots if lot.remaining_micro > 0 and not lot.expired(now) and not lot.frozen
    )
    return sorted(alive, key=lambda lot: (lot.effective_at > now, burn_down_key(lot)))


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
