"""Statements: what a billing period began with, what moved, what it ended with. Reads only.

Invariant: opening + movements = closing, in millionths. What expires is dated to its instant, so
that what ends with a period stands in that period's statement; a closed one never changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select

from portal.accounts import Organization
from portal.core import statement as core
from portal.core.periods import Period, local_day
from portal.core.statement import Line
from portal.tables import accounts, entries, grants, transfers

_STOOD = (
    select(entries.c.after_micro)
    .where(
        entries.c.organization_id == accounts.c.organization_id,
        entries.c.account == accounts.c.account,
        entries.c.at < bindparam("since"),
    )
    .order_by(entries.c.at.desc(), entries.c.version.desc())
    .limit(1)
    .scalar_subquery()
)
#: What stood outside of the customer's credits before an instant: the same amount, negative.
_OUTSIDE = select(func.coalesce(func.sum(_STOOD), 0)).where(
    accounts.c.organization_id == bindparam("org"), accounts.c.account.in_(sorted(core.OUTSIDE))
)
_MOVEMENT = (
    transfers.c.transfer_id,
    transfers.c.kind,
    transfers.c.from_account,
    transfers.c.to_account,
    transfers.c.amount_micro,
    transfers.c.at,
    transfers.c.reference,
    grants.c.source,
    grants.c.expires_at,
)
_OF_GRANT = and_(
    grants.c.organization_id == transfers.c.organization_id,
    or_(
        grants.c.grant_id == transfers.c.from_account,
        and_(transfers.c.kind == "grant", grants.c.grant_id == transfers.c.to_account),
    ),
)
_MOVED = (
    select(*_MOVEMENT)
    .select_from(transfers.outerjoin(grants, _OF_GRANT))
    .where(
        transfers.c.organization_id == bindparam("org"),
        transfers.c.at >= bindparam("since"),
        transfers.c.at < bindparam("until"),
    )
    # The ledger's order; by the instant first, which never goes back in it, so that the index by
    # time has them in order.
    .order_by(transfers.c.at, transfers.c.transfer_id)
)
_EXPIRED = select(grants.c.grant_id).where(
    grants.c.organization_id == bindparam("org"), grants.c.expires_at <= bindparam("until")
)
#: Expiry that took effect up to an instant and was booked at it or later.
_EXPIRED_LATE = (
    select(*_MOVEMENT)
    .select_from(
        grants.join(
            entries,
            and_(
                entries.c.organization_id == grants.c.organization_id,
                entries.c.account == grants.c.grant_id,
                entries.c.at >= bindparam("until"),
            ),
        ).join(
            transfers,
            and_(
                transfers.c.organization_id == entries.c.organization_id,
                transfers.c.transfer_id == entries.c.transfer_id,
                transfers.c.kind == "expire",
            ),
        )
    )
    .where(
        grants.c.organization_id == bindparam("org"),
        grants.c.expires_at <= bindparam("until"),
        # SQLite would else begin with all entries there are.
        entries.c.account.in_(_EXPIRED),
    )
    .order_by(transfers.c.transfer_id)
)


@dataclass(frozen=True)
class Movement:
    """One transfer that changed what the customer's credits add up to; signed millionths."""

    at: datetime
    kind: str
    source: str
    credits_micro: int
    reference: str


@dataclass(frozen=True)
class Statement:
    """A billing period's movements, up to ``until``; ``running`` while the period still does."""

    period: Period
    until: datetime
    running: bool
    opening_micro: int
    movements: Sequence[Movement]
    lines: Sequence[Line]

    @property
    def closing_micro(self) -> int:
        """What the period ended with, or stands at now."""
        return self.opening_micro + sum(line.credits_micro for line in self.lines)


def statement(
    tx: Connection, organization: Organization, period: Period, *, now: datetime
) -> Statement:
    """Return the statement of a billing period, up to now where it still runs.

    What is due by now must be booked (see ``desk.book_due``).
    """
    running = period.end > now
    until = now + _MOMENT if running else period.end
    movements = sorted(
        _movements(tx, organization.organization_id, period.start, until), key=lambda one: one.at
    )
    return Statement(
        period,
        min(now, period.end),
        running,
        _stood(tx, organization.organization_id, period.start),
        movements,
        _lines(movements, organization),
    )


_MOMENT = timedelta(microseconds=1)


def _stood(tx: Connection, organization_id: str, since: datetime) -> int:
    """Return what the customer's credits added up to when a period began."""
    outside = tx.execute(_OUTSIDE, {"org": organization_id, "since": since}).scalar_one()
    late: int = sum(row.amount_micro for row in _expired_late(tx, organization_id, since))
    return -int(outside) - late


def _expired_late(tx: Connection, organization_id: str, until: datetime) -> Sequence[Any]:
    return tx.execute(_EXPIRED_LATE, {"org": organization_id, "until": until}).all()


def _movements(
    tx: Connection, organization_id: str, since: datetime, until: datetime
) -> Iterator[Movement]:
    rows = tx.execute(_MOVED, {"org": organization_id, "since": since, "until": until})
    for row in rows:
        of_before = row.kind == "expire" and row.expires_at <= since
        if not of_before:
            yield from _told(row, since)
    for row in _expired_late(tx, organization_id, until):
        if row.expires_at > since:
            yield from _told(row, since)


def _told(row: Any, since: datetime) -> Iterator[Movement]:
    # What expires at the end of a period is dated to its last moment.
    at = max(row.expires_at - _MOMENT, since) if row.kind == "expire" else row.at
    for kind, change in core.movements(row.from_account, row.to_account, row.amount_micro):
        source = row.source if row.source and kind in core.OF_A_GRANT else ""
        yield Movement(at, kind, source, change, row.reference)


def _lines(movements: Sequence[Movement], organization: Organization) -> list[Line]:
    """Add movements up by local day, kind and the kind of grant they are about."""
    totals: dict[tuple[date, int, str], int] = defaultdict(int)
    for one in movements:
        day = local_day(one.at, organization.zone)
        totals[day, core.ORDER.index(one.kind), one.source] += one.credits_micro
    return [
        Line(day, core.ORDER[place], source, credits_micro)
        for (day, place, source), credits_micro in sorted(totals.items())
        if credits_micro
    ]
