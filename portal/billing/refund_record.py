"""Refunds that operators asked for, and how far each came. Owns ``refunds``.

Invariant: of one payment at most one is open, which waits for another operator or is on its way to
Stripe; each goes from one state to the next once, whoever moves it first; one that somebody had to
approve was approved by somebody else than asked for it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, insert, or_, select, update

from portal.ids import new_id
from portal.tables import refunds

#: Waits for another operator; is on its way to Stripe; is made there.
WAITING, STARTED, DONE = "waiting", "started", "done"
#: Made, and failed at the bank after all; came to nothing at Stripe, or because it fits no more.
FAILED, REFUSED = "failed", "refused"
#: Not approved: by another operator, by who asked for it, by nobody in time.
DECLINED, WITHDRAWN, LAPSED = "declined", "withdrawn", "lapsed"
OPEN = (WAITING, STARTED)


@dataclass(frozen=True)
class RefundOrder:
    """A refund as it was asked for; the amount in minor units.

    ``expires_at`` is until when another operator may approve it, None where nobody has to.
    ``answer`` is why it came to nothing.
    """

    organization_id: str
    refund_id: str
    payment_id: str
    amount_minor: int
    currency: str
    part: str
    reason: str
    asked_by: str
    asked_at: datetime
    expires_at: datetime | None
    status: str
    decided_by: str | None = None
    decided_at: datetime | None = None
    answer: str = ""
    stripe_refund_id: str | None = None

    @property
    def began_at(self) -> datetime:
        """From when on it could be made at Stripe: as it was approved, or else asked for."""
        return self.decided_at or self.asked_at

    def waits(self, now: datetime) -> bool:
        """Tell whether another operator may still decide."""
        return self.status == WAITING and self.expires_at is not None and now < self.expires_at


_ALL = select(*(refunds.c[field.name] for field in fields(RefundOrder)))


def add(tx: Connection, order: RefundOrder) -> RefundOrder:
    """Write down a refund that is asked for, under an id of its own; returns it."""
    new = replace(order, refund_id=new_id("rf"))
    tx.execute(insert(refunds).values(vars(new)))
    return new


def find(tx: Connection, organization_id: str, refund_id: str) -> RefundOrder | None:
    """Return a refund of an organization, or None."""
    return next(iter(_found(tx, _ALL.where(*_this(organization_id, refund_id)))), None)


def open_of(tx: Connection, organization_id: str, payment_id: str) -> RefundOrder | None:
    """Return the one of a payment that waits or is on its way, or None."""
    mine = refunds.c.organization_id == organization_id, refunds.c.payment_id == payment_id
    return next(iter(_found(tx, _ALL.where(*mine, refunds.c.status.in_(OPEN)))), None)


def made_of(tx: Connection, organization_id: str, payment_id: str) -> list[RefundOrder]:
    """Return those of a payment that Stripe has made or may have made, also that failed since."""
    mine = refunds.c.organization_id == organization_id, refunds.c.payment_id == payment_id
    return _found(tx, _ALL.where(*mine, refunds.c.status.in_((STARTED, DONE, FAILED))))


def waiting(tx: Connection, *, now: datetime) -> list[RefundOrder]:
    """Return those of every organization that wait for another operator, the oldest first."""
    return _found(tx, _ALL.where(refunds.c.status == WAITING, refunds.c.expires_at > now))


def latest(tx: Connection, *, now: datetime, limit: int) -> list[RefundOrder]:
    """Return those of every organization that wait for nobody any more, the latest first."""
    over = or_(refunds.c.status != WAITING, refunds.c.expires_at <= now)
    latest_first = refunds.c.asked_at.desc(), refunds.c.refund_id
    rows = tx.execute(_ALL.where(over).order_by(*latest_first).limit(limit)).mappings()
    return [RefundOrder(**row) for row in rows]


def on_their_way(tx: Connection, *, before: datetime) -> list[RefundOrder]:
    """Return those that began before an instant and of which no end is known."""
    began = or_(
        refunds.c.decided_at < before,
        and_(refunds.c.decided_at.is_(None), refunds.c.asked_at < before),
    )
    return _found(tx, _ALL.where(refunds.c.status == STARTED, began))


def lapsed(tx: Connection, *, now: datetime) -> list[RefundOrder]:
    """Return those that nobody decided in time and that are not ended yet."""
    return _found(tx, _ALL.where(refunds.c.status == WAITING, refunds.c.expires_at <= now))


def move(
    tx: Connection,
    order: RefundOrder,
    to: str,
    *,
    decided_by: str | None = None,
    decided_at: datetime | None = None,
    answer: str = "",
    stripe_refund_id: str | None = None,
) -> bool:
    """Bring a refund to its next state; returns whether it was still in the one that is known."""
    moved = tx.execute(
        update(refunds)
        .where(*_this(order.organization_id, order.refund_id), refunds.c.status == order.status)
        .values(
            status=to,
            decided_by=decided_by or order.decided_by,
            decided_at=decided_at or order.decided_at,
            answer=answer or order.answer,
            stripe_refund_id=stripe_refund_id or order.stripe_refund_id,
        )
    )
    return moved.rowcount == 1


def _this(organization_id: str, refund_id: str) -> tuple[ColumnElement[bool], ...]:
    return refunds.c.organization_id == organization_id, refunds.c.refund_id == refund_id


def _found(tx: Connection, query: Select[Any]) -> list[RefundOrder]:
    """Return what a query finds, the oldest first."""
    rows = tx.execute(query.order_by(refunds.c.asked_at, refunds.c.refund_id)).mappings()
    return [RefundOrder(**row) for row in rows]
