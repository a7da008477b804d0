"""The record of privileged acts, and the proof that the ledger's invariants hold.

Owns ``audit_log`` (append only). ``ledger_faults`` recomputes an organization's ledger from its
entries and says in words where what is stored does not follow from them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, insert, literal, select

from portal.core.ledger import MAY_BE_NEGATIVE, Account
from portal.ids import new_id
from portal.tables import (
    Flag,
    accounts,
    audit_log,
    entries,
    event_debits,
    events,
    grants,
    hold_pins,
    holds,
    transfers,
    wallets,
)


def note(
    tx: Connection,
    organization_id: str,
    *,
    actor: str,
    act: str,
    target: str = "",
    detail: dict[str, Any] | None = None,
    now: datetime,
) -> None:
    """Write down who did what, in the transaction that does it."""
    tx.execute(
        insert(audit_log).values(
            organization_id=organization_id,
            audit_id=new_id("act"),
            at=now,
            actor=actor,
            act=act,
            target=target,
            detail=detail or {},
        )
    )


def ledger_faults(tx: Connection, organization_id: str) -> list[str]:
    """Return what is wrong with an organization's ledger, in words; empty where nothing is."""
    faults: list[str] = []
    balances = _balances(tx, organization_id)
    faults += _entry_faults(tx, organization_id, balances)
    faults += _transfer_faults(tx, organization_id)
    if sum(balances.values()):
        faults.append(f"the accounts add up to {sum(balances.values())}, not to zero")
    faults += [
        f"account {account} stands at {balance}, below zero"
        for account, balance in balances.items()
        if balance < 0 and account not in MAY_BE_NEGATIVE
    ]
    faults += _hold_faults(tx, organization_id, balances)
    faults += _debit_faults(tx, organization_id)
    faults += _grant_faults(tx, organization_id)
    return faults


def _balances(tx: Connection, organization_id: str) -> dict[str, int]:
    rows = tx.execute(
        select(accounts.c.account, accounts.c.balance_micro).where(
            accounts.c.organization_id == organization_id
        )
    )
    return {row.account: row.balance_micro for row in rows}


def _entry_faults(tx: Connection, organization_id: str, balances: dict[str, int]) -> list[str]:
    """Replay each account: versions without a gap, each entry begins where the last one ended."""
    faults = []
    before: dict[str, tuple[int, int]] = {}
    rows = tx.execute(
        select(entries)
        .where(entries.c.organization_id == organization_id)
        .order_by(entries.c.account, entries.c.version)
    )
    for row in rows:
        version, balance = before.get(row.account, (0, 0))
        if row.version != version + 1:
            faults.append(f"account {row.account}: version {version} is followed by {row.version}")
        if row.before_micro != balance or row.after_micro != balance + row.amount_micro:
            faults.append(
                f"account {row.account}: entry {row.version} does not follow the last one"
            )
        before[row.account] = (row.version, row.after_micro)
    for account, stored in balances.items():
        version, replayed = before.get(account, (0, 0))
        if stored != replayed:
            faults.append(f"account {account} says {stored}, its entries say {replayed}")
    return faults


def _transfer_faults(tx: Connection, organization_id: str) -> list[str]:
    faults = []
    counted = tx.execute(
        select(wallets.c.transfers).where(wallets.c.organization_id == organization_id)
    ).scalar_one()
    found, last = tx.execute(
        select(func.count(), func.coalesce(func.max(transfers.c.transfer_id), 0)).where(
            transfers.c.organization_id == organization_id
        )
    ).one()
    if not counted == found == last:
        faults.append(f"{counted} transfers were made, {found} are there, the last is {last}")
    sides = (
        select(
            entries.c.transfer_id,
            func.sum(entries.c.amount_micro).label("total"),
            func.count().label("sides"),
            func.max(entries.c.amount_micro).label("amount"),
        )
        .where(entries.c.organization_id == organization_id)
        .group_by(entries.c.transfer_id)
        .subquery()
    )
    wrong = tx.execute(
        select(transfers.c.transfer_id)
        .outerjoin(sides, sides.c.transfer_id == transfers.c.transfer_id)
        .where(
            transfers.c.organization_id == organization_id,
            (func.coalesce(sides.c.sides, 0) != 2)
            | (func.coalesce(sides.c.total, 1) != 0)
            | (func.coalesce(sides.c.amount, 0) != transfers.c.amount_micro),
        )
        .limit(10)
    )
    faults += [f"transfer {row.transfer_id} does not have two equal sides" for row in wrong]
    return faults


def _hold_faults(tx: Connection, organization_id: str, balances: dict[str, int]) -> list[str]:
    pinned = tx.execute(
        select(func.coalesce(func.sum(hold_pins.c.amount_micro), 0))
        .join(
            holds,
            and_(
                holds.c.organization_id == hold_pins.c.organization_id,
                holds.c.hold_id == hold_pins.c.hold_id,
            ),
        )
        .where(holds.c.organization_id == organization_id, holds.c.status == "authorized")
    ).scalar_one()
    held = balances.get(Account.HELD, 0)
    return [] if int(pinned) == held else [f"{held} is held, open holds pin {pinned}"]


def _debit_faults(tx: Connection, organization_id: str) -> list[str]:
    """Every captured credit belongs to an event, and every charged event is paid or uncollected."""
    faults = []
    captured = tx.execute(
        select(accounts.c.balance_micro).where(
            accounts.c.organization_id == organization_id, accounts.c.account == Account.CAPTURED
        )
    ).scalar_one()
    paid = tx.execute(
        select(func.coalesce(func.sum(event_debits.c.amount_micro), 0)).where(
            event_debits.c.organization_id == organization_id
        )
    ).scalar_one()
    if captured != int(paid):
        faults.append(f"{captured} was captured, events paid {paid}")
    due = tx.execute(
        select(
            func.coalesce(func.sum(events.c.credits_micro - events.c.uncollected_micro), 0)
        ).where(
            events.c.organization_id == organization_id,
            events.c.charged == literal(True, Flag),
        )
    ).scalar_one()
    if int(due) != int(paid):
        faults.append(f"events charged {due}, grants paid {paid}")
    return faults


def _grant_faults(tx: Connection, organization_id: str) -> list[str]:
    rows = tx.execute(
        select(grants.c.grant_id)
        .outerjoin(
            entries,
            and_(
                entries.c.organization_id == grants.c.organization_id,
                entries.c.account == grants.c.grant_id,
                entries.c.version == 1,
                entries.c.amount_micro == grants.c.granted_micro,
            ),
        )
        .where(grants.c.organization_id == organization_id, entries.c.version.is_(None))
    )
    return [f"grant {row.grant_id} was not issued whole" for row in rows]
