"""Many organizations at once: what each used, cost and has booked, in a few statements.

Reads the same rollups and accounts as everything else. For the operator only: nothing here is
asked for one organization's reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, Connection, Table, and_, case, func, or_, select

from portal import accounts
from portal.accounts import Organization
from portal.core.ledger import Account
from portal.rows import among
from portal.tables import accounts as ledger_accounts
from portal.tables import cost_daily, grants, subscriptions, usage_daily
from portal.tables import organizations as organization_rows
from portal.usage import Totals

_BATCH = 500


@dataclass(frozen=True)
class Cost:
    """What an organization cost, in billionths of a US dollar, and the lines nobody can price."""

    cost_nano_usd: int = 0
    unknown_lines: int = 0


@dataclass(frozen=True)
class Booked:
    """What the accounts of an organization say, in millionths of a credit."""

    left_micro: int = 0
    frozen_micro: int = 0
    debt_micro: int = 0


def organizations(tx: Connection) -> list[Organization]:
    """Return every organization, in order of its id."""
    found: list[Organization] = []
    while True:
        after = found[-1].organization_id if found else ""
        page = accounts.list_organizations(tx, after=after, limit=_BATCH)
        found += page
        if len(page) < _BATCH:
            return found


def names(tx: Connection, ids: set[str]) -> dict[str, str]:
    """Return the names of some organizations by id."""
    known, wanted = organization_rows.c, sorted(ids)
    rows = tx.execute(
        select(known.organization_id, known.name).where(known.organization_id.in_(wanted))
    )
    return {row.organization_id: row.name for row in rows}


def overdue(tx: Connection) -> set[str]:
    """Return the organizations whose payment for their plan is late."""
    late = select(subscriptions.c.organization_id).where(subscriptions.c.stops_at.is_not(None))
    return set(tx.execute(late).scalars())


def _on_days(
    tx: Connection, table: Table, ids: Sequence[str], start: date, end: date
) -> list[ColumnElement[bool]]:
    return [among(tx, table.c.organization_id, ids), table.c.day >= start, table.c.day < end]


def used(tx: Connection, ids: Sequence[str], *, start: date, end: date) -> dict[str, Totals]:
    """Return what each used on the local days ``[start, end)``; who used nothing is left out."""
    sums = ("credits_micro", "quantity_micro", "uncollected_micro", "events")
    rows = tx.execute(
        select(
            usage_daily.c.organization_id,
            *(func.sum(usage_daily.c[name]).label(name) for name in sums),
        )
        .where(*_on_days(tx, usage_daily, ids, start, end), usage_daily.c.action != "")
        .group_by(usage_daily.c.organization_id)
    )
    return {row.organization_id: Totals(*(int(one) for one in row[1:])) for row in rows}


def costs(tx: Connection, ids: Sequence[str], *, start: date, end: date) -> dict[str, Cost]:
    """Return what each cost on the local days ``[start, end)``; who cost nothing is left out."""
    unknown = case((cost_daily.c.quality == "unknown", cost_daily.c.lines), else_=0)
    rows = tx.execute(
        select(
            cost_daily.c.organization_id,
            func.sum(cost_daily.c.cost_nano_usd),
            func.sum(unknown),
        )
        .where(*_on_days(tx, cost_daily, ids, start, end))
        .group_by(cost_daily.c.organization_id)
    )
    return {row.organization_id: Cost(int(row[1]), int(row[2])) for row in rows}


def booked(tx: Connection, *, now: datetime) -> dict[str, Booked]:
    """Return what each has on its accounts, as it is booked.

    What fell due in the last moments and is not booked yet is not in it: ``balances.balance`` is
    exact for one.
    """
    account = ledger_accounts.c.account
    spendable = and_(
        grants.c.grant_id.is_not(None),
        grants.c.effective_at <= now,
        or_(grants.c.expires_at.is_(None), grants.c.expires_at > now),
        grants.c.frozen_at.is_(None),
        grants.c.voided_at.is_(None),
    )
    balance = ledger_accounts.c.balance_micro
    rows = tx.execute(
        select(
            ledger_accounts.c.organization_id,
            func.sum(case((spendable, balance), else_=0)),
            func.sum(case((account == Account.FROZEN.value, balance), else_=0)),
            func.sum(case((account == Account.DEBT.value, -balance), else_=0)),
        )
        .outerjoin(
            grants,
            and_(
                grants.c.organization_id == ledger_accounts.c.organization_id,
                grants.c.grant_id == account,
            ),
        )
        .where(ledger_accounts.c.standing)
        .group_by(ledger_accounts.c.organization_id)
    )
    return {row.organization_id: Booked(*(int(one) for one in row[1:])) for row in rows}
