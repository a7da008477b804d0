"""The ledger: the only writer of its rows. Any use case may call it.

A wallet is opened under a lock that always exists (its row is made with the organization), changed
in memory by the rules of ``core.ledger`` and written once. Invariant: every change is a transfer
between two accounts of one organization, with an entry on each that carries the balance before and
after and the account's next version; the guard stands in the UPDATE, doubled by a CHECK.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from portal.core.errors import InvalidRequest, NotFound, Unavailable
from portal.core.ledger import (
    DEFAULT_PRIORITY,
    MAY_BE_NEGATIVE,
    Account,
    Lot,
    Take,
    in_burn_down_order,
    settling_order,
    take,
    way_back,
)
from portal.db import insert_rows
from portal.ids import new_id
from portal.tables import (
    Whole,
    accounts,
    entries,
    grants,
    hold_pins,
    holds,
    transfers,
    wallets,
)

#: The accounts every organization has.
FIXED_ACCOUNTS = tuple(account.value for account in Account)


@dataclass(frozen=True)
class Paid:
    """What was paid for a grant: minor units of a currency."""

    amount_minor: int
    currency: str


@dataclass
class _Standing:
    balance_micro: int
    version: int
    stored_version: int


def create(tx: Connection, organization_id: str) -> None:
    """Make the wallet and its accounts, with the organization and in its transaction."""
    tx.execute(insert(wallets).values(organization_id=organization_id))
    tx.execute(
        insert(accounts),
        [{"organization_id": organization_id, "account": account} for account in FIXED_ACCOUNTS],
    )


def with_expired(tx: Connection, *, now: datetime) -> list[str]:
    """Return the organizations of which a grant has ended that is not booked as expired yet."""
    rows = tx.execute(
        select(grants.c.organization_id)
        .join(
            accounts,
            and_(
                accounts.c.organization_id == grants.c.organization_id,
                accounts.c.account == grants.c.grant_id,
            ),
        )
        .where(grants.c.expires_at <= now, accounts.c.balance_micro > 0)
        .distinct()
        .order_by(grants.c.organization_id)
    )
    return [row.organization_id for row in rows]


def lot_of(row: RowMapping) -> Lot:
    """Return a grant's lot from its row beside its account's balance."""
    return Lot(
        grant_id=row["grant_id"],
        source=row["source"],
        priority=row["priority"],
        effective_at=row["effective_at"],
        expires_at=row["expires_at"],
        remaining_micro=row["balance_micro"],
        granted_micro=row["granted_micro"],
        paid=row["paid_minor"] is not None,
        frozen=row["frozen_at"] is not None,
        voided=row["voided_at"] is not None,
        claimed_micro=row["claimed_micro"],
        reason=row["reason"],
    )


# The statements of the hot path are built once: building one costs more than running it.
_LOCK = (
    select(wallets.c.transfers, wallets.c.moved_at)
    .where(wallets.c.organization_id == bindparam("org"))
    .with_for_update()
)
#: Every account with its grant, where it has one.
EVERY_STANDING = (
    select(accounts.c.account, accounts.c.balance_micro, accounts.c.version, grants)
    .select_from(
        accounts.outerjoin(
            grants,
            and_(
                grants.c.organization_id == accounts.c.organization_id,
                grants.c.grant_id == accounts.c.account,
            ),
        )
    )
    .where(accounts.c.organization_id == bindparam("org"))
)
#: The accounts that hold something, and those every organization has.
STANDING = EVERY_STANDING.where(
    or_(
        accounts.c.account.in_(FIXED_ACCOUNTS),
        text("accounts.standing"),
        grants.c.claimed_micro != 0,
    )
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
_ALLOWANCES = (
    select(
        grants.c.grant_id,
        grants.c.granted_micro,
        func.coalesce(
            func.sum(
                case(
                    (transfers.c.kind == "revoke", transfers.c.amount_micro),
                    else_=-transfers.c.amount_micro,
                )
            ),
            0,
        ).label("revoked_micro"),
    )
    .outerjoin(
        transfers,
        and_(
            transfers.c.organization_id == grants.c.organization_id,
            or_(
                and_(
                    transfers.c.from_account == grants.c.grant_id,
                    transfers.c.kind == "revoke",
                ),
                and_(
                    transfers.c.to_account == grants.c.grant_id,
                    transfers.c.kind == "reinstate",
                ),
            ),
        ),
    )
    .where(
        grants.c.organization_id == bindparam("org"),
        grants.c.source == "allowance",
        grants.c.effective_at == bindparam("since_"),
    )
    .group_by(grants.c.grant_id, grants.c.granted_micro)
)
_NOTE_ON_GRANT = (
    update(grants)
    .where(grants.c.organization_id == bindparam("org"), grants.c.grant_id == bindparam("account_"))
    .values(
        frozen_micro=grants.c.frozen_micro + bindparam("frozen_", type_=Whole),
        claimed_micro=grants.c.claimed_micro + bindparam("claimed_", type_=Whole),
        owed_micro=grants.c.owed_micro + bindparam("owed_", type_=Whole),
    )
)
_PINNED = (
    select(func.coalesce(func.sum(hold_pins.c.amount_micro), 0))
    .join(
        holds,
        and_(
            holds.c.organization_id == hold_pins.c.organization_id,
            holds.c.hold_id == hold_pins.c.hold_id,
        ),
    )
    .where(
        holds.c.organization_id == bindparam("org"),
        holds.c.status == "authorized",
        holds.c.hold_id != bindparam("but_"),
        hold_pins.c.account == bindparam("account_"),
    )
)
_SETTLED = (
    select(func.coalesce(func.sum(transfers.c.amount_micro), 0))
    .join(
        entries,
        and_(
            entries.c.organization_id == transfers.c.organization_id,
            entries.c.transfer_id == transfers.c.transfer_id,
        ),
    )
    .where(
        entries.c.organization_id == bindparam("org"),
        entries.c.account == bindparam("account_"),
        entries.c.amount_micro < 0,
        transfers.c.kind == "settle",
    )
)


class Wallet:
    """One organization's ledger, locked until the transaction ends."""

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

    def take(self, amount_micro: int) -> tuple[list[Take], int]:
        """Plan a spend in burn-down order: the receipt and what is missing. Moves nothing."""
        return take(self.lots, amount_micro)

    def hold(self, receipt: Iterable[Take], hold_id: str) -> None:
        """Set credits aside for work in flight."""
        for line in receipt:
            self.move("hold", line.account, Account.HELD, line.amount_micro, hold_id)

    def capture_held(self, receipt: Sequence[Take], hold_id: str) -> None:
        """Spend credits that were set aside."""
        amount = sum(line.amount_micro for line in receipt)
        if amount:
            self.move("capture", Account.HELD, Account.CAPTURED, amount, hold_id)

    def give_back(
        self,
        receipt: Iterable[Take],
        reference: str,
        *,
        at: datetime | None = None,
        of: Account = Account.HELD,
    ) -> None:
        """Return credits to the very grants they came from, as of an instant: by default now.

        They are held by work that ended, or were captured for work that a correction takes back.
        What expired by then is gone, and what a refund, a dispute or a void has claimed of them is
        not the customer's to spend.
        """
        kind = "release" if of == Account.HELD else "correct"
        for line in receipt:
            self.move(kind, of, line.account, line.amount_micro, reference)
            if line.account == Account.OVERAGE:
                continue
            self.came_back(line.account, line.amount_micro, at=at or self.now)
        self.settle_debt(at=at)

    def came_back(self, grant_id: str, amount_micro: int, *, at: datetime) -> None:
        """Send credits on that have just come back to a grant: as far as they may not stay."""
        back = way_back(self.lot(grant_id), amount_micro, at=at)
        self.onward("revoke", grant_id, Account.REVOKED, back.claimed_micro)
        self.onward("revoke", grant_id, Account.REVOKED, back.revoked_micro)
        self.onward("freeze", grant_id, Account.FROZEN, back.frozen_micro)
        # They stood elsewhere when the grant ended, and end as they come back: a lapse.
        self.onward("lapse", grant_id, Account.EXPIRED, back.expired_micro)
        self.note(grant_id, frozen=back.frozen_micro, claimed=-back.claimed_micro)

    def onward(self, kind: str, grant_id: str, target: str, amount_micro: int) -> None:
        """Move credits off a grant, where there are any to move."""
        if amount_micro:
            self.move(kind, grant_id, target, amount_micro, grant_id)

    def note(self, grant_id: str, *, frozen: int = 0, claimed: int = 0, owed: int = 0) -> None:
        """Add to what a grant remembers: frozen, claimed of its pins, owed for what it paid."""
        if not (frozen or claimed or owed):
            return
        self.tx.execute(
            _NOTE_ON_GRANT,
            {
                "org": self.organization_id,
                "account_": grant_id,
                "frozen_": frozen,
                "claimed_": claimed,
                "owed_": owed,
            },
        )
        lot = self._lots[grant_id]
        self._lots[grant_id] = replace(lot, claimed_micro=lot.claimed_micro + claimed)

    def mark(self, grant_id: str, *, frozen: bool = False, voided: bool = False) -> None:
        """Remember that a grant is frozen or voided from now on."""
        self._lots[grant_id] = replace(self.lot(grant_id), frozen=frozen, voided=voided)

    def settle_debt(self, *, at: datetime | None = None) -> None:
        """Pay what is owed out of what there is, as of an instant: by default now.

        Available and debt are never both above zero.
        """
        owed = self.debt_micro
        if not owed:
            return
        standing = [self.lot(account) for account in list(self._lots)]
        receipt, _ = take(settling_order(standing, now=at or self.now), owed)
        for line in receipt:
            self.move("settle", line.account, Account.DEBT, line.amount_micro, line.account)

    def owe(self, grant_id: str, amount_micro: int) -> None:
        """Turn into debt what was taken back of a grant after it was spent."""
        if amount_micro:
            self.move("owe", Account.DEBT, Account.REVOKED, amount_micro, grant_id)
            self.note(grant_id, owed=amount_micro)

    def owe_claims(self, receipt: Iterable[Take], hold_id: str) -> None:
        """Turn into debt what a refund claimed of credits that a capture has spent after all."""
        for account in dict.fromkeys(line.account for line in receipt):
            lot = self._lots.get(account)
            if lot is None or not lot.claimed_micro:
                continue
            pinned = self.pinned(account, but=hold_id)
            owed = lot.claimed_micro - min(lot.claimed_micro, pinned)
            self.owe(account, owed)
            self.note(account, claimed=-owed)
        self.settle_debt()

    def pinned(self, grant_id: str, *, but: str = "") -> int:
        """Return what open holds pin of a grant, leaving out the hold ``but``, in millionths."""
        found = self.tx.execute(
            _PINNED, {"org": self.organization_id, "account_": grant_id, "but_": but}
        ).scalar_one()
        return int(found)

    def settled_from(self, grant_id: str) -> int:
        """Return what of a grant has paid debts, in millionths: written, or moved just now."""
        written = self.tx.execute(
            _SETTLED, {"org": self.organization_id, "account_": grant_id}
        ).scalar_one()
        moved: int = sum(
            move["amount_micro"]
            for move in self._moves
            if move["kind"] == "settle" and move["from_account"] == grant_id
        )
        return int(written) + moved

    def debit(self, receipt: Iterable[Take], reference: str) -> None:
        """Spend credits at once: work that happened without a hold."""
        for line in receipt:
            self.move("debit", line.account, Account.CAPTURED, line.amount_micro, reference)

    def leave_uncollected(self, amount_micro: int, reference: str) -> None:
        """Record work the customer had not allowed to be charged. It costs them nothing."""
        if amount_micro:
            self.move("uncollected", Account.ISSUED, Account.UNCOLLECTED, amount_micro, reference)

    def expire_grants(self) -> int:
        """Book what is left of grants past their instant as expired; returns the millionths."""
        gone = 0
        for account, lot in list(self._lots.items()):
            left = self._standings[account].balance_micro
            if left and lot.expires_at is not None and lot.expires_at <= self.now:
                self.move("expire", account, Account.EXPIRED, left, account)
                gone += left
        return gone

    def end_allowances(self, *, spent_since: datetime) -> int:
        """Take back what is left of allowances; they were another tier's.

        Returns what was spent or is held of those that began at ``spent_since``, in millionths.
        """
        rows = self.tx.execute(
            _ALLOWANCES, {"org": self.organization_id, "since_": spent_since}
        ).all()
        spent: int = sum(
            row.granted_micro - self.balance(row.grant_id) - int(row.revoked_micro) for row in rows
        )
        for account, lot in list(self._lots.items()):
            left = self._standings[account].balance_micro
            if lot.source == "allowance" and left and lot.spendable(self.now):
                self.move("revoke", account, Account.REVOKED, left, account)
        return spent

    def roll_over(self, *, ended: datetime, until: datetime) -> int:
        """Carry what is left of the allowances that end at ``ended`` into the next period.

        Returns the millionths carried; the new grant lives until ``until``.
        """
        left = [
            lot
            for lot in map(self.lot, list(self._lots))
            if lot.source == "allowance" and lot.expires_at == ended and lot.remaining_micro
        ]
        total = sum(lot.remaining_micro for lot in left)
        if total:
            grant_id = self._add_grant(
                source="rollover",
                credits_micro=total,
                effective_at=ended,
                expires_at=until,
                reason="Left over from the period before",
            )
            for lot in left:
                self.move("rollover", lot.account, grant_id, lot.remaining_micro, grant_id)
            self.settle_debt(at=ended)
        return total

    def grant(
        self,
        *,
        source: str,
        credits_micro: int,
        effective_at: datetime | None = None,
        expires_at: datetime | None = None,
        priority: int | None = None,
        paid: Paid | None = None,
        reason: str = "",
        external_key: str | None = None,
        settle_at: datetime | None = None,
        continues: str | None = None,
    ) -> str:
        """Add a lot of credits and return its id; debt is settled first.

        ``settle_at`` is the instant whose grants pay a debt, where it is not now. ``continues`` is
        the grant whose credits these were, of which ``paid`` is then a part.
        ``external_key`` names what caused the grant, once and for all: the same key twice returns
        the first grant and adds nothing. Raises InvalidRequest for a lot that could never live.
        """
        if external_key is not None:
            known = self.tx.execute(
                select(grants.c.grant_id).where(
                    grants.c.organization_id == self.organization_id,
                    grants.c.external_key == external_key,
                )
            ).scalar()
            if known is not None:
                return str(known)
        grant_id = self._add_grant(
            source=source,
            credits_micro=credits_micro,
            effective_at=effective_at or self.now,
            expires_at=expires_at,
            priority=priority,
            paid=paid,
            reason=reason,
            external_key=external_key,
            continues=continues,
        )
        self.move("grant", Account.ISSUED, grant_id, credits_micro, grant_id)
        self.settle_debt(at=settle_at)
        return grant_id

    def _add_grant(
        self,
        *,
        source: str,
        credits_micro: int,
        effective_at: datetime,
        expires_at: datetime | None,
        priority: int | None = None,
        paid: Paid | None = None,
        reason: str = "",
        external_key: str | None = None,
        continues: str | None = None,
    ) -> str:
        """Make a grant and its account, with nothing on it yet."""
        if expires_at is not None and expires_at <= effective_at:
            raise InvalidRequest.at("/expires_at", "must be later than effective_at")
        grant_id = new_id("gr")
        row = {
            "organization_id": self.organization_id,
            "grant_id": grant_id,
            "source": source,
            "priority": DEFAULT_PRIORITY[source] if priority is None else priority,
            "granted_micro": credits_micro,
            "effective_at": effective_at,
            "expires_at": expires_at,
            "paid_minor": paid.amount_minor if paid else None,
            "paid_currency": paid.currency if paid else None,
            "reason": reason,
            "external_key": external_key,
            "continues": continues,
            "created_at": self.now,
        }
        self.tx.execute(insert(grants).values(row))
        self.tx.execute(
            insert(accounts).values(organization_id=self.organization_id, account=grant_id)
        )
        self._load(_ONE_STANDING, account_=grant_id)
        return grant_id

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
