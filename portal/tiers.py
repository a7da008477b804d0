"""What an organization subscribes to: a tier the operator put in place, or one that Stripe bills.

A tier of the operator's renews by itself, with its allowance; of one that Stripe bills the periods
begin and the cycles turn here, at their instants, while the allowance comes with its payment
(billing/subscriptions.py). On a tier by the seat or flat use is only measured, unless the operator
said otherwise: nobody is stopped for credits that their plan does not count. Invariant: a period's
allowance is granted once, keyed by the period's start, and in one period an organization never has
more of allowances than its largest tier includes.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from portal import accounts, caps, catalog, cycles
from portal.accounts import Organization
from portal.core.calendars import Calendar
from portal.core.catalog import Tier
from portal.core.cycles import Cycle
from portal.core.errors import InvalidRequest
from portal.core.periods import Period
from portal.wallet import Wallet

_MOMENT = timedelta(microseconds=1)


def subscribe(
    tx: Connection,
    wallet: Wallet,
    organization: Organization,
    *,
    tier: str,
    seats: int | None,
    charging_stated: bool,
    now: datetime,
) -> None:
    """Put the organization on a tier: a period starts today and its allowance is granted.

    The period begins with the local day, so that caps, days and pages count the same. What the
    tier before included ends; what was spent of an allowance granted today is not given again, so
    changing to and fro adds nothing. The same tier again changes nothing but the seats, where they
    are stated. Whether use is charged follows from the tier, unless the operator stated it. Raises
    InvalidRequest for an unknown tier, and for one in the place of what Stripe bills.
    """
    if organization.cycle_end is not None:
        if (tier, seats or organization.seats) == (organization.tier, organization.seats):
            return
        raise InvalidRequest.at(
            "/seats" if tier == organization.tier else "/tier",
            f"cannot be set here: {organization.tier!r} is billed through Stripe; change or end it "
            "there",
        )
    found = catalog.tier_of(catalog.in_force(tx, at=now), tier)
    period = organization.subscribed
    same = organization.tier == tier and period is not None and now < period.end
    if seats is None and organization.tier == tier:
        seats = organization.seats
    if not same or period is None:
        calendar = organization.calendar.subscribed(found.interval, now=now)
        accounts.keep_calendar(tx, organization.organization_id, calendar)
        period = calendar.period_at(now)
    accounts.subscribe(
        tx,
        organization.organization_id,
        tier=tier,
        seats=seats,
        period=period,
        now=now,
    )
    if not same:
        if not charging_stated:
            _charge_by(wallet, organization, tier, at=now)
        changed = accounts.find_organization(tx, organization.organization_id)
        caps.recut(tx, changed, now=now)
        spent = wallet.end_allowances(spent_since=period.start)
        caps.revalue(tx, changed, now=now)
        _grant(wallet, found, period, found.allowance_micro - spent, key=None)


def bill(
    tx: Connection,
    wallet: Wallet,
    organization: Organization,
    *,
    tier: str,
    seats: int | None,
    cycle: Cycle,
    since: datetime,
    stops_at: datetime | None,
) -> Organization:
    """Put the organization on what Stripe bills, and return it as it is then.

    Periods are cut from the cycle from the local day of ``since`` on. Nothing is granted: that
    comes with the payment. The same again changes nothing.
    """
    now = wallet.now
    calendar = organization.calendar.billed(cycle, since=since, now=now)
    same = calendar == organization.calendar and organization.cycle_end is not None
    period = organization.period_at(now) if same else calendar.period_at(now)
    running = calendar.cycle_at(max(now, since))
    if running is None:
        raise AssertionError("a calendar that was just cut from cycles has one")
    accounts.bill(
        tx,
        organization.organization_id,
        tier=tier,
        seats=seats,
        period=period,
        cycle_end=running.end,
        stops_at=stops_at,
        now=now,
    )
    if same and organization.tier == tier:
        return accounts.find_organization(tx, organization.organization_id)
    _charge_by(wallet, organization, tier, at=now)
    return _recut(tx, wallet, organization, calendar)


def end(
    tx: Connection, wallet: Wallet, organization: Organization, *, at: datetime
) -> Organization:
    """End what Stripe billed: no tier any more, and months from the local day of ``at`` on.

    What was granted stays until it expires; what was bought stays the customer's.
    """
    accounts.unsubscribe(tx, organization.organization_id, since=at)
    _charge_by(wallet, organization, None, at=at)
    calendar = organization.calendar.unsubscribed(since=at, now=wallet.now)
    return _recut(tx, wallet, organization, calendar)


def _charge_by(wallet: Wallet, before: Organization, tier: str | None, *, at: datetime) -> None:
    """Only measure from a tier on that is paid whatever is used, and charge again after it.

    What the operator chose to charge stays where the tier before was of the same sort.
    """
    cycle = before.calendar.cycle_at(at - _MOMENT)
    was = _measured(wallet.tx, before.tier, since=cycle.start if cycle else at, at=at)
    becomes = _measured(wallet.tx, tier, since=at, at=at)
    if was != becomes:
        charging = "shadow" if becomes else "on"
        accounts.set_charging(wallet.tx, before.organization_id, charging)


def _measured(tx: Connection, tier: str | None, *, since: datetime, at: datetime) -> bool:
    """Tell whether use is only measured on a tier, as it was sold when the cycle began.

    One that came into the book since is as it is sold ``at`` an instant.
    """
    found = catalog.in_force(tx, at=since).plan_of(tier)
    found = found or catalog.in_force(tx, at=at).plan_of(tier)
    return found is not None and found.paid_anyway


def _recut(
    tx: Connection, wallet: Wallet, organization: Organization, calendar: Calendar
) -> Organization:
    """Have caps count in another calendar, and at what the tier makes a credit worth."""
    if calendar != organization.calendar:
        accounts.keep_calendar(tx, organization.organization_id, calendar)
    changed = accounts.find_organization(tx, organization.organization_id)
    if calendar != organization.calendar:
        caps.recut(tx, changed, now=wallet.now)
    caps.revalue(tx, changed, now=wallet.now)
    return changed


def due_at(organization: Organization) -> datetime | None:
    """Return the next instant at which a period or a cycle ends; None without a subscription."""
    if organization.subscribed is None:
        return None
    return min(organization.subscribed.end, organization.cycle_end or organization.subscribed.end)


def is_due(organization: Organization, *, now: datetime) -> bool:
    """Tell whether the subscription's period or cycle has ended and the next has not begun."""
    due = due_at(organization)
    return due is not None and now >= due


def begin_next(tx: Connection, wallet: Wallet, organization: Organization) -> Organization:
    """Begin the period or turn the cycle that is due; return the organization as it is then.

    What is left of the allowance rolls over where the tier says so. A period that passed without
    anybody looking is begun like any other, so that the books are the same whenever somebody looks.
    """
    ended = organization.subscribed
    if ended is None or organization.tier is None:
        raise AssertionError("only a subscription has periods that are due")
    if organization.cycle_end is not None and organization.cycle_end <= ended.end:
        return _turn_cycle(tx, wallet, organization, organization.cycle_end)
    period = organization.period_at(ended.end)
    accounts.begin_period(tx, organization.organization_id, period)
    book = catalog.in_force(tx, at=period.start)
    tier = book.plan_of(organization.tier)
    if tier is not None and organization.cycle_end is None:
        if tier.rollover:
            wallet.roll_over(ended=ended.end, until=period.end)
        key = f"allowance:{period.start.isoformat()}"
        _grant(wallet, tier, period, tier.allowance_micro, key=key, settle_at=period.start)
    begun = accounts.find_organization(tx, organization.organization_id)
    caps.revalue(tx, begun, now=wallet.now)
    return begun


def _turn_cycle(
    tx: Connection, wallet: Wallet, organization: Organization, ended: datetime
) -> Organization:
    """End Stripe's cycle at its exact instant: roll over, and do what was scheduled for then."""
    billed = cycles.find(tx, organization.organization_id)
    following = organization.calendar.cycle_at(ended)
    if billed is None or following is None or organization.tier is None:
        raise AssertionError("a cycle that turns is one that Stripe bills")
    if billed.cancels_at is not None and billed.cancels_at <= ended:
        return end(tx, wallet, organization, at=ended)
    tier = catalog.in_force(tx, at=ended).plan_of(organization.tier)
    if tier is not None and tier.rollover:
        wallet.roll_over(ended=ended, until=following.end)
    key, seats = organization.tier, organization.seats
    if billed.scheduled_tier and billed.scheduled_at and billed.scheduled_at <= ended:
        key, seats = billed.scheduled_tier, billed.scheduled_seats
        cycles.switched(tx, organization.organization_id, billed)
    accounts.begin_cycle(
        tx,
        organization.organization_id,
        tier=key,
        seats=seats,
        since=ended,
        cycle_end=following.end,
    )
    _charge_by(wallet, organization, key, at=ended)
    return _recut(tx, wallet, organization, organization.calendar)


def _grant(
    wallet: Wallet,
    tier: Tier,
    period: Period,
    credits_micro: int,
    *,
    key: str | None,
    settle_at: datetime | None = None,
) -> None:
    if credits_micro > 0:
        wallet.grant(
            source="allowance",
            credits_micro=credits_micro,
            effective_at=period.start,
            expires_at=period.end,
            reason=f"Included in {tier.name}",
            external_key=key,
            settle_at=settle_at,
        )
