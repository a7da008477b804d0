"""A reader of the ledger that follows it entry by entry, apart from the product's own audit.

It speaks to the driver itself: whoever looks after every step must not cost more than the step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

_MAY_BE_NEGATIVE = {"issued", "overage", "debt"}
_ENTRIES = (
    "SELECT t.transfer_id, t.from_account, t.to_account, t.amount_micro,"
    " e.account, e.version, e.amount_micro, e.before_micro, e.after_micro"
    " FROM transfers t LEFT JOIN entries e ON e.organization_id = t.organization_id"
    " AND e.transfer_id = t.transfer_id"
    " WHERE t.organization_id = ? AND t.transfer_id > ?"
    " ORDER BY t.transfer_id, e.amount_micro, e.account"
)
_ACCOUNTS = "SELECT account, balance_micro, version FROM accounts WHERE organization_id = ?"
_GRANTS = (
    "SELECT grant_id, granted_micro, frozen_micro, claimed_micro FROM grants"
    " WHERE organization_id = ?"
)
_PINNED = (
    "SELECT p.account, sum(p.amount_micro) FROM hold_pins p JOIN holds h"
    " ON h.organization_id = p.organization_id AND h.hold_id = p.hold_id"
    " WHERE h.organization_id = ? AND h.status = 'authorized' GROUP BY p.account"
)
_PAID = (
    "SELECT account, sum(amount_micro) FROM event_debits WHERE organization_id = ? GROUP BY account"
)
_BEYOND = (
    "SELECT coalesce(sum(spent_micro + held_micro), 0) FROM overage_periods"
    " WHERE organization_id = ?"
)


def rows(tx: Connection, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
    """Ask the driver; values are marked with ``?``."""
    if tx.dialect.name != "sqlite":
        statement = statement.replace("?", "%s")
    cursor = tx.connection.cursor()
    try:
        cursor.execute(statement, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
    finally:
        cursor.close()


@dataclass
class Journal:
    """What the entries read so far add up to."""

    organization_id: str
    last: int = 0
    standing: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: By account, what went from it into work and has not come back: held or captured.
    worked: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def follow(self, tx: Connection) -> dict[str, int]:
        """Read on and prove what is new against what is stored; returns the balances."""
        self._read_on(tx)
        stored = {row[0]: (row[1], row[2]) for row in rows(tx, _ACCOUNTS, self.organization_id)}
        balances = {account: balance for account, (balance, _) in stored.items()}
        assert {a: s for a, s in stored.items() if s[1]} == self.standing, (
            "replay is what is stored"
        )
        assert sum(balances.values()) == 0, "nothing is made or lost"
        for account, balance in balances.items():
            assert balance >= 0 or account in _MAY_BE_NEGATIVE, f"{account} is below zero"
        self._prove_grants(tx, balances)
        return balances

    def _read_on(self, tx: Connection) -> None:
        sides: dict[int, list[int]] = defaultdict(list)
        for row in rows(tx, _ENTRIES, self.organization_id, self.last):
            number, source, target, moved, account, version_, amount, before_, after = row
            assert account in {source, target}, "an entry for each side"
            before, version = self.standing.get(account, (0, 0))
            assert version_ == version + 1, "versions have no gap"
            assert before_ == before, "an entry begins where the last one ended"
            assert after == before + amount
            self.standing[account] = (after, version_)
            sides[number].append(amount)
            assert abs(amount) == moved
            self._follow_work(account, source, target, amount)
        for number in sorted(sides):
            assert number == self.last + 1, "transfers have no gap"
            assert len(sides[number]) == 2, "a transfer has two sides"
            assert sum(sides[number]) == 0, "what one account loses another gets"
            self.last = number

    def _follow_work(self, account: str, source: str, target: str, amount: int) -> None:
        other = target if account == source else source
        if other in {"held", "captured"} and account not in {"held", "captured"}:
            self.worked[account] -= amount

    def _prove_grants(self, tx: Connection, balances: dict[str, int]) -> None:
        pinned = _sums(rows(tx, _PINNED, self.organization_id))
        assert sum(pinned.values()) == balances["held"], "what is held is what holds pin"
        paid = _sums(rows(tx, _PAID, self.organization_id))
        assert sum(paid.values()) == balances["captured"], "what is captured paid for events"
        for account in {*self.worked, *pinned, *paid}:
            # With the entries, which lead from lot to account: each lot is conserved by itself.
            assert self.worked[account] == pinned.get(account, 0) + paid.get(account, 0), (
                "what left a lot for work is pinned or has paid for an event"
            )
        frozen_ = 0
        for grant_id, granted, frozen, claimed in rows(tx, _GRANTS, self.organization_id):
            assert 0 <= balances[grant_id] <= granted, "a lot is never more than it was"
            assert 0 <= claimed <= pinned.get(grant_id, 0)
            frozen_ += frozen
        assert frozen_ == balances["frozen"]
        ((beyond,),) = rows(tx, _BEYOND, self.organization_id)
        assert beyond == -balances["overage"], "overage is counted where it is booked"
        assert pinned.get("overage", 0) + paid.get("overage", 0) == beyond


def _sums(found: Sequence[tuple[Any, ...]]) -> dict[str, int]:
    return {account: int(micro) for account, micro in found}
