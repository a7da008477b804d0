"""The overview page: what there is, what it went on, where the period goes, the most it can cost.

Reads only, from one snapshot; all of the page's arithmetic is here. A member who may not see
everybody's use gets their own, with the organization's balance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from portal import balances, forecast_record, forecasting, notices, overage, usage, worst_case
from portal.accounts import Member, Organization
from portal.balances import Balance
from portal.breakdown import change_percent, days_of
from portal.core.burn_down import BurnDown
from portal.core.catalog import Action, PriceBook, Tier
from portal.core.ledger import Lot
from portal.core.periods import Period, days_between, local_day
from portal.core.projection import Projection
from portal.core.repricing import RunsOut
from portal.core.units import apportion
from portal.decisions import Decision, decide
from portal.forecast_record import Record, Said
from portal.spending import Choices, Spending, book_at, choices, spending
from portal.usage import Totals

DAY = timedelta(days=1)
WEEK = timedelta(days=7)
MOST_LOTS = 4
MOST_EXAMPLES = 2
#: A forecast is held against what came from here on: early enough to have been of use.
TOLD_AFTER = 9 * DAY
INCLUDED = frozenset({"allowance", "rollover"})


@dataclass(frozen=True)
class LotLine:
    """A grant in the order of burn-down; ``tone`` is its colour."""

    lot: Lot
    tone: str


@dataclass(frozen=True)
class Standing:
    """What there is now; amounts in millionths of a credit."""

    balance: Balance
    lots: Sequence[LotLine]
    more_lots: int
    more_lots_micro: int
    gone_micro: int
    next_expiry: LotLine | None
    buys: Sequence[tuple[int, Action]]


@dataclass(frozen=True)
class Trend:
    """The action that moved most on the week before: in percent, or new; and whose it mostly is.

    ``up`` tells the direction, ``who`` is a team's or a member's name, empty where it is nobody's.
    """

    action: Action
    percent: int | None
    up: bool
    who: str


@dataclass(frozen=True)
class Outlook:
    """Where the period is going; ``cover`` is ``included``, ``bought`` or ``short``.

    ``included_micro`` is what the plan gave in this period, ``whole`` whether that is all that the
    tier includes. ``wanted_micro`` is what it would come to where caps or credits hold it back,
    else None.
    """

    projection: Projection | None
    refused: str
    included_micro: int
    whole: bool
    cover: str
    runs_out: RunsOut | None
    wanted_micro: int | None
    trend: Trend | None


@dataclass(frozen=True)
class Guarantee:
    """The most that can be charged this period, and what it is made of; the parts are the sum.

    ``plan_minor`` is the tier's price and ``beyond_most_minor`` what credits beyond the
    organization's own may cost. ``limit_minor`` is how far the organization goes on beyond its
    credits, None where it stops. ``bought_minor`` is what credits bought by themselves cost so far,
    ``may_buy_minor`` what they may still.
    """

    tier: Tier | None
    amount_minor: int | None
    currency: str
    seats: int | None
    plan_minor: int | None
    beyond_most_minor: int
    beyond_minor: int
    limit_minor: int | None
    bought_minor: int
    may_buy_minor: int


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
    recent = _Recent(tx, organization, own, today=today, first=first)
    made, total, compared = _made(tx, organization, recent, book, period)
    balance = balances.balance(tx, organization.organization_id, now=now)
    standing = _standing(balance, book, [one.key for one in made])
    left = balance.available_micro
    limits = spending(tx, organization, member, known, available_micro=left, now=now)
    outlook, burned = (None, None)
    if own is None:
        outlook, burned = _outlook(tx, organization, balance, known, book, now=now)
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
        tier=_tier(organization, book),
        standing=standing,
        spent_micro=total.totals.credits_micro,
        outlook=outlook,
        guarantee=_guarantee(tx, organization, book, now=now)
        if member.may_buy or own is None
        else None,
        spending=limits,
        days=_days(recent, made, first, today),
        made=made,
        made_total=total,
        compared_with=compared,
        decisions=[] if organization.shadow else pressing,
        told=_told(tx, organization, period, now=now) if own is None else None,
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


class _Recent:
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


def _standing(balance: Balance, book: PriceBook | None, favourites: Sequence[str]) -> Standing:
    lines = [LotLine(lot, _tone(lot)) for lot in balance.lots]
    issued = sum(lot.granted_micro for lot in balance.lots)
    shown, rest = lines[:MOST_LOTS], lines[MOST_LOTS:]
    dated = [line for line in lines if line.lot.expires_at is not None]
    return Standing(
        balance=balance,
        lots=shown,
        more_lots=len(rest),
        more_lots_micro=sum(line.lot.remaining_micro for line in rest),
        gone_micro=max(0, issued - balance.available_micro - balance.held_micro),
        next_expiry=min(dated, key=lambda line: line.lot.expires_at or balance.as_of, default=None),
        buys=book.examples(balance.available_micro, first=favourites, most=MOST_EXAMPLES)
        if book
        else [],
    )


def _tone(lot: Lot) -> str:
    if lot.source in INCLUDED:
        return "included"
    return "pack" if lot.source == "pack" else "gift"


def _outlook(
    tx: Connection,
    organization: Organization,
    balance: Balance,
    known: Choices,
    book: PriceBook | None,
    *,
    now: datetime,
) -> tuple[Outlook, BurnDown | None]:
    found = forecasting.forecast(tx, organization, now=now)
    projection = found.projection
    to_come = projection.middle_micro - found.spent_micro if projection else 0
    out = found.runs_out
    included_left = sum(lot.remaining_micro for lot in balance.lots if lot.source in INCLUDED)
    short = out is not None and out.middle is not None
    tier = _tier(organization, book)
    included = balances.allowance_of(
        tx, organization.organization_id, start=found.period.start, now=now
    )
    wanted = found.wanted.middle_micro if found.wanted else 0
    outlook = Outlook(
        projection=projection,
        refused=found.refused or "",
        included_micro=included,
        whole=tier is not None and included == tier.allowance_micro,
        cover="short" if short else "included" if to_come <= included_left else "bought",
        runs_out=out,
        wanted_micro=wanted if projection and wanted > projection.middle_micro else None,
        trend=_trend(tx, organization, known, now=now),
    )
    return outlook, found.burned


def _trend(
    tx: Connection, organization: Organization, known: Choices, *, now: datetime
) -> Trend | None:
    """Return what moved most on the week before, in the words of the page."""
    found = forecasting.moved_by(tx, organization, now=now)
    if found is None or found.action not in known.actions:
        return None
    who = known.members.get(found.member, "") if found.member else ""
    if not who and found.team:
        who = known.subject_of("team", found.team)
    up = found.change_micro > 0
    percent = None if found.change_percent is None else abs(found.change_percent)
    return Trend(known.actions[found.action], percent, up, who)


def _tier(organization: Organization, book: PriceBook | None) -> Tier | None:
    return book.tiers.get(organization.tier) if book and organization.tier else None


def _guarantee(
    tx: Connection, organization: Organization, book: PriceBook | None, *, now: datetime
) -> Guarantee:
    if book is None:
        return Guarantee(None, 0, organization.currency, None, 0, 0, 0, None, 0, 0)
    tier = _tier(organization, book)
    found = overage.standing(tx, organization, book, at=now)
    most = worst_case.of_period(tx, organization, book, found, at=now)
    return Guarantee(
        tier,
        most.amount_minor,
        book.currency,
        (organization.seats or 1) if tier and tier.kind == "per_seat" else None,
        most.tier_minor,
        most.beyond_minor,
        found.amount_minor,
        found.limit_minor if found.price_micro_minor is not None else None,
        most.bought_minor,
        most.may_buy_minor,
    )


def _made(
    tx: Connection,
    organization: Organization,
    recent: _Recent,
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


def _days(recent: _Recent, made: Sequence[Made], first: date, today: date) -> list[DayFigures]:
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
