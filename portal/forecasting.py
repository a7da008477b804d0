"""Where an organization's period is going: from its daily rollup, through its grants and caps.

Reads only, and no more than some 400 days of the rollup, however long the history. At a past
instant it knows what was used until then, by when it happened, and the ledger as it stood; caps,
choices and prices beyond the grants are today's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from portal import balances, caps, catalog, overage, usage
from portal.accounts import Organization
from portal.balances import Balance
from portal.core.burn_down import BurnDown
from portal.core.errors import CatalogError
from portal.core.forecast import MOST_DAYS, History
from portal.core.ledger import Lot
from portal.core.periods import DAY, Period, day_of, days_between, local_day
from portal.core.projection import Driver, Outlook, Projection, driver, project, too_wide, why_not
from portal.core.repricing import (
    Beyond,
    Room,
    RunsOut,
    Terms,
    beyond,
    bounded,
    burn,
    room_of_caps,
    runs_out,
)
from portal.usage import Totals

WEEK = timedelta(days=7)
#: How far ahead credits that would expire unused are looked for.
EXPIRY_HORIZON = timedelta(days=30)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Forecast:
    """A projection of the period and what it turns into, or the reason why there is none.

    ``outlook`` is within caps and credits; ``wanted`` is what would be used without them.
    ``ends`` are the instants that the outlook's course is about. ``burned`` is how the credits at
    hand go, some weeks beyond the period.
    """

    as_of: datetime
    period: Period
    spent_micro: int
    spent_by_action: Mapping[str, int]
    refused: str | None
    outlook: Outlook | None
    wanted: Projection | None
    ends: Sequence[datetime]
    beyond: Beyond | None
    runs_out: RunsOut | None
    burned: BurnDown | None

    @property
    def projection(self) -> Projection | None:
        """The whole period's projection."""
        return self.outlook.whole if self.outlook else None


def forecast(
    tx: Connection, organization: Organization, *, now: datetime, at: datetime | None = None
) -> Forecast:
    """Project the billing period that holds ``at`` (now, unless a past instant is given)."""
    at = now if at is None else at
    used = _Use(tx, organization, now=now, at=at)
    balance = _balance(tx, organization, now=now, at=at)
    refused = why_not(used.history())
    found = None
    if refused is None:
        found = project(
            used.history(), used.history_by_action(), used.days_left(), used.spent_by_action()
        )
        refused = too_wide(found.whole)
    if refused is not None or found is None:
        idle = None
        if balance is not None:
            idle = _burned(balance, 0, [], [], now=at, until=at + EXPIRY_HORIZON)
        return Forecast(
            at,
            used.period,
            used.spent_micro,
            used.spent_by_action(),
            refused,
            outlook=None,
            wanted=None,
            ends=[],
            beyond=None,
            runs_out=None,
            burned=idle,
        )
    return _repriced(tx, used, found, balance, now=now)


def wanted(
    tx: Connection,
    organization: Organization,
    filters: Mapping[str, str],
    *,
    action: str,
    now: datetime,
) -> int | None:
    """Return what a part of the use would come to this period if nothing held it back.

    In millionths of a credit; of one action where it is named. None where nothing can be said.
    """
    used = _Use(tx, organization, now=now, at=now, filters=filters)
    if why_not(used.history()) is not None:
        return None
    found = project(
        used.history(), used.history_by_action(), used.days_left(), used.spent_by_action()
    )
    part = found.by_action.get(action) if action else found.whole
    return None if part is None or too_wide(part) is not None else part.middle_micro


class _Use:
    """What was used: by whole day until the day of an instant, and of that day until then."""

    def __init__(
        self,
        tx: Connection,
        organization: Organization,
        *,
        now: datetime,
        at: datetime,
        filters: Mapping[str, str] | None = None,
    ) -> None:
        self.organization, self.at = organization, at
        zone = organization.zone
        self.period = organization.period_at(at)
        self.first_day = local_day(self.period.start, zone)
        self.last_day = local_day(self.period.end - _TICK, zone)
        self.today = local_day(at, zone)
        self._oldest = min(self.first_day, self.today - timedelta(days=MOST_DAYS))
        # What is dated a little ahead of the clock counts today already.
        until = self.today + DAY if at == now else self.today
        report = usage.report(
            tx,
            organization.organization_id,
            start=self._oldest,
            end=max(until, self._oldest + DAY),
            group_by=["day", "action"],
            filters=dict(filters or {}),
        )
        self.totals: dict[tuple[date, str], Totals] = {
            (row.labels["day"], row.labels["action"]): row.totals for row in report.rows
        }
        if at != now:
            org_id = organization.organization_id
            so_far = usage.of_day_until(tx, org_id, self.today, until=at)
            self.totals |= {(self.today, action): one for action, one in so_far.items()}

    @property
    def spent_micro(self) -> int:
        """What the period has spent."""
        return sum(self.spent_by_action().values())

    def spent_by_action(self) -> dict[str, int]:
        """Return what the period has spent on each action, in millionths."""
        found: dict[str, int] = {}
        for (day, action), one in self.totals.items():
            if day >= self.first_day:
                found[action] = found.get(action, 0) + one.credits_micro
        return found

    def by_day(self) -> dict[tuple[date, str], int]:
        """Return what was charged by local day and action, in millionths."""
        return {key: one.credits_micro for key, one in self.totals.items()}

    def history(self) -> History:
        """Return what was wanted on each whole day: what was charged and what was not covered."""
        return self._history(None)

    def history_by_action(self) -> dict[str, History]:
        """Return the same for each action."""
        return {action: self._history(action) for _, action in self.totals}

    def _history(self, action: str | None) -> History:
        wanted: dict[date, int] = {}
        for (day, key), one in self.totals.items():
            if action in {None, key}:
                wanted[day] = wanted.get(day, 0) + one.credits_micro + one.uncollected_micro
        days = days_between(self._oldest, self.today)
        return History(self._oldest, [wanted.get(day, 0) for day in days])

    def days_left(self) -> list[float]:
        """Return the part of each local day that is still to come, today's first."""
        today = day_of(self.at, self.organization.zone)
        end = min(today.end, self.period.end)
        return [(end - self.at) / (today.end - today.start)] + [1.0] * (len(self.ends()) - 1)

    def ends(self) -> list[datetime]:
        """Return when each of those days ends."""
        found = []
        ends = self.at
        while ends < self.period.end:
            ends = min(day_of(ends, self.organization.zone).end, self.period.end)
            found.append(ends)
        return found


def _balance(
    tx: Connection, organization: Organization, *, now: datetime, at: datetime
) -> Balance | None:
    """Return what there was to spend; None where nothing is charged, or nothing was given yet.

    History that was brought in to be measured has no credits behind it.
    """
    org_id = organization.organization_id
    if organization.shadow or not balances.ever_granted(tx, org_id, until=at):
        return None
    if at == now:
        return balances.balance(tx, org_id, now=now)
    return balances.balance_at(tx, org_id, at=at)


def _repriced(
    tx: Connection, used: _Use, found: Outlook, balance: Balance | None, *, now: datetime
) -> Forecast:
    """Take a projection through tier, grants and caps."""
    at, period, ends = used.at, used.period, used.ends()
    terms = _terms(tx, used, now=now)
    capped = bounded(found, _room_of_caps(tx, used))
    outlook, out, burned = capped, None, None
    more = [0, 0]
    if balance is not None:
        outlook = bounded(capped, _room_of_credits(used.organization, balance, terms))
        courses = _courses(capped)
        to_the_end = [
            _burned(balance, used.spent_micro, one, ends, now=at, until=period.end)
            for one in courses
        ]
        out = runs_out(*to_the_end[::-1], end=period.end)
        until = max(period.end, at + EXPIRY_HORIZON)
        burned = _burned(balance, used.spent_micro, courses[1], ends, now=at, until=until)
        totals = (outlook.whole.middle_micro, outlook.whole.high_micro)
        more = [
            total - used.spent_micro - one.spent_micro
            for total, one in zip(totals, to_the_end[1:], strict=True)
        ]
    return Forecast(
        at,
        period,
        used.spent_micro,
        used.spent_by_action(),
        None,
        outlook=outlook,
        wanted=found.whole,
        ends=ends,
        beyond=beyond(terms, *more),
        runs_out=out,
        burned=burned,
    )


def _room_of_caps(tx: Connection, used: _Use) -> Room:
    """Return what the caps in force leave of the period's days; nothing binds a shadow."""
    organization = used.organization
    in_force = [] if organization.shadow else caps.in_force(tx, organization.organization_id)
    return room_of_caps(
        in_force,
        used.by_day(),
        first_day=used.first_day,
        today=used.today,
        last_day=used.last_day,
        raised_micro=caps.raised(tx, organization, in_force, at=used.at),
    )


def _courses(found: Outlook) -> list[list[int]]:
    """Return the low, the middle and the high course, in millionths by the end of each day."""
    return [
        [step.low_micro for step in found.course],
        [step.middle_micro for step in found.course],
        [step.high_micro for step in found.course],
    ]


def _burned(
    balance: Balance,
    spent_micro: int,
    sums_micro: Sequence[int],
    ends: Sequence[datetime],
    *,
    now: datetime,
    until: datetime,
) -> BurnDown:
    lots = list(balance.lots)
    if balance.held_micro:
        # What is set aside for work in flight is what that work is spent from.
        lots.insert(0, Lot("", "held", 0, now, None, balance.held_micro))
    return burn(lots, spent_micro, sums_micro, ends, now=now, until=until)


def _room_of_credits(organization: Organization, balance: Balance, terms: Terms) -> Room:
    """Return how much the credits let through: all that is there, and what may go beyond them."""
    if organization.on_empty == "top_up":
        return Room(None, {})
    there = balance.available_micro + balance.held_micro
    more = terms.room_micro if organization.on_empty == "overage" else 0
    return Room(there + more, {})


def _terms(tx: Connection, used: _Use, *, now: datetime) -> Terms:
    """Return what use beyond all grants costs, and what the period had of it already."""
    organization = used.organization
    try:
        book = catalog.in_force(tx, at=used.at)
    except CatalogError:
        return Terms(None, [], 0)
    found = overage.standing(tx, organization, book, at=used.at)
    if used.at == now:
        return Terms(found.price_micro_minor, found.rates, found.room_micro)
    return Terms(found.price_micro_minor, [], found.room_micro)


def moved_by(tx: Connection, organization: Organization, *, now: datetime) -> Driver | None:
    """Return what moved the last seven whole days most against the seven before."""
    today = local_day(now, organization.zone)
    last, before = (
        {
            (row.labels["action"], row.labels["team"], row.labels["member"]): (
                row.totals.credits_micro + row.totals.uncollected_micro
            )
            for row in usage.report(
                tx,
                organization.organization_id,
                start=end - WEEK,
                end=end,
                group_by=["action", "team", "member"],
            ).rows
        }
        for end in (today, today - WEEK)
    )
    return driver(last, before)
