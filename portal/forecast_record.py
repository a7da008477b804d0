"""What was forecast, day by day, kept to be told against what came.

The only writer of its table. Invariant: one forecast for each local day, the first that was made on
it, and never another; where none could be made there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, func, select

from portal import accounts, forecasting, usage
from portal.accounts import Organization
from portal.core.periods import Period, local_day
from portal.core.projection import Projection
from portal.db import Database
from portal.rows import insert_or_ignore
from portal.tables import forecasts

_PAGE = 100


@dataclass(frozen=True)
class Said:
    """What was forecast on a day, and whether what came ended inside the range.

    ``held`` is None while the period runs.
    """

    day: date
    projection: Projection
    held: bool | None


@dataclass(frozen=True)
class Record:
    """The forecasts of a billing period against what it came to, in millionths of a credit.

    ``came_micro`` is None while the period runs.
    """

    period: Period
    came_micro: int | None
    days: Sequence[Said]

    @property
    def held_days(self) -> int:
        """On how many days the range held what came."""
        return sum(1 for one in self.days if one.held)


def record(tx: Connection, organization: Organization, period: Period, *, now: datetime) -> Record:
    """Return what was forecast in a billing period, by day, and how it came out."""
    org_id, zone = organization.organization_id, organization.zone
    came = None
    if period.end <= now:
        start, end = local_day(period.start, zone), local_day(period.end, zone)
        came = usage.report(tx, org_id, start=start, end=end).totals.credits_micro
    rows = tx.execute(
        select(forecasts)
        .where(forecasts.c.organization_id == org_id, forecasts.c.period_start == period.start)
        .order_by(forecasts.c.day)
    )
    said = []
    for row in rows:
        told = Projection(row.spent_micro, row.p10_micro, row.p50_micro, row.p90_micro)
        held = None if came is None else told.low_micro <= came <= told.high_micro
        said.append(Said(row.day, told, held))
    return Record(period, came, said)


def keep(database: Database, *, now: datetime) -> int:
    """Keep today's forecast of every organization that has none yet; returns how many."""
    kept, after = 0, ""
    while True:
        with database.reading() as tx:
            page = accounts.list_organizations(tx, after=after, limit=_PAGE)
            last = _last_days(tx, [one.organization_id for one in page])
        for organization in page:
            known = last.get(organization.organization_id)
            if known is None or known < local_day(now, organization.zone):
                kept += _keep(database, organization.organization_id, now=now)
        if len(page) < _PAGE:
            return kept
        after = page[-1].organization_id


def _last_days(tx: Connection, organization_ids: Sequence[str]) -> dict[str, date]:
    """Return the last day on which a forecast was kept, by organization."""
    rows = tx.execute(
        select(forecasts.c.organization_id, func.max(forecasts.c.day).label("day"))
        .where(forecasts.c.organization_id.in_(organization_ids))
        .group_by(forecasts.c.organization_id)
    )
    return {row.organization_id: row.day for row in rows}


def _keep(database: Database, organization_id: str, *, now: datetime) -> int:
    """Keep one organization's forecast of its day; returns 0 where there is none to be made."""
    with database.reading() as tx:
        organization = accounts.find_organization(tx, organization_id)
        found = forecasting.forecast(tx, organization, now=now)
    if found.projection is None:
        return 0
    with database.transaction() as tx:
        return insert_or_ignore(
            tx,
            forecasts,
            {
                "organization_id": organization_id,
                "period_start": found.period.start,
                "day": local_day(now, organization.zone),
                "made_at": now,
                "period_end": found.period.end,
                "spent_micro": found.projection.spent_micro,
                "p10_micro": found.projection.low_micro,
                "p50_micro": found.projection.middle_micro,
                "p90_micro": found.projection.high_micro,
            },
        )
