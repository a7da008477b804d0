"""Organizations: what a customer of the operator is, and its settings.

Owns ``organizations``. Reads the subscription with it, which gives it its billing period.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, bindparam, select, update

from portal.core import calendars
from portal.core.calendars import Calendar
from portal.core.errors import InvalidRequest, NotFound
from portal.core.events import GRACE
from portal.core.periods import Period, Zone, zone_names
from portal.rows import insert_or_ignore
from portal.tables import organizations, subscriptions


@dataclass(frozen=True)
class Organization:
    """A customer of the operator, with the subscription that gives it its billing period."""

    organization_id: str
    name: str
    email: str
    calendar: Calendar
    currency: str
    charging: str
    on_empty: str
    overage_limit_minor: int | None
    stripe_customer_id: str | None
    created_at: datetime
    tier: str | None
    seats: int | None
    subscribed: Period | None
    stops_at: datetime | None
    cycle_end: datetime | None
    #: Whether a plain member sees what the whole organization has left.
    members_see_balance: bool = True

    @property
    def zone(self) -> Zone:
        """The organization's time zone, with its past and what is to come."""
        return self.calendar.zone

    @property
    def shadow(self) -> bool:
        """Whether usage is rated and costed only: nothing held, debited or blocked."""
        return self.charging == "shadow"

    def period_at(self, instant: datetime) -> Period:
        """Return the billing period that holds ``instant``: the subscription's, or the month."""
        return self.calendar.period_at(instant, self.subscribed)

    def closed_period(self, instant: datetime, *, now: datetime) -> datetime | None:
        """Return the start of the billing period that holds ``instant``, where that has closed.

        A period takes what happened in it until ``GRACE`` after its end.
        """
        if instant > now - GRACE or instant >= self.period_at(now).start:
            return None
        period = self.period_at(instant)
        return period.start if now >= period.end + GRACE else None


def _organization(row: RowMapping) -> Organization:
    subscribed = Period(row["period_start"], row["period_end"]) if row["tier"] else None
    return Organization(
        organization_id=row["organization_id"],
        name=row["name"],
        email=row["email"] or "",
        calendar=calendars.read(row["timezone"], row["calendar"]),
        currency=row["currency"],
        charging=row["charging"],
        on_empty=row["on_empty"],
        overage_limit_minor=row["overage_limit_minor"],
        stripe_customer_id=row["stripe_customer_id"],
        created_at=row["created_at"],
        tier=row["tier"],
        seats=row["seats"],
        subscribed=subscribed,
        stops_at=row["stops_at"],
        cycle_end=row["cycle_end"],
        members_see_balance=row["members_see_balance"],
    )


_ORGANIZATION = select(
    organizations,
    subscriptions.c.tier,
    subscriptions.c.seats,
    subscriptions.c.period_start,
    subscriptions.c.period_end,
    subscriptions.c.stops_at,
    subscriptions.c.cycle_end,
).select_from(
    organizations.outerjoin(
        subscriptions, organizations.c.organization_id == subscriptions.c.organization_id
    )
)

_ONE_ORGANIZATION = _ORGANIZATION.where(organizations.c.organization_id == bindparam("org"))


def find_organization(tx: Connection, organization_id: str) -> Organization:
    """Return the organization. Raises NotFound."""
    row = tx.execute(_ONE_ORGANIZATION, {"org": organization_id}).mappings().first()
    if row is None:
        raise NotFound("organization", organization_id)
    return _organization(row)


def find_customer(tx: Connection, stripe_customer_id: str) -> Organization:
    """Return the organization that is this customer of Stripe's. Raises NotFound."""
    query = _ORGANIZATION.where(organizations.c.stripe_customer_id == stripe_customer_id)
    row = tx.execute(query).mappings().first()
    if row is None:
        raise NotFound("organization", stripe_customer_id)
    return _organization(row)


def list_organizations(tx: Connection, *, after: str = "", limit: int = 100) -> list[Organization]:
    """Return organizations in order of their id, those after ``after``."""
    query = (
        _ORGANIZATION.where(organizations.c.organization_id > after)
        .order_by(organizations.c.organization_id)
        .limit(limit)
    )
    return [_organization(row) for row in tx.execute(query).mappings()]


def find_organizations(tx: Connection, ids: Collection[str]) -> dict[str, Organization]:
    """Return those of the organizations that are there, by id."""
    query = _ORGANIZATION.where(organizations.c.organization_id.in_(ids))
    found = [_organization(row) for row in tx.execute(query).mappings()]
    return {one.organization_id: one for one in found}


def check_zone(timezone: str) -> None:
    """Refuse a time zone this machine does not know. Raises InvalidRequest."""
    if timezone not in zone_names():
        raise InvalidRequest.at("/timezone", 'is not an IANA time zone such as "Europe/Berlin"')


def create_organization(
    tx: Connection,
    organization_id: str,
    *,
    name: str,
    email: str | None,
    timezone: str,
    currency: str,
    charging: str,
    now: datetime,
) -> bool:
    """Make the organization's row; return False where it existed already."""
    check_zone(timezone)
    return insert_or_ignore(
        tx,
        organizations,
        {
            "organization_id": organization_id,
            "name": name,
            "email": email,
            "timezone": timezone,
            "calendar": Calendar(Zone(timezone)).record(),
            "currency": currency,
            "charging": charging,
            "created_at": now,
        },
    )


def update_organization(
    tx: Connection, organization_id: str, *, name: str, email: str | None, charging: str
) -> None:
    """Change what may change at any time: name, billing address, whether usage is charged."""
    tx.execute(
        update(organizations)
        .where(organizations.c.organization_id == organization_id)
        .values(name=name, email=email, charging=charging)
    )


def set_charging(tx: Connection, organization_id: str, charging: str) -> None:
    """Set whether usage is charged: ``on``, or ``shadow`` where it is only measured."""
    tx.execute(
        update(organizations)
        .where(organizations.c.organization_id == organization_id)
        .values(charging=charging)
    )


def set_spending(
    tx: Connection, organization_id: str, *, on_empty: str, overage_limit_minor: int | None
) -> None:
    """Set what happens when credits run out, and the limit in minor units where work goes on."""
    tx.execute(
        update(organizations)
        .where(organizations.c.organization_id == organization_id)
        .values(on_empty=on_empty, overage_limit_minor=overage_limit_minor)
    )


def show_balance_to_members(tx: Connection, organization_id: str, *, shown: bool) -> None:
    """Choose whether plain members see what the whole organization has left."""
    tx.execute(
        update(organizations)
        .where(organizations.c.organization_id == organization_id)
        .values(members_see_balance=shown)
    )


def keep_calendar(tx: Connection, organization_id: str, calendar: Calendar) -> None:
    """Store an organization's calendar; its first zone stays the one it began in."""
    tx.execute(
        update(organizations)
        .where(organizations.c.organization_id == organization_id)
        .values(calendar=calendar.record())
    )


def remember_stripe_customer(tx: Connection, organization_id: str, customer_id: str) -> None:
    """Keep Stripe's customer for the organization; the first one stands.

    Raises InvalidRequest for one that is another organization's: whose payments would they be?
    """
    others = select(organizations.c.organization_id).where(
        organizations.c.stripe_customer_id == customer_id,
        organizations.c.organization_id != organization_id,
    )
    if tx.execute(others).first() is not None:
        raise InvalidRequest(f"Stripe's customer {customer_id} is another organization's.")
    tx.execute(
        update(organizations)
        .where(
            organizations.c.organization_id == organization_id,
            organizations.c.stripe_customer_id.is_(None),
        )
        .values(stripe_customer_id=customer_id)
    )
