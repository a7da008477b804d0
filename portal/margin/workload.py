"""What was done and what it cost, added up by the store as far as sums rate as their events do.

Invariant: each sum rates as its events did: day by day from the rollup where no price rounds; from
the events, by quantity, where one does, and on days in the middle of which something changed. So
memory does not grow with the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, or_, select

from portal.accounts import Organization
from portal.core.periods import DAY, Period, local_day, start_of_day
from portal.core.replay import Begun, Given, Used
from portal.margin.history import History
from portal.tables import COUNTS_ON_ANOTHER_DAY, cost_daily, events, usage_daily

#: A local day begins and ends within this of the same day in UTC, also where a zone changes.
_NEAR = timedelta(days=3)
_SUMS = ("quantity_micro", "credits_micro", "uncollected_micro")
_COUNTED = (
    func.count().label("times"),
    func.sum(events.c.credits_micro).label("rated_micro"),
    func.sum(events.c.uncollected_micro).label("spared_micro"),
)


def changes_of(history: History, books_at: Iterable[datetime]) -> list[datetime]:
    """Return the instants at which what is done costs otherwise than before."""
    found = set(books_at)
    for one in history.happenings:
        found.add(one.at)
        if isinstance(one, Begun):
            found |= {one.given_at, one.end}
        elif isinstance(one, Given) and one.lot.expires_at is not None:
            found.add(one.lot.expires_at)
    found |= {lot.expires_at for lot in history.opening.lots if lot.expires_at is not None}
    whole = Period(history.periods[0][0].start, history.periods[-1][0].end)
    return sorted(at for at in found if at in whole)


def work(
    tx: Connection,
    organization: Organization,
    days: tuple[date, date],
    changes: Sequence[datetime],
    *,
    sums_rate_alike: bool,
) -> list[Used]:
    """Return the work of the local days ``[start, end)``, added up as far as it rates the same.

    ``sums_rate_alike``: whether every price is a whole number of credits, so that no event rounds.
    """
    zone = organization.zone
    broken: dict[date, list[datetime]] = {}
    for at in changes:
        day = local_day(at, zone)
        if start_of_day(day, zone) != at:
            broken.setdefault(day, []).append(at)
    found: list[Used] = []
    if sums_rate_alike:
        found += _by_days(tx, organization, days, set(broken))
    else:
        found += _by_quantities(tx, organization, days, set(broken))
    for day, instants in broken.items():
        found += _by_parts(tx, organization, day, sorted(instants))
    return found


def _by_days(
    tx: Connection, organization: Organization, days: tuple[date, date], without: set[date]
) -> list[Used]:
    rows = tx.execute(
        select(
            usage_daily.c.day,
            usage_daily.c.action,
            *(func.sum(usage_daily.c[name]).label(name) for name in _SUMS),
        )
        .where(
            usage_daily.c.organization_id == organization.organization_id,
            usage_daily.c.day >= days[0],
            usage_daily.c.day < days[1],
            usage_daily.c.action != "",
        )
        .group_by(usage_daily.c.day, usage_daily.c.action)
    )
    return [
        Used(
            start_of_day(row.day, organization.zone),
            row.action,
            int(row.quantity_micro),
            rated_micro=int(row.credits_micro) + int(row.uncollected_micro),
            spared_micro=int(row.uncollected_micro),
        )
        for row in rows
        if row.day not in without
    ]


def _on_days(organization: Organization, start: date, end: date) -> list[ColumnElement[bool]]:
    """Return the condition for the events that count on the local days ``[start, end)``."""
    days = [events.c.day >= start, events.c.day < end]
    first, last = (datetime.combine(day, time(), UTC) for day in (start, end))
    near = and_(events.c.occurred_at >= first - _NEAR, events.c.occurred_at < last + _NEAR)
    return [
        events.c.organization_id == organization.organization_id,
        events.c.action != "",
        *days,
        or_(near, and_(COUNTS_ON_ANOTHER_DAY, *days)),
    ]


def _by_quantities(
    tx: Connection, organization: Organization, days: tuple[date, date], without: set[date]
) -> list[Used]:
    columns = (events.c.day, events.c.action, events.c.quantity_micro)
    rows = tx.execute(
        select(*columns, *_COUNTED).where(*_on_days(organization, *days)).group_by(*columns)
    )
    return [
        _alike(start_of_day(row.day, organization.zone), row)
        for row in rows
        if row.day not in without
    ]


def _by_parts(
    tx: Connection, organization: Organization, day: date, instants: Sequence[datetime]
) -> list[Used]:
    """Return the work of a day in parts between the instants that break it.

    By when it was received: that is when the ledger took it, from what was there then.
    """
    part = case(
        *((events.c.received_at < at, place) for place, at in enumerate(instants)),
        else_=len(instants),
    ).label("part")
    columns = (part, events.c.action, events.c.quantity_micro)
    rows = tx.execute(
        select(*columns, *_COUNTED)
        .where(*_on_days(organization, day, day + DAY))
        .group_by(*columns)
    )
    begins = [start_of_day(day, organization.zone), *instants]
    return [_alike(begins[row.part], row) for row in rows]


def _alike(at: datetime, row: Row[Any]) -> Used:
    """Return events of one quantity; what they were rated at has in it what was not charged."""
    return Used(
        at, row.action, row.quantity_micro, row.times, int(row.rated_micro), int(row.spared_micro)
    )


def cost_of(
    tx: Connection, organization: Organization, periods: Sequence[tuple[Period, date]], end: date
) -> tuple[int, list[tuple[int, int]]]:
    """Return what the days of the periods cost, in billionths of a dollar, and the tokens of each.

    Tokens are those of models, in and out; ``end`` is the day after the last one.
    """
    firsts = [day for _, day in periods]
    rows = tx.execute(
        select(
            cost_daily.c.day,
            func.sum(cost_daily.c.cost_nano_usd).label("cost"),
            func.sum(cost_daily.c.input_tokens).label("tokens_in"),
            func.sum(cost_daily.c.output_tokens).label("tokens_out"),
        )
        .where(
            cost_daily.c.organization_id == organization.organization_id,
            cost_daily.c.day >= firsts[0],
            cost_daily.c.day < end,
        )
        .group_by(cost_daily.c.day)
    ).all()
    bounds = list(pairwise([*firsts, end]))
    tokens = [
        (
            sum(int(row.tokens_in) for row in rows if first <= row.day < last),
            sum(int(row.tokens_out) for row in rows if first <= row.day < last),
        )
        for first, last in bounds
    ]
    return sum(int(row.cost) for row in rows), tokens
