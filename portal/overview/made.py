"""What was made: by action against the period before, and day by day.

Invariant: the days' figures, the actions' and the total are sums of the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import Connection

from portal import usage
from portal.accounts import Organization
from portal.breakdown import change_percent, days_of
from portal.core.catalog import Action, PriceBook
from portal.core.periods import Period, days_between
from portal.core.units import apportion
from portal.usage import Totals

DAY = timedelta(days=1)
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class DayFigures:
    """One day of the period: credits by series, and all of them so far."""

    day: date
    parts_micro: Sequence[int]
    so_far_micro: int

    @property
    def total_micro(self) -> int:
        """All series together."""
        return sum(self.parts_micro)


@dataclass(frozen=True)
class Made:
    """What was made of one action, or of all."""

    key: str
    name: str
    price_micro: int | None
    totals: Totals
    share_percent: int
    change_percent: int | None


class Recent:
    """Credits by day and action, since the period's start and for two weeks at least."""

    def __init__(
        self,
        tx: Connection,
        organization: Organization,
        own: str | None,
        *,
        today: date,
        first: date,
    ) -> None:
        self.own, self.today, self.first = own, today, first
        found = usage.report(
            tx,
            organization.organization_id,
            start=min(first, today - 2 * WEEK),
            end=today + DAY,
            group_by=["day", "action"],
            filters={"member": own} if own is not None else {},
        )
        self.rows = [row for row in found.rows if row.labels["action"]]

    def by_action(self, start: date, end: date) -> dict[str, Totals]:
        """Return totals by action of the days ``[start, end)``."""
        parts: dict[str, list[Totals]] = {}
        for row in self.rows:
            if start <= row.labels["day"] < end:
                parts.setdefault(row.labels["action"], []).append(row.totals)
        return {action: usage.total(found) for action, found in parts.items()}


def made_of(
    tx: Connection,
    organization: Organization,
    recent: Recent,
    book: PriceBook | None,
    period: Period,
) -> tuple[list[Made], Made, tuple[date, date]]:
    """Return what was made this period by action, against as many days of the last one."""
    first, today = recent.first, recent.today
    previous = organization.period_at(period.start - timedelta(microseconds=1))
    start, _ = days_of(previous, organization)
    end = min(start + (today + DAY - first), first)
    earlier = usage.report(
        tx,
        organization.organization_id,
        start=start,
        end=end,
        group_by=["action"],
        filters={"member": recent.own} if recent.own is not None else {},
    )
    before = {row.labels["action"]: row.totals for row in earlier.rows}
    now = recent.by_action(first, today + DAY)
    total = usage.total(now.values())
    actions: Mapping[str, Action] = book.actions if book else {}
    made = []
    ordered = sorted(now.items(), key=lambda item: (-item[1].credits_micro, item[0]))
    shares = apportion(100, [totals.credits_micro for _, totals in ordered])
    for (key, totals), share in zip(ordered, shares, strict=True):
        action = actions.get(key)
        made.append(
            Made(
                key,
                action.plural if action else key,
                action.price_micro if action else None,
                totals,
                share,
                change_percent(totals.credits_micro, before.get(key, Totals()).credits_micro),
            )
        )
    was = usage.total(before.values()).credits_micro
    whole = Made("", "Total", None, total, 100, change_percent(total.credits_micro, was))
    return made, whole, (start, end - DAY)


def days_made(recent: Recent, made: Sequence[Made], first: date, today: date) -> list[DayFigures]:
    """Return every day of the period so far, by the actions that were made in it."""
    series = {one.key: place for place, one in enumerate(made)}
    parts = {day: [0] * len(series) for day in days_between(first, today + DAY)}
    for row in recent.rows:
        if row.labels["day"] in parts:
            parts[row.labels["day"]][series[row.labels["action"]]] += row.totals.credits_micro
    days, so_far = [], 0
    for day, values in parts.items():
        so_far += sum(values)
        days.append(DayFigures(day, values, so_far))
    return days
