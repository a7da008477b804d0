"""The accounts of an organization and its lots: made with it, read by whoever shows a balance.

Invariant: the accounts every organization has exist from its beginning, so that there is always a
row to lock.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, RowMapping, and_, bindparam, insert, or_, select, text

from portal.core.ledger import Account, Lot
from portal.tables import accounts, grants, wallets

#: The accounts every organization has.
FIXED_ACCOUNTS = tuple(account.value for account in Account)
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
