"""What an organization subscribes to: a tier put in place by the operator, and its renewal.

Invariant: a period's allowance is granted once, keyed by the period's start, and in one period an
organization never has more of allowances than its largest tier includes.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from portal import accounts, catalog
from portal.accounts import Organization
from portal.core.catalog import Tier
from portal.core.periods import Period, anchored_month_of, local_day, start_of_day
from portal.db import Database
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
    anchor_day = organization.anchor_day
    same = organization.tier == tier and period is not None and now < period.end
    if not same or period is None:
        today = local_day(now, organization.zone)
        anchor_day = today.day
        month = anchored_month_of(now, organization.zone, anchor_day=anchor_day)
        period = Period(start_of_day(today, organization.zone), month.end)
    accounts.subscribe(
        tx,
        organization.organization_id,
        tier=tier,
        seats=seats,
        anchor_day=anchor_day,
        period=period,
        now=now,
    )
    if not same:
        spent = wallet.end_allowances(spent_since=period.start)
        _grant(wallet, found, period, found.allowance_micro - spent, key=None)


def is_due(organization: Organization, *, now: datetime) -> bool:
    """Tell whether the subscription's period has ended and the next has not begun."""
    return organization.subscribed is not None and now >= organization.subscribed.end


def begin_due(database: Database, organization_id: str, *, now: datetime) -> Organization:
    """Begin the period that is due, for somebody who looks before any job or spending did."""
    with database.transaction() as tx:
        wallet = Wallet(tx, organization_id, now=now)
        organization = renew(tx, wallet, accounts.find_organization(tx, organization_id))
        wallet.write()
    return organization


def renew(tx: Connection, wallet: Wallet, organization: Organization) -> Organization:
    """Begin the current period where the last one has ended; returns the organization as it is.

    Periods that passed without anybody looking grant nothing: their allowance would have expired.
    """
    if organization.tier is None or not is_due(organization, now=wallet.now):
        return organization
    period = anchored_month_of(wallet.now, organization.zone, anchor_day=organization.anchor_day)
    accounts.begin_period(tx, organization.organization_id, period)
    tier = catalog.in_force(tx, at=period.start).tiers.get(organization.tier)
    if tier is not None:
        key = f"allowance:{period.start.isoformat()}"
        _grant(wallet, tier, period, tier.allowance_micro, key=key)
    return accounts.find_organization(tx, organization.organization_id)


def _grant(
    wallet: Wallet, tier: Tier, period: Period, credits_micro: int, *, key: str | None
) -> None:
    if credits_micro > 0:
        wallet.grant(
            source="allowance",
            credits_micro=credits_micro,
            effective_at=period.start,
            expires_at=period.end,
            reason=f"Included in {tier.name}",
            external_key=key,
        )
