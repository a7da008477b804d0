"""What a store holds, in a form that can be compared: rows of tables, of all or of one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import func, select

from portal import proof
from portal.accounts import list_organizations
from portal.db import Database
from portal.tables import accounts, metadata


def counts(database: Database, *, but: Iterable[str] = ()) -> dict[str, int]:
    """Return how many rows each table has."""
    with database.reading() as tx:
        return {
            table.name: tx.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
            if table.name not in but
        }


def balances(database: Database) -> dict[tuple[str, str], int]:
    """Return what stands on every account of every organization, in millionths."""
    with database.reading() as tx:
        rows = tx.execute(
            select(accounts.c.organization_id, accounts.c.account, accounts.c.balance_micro)
        )
        return {(row.organization_id, row.account): row.balance_micro for row in rows}


def of_organization(database: Database, organization_id: str) -> dict[str, list[Any]]:
    """Return every row of one organization, by table; its keys are the test's own doing."""
    with database.reading() as tx:
        return {
            table.name: sorted(
                repr(tuple(row))
                for row in tx.execute(
                    select(table).where(table.c.organization_id == organization_id)
                )
            )
            for table in metadata.sorted_tables
            if "organization_id" in table.c and table.name != "api_keys"
        }


#: What chance or the order of writing chose, and no customer's standing depends on.
_DULL = {"account", "version", "transfer_id", "from_account", "to_account", "reference", "standing",
         "told"}  # fmt: skip
#: What tells how it came to be so, entry by entry, is another one for another way.
_LOGS = {"entries", "audit_log", "audit_heads", "api_keys", "outbox"}


def standing(database: Database, organization_id: str) -> dict[str, list[str]]:
    """Return how an organization stands, row by row: the same for all ways that end the same.

    Left out is what logs say, and which ids chance gave, here and at Stripe.
    """
    found = {}
    with database.reading() as tx:
        for table in metadata.sorted_tables:
            if "organization_id" not in table.c or table.name in _LOGS:
                continue
            columns = [one for one in table.c if one.name not in _DULL]
            mine = table.c.organization_id == organization_id
            rows = tx.execute(select(*columns).where(mine))
            found[table.name] = sorted(_anonymous(repr(tuple(row))) for row in rows)
    return found


def _anonymous(text: str) -> str:
    return re.sub(r"\b([a-z]+(?:_[a-z]+)*)_[0-9A-Za-z]{14,}\b", r"\1", text)


def faults(database: Database) -> list[str]:
    """Return what is wrong with anybody's ledger."""
    with database.reading(patient=True) as tx:
        return [
            f"{organization.organization_id}: {fault}"
            for organization in list_organizations(tx)
            for fault in proof.ledger_faults(tx, organization.organization_id)
        ]
