"""Where an organization's period is going, from its daily rollup."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from portal import usage
from portal.accounts import Organization
from portal.core.forecast import LOOK_BACK_DAYS, Projection, project
from portal.core.periods import Period, days_between, local_day

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Forecast:
    """A projection for the period, or the reason why there is none."""

    as_of: datetime
    period: Period
    spent_micro: int
    projection: Projection | None
    refused: str | None


def forecast(tx: Connection, organization: Organization, *, now: datetime) -> Forecast:
    """Project the billing period's credits, in millionths."""
    period = organization.period_at(now)
    zone = organization.zone
    today = local_day(now, zone)
    first = local_day(period.start, zone)
    report = usage.report(
        tx,
        organization.organization_id,
        start=min(first, today - timedelta(days=LOOK_BACK_DAYS)),
        end=today + DAY,
        group_by=["day"],
    )
    by_day = {row.labels["day"]: row.totals.credits_micro for row in report.rows}
    spent = sum(amount for day, amount in by_day.items() if day >= first)
    whole_days: list[int] = []
    if by_day:
        # Days before the first use are not quiet days: the organization was not there yet.
        begins = max(min(by_day), today - timedelta(days=LOOK_BACK_DAYS))
        whole_days = [by_day.get(day, 0) for day in days_between(begins, today)]
    # The part of today that has passed is already in what was spent.
    days_left = (period.end - now) / DAY
    projection = project(whole_days, spent_micro=spent, days_left=days_left)
    refused = None
    if projection is None:
        refused = f"{len(whole_days)} whole days of use so far; a projection needs seven"
    return Forecast(now, period, spent, projection, refused)
