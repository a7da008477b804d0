"""A reader of the ledger that follows it entry by entry, apart from the product's own audit."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

_MAY_BE_NEGATIVE = {"issued", "overage", "debt"}
_ENTRIES = text(
    "SELECT t.transfer_id, t.from_account, t.to_account, t.amount_micro AS amount,"
    " e.account, e.version, e.amount_micro, e.before_micro, e.after_micro"
    " FROM transfers t LEFT JOIN entries e ON e.organization_id = t.organization_id"
    " AND e.transfer_id = t.transfer_id"
    " WHERE t.organization_id = :org AND t.transfer_id > :last"
    " ORDER BY t.transfer_id, e.amount_micro, e.account"
)
_ACCOUNTS = text(
    "SELECT account, balance_micro, version FROM accounts WHERE organization_id = :org"
)
_GRANTS = text(
    "SELECT grant_id, granted_micro, frozen_micro, claimed_micro FROM grants"
    " WHERE organization_id = :org"
)
_PINNED = text(
    "SELECT p.account, sum(p.amount_micro) FROM hold_pins p JOIN holds h"
    " ON h.organization_id = p.organization_id AND h.hold_id = p.hold_id"
    " WHERE h.organization_id = :org AND h.status = 'authorized' GROUP BY p.account"
)
_PAID = text(
    "SELECT account, sum(amount_micro) FROM event_debits WHERE organization_id = :org"
    " GROUP BY account"
)
_BEYOND = text(
    "SELECT coalesce(sum(spent_micro + held_micro), 0) FROM overage_periods"
    " WHERE organization_id = :org"
)


@dataclass
class Journal:
    """What the entries read so far add up to."""

    organization_id: str
    last: int = 0
    standing: dict[str, tuple[int, int]] = field(default_factory=dict)

    def follow(self, tx: Connection) -> dict[str, int]:
        """Read on and prove what is new against what is stored; returns the balances."""
        org = {"org": self.organization_id}
        self._read_on(tx, org)
        stored = {row[0]: (row[1], row[2]) for row in tx.execute(_ACCOUNTS, org)}
        balances = {account: balance for account, (balance, _) in stored.items()}
        assert {a: s for a, s in stored.items() if s[1]} == self.standing, (
            "replay is what is stored"
        )
        assert sum(balances.values()) == 0, "nothing is made or lost"
        for account, balance in balances.items():
            assert balance >= 0 or account in _MAY_BE_NEGATIVE, f"{account} is below zero"
        self._prove_grants(tx, org, balances)
        return balances

    def _read_on(self, tx: Connection, org: dict[str, str]) -> None:
        sides: dict[int, list[int]] = defaultdict(list)
        for row in tx.execute(_ENTRIES, {**org, "last": self.last}):
            assert row.account in {row.from_account, row.to_account}, "an entry for each side"
            before, version = self.standing.get(row.account, (0, 0))
            assert row.version == version + 1, "versions have no gap"
            assert row.before_micro == before, "an entry begins where the last one ended"
            assert row.after_micro == before + row.amount_micro
            self.standing[row.account] = (row.after_micro, row.version)
            sides[row.transfer_id].append(row.amount_micro)
            assert abs(row.amount_micro) == row.amount
        for number in sorted(sides):
            assert number == self.last + 1, "transfers have no gap"
            assert len(sides[number]) == 2, "a transfer has two sides"
            assert sum(sides[number]) == 0, "what one account loses another gets"
            self.last = number

    def _prove_grants(self, tx: Connection, org: dict[str, str], balances: dict[str, int]) -> None:
        pinned = {row[0]: int(row[1]) for row in tx.execute(_PINNED, org)}
        assert sum(pinned.values()) == balances["held"], "what is held is what holds pin"
        paid = {row[0]: int(row[1]) for row in tx.execute(_PAID, org)}
        assert sum(paid.values()) == balances["captured"], "what is captured paid for events"
        frozen = 0
        for row in tx.execute(_GRANTS, org):
            assert 0 <= balances[row.grant_id] <= row.granted_micro, (
                "a lot is never more than it was"
            )
            assert row.claimed_micro <= pinned.get(row.grant_id, 0)
            frozen += row.frozen_micro
        assert frozen == balances["frozen"]
        beyond = int(tx.execute(_BEYOND, org).scalar_one())
        assert beyond == -balances["overage"], "overage is counted where it is booked"
        assert pinned.get("overage", 0) + paid.get("overage", 0) == beyond
