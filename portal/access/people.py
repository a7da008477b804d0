"""Whose an address is: memberships and operators, and what ends when somebody must go."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from portal import accounts
from portal.access import links, passkeys, sessions
from portal.access.sessions import StoredSession
from portal.core.errors import NotFound
from portal.tables import members, operators, organizations


@dataclass(frozen=True)
class Place:
    """Somewhere a person can be signed in: in an organization, or as the operator."""

    organization_id: str = ""
    organization_name: str = ""
    member_id: str = ""
    role: str = "operator"


def places_of(tx: Connection, email: str) -> Sequence[Place]:
    """Return where somebody belongs who has shown an address to be theirs, by name."""
    written = {email, email.lower()}
    rows = tx.execute(
        select(members, organizations.c.name.label("organization_name"))
        .join(organizations, organizations.c.organization_id == members.c.organization_id)
        .where(members.c.email.in_(written), members.c.removed_at.is_(None))
        .order_by(organizations.c.name, members.c.organization_id, members.c.member_id)
    )
    found = [
        Place(row.organization_id, row.organization_name, row.member_id, row.role) for row in rows
    ]
    operates = tx.execute(select(operators.c.email).where(operators.c.email.in_(written))).first()
    return [Place(member_id=operates.email), *found] if operates is not None else found


def choices_of(tx: Connection, stored: StoredSession) -> Sequence[Place]:
    """Return where a session may be: by the address it proved, or the password it knew."""
    if stored.visitor.proven_email:
        return places_of(tx, stored.visitor.proven_email)
    listed = stored.data.get(sessions.CHOICES, [])
    found = []
    for organization_id, member_id in listed:
        with suppress(NotFound):
            member = accounts.find_member(tx, organization_id, member_id)
            organization = accounts.find_organization(tx, organization_id)
            found.append(Place(organization_id, organization.name, member_id, member.role))
    return sorted(found, key=lambda place: (place.organization_name, place.organization_id))


def put_operator(tx: Connection, email: str, name: str, *, now: datetime) -> bool:
    """Make somebody an operator; tells whether they are new."""
    known = tx.execute(select(operators.c.email).where(operators.c.email == email)).first()
    if known is None:
        tx.execute(insert(operators).values(email=email, name=name, created_at=now))
    return known is None


def operators_of(tx: Connection) -> Sequence[str]:
    """Return the addresses of everybody who is an operator."""
    return tx.execute(select(operators.c.email).order_by(operators.c.email)).scalars().all()


def shut_out(tx: Connection, organization_id: str, member_id: str) -> None:
    """End all that lets a member in: sessions, unused links, passkeys. For whoever is removed."""
    sessions.end_sessions_of(tx, organization_id, member_id)
    links.void_links_of(tx, organization_id, member_id)
    passkeys.remove_all(tx, organization_id, member_id)
