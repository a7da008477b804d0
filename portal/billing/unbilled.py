"""Overage that is used and on no invoice yet: what it comes to, and when it will be billed.

Reads only. Invariant: what this says and what the invoices have of overage add up to what the
pages show of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from portal.accounts import Organization
from portal.core.units import money_for
from portal.tables import overage_bills, overage_periods

_ON_INVOICES = (
    select(func.coalesce(func.sum(overage_bills.c.amount_minor), 0))
    .where(
        overage_bills.c.organization_id == overage_periods.c.organization_id,
        overage_bills.c.period_start == overage_periods.c.period_start,
        overage_bills.c.price_micro_minor == overage_periods.c.price_micro_minor,
        overage_bills.c.done_at.is_not(None),
    )
    .scalar_subquery()
)


@dataclass(frozen=True)
class Unbilled:
    """What overage is still to be billed, in minor units, and when; None for within the hour."""

    amount_minor: int
    at: datetime | None


def unbilled(tx: Connection, organization: Organization, *, now: datetime) -> Unbilled:
    """Return the overage that is on no invoice yet.

    The plan's renewal or its end carries it; without one it is billed once its period has ended.
    """
    rows = tx.execute(
        select(
            overage_periods.c.period_start,
            overage_periods.c.price_micro_minor,
            overage_periods.c.spent_micro,
            _ON_INVOICES,
        ).where(overage_periods.c.organization_id == organization.organization_id)
    ).all()
    amount_minor, ended = 0, True
    running = organization.period_at(now)
    for start, price_micro_minor, spent_micro, billed_minor in rows:
        left_minor = money_for(spent_micro, price_micro_minor) - int(billed_minor)
        amount_minor += left_minor
        ended = ended and (not left_minor or start < running.start)
    at = organization.cycle_end or (None if ended else running.end)
    return Unbilled(amount_minor, at if at is not None and at > now else None)
