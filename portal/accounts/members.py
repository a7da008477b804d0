"""Members: the people of an organization, what each may do, and whom work is for.

Owns ``members`` but for what signs them in. Invariant: an organization that has an owner keeps one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, bindparam, func, select, update

from portal.accounts.organizations import Organization
from portal.accounts.teams import known_team
from portal.core import roles
from portal.core.errors import InvalidRequest, NotFound
from portal.rows import insert_or_ignore
from portal.tables import members, organizations


@dataclass(frozen=True)
class Member:
    """A person of an organization."""

    organization_id: str
    member_id: str
    email: str
    name: str
    role: str
    team_id: str
    #: When they were last seen on a page; None where they never were.
    seen_at: datetime | None = None

    def may(self, right: str) -> bool:
        """Whether their role has a right of ``core.roles``."""
        return roles.may(self.role, right)

    @property
    def may_manage(self) -> bool:
        """Whether they may set caps."""
        return self.may("set_limits")

    @property
    def may_buy(self) -> bool:
        """Whether they may spend the organization's money."""
        return self.may("buy")

    @property
    def sees_all_use(self) -> bool:
        """Whether everybody's use is theirs to see; a member sees their own."""
        return self.may("see_all_use")


def sees_balance(organization: Organization, member: Member) -> bool:
    """Tell whether a member sees what the organization has left."""
    return roles.sees_balance(member.role, members_see_balance=organization.members_see_balance)


_TEAMS_OF_MEMBERS = select(members.c.member_id, members.c.team_id).where(
    members.c.organization_id == bindparam("org"),
    members.c.member_id.in_(bindparam("members_", expanding=True)),
    members.c.team_id != "",
)
_TEAM_OF_MEMBER = select(members.c.team_id, members.c.removed_at).where(
    members.c.organization_id == bindparam("org"), members.c.member_id == bindparam("id_")
)


def _member(row: RowMapping) -> Member:
    return Member(
        row["organization_id"],
        row["member_id"],
        row["email"],
        row["name"],
        row["role"],
        row["team_id"],
        row["seen_at"],
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


def members_among(tx: Connection, organization_id: str, ids: Collection[str]) -> list[Member]:
    """Return those members, also removed ones, by name."""
    query = (
        select(members)
        .where(members.c.organization_id == organization_id, members.c.member_id.in_(ids))
        .order_by(members.c.name, members.c.member_id)
    )
    return [_member(row) for row in tx.execute(query).mappings()]


def list_members(tx: Connection, organization_id: str) -> list[Member]:
    """Return the members in force, by name."""
    query = (
        select(members)
        .where(members.c.organization_id == organization_id, members.c.removed_at.is_(None))
        .order_by(members.c.name, members.c.member_id)
    )
    return [_member(row) for row in tx.execute(query).mappings()]


def removed_members(tx: Connection, organization_id: str, *, since: datetime) -> list[Member]:
    """Return who was removed at ``since`` or later, the latest first."""
    query = (
        select(members)
        .where(members.c.organization_id == organization_id, members.c.removed_at >= since)
        .order_by(members.c.removed_at.desc(), members.c.member_id)
    )
    return [_member(row) for row in tx.execute(query).mappings()]


def member_of_address(
    tx: Connection, organization_id: str, email: str
) -> tuple[Member, bool] | None:
    """Return whom an address belongs to and whether they were removed; those in force first."""
    row = (
        tx.execute(
            select(members)
            .where(members.c.organization_id == organization_id, members.c.email == email)
            .order_by(members.c.removed_at.is_not(None), members.c.member_id)
        )
        .mappings()
        .first()
    )
    return None if row is None else (_member(row), row["removed_at"] is not None)


def saw(tx: Connection, organization_id: str, member_id: str, *, now: datetime) -> None:
    """Remember when a member was last seen."""
    tx.execute(
        update(members)
        .where(
            members.c.organization_id == organization_id,
            members.c.member_id == member_id,
        )
        .values(seen_at=now)
    )


def lock_people(tx: Connection, organization_id: str) -> None:
    """Let one change of people happen at a time: two owners must not remove each other at once."""
    tx.execute(
        select(organizations.c.organization_id)
        .where(organizations.c.organization_id == organization_id)
        .with_for_update(key_share=True)
    )


def count_owners(tx: Connection, organization_id: str, *, but: str = "") -> int:
    """Return how many owners there are beside one member."""
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
    lock_people(tx, organization_id)
    if team_id:
        known_team(tx, organization_id, team_id)
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
        known = tx.execute(
            select(members.c.role, members.c.removed_at).where(
                members.c.organization_id == organization_id, members.c.member_id == member_id
            )
        ).one()
        owned = known.role == "owner" and known.removed_at is None
        if owned and role != "owner" and not count_owners(tx, organization_id, but=member_id):
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
    lock_people(tx, organization_id)
    member = find_member(tx, organization_id, member_id)
    if member.role == "owner" and not count_owners(tx, organization_id, but=member_id):
        raise InvalidRequest("The last owner cannot be removed. Make somebody else an owner first.")
    tx.execute(
        update(members)
        .where(members.c.organization_id == organization_id, members.c.member_id == member_id)
        .values(removed_at=now, password_hash=None)
    )
    return member


def restore_member(tx: Connection, organization_id: str, member_id: str) -> Member:
    """Take a removed member back as they were; they sign in anew. Raises NotFound."""
    lock_people(tx, organization_id)
    taken = tx.execute(
        update(members)
        .where(
            members.c.organization_id == organization_id,
            members.c.member_id == member_id,
            members.c.removed_at.is_not(None),
        )
        .values(removed_at=None)
    )
    if taken.rowcount != 1:
        raise NotFound("member", member_id)
    return find_member(tx, organization_id, member_id)


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
