"""One organization's accounts under a lock, and the transfers between them, written once.

Invariant: every transfer has an entry on each of its two accounts that carries the balance before
and after and the account's next version; the guard stands in the UPDATE, doubled by a CHECK.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, insert, select, update

from portal.core.errors import NotFound, Unavailable
from portal.core.ledger import MAY_BE_NEGATIVE, Account, Lot, in_burn_down_order
from portal.rows import insert_rows
from portal.tables import accounts, entries, transfers, wallets
from portal.wallet.standing import EVERY_STANDING, STANDING, lot_of

# The statements of the hot path are built once: building one costs more than running it.
_LOCK = (
    select(wallets.c.transfers, wallets.c.moved_at)
    .where(wallets.c.organization_id == bindparam("org"))
    .with_for_update()
)
_ONE_STANDING = EVERY_STANDING.where(accounts.c.account == bindparam("account_"))
_WRITE_ACCOUNT = (
    update(accounts)
    .where(
        accounts.c.organization_id == bindparam("org"),
        accounts.c.account == bindparam("account_"),
        accounts.c.version == bindparam("seen_"),
    )
    .values(balance_micro=bindparam("balance_"), version=bindparam("version_"))
)
_WRITE_WALLET = (
    update(wallets)
    .where(
        wallets.c.organization_id == bindparam("org"),
        wallets.c.transfers == bindparam("seen_"),
    )
    .values(transfers=bindparam("transfers_"), moved_at=bindparam("moved_at_"))
)


@dataclass
class _Standing:
    balance_micro: int
    version: int
    stored_version: int


class Ledger:
    """The accounts as they stand, locked until the transaction ends, and what moved since."""

    def __init__(self, tx: Connection, organization_id: str, *, now: datetime) -> None:
        self.tx = tx
        self.organization_id = organization_id
        self.now = now
        self._standings: dict[str, _Standing] = {}
        self._lots: dict[str, Lot] = {}
        self._moves: list[dict[str, Any]] = []
        self._entries: list[dict[str, Any]] = []
        locked = tx.execute(_LOCK, {"org": organization_id}).first()
        if locked is None:
            raise NotFound("organization", organization_id)
        if locked.moved_at is not None and locked.moved_at > now:
            # A clock that was set back must not write history before what is written already.
            self.now = locked.moved_at
        self._stored_transfers = self._transfers = locked.transfers
        self._load(STANDING)

    def _load(self, statement: Select[Any], **names: str) -> None:
        rows = self.tx.execute(statement, {"org": self.organization_id, **names}).mappings()
        for row in rows:
            version = row["version"]
            self._standings[row["account"]] = _Standing(row["balance_micro"], version, version)
            if row["grant_id"] is not None:
                self._lots[row["account"]] = lot_of(row)

    def _open(self, account: str) -> None:
        """Make the account of a grant, with nothing on it yet."""
        self.tx.execute(
            insert(accounts).values(organization_id=self.organization_id, account=account)
        )
        self._load(_ONE_STANDING, account_=account)

    def balance(self, account: str) -> int:
        """Return what stands on an account, in millionths."""
        if account not in self._standings:
            self._load(_ONE_STANDING, account_=account)
        return self._standings[account].balance_micro

    def lot(self, account: str) -> Lot:
        """Return a grant as it stands now, also when it is spent."""
        left = self.balance(account)
        return replace(self._lots[account], remaining_micro=left)

    @property
    def lots(self) -> list[Lot]:
        """The lots that may be spent now, first to be spent first."""
        current = (
            replace(lot, remaining_micro=self._standings[account].balance_micro)
            for account, lot in self._lots.items()
        )
        return in_burn_down_order(current, now=self.now)

    @property
    def available_micro(self) -> int:
        """What may be spent now."""
        return sum(lot.remaining_micro for lot in self.lots)

    @property
    def debt_micro(self) -> int:
        """What is owed, as a positive number."""
        return -self.balance(Account.DEBT)

    def move(self, kind: str, source: str, target: str, amount_micro: int, reference: str) -> None:
        """Transfer credits between two accounts. The store refuses what may not go below zero."""
        if amount_micro <= 0:
            raise AssertionError("a transfer moves a positive amount")
        self._transfers += 1
        self._moves.append(
            {
                "organization_id": self.organization_id,
                "transfer_id": self._transfers,
                "kind": kind,
                "from_account": source,
                "to_account": target,
                "amount_micro": amount_micro,
                "at": self.now,
                "reference": reference,
            }
        )
        self._enter(source, -amount_micro)
        self._enter(target, amount_micro)

    def _enter(self, account: str, amount_micro: int) -> None:
        before = self.balance(account)
        standing = self._standings[account]
        standing.balance_micro += amount_micro
        standing.version += 1
        if standing.balance_micro < 0 and account not in MAY_BE_NEGATIVE:
            raise AssertionError(f"account {account} would fall below zero")
        self._entries.append(
            {
                "organization_id": self.organization_id,
                "account": account,
                "version": standing.version,
                "transfer_id": self._transfers,
                "amount_micro": amount_micro,
                "before_micro": before,
                "after_micro": standing.balance_micro,
                "at": self.now,
            }
        )

    def onward(
        self, kind: str, grant_id: str, target: str, amount_micro: int, reference: str = ""
    ) -> None:
        """Move credits off a grant, where there are any; ``reference`` is what made them move."""
        if amount_micro:
            self.move(kind, grant_id, target, amount_micro, reference or grant_id)

    def write(self) -> None:
        """Write what moved. Raises Unavailable where somebody wrote without the lock."""
        if not self._moves:
            return
        changed = [
            {
                "org": self.organization_id,
                "account_": account,
                "balance_": standing.balance_micro,
                "version_": standing.version,
                "seen_": standing.stored_version,
            }
            for account, standing in self._standings.items()
            if standing.version != standing.stored_version
        ]
        for row in changed:
            self._guard(self.tx.execute(_WRITE_ACCOUNT, row).rowcount == 1)
        insert_rows(self.tx, transfers, self._moves)
        insert_rows(self.tx, entries, self._entries)
        counted = self.tx.execute(
            _WRITE_WALLET,
            {
                "org": self.organization_id,
                "seen_": self._stored_transfers,
                "transfers_": self._transfers,
                "moved_at_": self.now,
            },
        ).rowcount
        self._guard(counted == 1)
        self._stored_transfers = self._transfers
        for standing in self._standings.values():
            standing.stored_version = standing.version
        self._moves, self._entries = [], []

    def _guard(self, held: bool) -> None:
        if not held:
            raise Unavailable("The ledger changed underneath. Nothing was done; try again.")
