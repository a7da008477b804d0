"""What Stripe last said of an organization's subscription: its cycle, what comes, what waits.

Owns ``stripe_subscriptions``, one row for each organization: the subscription it has, or had last.
Invariant: the row is a copy of Stripe's object as it was fetched, but for the largest allowance of
the cycle and the first failure of a payment, which only grow older with it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from portal.core.periods import Period
from portal.rows import insert_or_ignore
from portal.tables import stripe_subscriptions

#: In these the customer has what they subscribed to; in all others it has ended or never began.
ALIVE = frozenset({"active", "trialing", "past_due"})


@dataclass(frozen=True)
class Billed:
    """A subscription as Stripe bills it; the cycle to the second, credits in millionths."""

    organization_id: str
    stripe_subscription_id: str
    status: str
    tier: str
    seats: int | None
    cycle_start: datetime
    cycle_end: datetime
    largest_allowance_micro: int
    cancels_at: datetime | None
    scheduled_tier: str | None
    scheduled_seats: int | None
    scheduled_at: datetime | None
    stripe_schedule_id: str | None
    awaited_tier: str | None
    awaited_until: datetime | None
    awaited_invoice_id: str | None
    past_due_since: datetime | None
    created_at: datetime

    @property
    def cycle(self) -> Period:
        """The cycle that is billed now."""
        return Period(self.cycle_start, self.cycle_end)

    @property
    def alive(self) -> bool:
        """Whether the customer has what they subscribed to."""
        return self.status in ALIVE


_OF_ORGANIZATION = select(stripe_subscriptions)


def find(tx: Connection, organization_id: str) -> Billed | None:
    """Return the subscription an organization has or had last through Stripe."""
    row = (
        tx.execute(
            _OF_ORGANIZATION.where(stripe_subscriptions.c.organization_id == organization_id)
        )
        .mappings()
        .first()
    )
    return None if row is None else Billed(**row)


def keep(tx: Connection, billed: Billed) -> None:
    """Store the subscription in the place of what was known."""
    row = asdict(billed)
    if not insert_or_ignore(tx, stripe_subscriptions, row):
        del row["organization_id"]
        _set(tx, billed.organization_id, **row)


def switched(tx: Connection, organization_id: str, billed: Billed) -> None:
    """Note that a scheduled change of tier has taken effect."""
    _set(
        tx,
        organization_id,
        tier=billed.scheduled_tier,
        seats=billed.scheduled_seats,
        scheduled_tier=None,
        scheduled_seats=None,
        scheduled_at=None,
    )


def of_status(tx: Connection, statuses: frozenset[str] = ALIVE) -> list[tuple[str, str]]:
    """Return the organizations with a subscription in one of these statuses, and its id."""
    rows = tx.execute(
        select(
            stripe_subscriptions.c.organization_id, stripe_subscriptions.c.stripe_subscription_id
        )
        .where(stripe_subscriptions.c.status.in_(sorted(statuses)))
        .order_by(stripe_subscriptions.c.organization_id)
    )
    return [(row.organization_id, row.stripe_subscription_id) for row in rows]


def _set(tx: Connection, organization_id: str, **values: object) -> None:
    tx.execute(
        update(stripe_subscriptions)
        .where(stripe_subscriptions.c.organization_id == organization_id)
        .values(values)
    )
