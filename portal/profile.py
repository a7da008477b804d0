"""A member's own sign-in: whether they have a password, and the changing of it.

Invariant: whoever has a password must know it to change it, or have come by a link from their mail
just now; a change ends every other session, and every link sent before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from portal import access, audit
from portal.access import StoredSession
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


def must_know_password(
    tx: Connection, member: Member, stored: StoredSession, *, now: datetime
) -> bool:
    """Tell whether a change asks for the password there is."""
    return has_password(tx, member) and not stored.is_fresh_from_mail(now)


def change_password(
    database: Database, member: Member, asked: NewPassword, stored: StoredSession, *, now: datetime
) -> str:
    """Set or change a member's password in a session of theirs; returns the session's new secret.

    Raises InvalidRequest, and Unauthenticated where the session has ended meanwhile.
    """
    with database.reading() as tx:
        if must_know_password(tx, member, stored, now=now):
            known = access.members_by_password(tx, member.email, asked.current)
            if (member.organization_id, member.member_id) not in known:
                raise InvalidRequest.at("/current", "is not your password")
    if asked.password != asked.again:
        raise InvalidRequest.at("/again", "is not the same as the new password")
    with database.transaction() as tx:
        access.set_password(tx, member, asked.password)
        access.end_sessions_of(
            tx, member.organization_id, member.member_id, but=stored.session_hash
        )
        secret = access.renew_session(tx, stored.session_hash, method=access.BY_PASSWORD, now=now)
        note(tx, member, "password.changed", now=now)
    return secret


def note(
    tx: Connection, member: Member, act: str, *, target: str = "", now: datetime, **detail: str
) -> None:
    """Write down what a member did about their own sign-in."""
    audit.note(
        tx,
        member.organization_id,
        actor=member.member_id,
        act=act,
        target=target,
        detail=detail,
        now=now,
    )
