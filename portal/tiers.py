"""What an organization subscribes to: a tier put in place by the operator, and its renewal.

Invariant: a period's allowance is granted once, keyed by the period's start.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from portal import accounts, catalog
from portal.accounts import Organization
from portal.core.periods import Period, anchored_month_of, local_day
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
    """Put the organization on a tier: a period starts now and its allowance is granted.

    The same tier again changes nothing but the seats. Raises InvalidRequest for an unknown tier.
    """
    catalog.tier_of(catalog.in_force(tx, at=now), tier)
    period = organization.subscribed
    if organization.tier == tier and period is not None and now < period.end:
        accounts.subscribe(
            tx,
            organization.organization_id,
            tier=tier,
            seats=seats,
            anchor_day=organization.anchor_day,
            period=period,
            now=now,
        )
        return
    anchor_day = local_day(now, organization.zone).day
    month = anchored_month_of(now, organization.zone, anchor_day=anchor_day)
    period = Period(now, month.end)
    accounts.subscribe(
        tx,
        organization.organization_id,
        tier=tier,
        seats=seats,
        anchor_day=anchor_day,
        period=period,
        now=now,
    )
    _grant_allowance(tx, wallet, tier, period)


def renew(tx: Connection, wallet: Wallet, organization: Organization) -> Organization:
    """Begin the current period where the last one has ended; returns the organization as it is.

    Periods that passed without anybody looking grant nothing: their allowance would have expired.
    """
    subscribed = organization.subscribed
    if organization.tier is None or subscribed is None or wallet.now < subscribed.end:
        return organization
    period = anchored_month_of(wallet.now, organization.zone, anchor_day=organization.anchor_day)
    accounts.begin_period(tx, organization.organization_id, period)
    _grant_allowance(tx, wallet, organization.tier, period)
    return accounts.find_organization(tx, organization.organization_id)


def _grant_allowance(tx: Connection, wallet: Wallet, tier_key: str, period: Period) -> None:
    tier = catalog.in_force(tx, at=period.start).tiers.get(tier_key)
    if tier is None or tier.allowance_micro == 0:
        return
    wallet.grant(
        source="allowance",
        credits_micro=tier.allowance_micro,
        effective_at=period.start,
        expires_at=period.end,
        reason=f"Included in {tier.name}",
        external_key=f"allowance:{tier_key}:{period.start.isoformat()}",
    )
