"""The attempts of auto top-up, each written down before anybody is asked to pay.

Owns ``top_ups``. Invariant: at most one attempt of an organization is in flight, and those of a
month never come to more than its limit; the guard stands in the statement that begins one, doubled
by a unique index. An attempt ends once, except that money which came after all makes it succeed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from portal.accounts import Organization
from portal.core.catalog import Pack
from portal.core.periods import Period
from portal.core.top_up import CALL_LASTS, month_of, months_of, still_minor
from portal.ids import new_id
from portal.tables import auto_top_ups, organizations, subscriptions, top_ups
from portal.top_ups import standing

_TICK = timedelta(microseconds=1)
IN_FLIGHT = ("pending", "unknown")
#: What is charged, or may be.
COUNTS = (*IN_FLIGHT, "succeeded")


@dataclass(frozen=True)
class Attempt:
    """One attempt to buy a pack: what is bought is fixed before anybody is asked to pay."""

    top_up_id: str
    organization_id: str
    pack: str
    pack_name: str
    credits_micro: int
    amount_minor: int
    currency: str
    expires_after_days: int | None
    status: str
    failure: str
    intent_id: str | None
    method_id: str | None
    started_at: datetime
    grant_id: str | None


def watched(tx: Connection, *, now: datetime) -> list[str]:
    """Return the organizations that may have to buy, or have an attempt to be asked about."""
    may = (
        select(organizations.c.organization_id)
        .join(auto_top_ups, auto_top_ups.c.organization_id == organizations.c.organization_id)
        .where(
            organizations.c.on_empty == "top_up",
            organizations.c.charging == "on",
            auto_top_ups.c.suspended == "",
        )
    )
    asked = select(top_ups.c.organization_id).where(
        top_ups.c.status.in_(IN_FLIGHT), top_ups.c.ask_at <= now
    )
    return sorted(set(tx.execute(may).scalars()).union(tx.execute(asked).scalars()))


def _used(month: Period) -> ColumnElement[int]:
    return (
        select(func.coalesce(func.sum(top_ups.c.amount_minor), 0))
        .where(
            top_ups.c.organization_id == bindparam("org"),
            top_ups.c.status.in_(COUNTS),
            top_ups.c.started_at >= month.start,
            top_ups.c.started_at < month.end,
        )
        .scalar_subquery()
    )


def used_minor(
    tx: Connection, organization_id: str, period: Period, *, until: datetime | None = None
) -> int:
    """Return what attempts begun in a period charged or may charge, in minor units.

    ``until`` leaves out those begun after that instant.
    """
    if until is not None:
        period = Period(period.start, min(period.end, until + _TICK))
    return int(tx.execute(select(_used(period)), {"org": organization_id}).scalar_one())


def may_still_buy_minor(
    tx: Connection, organization: Organization, pack: Pack | None, *, at: datetime
) -> int:
    """Return what attempts may still cost until the billing period ends, in minor units.

    By whole packs, and by each month that has a part of what is left of it. A suspension that
    another payment method ends is no promise; one that a person has to end is.
    """
    mine = standing.settings(tx, organization.organization_id)
    off = organization.on_empty != "top_up" or organization.shadow
    if off or pack is None or mine is None or mine.suspended == "disputed":
        return 0
    left = Period(at, organization.period_at(at).end)
    return sum(
        still_minor(
            limit_minor=mine.monthly_limit_minor,
            used_minor=used_minor(tx, organization.organization_id, month, until=at),
            amount_minor=pack.price_minor,
        )
        for month in months_of(left, organization.zone)
    )


def start(
    tx: Connection,
    organization: Organization,
    pack: Pack,
    *,
    currency: str,
    price_book_version: int,
    available_micro: int,
    method_id: str,
    now: datetime,
) -> Attempt | None:
    """Write down an attempt where one may begin; None where it may not. Under the wallet's lock."""
    top_up_id = new_id("tu")
    values = {
        "organization_id": organization.organization_id,
        "top_up_id": top_up_id,
        "pack": pack.key,
        "pack_name": pack.name,
        "price_book_version": price_book_version,
        "credits_micro": pack.credits_micro,
        "amount_minor": pack.price_minor,
        "currency": currency,
        "expires_after_days": pack.expires_after_days,
        "status": "pending",
        "stripe_method_id": method_id,
        "started_at": now,
        "ask_at": now + CALL_LASTS,
    }
    attempt = (
        select(*(literal(value, top_ups.c[name].type) for name, value in values.items()))
        .select_from(
            organizations.join(
                auto_top_ups, auto_top_ups.c.organization_id == organizations.c.organization_id
            ).outerjoin(
                subscriptions, subscriptions.c.organization_id == organizations.c.organization_id
            )
        )
        .where(*_may_begin(organization, pack, available_micro=available_micro, now=now))
    )
    done = tx.execute(
        insert(top_ups).from_select(list(values), attempt),
        {"org": organization.organization_id},
        execution_options={"preserve_rowcount": True},
    )
    return find(tx, organization.organization_id, top_up_id) if done.rowcount == 1 else None


def _may_begin(
    organization: Organization, pack: Pack, *, available_micro: int, now: datetime
) -> tuple[ColumnElement[bool], ...]:
    """Return the guard of an attempt: switched on, wanted, none in flight, within the month."""
    in_flight = (
        select(top_ups.c.top_up_id)
        .where(
            top_ups.c.organization_id == organizations.c.organization_id,
            top_ups.c.status.in_(IN_FLIGHT),
        )
        .exists()
    )
    return (
        organizations.c.organization_id == bindparam("org"),
        organizations.c.on_empty == "top_up",
        organizations.c.charging == "on",
        or_(subscriptions.c.stops_at.is_(None), subscriptions.c.stops_at > now),
        auto_top_ups.c.pack == pack.key,
        auto_top_ups.c.suspended == "",
        auto_top_ups.c.threshold_micro > available_micro,
        ~in_flight,
        _used(month_of(now, organization.zone)) + pack.price_minor
        <= auto_top_ups.c.monthly_limit_minor,
    )


def _attempt(row: Row[tuple[object, ...]]) -> Attempt:
    return Attempt(
        top_up_id=row.top_up_id,
        organization_id=row.organization_id,
        pack=row.pack,
        pack_name=row.pack_name,
        credits_micro=row.credits_micro,
        amount_minor=row.amount_minor,
        currency=row.currency,
        expires_after_days=row.expires_after_days,
        status=row.status,
        failure=row.failure,
        intent_id=row.stripe_payment_intent_id,
        method_id=row.stripe_method_id,
        started_at=row.started_at,
        grant_id=row.grant_id,
    )


def find(tx: Connection, organization_id: str, top_up_id: str) -> Attempt | None:
    """Return an attempt, or None where there is no such one."""
    row = tx.execute(select(top_ups).where(*_the_one(organization_id, top_up_id))).first()
    return _attempt(row) if row is not None else None


def in_flight(tx: Connection, organization_id: str) -> Attempt | None:
    """Return the attempt whose end is not known yet, if there is one."""
    row = tx.execute(
        select(top_ups).where(
            top_ups.c.organization_id == organization_id, top_ups.c.status.in_(IN_FLIGHT)
        )
    ).first()
    return _attempt(row) if row is not None else None


def latest(tx: Connection, organization_id: str, *, most: int = 20) -> Sequence[Attempt]:
    """Return the attempts, the latest first."""
    rows = tx.execute(
        select(top_ups)
        .where(top_ups.c.organization_id == organization_id)
        .order_by(top_ups.c.started_at.desc(), top_ups.c.top_up_id)
        .limit(most)
    )
    return [_attempt(row) for row in rows.all()]


def _the_one(organization_id: str, top_up_id: str) -> tuple[ColumnElement[bool], ...]:
    return top_ups.c.organization_id == organization_id, top_ups.c.top_up_id == top_up_id


def claim(tx: Connection, attempt: Attempt, *, now: datetime) -> bool:
    """Take it on to ask about an attempt in flight; False where it is not due or another did."""
    done = tx.execute(
        update(top_ups)
        .where(
            *_the_one(attempt.organization_id, attempt.top_up_id),
            top_ups.c.status.in_(IN_FLIGHT),
            top_ups.c.ask_at <= now,
        )
        .values(ask_at=now + CALL_LASTS)
    )
    return done.rowcount == 1


def keep_unknown(
    tx: Connection, attempt: Attempt, *, intent_id: str | None, ask_at: datetime
) -> None:
    """Say that the end of an attempt is not known, and when Stripe is asked again."""
    values = {"status": "unknown", "ask_at": ask_at}
    if intent_id:
        values["stripe_payment_intent_id"] = intent_id
    tx.execute(
        update(top_ups)
        .where(
            *_the_one(attempt.organization_id, attempt.top_up_id), top_ups.c.status.in_(IN_FLIGHT)
        )
        .values(**values)
    )


def fail(
    tx: Connection,
    attempt: Attempt,
    status: str,
    failure: str,
    *,
    intent_id: str | None,
    now: datetime,
) -> bool:
    """End an attempt that bought nothing; False where it had ended already."""
    done = tx.execute(
        update(top_ups)
        .where(
            *_the_one(attempt.organization_id, attempt.top_up_id), top_ups.c.status.in_(IN_FLIGHT)
        )
        .values(
            status=status,
            failure=failure,
            stripe_payment_intent_id=intent_id or attempt.intent_id,
            settled_at=now,
        )
    )
    return done.rowcount == 1


def succeed(
    tx: Connection, attempt: Attempt, *, intent_id: str, grant_id: str, now: datetime
) -> bool:
    """End an attempt that was paid, whatever was thought of it before; False where it was known."""
    done = tx.execute(
        update(top_ups)
        .where(
            *_the_one(attempt.organization_id, attempt.top_up_id), top_ups.c.status != "succeeded"
        )
        .values(
            status="succeeded",
            failure="",
            stripe_payment_intent_id=intent_id,
            grant_id=grant_id,
            settled_at=now,
        )
    )
    return done.rowcount == 1
