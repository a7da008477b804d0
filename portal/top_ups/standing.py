"""What an organization set for auto top-up, and whether it may buy, rests or waits for a person.

Owns ``auto_top_ups``. Invariant: what was set says nothing of how it stands and cannot change it; a
dispute outweighs every other reason to wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, case, insert, literal, or_, select, update

from portal import notices
from portal.tables import auto_top_ups, payments
from portal.top_ups.terms import TopUpRequest

#: The kinds of notices about it: declined, to be confirmed with the bank, the month's limit.
FAILED = "top-up-failed"
AUTHENTICATION = "top-up-authentication"
LIMIT_REACHED = "top-up-limit"
NOTICES = (FAILED, AUTHENTICATION, LIMIT_REACHED)
#: What is told once of each that was paid.
MADE = "top-up-made"


@dataclass(frozen=True)
class AutoTopUp:
    """What was set, and how it stands; credits in millionths, money in minor units."""

    pack: str
    threshold_micro: int
    monthly_limit_minor: int
    set_by: str
    declines: int
    suspended: str
    failed_method_id: str | None

    @property
    def rests_because(self) -> str:
        """Why nothing is bought by itself, as it is told; nothing where it may be.

        Where there is no payment method at all, none was declined.
        """
        if self.suspended == "declined" and self.failed_method_id == "":
            return "no-payment-method"
        return self.suspended

    @property
    def asked(self) -> TopUpRequest:
        """What it was asked to do."""
        return TopUpRequest(self.threshold_micro, self.pack, self.monthly_limit_minor)


def settings(tx: Connection, organization_id: str) -> AutoTopUp | None:
    """Return what was set, or None where nothing ever was."""
    row = tx.execute(
        select(auto_top_ups).where(auto_top_ups.c.organization_id == organization_id)
    ).first()
    if row is None:
        return None
    return AutoTopUp(
        row.pack,
        row.threshold_micro,
        row.monthly_limit_minor,
        row.set_by,
        row.declines,
        row.suspended,
        row.failed_method_id,
    )


def keep(
    tx: Connection,
    organization_id: str,
    asked: TopUpRequest,
    *,
    actor: str,
    now: datetime,
) -> None:
    """Store what to buy and when; how it stands stays what it is."""
    told = {
        "pack": asked.pack,
        "threshold_micro": asked.threshold_micro,
        "monthly_limit_minor": asked.monthly_limit_minor,
        "set_by": actor,
        "set_at": now,
    }
    changed = tx.execute(
        update(auto_top_ups).where(auto_top_ups.c.organization_id == organization_id).values(**told)
    )
    if changed.rowcount == 0:
        tx.execute(insert(auto_top_ups).values(organization_id=organization_id, **told))


def suspend(
    tx: Connection, organization_id: str, reason: str, *, method_id: str | None = None
) -> bool:
    """Let nothing be bought until a person acts; a dispute outweighs any other reason.

    Returns whether it was not so before.
    """
    rank = auto_top_ups.c.suspended != reason
    if reason != "disputed":
        rank = and_(rank, auto_top_ups.c.suspended != "disputed")
    done = tx.execute(
        update(auto_top_ups)
        .where(auto_top_ups.c.organization_id == organization_id, rank)
        .values(suspended=reason, failed_method_id=method_id)
    )
    return done.rowcount == 1


def declined(tx: Connection, organization_id: str, *, method_id: str | None) -> None:
    """Count a decline, and let nothing be bought until the payment method changes."""
    kept = auto_top_ups.c.suspended
    tx.execute(
        update(auto_top_ups)
        .where(auto_top_ups.c.organization_id == organization_id)
        .values(
            declines=auto_top_ups.c.declines + 1,
            failed_method_id=method_id,
            suspended=case((kept == "", literal("declined")), else_=kept),
        )
    )


def settled(tx: Connection, organization_id: str, *, now: datetime) -> None:
    """Take note of a payment that settled: somebody was there for the bank that had asked.

    A method that was declined is not another one by that.
    """
    tx.execute(
        update(auto_top_ups)
        .where(
            auto_top_ups.c.organization_id == organization_id,
            auto_top_ups.c.suspended == "authentication",
        )
        .values(suspended="")
    )
    mine = settings(tx, organization_id)
    if mine is not None and not mine.suspended:
        _end_notices(tx, organization_id, now=now)


def _end_notices(tx: Connection, organization_id: str, *, now: datetime) -> None:
    for kind in (FAILED, AUTHENTICATION):
        notices.end(tx, organization_id, kind, now=now)


def another_method(tx: Connection, organization_id: str, method_id: str, *, now: datetime) -> bool:
    """Begin anew with another payment method than the one that failed; tells whether it is one."""
    failed = auto_top_ups.c.failed_method_id
    done = tx.execute(
        update(auto_top_ups)
        .where(
            auto_top_ups.c.organization_id == organization_id,
            auto_top_ups.c.suspended != "disputed",
            or_(auto_top_ups.c.suspended != "", auto_top_ups.c.declines > 0),
            or_(failed.is_(None), failed != method_id),
        )
        .values(suspended="", declines=0, failed_method_id=None)
    )
    if done.rowcount == 1:
        _end_notices(tx, organization_id, now=now)
    return done.rowcount == 1


def after_dispute(tx: Connection, organization_id: str) -> bool:
    """Let it run again that a dispute switched off, where no payment is disputed any more.

    For a person who turns it on anew. Returns whether no dispute stands in the way.
    """
    running = (
        select(payments.c.payment_id)
        .where(
            payments.c.organization_id == organization_id,
            payments.c.dispute.in_(("open", "withdrawn")),
        )
        .exists()
    )
    mine = auto_top_ups.c.organization_id == organization_id
    tx.execute(
        update(auto_top_ups)
        .where(mine, auto_top_ups.c.suspended == "disputed", ~running)
        .values(suspended="", declines=0, failed_method_id=None)
    )
    kept = tx.execute(select(auto_top_ups.c.suspended).where(mine)).scalar()
    return kept != "disputed"


def resting(tx: Connection) -> list[str]:
    """Return the organizations whose auto top-up waits for another payment method."""
    rows = tx.execute(
        select(auto_top_ups.c.organization_id)
        .where(
            auto_top_ups.c.suspended != "disputed",
            or_(auto_top_ups.c.suspended != "", auto_top_ups.c.declines > 0),
        )
        .order_by(auto_top_ups.c.organization_id)
    )
    return list(rows.scalars())
