"""The proof that what is stored follows from what happened. Reads only.

``ledger_faults`` replays an organization's entries, and counts again from events and holds whatever
is kept counted beside them: debits, caps, overage, usage and cost by day. It says in words where
what is stored does not follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    bindparam,
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


ORG: ColumnElement[str] = bindparam("org", type_=Text())


def _of(table: Table) -> ColumnElement[bool]:
    return table.c.organization_id == ORG


def _apart(*parts: Select[Any], labels: int) -> Select[Any]:
    """Return the labels, the first columns of all parts, under which the others do not cancel out.

    One sort, whatever the store knows of its tables: a join of the two would be planned as a
    comparison of each row with each where it has not yet counted them.
    """
    columns = list(union_all(*parts).subquery().c)
    by, sums = columns[:labels], columns[labels:]
    wrong = or_(*(func.sum(column) != 0 for column in sums))
    return select(*by).group_by(*by).having(wrong).limit(SHOWN)


def _kept(table: Table, labels: Sequence[str], sums: Sequence[str]) -> Select[Any]:
    """Return what is kept of an organization, its sums with the sign turned."""
    return select(*(table.c[name] for name in labels), *(-table.c[name] for name in sums)).where(
        _of(table)
    )


def _moved(account: ColumnElement[str], amount_micro: ColumnElement[int]) -> Select[Any]:
    """Return what one side of each transfer should have written."""
    return select(transfers.c.transfer_id, account, amount_micro, literal(1)).where(_of(transfers))


def _sum(
    column: ColumnElement[int], of: FromClause, *conditions: ColumnElement[bool]
) -> Select[Any]:
    return select(func.coalesce(func.sum(column), 0)).select_from(of).where(*conditions)


# The statements are built once: building them would cost more than running them.
_BALANCES = select(accounts.c.account, accounts.c.balance_micro).where(_of(accounts))
_ENTRIES = select(entries).where(_of(entries)).order_by(entries.c.account, entries.c.version)
_COUNTED_TRANSFERS = select(wallets.c.transfers).where(_of(wallets))
_TRANSFERS = select(func.count(), func.coalesce(func.max(transfers.c.transfer_id), 0)).where(
    _of(transfers)
)
_SIDES = select(func.count()).where(_of(entries))
_UNEVEN = _apart(
    _moved(transfers.c.from_account, -transfers.c.amount_micro),
    _moved(transfers.c.to_account, transfers.c.amount_micro),
    select(entries.c.transfer_id, entries.c.account, -entries.c.amount_micro, literal(-1)).where(
        _of(entries)
    ),
    labels=2,
)
_PINNED = _sum(
    hold_pins.c.amount_micro,
    hold_pins.join(
        holds,
        and_(
            holds.c.organization_id == hold_pins.c.organization_id,
            holds.c.hold_id == hold_pins.c.hold_id,
        ),
    ),
    _of(holds),
    holds.c.status == "authorized",
)
_DEBITED = _sum(event_debits.c.amount_micro, event_debits, _of(event_debits))
#: Every event's credits were paid, or not charged.
_CHARGED_OTHERWISE = _apart(
    select(
        events.c.source,
        events.c.event_id,
        case(
            (events.c.charged == literal(False, Flag), 0),
            else_=events.c.credits_micro - events.c.uncollected_micro,
        ),
    ).where(_of(events)),
    select(event_debits.c.source, event_debits.c.event_id, -event_debits.c.amount_micro).where(
        _of(event_debits)
    ),
    labels=2,
)
#: A rollover is what several allowances had left, each by a transfer of its own.
_NOT_WHOLE = _apart(
    select(grants.c.grant_id, grants.c.granted_micro).where(_of(grants)),
    select(transfers.c.to_account, -transfers.c.amount_micro).where(
        _of(transfers), transfers.c.kind.in_(("grant", "rollover"))
    ),
    labels=1,
)
_FROZEN = _sum(grants.c.frozen_micro, grants, _of(grants))
_BEYOND = _sum(
    overage_periods.c.spent_micro + overage_periods.c.held_micro,
    overage_periods,
    _of(overage_periods),
)
_USAGE = _apart(
    select(
        *(events.c[name] for name in USAGE_LABELS),
        case((events.c.type.startswith(COST_PREFIX), 0), else_=events.c.quantity_micro),
        events.c.credits_micro - events.c.uncollected_micro,
        events.c.uncollected_micro,
        case((events.c.corrects_id == "", 1), else_=0),
    ).where(_of(events)),
    _kept(usage_daily, USAGE_LABELS, USAGE_SUMS),
    labels=len(USAGE_LABELS),
)
_OF_THE_EVENT = ("day", "action", "member_id")
_COST = _apart(
    select(
        *((events if name in _OF_THE_EVENT else event_costs).c[name] for name in COST_LABELS),
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
    .where(_of(event_costs)),
    _kept(cost_daily, COST_LABELS, COST_SUMS),
    labels=len(COST_LABELS),
)


def ledger_faults(tx: Connection, organization_id: str) -> list[str]:
    """Return what is wrong with an organization's ledger, in words; empty where nothing is."""
    org = {"org": organization_id}
    balances = {row.account: row.balance_micro for row in tx.execute(_BALANCES, org)}
    faults = [*_entry_faults(tx, org, balances), *_transfer_faults(tx, org)]
    if sum(balances.values()):
        faults.append(f"the accounts add up to {sum(balances.values())}, not to zero")
    faults += [
        f"account {account} stands at {balance}, below zero"
        for account, balance in balances.items()
        if balance < 0 and account not in MAY_BE_NEGATIVE
    ]
    faults += _balance_faults(tx, org, balances)
    faults += [
        f"event {row.event_id} of {row.source} was not charged what its debits say"
        for row in tx.execute(_CHARGED_OTHERWISE, org)
    ]
    faults += [f"grant {row.grant_id} was not issued whole" for row in tx.execute(_NOT_WHOLE, org)]
    faults += caps.faults(tx, organization_id)
    faults += [
        f"usage of {row.day} by {row.action} is not what its events add up to"
        for row in tx.execute(_USAGE, org)
    ]
    faults += [
        f"cost of {row.day} for {row.layer} is not what its lines add up to"
        for row in tx.execute(_COST, org)
    ]
    return faults


def _entry_faults(
    tx: Connection, org: Mapping[str, str], balances: Mapping[str, int]
) -> Iterator[str]:
    """Replay each account: versions without a gap, each entry begins where the last one ended."""
    before: dict[str, tuple[int, int]] = {}
    for row in tx.execute(_ENTRIES, org, execution_options={"yield_per": READ_AT_ONCE}):
        version, balance = before.get(row.account, (0, 0))
        if row.version != version + 1:
            yield f"account {row.account}: version {version} is followed by {row.version}"
        if row.before_micro != balance or row.after_micro != balance + row.amount_micro:
            yield f"account {row.account}: entry {row.version} does not follow the last one"
        before[row.account] = (row.version, row.after_micro)
    for account, stored in balances.items():
        replayed = before.get(account, (0, 0))[1]
        if stored != replayed:
            yield f"account {account} says {stored}, its entries say {replayed}"


def _transfer_faults(tx: Connection, org: Mapping[str, str]) -> Iterator[str]:
    counted = tx.execute(_COUNTED_TRANSFERS, org).scalar_one()
    found, last = tx.execute(_TRANSFERS, org).one()
    if not counted == found == last:
        yield f"{counted} transfers were made, {found} are there, the last is {last}"
    for number in sorted({row.transfer_id for row in tx.execute(_UNEVEN, org)}):
        yield f"transfer {number} does not have two equal sides"
    sides = tx.execute(_SIDES, org).scalar_one()
    if sides != 2 * found:
        yield f"{found} transfers have {sides} entries"


def _balance_faults(
    tx: Connection, org: Mapping[str, str], balances: Mapping[str, int]
) -> Iterator[str]:
    """Compare what the accounts say with what holds, events, grants and overage add up to."""
    for account, sign, statement, words in (
        (Account.HELD, 1, _PINNED, "{booked} is held, open holds pin {counted}"),
        (Account.CAPTURED, 1, _DEBITED, "{booked} was captured, events paid {counted}"),
        (Account.FROZEN, 1, _FROZEN, "{booked} is frozen, grants say {counted}"),
        (Account.OVERAGE, -1, _BEYOND, "{booked} went beyond all grants, {counted} counted"),
    ):
        booked = sign * balances.get(account, 0)
        counted = int(tx.execute(statement, org).scalar_one())
        if booked != counted:
            yield words.format(booked=booked, counted=counted)
