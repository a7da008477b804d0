"""What a page says of a plan that Stripe bills: what is coming, and whether a payment is late.

Reads only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from portal import cycles
from portal.accounts import Organization
from portal.billing import invoices


@dataclass(frozen=True)
class Pending:
    """What is coming, and what waits: a smaller plan, the plan's end, an upgrade to be paid.

    ``scheduled_tier`` begins at ``scheduled_at``, the plan ends at ``cancels_at``; what is either
    can be taken back. ``awaited_tier`` holds once it is paid at ``pay_url``, until
    ``awaited_until``.
    """

    scheduled_tier: str | None = None
    scheduled_seats: int | None = None
    scheduled_at: datetime | None = None
    cancels_at: datetime | None = None
    awaited_tier: str | None = None
    awaited_until: datetime | None = None
    pay_url: str = ""

    @property
    def undoable(self) -> bool:
        """Whether there is something that can be taken back."""
        return self.scheduled_tier is not None or self.cancels_at is not None


@dataclass(frozen=True)
class PaymentStanding:
    """How late a payment for the plan is: when it failed first, when new work stops, where to pay.

    All empty where nothing is owed. The amount is in minor units.
    """

    past_due_since: datetime | None = None
    stops_at: datetime | None = None
    due_minor: int = 0
    currency: str = ""
    pay_url: str = ""


def pending(tx: Connection, organization: Organization) -> Pending:
    """Return what is coming for an organization's plan."""
    billed = cycles.find(tx, organization.organization_id)
    if billed is None or not billed.alive or organization.cycle_end is None:
        return Pending()
    waits = billed.awaited_tier is not None
    page = invoices.page_of(tx, organization.organization_id, billed.awaited_invoice_id)
    return Pending(
        scheduled_tier=billed.scheduled_tier,
        scheduled_seats=billed.scheduled_seats,
        scheduled_at=billed.scheduled_at,
        cancels_at=billed.cancels_at,
        awaited_tier=billed.awaited_tier,
        awaited_until=billed.awaited_until,
        pay_url=page if waits else "",
    )


def payment_standing(tx: Connection, organization: Organization) -> PaymentStanding:
    """Return how late an organization's payment for its plan is."""
    billed = cycles.find(tx, organization.organization_id)
    if billed is None or not billed.alive or billed.past_due_since is None:
        return PaymentStanding()
    owed = invoices.unpaid(tx, organization.organization_id)
    return PaymentStanding(
        past_due_since=billed.past_due_since,
        stops_at=organization.stops_at,
        due_minor=owed.due_minor if owed else 0,
        currency=organization.currency,
        pay_url=owed.page_url if owed else "",
    )
