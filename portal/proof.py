"""The proof that what is stored follows from what happened. Reads only.

``ledger_faults`` replays an organization's entries, and counts again from events and holds whatever
is kept counted beside them: debits, caps, overage, usage and cost by day. It says in words where
what is stored does not follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    union_all,
)

from portal import caps
from portal.core.events import COST_PREFIX
from portal.core.ledger import MAY_BE_NEGATIVE, Account
from portal.events import COST_SUMS, USAGE_SUMS
from portal.tables import (
    COST_LABELS,
    USAGE_LABELS,
    Flag,
    accounts,
    cost_daily,
    entries,
    event_costs,
    event_debits,
    events,
    grants,
    hold_pins,
    holds,
    overage_periods,
    transfers,
    usage_daily,
    wallets,
)

#: How many faults of one kind are told; more say nothing more.
SHOWN = 10
#: Entries held in memory at a time: a ledger of years is read as it comes.
READ_AT_ONCE = 5_000


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
    faults += _debit_faults(tx, organization_id, balances)
    faults += _grant_faults(tx, organization_id, balances)
    faults += _overage_faults(tx, organization_id, balances)
    faults += caps.faults(tx, organization_id)
    faults += _usage_faults(tx, organization_id)
    faults += _cost_faults(tx, organization_id)
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
        .order_by(entries.c.account, entries.c.version),
        execution_options={"yield_per": READ_AT_ONCE},
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
    wrong = _apart(
        tx,
        _moved(organization_id, transfers.c.from_account, -transfers.c.amount_micro),
        _moved(organization_id, transfers.c.to_account, transfers.c.amount_micro),
        select(
            entries.c.transfer_id, entries.c.account, -entries.c.amount_micro, literal(-1)
        ).where(entries.c.organization_id == organization_id),
        labels=2,
    )
    uneven = sorted({int(row[0]) for row in wrong})
    faults += [f"transfer {number} does not have two equal sides" for number in uneven]
    sides = tx.execute(
        select(func.count()).where(entries.c.organization_id == organization_id)
    ).scalar_one()
    if sides != 2 * found:
        faults.append(f"{found} transfers have {sides} entries")
    return faults


def _moved(
    organization_id: str, account: ColumnElement[str], amount_micro: ColumnElement[int]
) -> Select[Any]:
    """Return what one side of each transfer should have written."""
    return select(transfers.c.transfer_id, account, amount_micro, literal(1)).where(
        transfers.c.organization_id == organization_id
    )


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


def _debit_faults(tx: Connection, organization_id: str, balances: dict[str, int]) -> list[str]:
    """Every captured credit belongs to an event, and every event's credits were paid or not."""
    of_events = select(
        event_debits.c.source, event_debits.c.event_id, -event_debits.c.amount_micro
    ).where(event_debits.c.organization_id == organization_id)
    debited = int(
        tx.execute(
            select(func.coalesce(func.sum(event_debits.c.amount_micro), 0)).where(
                event_debits.c.organization_id == organization_id
            )
        ).scalar_one()
    )
    captured = balances.get(Account.CAPTURED, 0)
    faults = [] if captured == debited else [f"{captured} was captured, events paid {debited}"]
    due = case(
        (events.c.charged == literal(False, Flag), 0),
        else_=events.c.credits_micro - events.c.uncollected_micro,
    )
    owed = select(events.c.source, events.c.event_id, due).where(
        events.c.organization_id == organization_id
    )
    return faults + [
        f"event {row.event_id} of {row.source} was not charged what its debits say"
        for row in _apart(tx, owed, of_events, labels=2)
    ]


def _grant_faults(tx: Connection, organization_id: str, balances: dict[str, int]) -> list[str]:
    whole = select(grants.c.grant_id, grants.c.granted_micro).where(
        grants.c.organization_id == organization_id
    )
    # A rollover is what several allowances had left, each by a transfer of its own.
    issued = select(transfers.c.to_account, -transfers.c.amount_micro).where(
        transfers.c.organization_id == organization_id,
        transfers.c.kind.in_(("grant", "rollover")),
    )
    rows = _apart(tx, whole, issued, labels=1)
    faults = [f"grant {row.grant_id} was not issued whole" for row in rows]
    frozen = tx.execute(
        select(func.coalesce(func.sum(grants.c.frozen_micro), 0)).where(
            grants.c.organization_id == organization_id
        )
    ).scalar_one()
    if int(frozen) != balances.get(Account.FROZEN, 0):
        faults.append(f"{balances.get(Account.FROZEN, 0)} is frozen, grants say {frozen}")
    return faults


def _overage_faults(tx: Connection, organization_id: str, balances: dict[str, int]) -> list[str]:
    counted = tx.execute(
        select(
            func.coalesce(func.sum(overage_periods.c.spent_micro + overage_periods.c.held_micro), 0)
        ).where(overage_periods.c.organization_id == organization_id)
    ).scalar_one()
    booked = -balances.get(Account.OVERAGE, 0)
    return [] if int(counted) == booked else [f"{booked} went beyond all grants, {counted} counted"]


def _usage_faults(tx: Connection, organization_id: str) -> Iterator[str]:
    """Count usage by day again from the events."""
    made = case((events.c.type.startswith(COST_PREFIX), 0), else_=events.c.quantity_micro)
    counted = (
        made,
        events.c.credits_micro - events.c.uncollected_micro,
        events.c.uncollected_micro,
        case((events.c.corrects_id == "", 1), else_=0),
    )
    facts = select(*(events.c[name] for name in USAGE_LABELS), *counted).where(
        events.c.organization_id == organization_id
    )
    kept = _kept(organization_id, usage_daily, USAGE_LABELS, USAGE_SUMS)
    for row in _apart(tx, facts, kept, labels=len(USAGE_LABELS)):
        yield f"usage of {row.day} by {row.action} is not what its events add up to"


def _cost_faults(tx: Connection, organization_id: str) -> Iterator[str]:
    """Count cost by day again from the events' lines."""
    of_event = ("day", "action", "member_id")
    facts = (
        select(
            *((events if name in of_event else event_costs).c[name] for name in COST_LABELS),
            func.coalesce(event_costs.c.amount_nano_usd, 0),
            event_costs.c.input_tokens,
            event_costs.c.output_tokens,
            literal(1),
        )
        .join(
            events,
            and_(
                events.c.organization_id == event_costs.c.organization_id,
                events.c.source == event_costs.c.source,
                events.c.event_id == event_costs.c.event_id,
            ),
        )
        .where(event_costs.c.organization_id == organization_id)
    )
    kept = _kept(organization_id, cost_daily, COST_LABELS, COST_SUMS)
    for row in _apart(tx, facts, kept, labels=len(COST_LABELS)):
        yield f"cost of {row.day} for {row.layer} is not what its lines add up to"


def _kept(
    organization_id: str, table: Table, labels: Sequence[str], sums: Sequence[str]
) -> Select[Any]:
    """Return what is kept of an organization, its sums with the sign turned."""
    return select(*(table.c[name] for name in labels), *(-table.c[name] for name in sums)).where(
        table.c.organization_id == organization_id
    )


def _apart(tx: Connection, *parts: Select[Any], labels: int) -> Sequence[Row[Any]]:
    """Return the labels, the first columns of all parts, under which the others do not cancel out.

    One sort, whatever the store knows of its tables: a join of the two would be planned as a
    comparison of each row with each where it has not yet counted them.
    """
    columns = list(union_all(*parts).subquery().c)
    by, sums = columns[:labels], columns[labels:]
    wrong = or_(*(func.sum(column) != 0 for column in sums))
    return tx.execute(select(*by).group_by(*by).having(wrong).limit(SHOWN)).all()
