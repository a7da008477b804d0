"""The page itself, put together from its parts as one member may see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from portal import balances, forecast_record, notices
from portal.accounts import Member, Organization
from portal.billing import checkout
from portal.billing.checkout import Checkout
from portal.breakdown import days_of
from portal.core.catalog import Tier
from portal.core.periods import Period, local_day
from portal.decisions import Decision, decide
from portal.forecast_record import Record, Said
from portal.overview.made import DAY, DayFigures, Made, Recent, days_made, made_of
from portal.overview.outlook import Guarantee, Outlook, guarantee_of, outlook_of, tier_of
from portal.overview.standing import Standing, standing_of
from portal.spending import Spending, book_at, choices, spending

#: A forecast is held against what came from here on: early enough to have been of use.
TOLD_AFTER = 9 * DAY


@dataclass(frozen=True)
class Told:
    """What was said of the last period while it ran, and what it came to.

    ``said`` is the forecast that is told of: the first from the period's tenth day on. The record
    has all of them.
    """

    record: Record
    said: Said


@dataclass(frozen=True)
class Overview:
    """Everything on the page."""

    as_of: datetime
    organization: Organization
    today: date
    period: Period
    first_day: date
    last_day: date
    own_only: bool
    #: Whether the reader sees what the whole organization has left.
    sees_balance: bool
    tier: Tier | None
    standing: Standing
    spent_micro: int
    outlook: Outlook | None
    guarantee: Guarantee | None
    spending: Spending
    days: Sequence[DayFigures]
    made: Sequence[Made]
    made_total: Made
    compared_with: tuple[date, date]
    decisions: Sequence[Decision]
    told: Told | None
    #: Packs that a bank has not paid yet.
    on_its_way: Sequence[Checkout]

    @property
    def is_calendar_month(self) -> bool:
        """Whether the period is one month from its first to its last day."""
        following = self.last_day + DAY
        return self.first_day.day == following.day == 1 and (following - self.first_day).days <= 31

    @property
    def days_left(self) -> int:
        """Days until the period ends, today among them."""
        return (self.last_day - self.today).days + 1


def overview(
    tx: Connection, organization: Organization, member: Member, *, now: datetime
) -> Overview:
    """Put the page together, as ``member`` may see it."""
    period = organization.period_at(now)
    first, end = days_of(period, organization)
    today = local_day(now, organization.zone)
    book = book_at(tx, now)
    known = choices(tx, organization.organization_id, book)
    own = None if member.sees_all_use else member.member_id
    recent = Recent(tx, organization, own, today=today, first=first)
    made, total, compared = made_of(tx, organization, recent, book, period)
    balance = balances.balance(tx, organization.organization_id, now=now)
    standing = standing_of(balance, book, [one.key for one in made])
    left = balance.available_micro
    limits = spending(tx, organization, member, known, available_micro=left, now=now)
    outlook, burned = (None, None)
    if own is None:
        outlook, burned = outlook_of(tx, organization, balance, known, book, now=now)
    told = notices.standing(tx, organization.organization_id)
    pressing = decide(balance, limits, burned, member, told=told, period=period)
    return Overview(
        as_of=now,
        organization=organization,
        today=today,
        period=period,
        first_day=first,
        last_day=end - DAY,
        own_only=own is not None,
        sees_balance=limits.balance_shown,
        tier=tier_of(organization, book),
        standing=standing,
        spent_micro=total.totals.credits_micro,
        outlook=outlook,
        guarantee=guarantee_of(tx, organization, book, now=now)
        if member.may_buy or own is None
        else None,
        spending=limits,
        days=days_made(recent, made, first, today),
        made=made,
        made_total=total,
        compared_with=compared,
        decisions=[] if organization.shadow else pressing,
        told=_told(tx, organization, period, now=now) if own is None else None,
        on_its_way=checkout.on_its_way(tx, organization.organization_id),
    )


def _told(
    tx: Connection, organization: Organization, period: Period, *, now: datetime
) -> Told | None:
    """Return last period's forecasts against what came; None where none was made."""
    last = organization.period_at(period.start - timedelta(microseconds=1))
    found = forecast_record.record(tx, organization, last, now=now)
    if not found.days or found.came_micro is None:
        return None
    first, _ = days_of(last, organization)
    early = first + TOLD_AFTER
    said = next((one for one in found.days if one.day >= early), found.days[-1])
    return Told(found, said)
