"""Changes of tier that were previewed and asked for, until Stripe says what became of them.

Owns ``tier_changes``. Invariant: what a preview said (prices, credits, the instant it is prorated
from) is fixed in its row; it is confirmed once, and done or failed by what Stripe has.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from portal.core.errors import InvalidRequest, NotFound
from portal.tables import tier_changes

#: How long a preview may be confirmed: its price is that of its instant.
VALID = timedelta(minutes=30)
_OPEN = ("started", "awaiting_payment")


@dataclass(frozen=True)
class TierChange:
    """A change as it was previewed; amounts in minor units, credits in millionths.

    ``carried_minor`` is what goes on the next invoice; below zero a credit that is left for it.
    """

    organization_id: str
    change_id: str
    kind: str
    from_tier: str
    to_tier: str
    seats: int | None
    from_seats: int | None
    as_of: datetime
    charge_minor: int
    carried_minor: int
    currency: str
    credits_micro: int
    status: str
    stripe_invoice_id: str | None
    started_by: str
    created_at: datetime
    settled_at: datetime | None


def add(tx: Connection, change: TierChange) -> None:
    """Keep a preview."""
    tx.execute(insert(tier_changes).values(change.__dict__))


def find(tx: Connection, organization_id: str, change_id: str) -> TierChange:
    """Return a change. Raises NotFound."""
    row = (
        tx.execute(
            select(tier_changes).where(
                tier_changes.c.organization_id == organization_id,
                tier_changes.c.change_id == change_id,
            )
        )
        .mappings()
        .first()
    )
    if row is None:
        raise NotFound("change", change_id)
    return TierChange(**row)


def still_open(tx: Connection, organization_id: str) -> list[TierChange]:
    """Return what was confirmed and is neither done nor failed, oldest first."""
    rows = tx.execute(
        select(tier_changes)
        .where(tier_changes.c.organization_id == organization_id, tier_changes.c.status.in_(_OPEN))
        .order_by(tier_changes.c.created_at, tier_changes.c.change_id)
    ).mappings()
    return [TierChange(**row) for row in rows]


def every_started(tx: Connection, *, before: datetime) -> list[TierChange]:
    """Return what was confirmed before an instant and whose call's answer was never stored."""
    rows = tx.execute(
        select(tier_changes)
        .where(tier_changes.c.status == "started", tier_changes.c.created_at < before)
        .order_by(tier_changes.c.created_at, tier_changes.c.change_id)
    ).mappings()
    return [TierChange(**row) for row in rows]


def take_up(tx: Connection, change: TierChange, *, now: datetime) -> None:
    """Confirm a preview, once. Raises InvalidRequest where it is too old or another is under way.

    One that was begun already goes on: whoever asks again asks for the same.
    """
    if change.status == "started":
        return
    if change.status != "previewed" or now >= change.created_at + VALID:
        raise InvalidRequest("This price is no longer current. Look at the change again.")
    if any(one.status == "started" for one in still_open(tx, change.organization_id)):
        raise InvalidRequest("Another change of the plan is under way. Try again in a minute.")
    _set(tx, change, status="started")


def settle(
    tx: Connection,
    change: TierChange,
    status: str,
    *,
    invoice_id: str | None = None,
    now: datetime,
) -> None:
    """Note what became of a change: done, failed, or waiting for its payment."""
    if change.status == status:
        return
    settled = None if status in _OPEN else now
    _set(
        tx,
        change,
        status=status,
        settled_at=settled,
        stripe_invoice_id=invoice_id or change.stripe_invoice_id,
    )


def _set(tx: Connection, change: TierChange, **values: object) -> None:
    tx.execute(
        update(tier_changes)
        .where(
            tier_changes.c.organization_id == change.organization_id,
            tier_changes.c.change_id == change.change_id,
        )
        .values(values)
    )
