"""Revenue recognised: written down by day from what was paid, used, billed and given back.

The only writer of ``tier_fees``, ``revenue_daily`` and ``recognitions``. Invariant: what stands
there follows from the ledger, the payments, the invoices and the history of tiers alone, so that it
can be written anew at any time; who has more of these than was seen last time is stale, and brought
up to date before anybody reads. Works on nobody's money.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    delete,
    func,
    select,
    update,
)

from portal import accounts, desk, wallet
from portal.core.margin.recognition import FEES, REFUNDS, Fee
from portal.db import Database
from portal.margin import earnings
from portal.margin.earnings import Earned
from portal.rows import insert_or_ignore, insert_rows
from portal.tables import (
    grants,
    invoices,
    overage_periods,
    payment_movements,
    recognitions,
    revenue_daily,
    tier_fees,
    tier_terms,
    wallets,
)

#: How many organizations are brought up to date for one reader; the rest is the worker's.
MOST_AT_ONCE = 200


def _counted(table: Any, what: ColumnElement[Any], *where: ColumnElement[bool]) -> Any:
    return (
        select(table.c.organization_id, what.label("number"))
        .where(*where)
        .group_by(table.c.organization_id)
        .subquery()
    )


def _seen() -> Select[Any]:
    """Return the query of how much has happened to each organization, and how much was seen.

    Of those alone who have paid anything, or owe a fee: nothing else is ever recognised.
    """
    moved = _counted(payment_movements, func.sum(1 + func.abs(payment_movements.c.amount_minor)))
    paid = _counted(invoices, func.count(), invoices.c.status == "paid")
    terms = _counted(tier_terms, func.sum(1 + func.coalesce(tier_terms.c.seats, 0)))
    bought = _counted(grants, func.count(), grants.c.paid_minor > 0)
    beyond = _counted(overage_periods, func.count())
    numbers = [func.coalesce(one.c.number, 0) for one in (moved, paid, terms, bought, beyond)]
    money = sum(numbers[1:], numbers[0])
    joined = wallets
    for one in (moved, paid, terms, bought, beyond, recognitions):
        same = one.c.organization_id == wallets.c.organization_id
        joined = joined.outerjoin(one, same)  # type: ignore[assignment]
    return (
        select(
            wallets.c.organization_id,
            (wallets.c.transfers + money).label("seen"),
            wallets.c.transfers,
            func.coalesce(recognitions.c.seen, 0).label("known"),
            func.coalesce(recognitions.c.transfers, 0).label("known_transfers"),
            recognitions.c.at,
        )
        .select_from(joined)
        .where(money > 0)
    )


_SEEN = _seen()
_STALE = _SEEN.where(_SEEN.selected_columns.seen != _SEEN.selected_columns.known).order_by(
    wallets.c.organization_id
)


def stale(tx: Connection) -> list[str]:
    """Return the organizations to which something happened that is not recognised yet."""
    return [row.organization_id for row in tx.execute(_STALE)]


class Caught(NamedTuple):
    """How many organizations were brought up to date, and how many wait for the next time."""

    done: int
    waiting: int


def bring_up_to_date(
    database: Database, *, now: datetime, most: int = MOST_AT_ONCE, patient: bool = False
) -> Caught:
    """Recognise what happened since, of at most so many organizations.

    What fell due by itself, an end of a grant or of a period, is booked first. A ``patient`` caller
    is a job, which may read for as long as it takes; else raises Unavailable after a while.
    """
    with _reading(database, patient=patient) as tx:
        due = sorted({*accounts.organizations_due(tx, now=now), *wallet.with_expired(tx, now=now)})
    for organization_id in due[:most]:
        desk.book_due(database, organization_id, now=now)
    with _reading(database, patient=patient) as tx:
        found = stale(tx)
    for organization_id in found[:most]:
        recognise(database, organization_id, now=now, patient=patient)
    return Caught(len(found[:most]), len({*due[most:], *found[most:]}))


def _reading(database: Database, *, patient: bool) -> AbstractContextManager[Connection]:
    return database.reading(patient=True) if patient else database.figures()


def recognise(
    database: Database, organization_id: str, *, now: datetime, patient: bool = False
) -> None:
    """Write down what of an organization's money has become revenue. Raises NotFound."""
    with _reading(database, patient=patient) as tx:
        organization = accounts.find_organization(tx, organization_id)
        mine = _SEEN.where(wallets.c.organization_id == organization_id)
        mark = tx.execute(mine).mappings().first()
        if mark is None:
            return
        fees = earnings.fees_of(tx, organization)
        origins, rows = earnings.by_use(tx, organization, mark)
        rows += earnings.movements(tx, organization)
    with database.transaction() as tx:
        if _take(tx, mark, now=now):
            _write(tx, organization_id, fees, origins, rows)


def rebuild(database: Database, organization_id: str, *, now: datetime) -> None:
    """Forget what was recognised of an organization and do it anew. Raises NotFound."""
    with database.transaction() as tx:
        for table in (recognitions, revenue_daily, tier_fees):
            tx.execute(delete(table).where(table.c.organization_id == organization_id))
    recognise(database, organization_id, now=now, patient=True)


def _take(tx: Connection, mark: RowMapping, *, now: datetime) -> bool:
    """Mark what is seen now; False where somebody else recognised more meanwhile."""
    key = {"organization_id": mark["organization_id"]}
    insert_or_ignore(tx, recognitions, key | {"seen": 0, "transfers": 0, "at": now})
    done = tx.execute(
        update(recognitions)
        .where(
            recognitions.c.organization_id == mark["organization_id"],
            recognitions.c.seen == mark["known"],
            recognitions.c.transfers == mark["known_transfers"],
        )
        .values(seen=mark["seen"], transfers=mark["transfers"], at=now)
    )
    return done.rowcount == 1


def _write(
    tx: Connection,
    organization_id: str,
    fees: Sequence[Fee],
    origins: Sequence[str],
    rows: Sequence[Earned],
) -> None:
    key = {"organization_id": organization_id}
    tx.execute(delete(tier_fees).where(tier_fees.c.organization_id == organization_id))
    insert_rows(tx, tier_fees, [key | vars(fee) for fee in fees])
    mine = revenue_daily.c.organization_id == organization_id
    tx.execute(delete(revenue_daily).where(mine, revenue_daily.c.part.in_((REFUNDS, FEES))))
    for origin in origins:
        tx.execute(delete(revenue_daily).where(mine, revenue_daily.c.origin == origin))
    insert_rows(
        tx,
        revenue_daily,
        [
            key
            | {
                "day": row.recognised.day,
                "part": row.recognised.part,
                "origin": row.origin,
                "action": row.recognised.action,
                "team_id": row.recognised.team,
                "credits_micro": row.recognised.credits_micro,
                "amount_minor": row.recognised.amount_minor,
            }
            for row in rows
        ],
    )
