"""A member's own sign-in: whether they have a password, and the changing of it.

Invariant: whoever has a password must know it to change it, and a change ends every other session.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from portal import access
from portal.accounts import Member
from portal.core.errors import InvalidRequest
from portal.db import Database
from portal.tables import members


@dataclass(frozen=True)
class NewPassword:
    """A change of password as it was typed."""

    current: str
    password: str
    again: str


def has_password(tx: Connection, member: Member) -> bool:
    """Tell whether a member can sign in by password."""
    stored = tx.execute(
        select(members.c.password_hash).where(
            members.c.organization_id == member.organization_id,
            members.c.member_id == member.member_id,
        )
    ).scalar()
    return stored is not None


def change_password(database: Database, member: Member, asked: NewPassword) -> None:
    """Set or change a member's password and end their sessions. Raises InvalidRequest."""
    with database.reading() as tx:
        if has_password(tx, member):
            known = access.members_by_password(tx, member.email, asked.current)
            if (member.organization_id, member.member_id) not in known:
                raise InvalidRequest.at("/current", "is not your password")
    if asked.password != asked.again:
        raise InvalidRequest.at("/again", "is not the same as the new password")
    with database.transaction() as tx:
        access.set_password(tx, member, asked.password)
        access.end_sessions_of(tx, member.organization_id, member.member_id)
