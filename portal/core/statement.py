"""The rules of a statement: what each transfer means to a customer, and what adds up.

What a statement adds up is everything the customer's credits are in: the grants, what is held and
what is frozen, less what is owed. Transfers among these change nothing; the others are its lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from portal.core.ledger import Account

#: Accounts outside of what a statement adds up. All accounts add up to zero, so these tell it too.
OUTSIDE = frozenset(
    {
        Account.ISSUED,
        Account.CAPTURED,
        Account.EXPIRED,
        Account.REVOKED,
        Account.OVERAGE,
        Account.UNCOLLECTED,
    }
)
GRANTED, USED, EXPIRED, TAKEN_BACK, BEYOND, RETURNED = (
    "granted",
    "used",
    "expired",
    "taken back",
    "beyond the plan",
    "returned",
)
#: Lines that tell which kind of grant they are about.
OF_A_GRANT = frozenset({GRANTED, EXPIRED, TAKEN_BACK})
#: In which order the lines of a day stand.
ORDER = (GRANTED, RETURNED, BEYOND, USED, EXPIRED, TAKEN_BACK)


@dataclass(frozen=True)
class Line:
    """One line of a statement: signed millionths of a credit, on a local day."""

    day: date
    kind: str
    source: str
    credits_micro: int


def counts(account: str) -> bool:
    """Tell whether an account is part of what a statement adds up."""
    return account not in OUTSIDE


def effect(from_account: str, to_account: str, amount_micro: int) -> int:
    """Return what a transfer adds to, or takes from, what a statement adds up."""
    return amount_micro * (counts(to_account) - counts(from_account))


def movements(from_account: str, to_account: str, amount_micro: int) -> list[tuple[str, int]]:
    """Return the lines that a transfer makes: the word and the signed millionths of each.

    Work that was paid from beyond the plan never stood among the credits; it is told as credits
    that came and were used, so that what a statement says was used is what usage says.
    """
    if change := effect(from_account, to_account, amount_micro):
        return [(_kind(from_account, to_account), change)]
    if counts(from_account) or Account.UNCOLLECTED in {from_account, to_account}:
        return []
    return [
        (_kind(from_account, Account.HELD), amount_micro),
        (_kind(Account.HELD, to_account), -amount_micro),
    ]


def _kind(from_account: str, to_account: str) -> str:
    if to_account == Account.CAPTURED:
        return USED
    if to_account == Account.EXPIRED:
        return EXPIRED
    if to_account == Account.REVOKED:
        return TAKEN_BACK
    if Account.OVERAGE in {from_account, to_account}:
        return BEYOND
    return GRANTED if from_account == Account.ISSUED else RETURNED
