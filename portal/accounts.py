"""Organizations and who spends in them: teams, members, projects. The tenancy scope lives here.

Invariant: everything below an organization is looked up by (organization, id), so another
organization's rows cannot be named. Any use case may call this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, bindparam, func, insert, or_, select, update

from portal.core import calendars
from portal.core.calendars import Calendar
from portal.core.errors import InvalidRequest, NotFound
from portal.core.events import GRACE
from portal.core.periods import Period, Zone, zone_names
from portal.db import insert_or_ignore
from portal.tables import members, organizations, projects, subscriptions, teams

ROLES = ("owner", "admin", "billing", "member", "viewer")


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


@dataclass(frozen=True)
class Member:
    """A person of an organization."""

    organization_id: str
    member_id: str
    email: str
    name: str
    role: str
    team_id: str

    @property
    def may_manage(self) -> bool:
        """Whether they may set caps and see everybody's use."""
        return self.role in {"owner", "admin"}

    @property
    def may_buy(self) -> bool:
        """Whether they may spend the organization's money."""
        return self.role in {"owner", "admin", "billing"}

    @property
    def sees_all_use(self) -> bool:
        """Whether everybody's use is theirs to see; a member sees their own."""
        return self.role != "member"


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
_TEAMS_OF_MEMBERS = select(members.c.member_id, members.c.team_id).where(
    members.c.organization_id == bindparam("org"),
    members.c.member_id.in_(bindparam("members_", expanding=True)),
    members.c.team_id != "",
)
_TEAM_OF_MEMBER = select(members.c.team_id, members.c.removed_at).where(
    members.c.organization_id == bindparam("org"), members.c.member_id == bindparam("id_")
)


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


def set_spending(
    tx: Connection, organization_id: str, *, on_empty: str, overage_limit_minor: int | None
) -> None:
    """Set what happens when credits run out, and the limit in minor units where work goes on."""
    tx.execute(
        update(organizations)
        .where(organizations.c.organization_id == organization_id)
        .values(on_empty=on_empty, overage_limit_minor=overage_limit_minor)
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


def _member(row: RowMapping) -> Member:
    return Member(
        row["organization_id"],
        row["member_id"],
        row["email"],
        row["name"],
        row["role"],
        row["team_id"],
    )


def find_member(tx: Connection, organization_id: str, member_id: str) -> Member:
    """Return a member who has not been removed. Raises NotFound."""
    row = (
        tx.execute(
            select(members).where(
                members.c.organization_id == organization_id,
                members.c.member_id == member_id,
                members.c.removed_at.is_(None),
            )
        )
        .mappings()
        .first()
    )
    if row is None:
        raise NotFound("member", member_id)
    return _member(row)


def list_members(tx: Connection, organization_id: str) -> list[Member]:
    """Return the members in force, by name."""
    query = (
        select(members)
        .where(members.c.organization_id == organization_id, members.c.removed_at.is_(None))
        .order_by(members.c.name, members.c.member_id)
    )
    return [_member(row) for row in tx.execute(query).mappings()]


def _lock_people(tx: Connection, organization_id: str) -> None:
    """Let one change of people happen at a time: two owners must not remove each other at once."""
    tx.execute(
        select(organizations.c.organization_id)
        .where(organizations.c.organization_id == organization_id)
        .with_for_update()
    )


def _owners(tx: Connection, organization_id: str, *, but: str) -> int:
    return tx.execute(
        select(func.count())
        .select_from(members)
        .where(
            members.c.organization_id == organization_id,
            members.c.role == "owner",
            members.c.removed_at.is_(None),
            members.c.member_id != but,
        )
    ).scalar_one()


def put_member(
    tx: Connection,
    organization_id: str,
    member_id: str,
    *,
    email: str,
    name: str,
    role: str,
    team_id: str,
    now: datetime,
) -> tuple[Member, bool]:
    """Make or change a member; the second value tells whether they are new.

    Raises NotFound for a team that does not exist, InvalidRequest where the last owner would go.
    """
    _lock_people(tx, organization_id)
    if team_id:
        _known_team(tx, organization_id, team_id)
    new = insert_or_ignore(
        tx,
        members,
        {
            "organization_id": organization_id,
            "member_id": member_id,
            "email": email,
            "name": name,
            "role": role,
            "team_id": team_id,
            "created_at": now,
        },
    )
    if not new:
        row = tx.execute(
            select(members.c.role).where(
                members.c.organization_id == organization_id, members.c.member_id == member_id
            )
        ).scalar_one()
        if row == "owner" and role != "owner" and not _owners(tx, organization_id, but=member_id):
            raise InvalidRequest.at("/role", "must stay owner: this is the last owner")
        tx.execute(
            update(members)
            .where(members.c.organization_id == organization_id, members.c.member_id == member_id)
            .values(email=email, name=name, role=role, team_id=team_id, removed_at=None)
        )
    return find_member(tx, organization_id, member_id), new


def remove_member(tx: Connection, organization_id: str, member_id: str, *, now: datetime) -> Member:
    """Remove a member: their history stays, their password goes.

    Raises NotFound, and InvalidRequest for the last owner.
    """
    _lock_people(tx, organization_id)
    member = find_member(tx, organization_id, member_id)
    if member.role == "owner" and not _owners(tx, organization_id, but=member_id):
        raise InvalidRequest("The last owner cannot be removed. Make somebody else an owner first.")
    tx.execute(
        update(members)
        .where(members.c.organization_id == organization_id, members.c.member_id == member_id)
        .values(removed_at=now, password_hash=None)
    )
    return member


def teams_of_members(
    tx: Connection, organization_id: str, member_ids: Sequence[str]
) -> dict[str, str]:
    """Return each named member's team, where they have one."""
    if not member_ids:
        return {}
    rows = tx.execute(_TEAMS_OF_MEMBERS, {"org": organization_id, "members_": list(member_ids)})
    return {row.member_id: row.team_id for row in rows}


@dataclass(frozen=True)
class Recognized:
    """Whom work is for: the team it counts for, and what the member is."""

    team: str
    #: Whether nobody ever bore the member's name here.
    stranger: bool = False
    #: Whether the member is one no longer.
    removed: bool = False


def recognize(tx: Connection, organization_id: str, *, member: str, team: str) -> Recognized:
    """Return whom work is for; its team is the one named, or else the member's, or ""."""
    if not member:
        return Recognized(team)
    found = tx.execute(_TEAM_OF_MEMBER, {"org": organization_id, "id_": member}).first()
    if found is None:
        return Recognized(team, stranger=True)
    return Recognized(team or found.team_id, removed=found.removed_at is not None)


def _known_team(tx: Connection, organization_id: str, team_id: str) -> None:
    found = tx.execute(
        select(teams.c.team_id).where(
            teams.c.organization_id == organization_id, teams.c.team_id == team_id
        )
    ).first()
    if found is None:
        raise NotFound("team", team_id)


def put_team(tx: Connection, organization_id: str, team_id: str, *, name: str) -> bool:
    """Make or rename a team; tells whether it is new."""
    row = {"organization_id": organization_id, "team_id": team_id, "name": name}
    new = insert_or_ignore(tx, teams, row)
    if not new:
        tx.execute(
            update(teams)
            .where(teams.c.organization_id == organization_id, teams.c.team_id == team_id)
            .values(name=name)
        )
    return new


def put_project(tx: Connection, organization_id: str, project_id: str, *, name: str) -> bool:
    """Make or rename a project; tells whether it is new."""
    row = {"organization_id": organization_id, "project_id": project_id, "name": name}
    new = insert_or_ignore(tx, projects, row)
    if not new:
        tx.execute(
            update(projects)
            .where(
                projects.c.organization_id == organization_id, projects.c.project_id == project_id
            )
            .values(name=name)
        )
    return new


def names(tx: Connection, organization_id: str, scope: str) -> dict[str, str]:
    """Return the display names of teams, members (also removed ones) or projects by id."""
    table, key = {
        "team": (teams, teams.c.team_id),
        "member": (members, members.c.member_id),
        "project": (projects, projects.c.project_id),
    }[scope]
    rows = tx.execute(select(key, table.c.name).where(table.c.organization_id == organization_id))
    return {row[0]: row[1] for row in rows}


def subscribe(
    tx: Connection,
    organization_id: str,
    *,
    tier: str,
    seats: int | None,
    period: Period,
    now: datetime,
) -> None:
    """Store what the organization subscribes to and its current period."""
    tx.execute(subscriptions.delete().where(subscriptions.c.organization_id == organization_id))
    tx.execute(
        insert(subscriptions).values(
            organization_id=organization_id,
            tier=tier,
            seats=seats,
            period_start=period.start,
            period_end=period.end,
            created_at=now,
        )
    )


def bill(
    tx: Connection,
    organization_id: str,
    *,
    tier: str,
    seats: int | None,
    period: Period,
    cycle_end: datetime,
    stops_at: datetime | None,
    now: datetime,
) -> None:
    """Store what Stripe bills the organization for; what is stored already keeps its beginning."""
    values = {
        "tier": tier,
        "seats": seats,
        "period_start": period.start,
        "period_end": period.end,
        "cycle_end": cycle_end,
        "stops_at": stops_at,
    }
    key = {"organization_id": organization_id}
    if not insert_or_ignore(tx, subscriptions, key | values | {"created_at": now}):
        tx.execute(
            update(subscriptions)
            .where(subscriptions.c.organization_id == organization_id)
            .values(values)
        )


def unsubscribe(tx: Connection, organization_id: str) -> None:
    """Forget the subscription: the organization has no tier any more."""
    tx.execute(subscriptions.delete().where(subscriptions.c.organization_id == organization_id))


def begin_cycle(
    tx: Connection, organization_id: str, *, tier: str, seats: int | None, cycle_end: datetime
) -> None:
    """Move a subscription that Stripe bills on to its next cycle, on the tier it has then."""
    tx.execute(
        update(subscriptions)
        .where(subscriptions.c.organization_id == organization_id)
        .values(tier=tier, seats=seats, cycle_end=cycle_end)
    )


def begin_period(tx: Connection, organization_id: str, period: Period) -> None:
    """Move the subscription on to its next period."""
    tx.execute(
        update(subscriptions)
        .where(
            subscriptions.c.organization_id == organization_id,
            subscriptions.c.period_end <= period.start,
        )
        .values(period_start=period.start, period_end=period.end)
    )


def organizations_due(tx: Connection, *, now: datetime) -> list[str]:
    """Return the organizations whose period or cycle has ended."""
    rows = tx.execute(
        select(subscriptions.c.organization_id).where(
            or_(subscriptions.c.period_end <= now, subscriptions.c.cycle_end <= now)
        )
    )
    return [row.organization_id for row in rows]
