"""What an organization subscribes to: a tier put in place by the operator, and its renewal.

Invariant: a period's allowance is granted once, keyed by the period's start, and in one period an
organization never has more of allowances than its largest tier includes.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from portal import accounts, caps, catalog
from portal.accounts import Organization
from portal.core.catalog import Tier
from portal.core.periods import Period
from portal.wallet import Wallet


def subscribe(
    tx: Connection,
    wallet: Wallet,
    organization: Organization,
    *,
    tier: str,
    seats: int | None,
    now: datetime,
) -> None:
    """Put the organization on a tier: a period starts today and its allowance is granted.

    The period begins with the local day, so that caps, days and pages count the same. What the
    tier before included ends; what was spent of an allowance granted today is not given again, so
    changing to and fro adds nothing. The same tier again changes nothing but the seats. Raises
    InvalidRequest for an unknown tier.
    """
    found = catalog.tier_of(catalog.in_force(tx, at=now), tier)
    period = organization.subscribed
    same = organization.tier == tier and period is not None and now < period.end
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
        changed = accounts.find_organization(tx, organization.organization_id)
        caps.recut(tx, changed, now=now)
        spent = wallet.end_allowances(spent_since=period.start)
        caps.revalue(tx, changed, now=now)
        _grant(wallet, found, period, found.allowance_micro - spent, key=None)


def is_due(organization: Organization, *, now: datetime) -> bool:
    """Tell whether the subscription's period has ended and the next has not begun."""
    return organization.subscribed is not None and now >= organization.subscribed.end


def begin_next(tx: Connection, wallet: Wallet, organization: Organization) -> Organization:
    """Begin the period after one that has ended, and return the organization as it is then.

    What is left of the allowance rolls over where the tier says so. A period that passed without
    anybody looking is begun like any other, so that the books are the same whenever somebody looks.
    """
    ended = organization.subscribed
    if ended is None or organization.tier is None:
        raise AssertionError("only a subscription has periods that are due")
    period = organization.period_at(ended.end)
    accounts.begin_period(tx, organization.organization_id, period)
    book = catalog.in_force(tx, at=period.start)
    tier = book.tiers.get(organization.tier)
    if tier is not None:
        if tier.rollover:
            wallet.roll_over(ended=ended.end, until=period.end)
        key = f"allowance:{period.start.isoformat()}"
        _grant(wallet, tier, period, tier.allowance_micro, key=key, settle_at=period.start)
    begun = accounts.find_organization(tx, organization.organization_id)
    caps.revalue(tx, begun, now=wallet.now)
    return begun


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
