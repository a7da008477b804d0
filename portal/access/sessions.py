"""Sessions: rows, whose secret only a cookie keeps. Owns ``sessions``.

Invariant: whoever was removed, signed out or ended is so at the next request of every process; a
session gets a new secret whenever what it may do changes, and never outlives its first end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from portal import accounts
from portal.accounts import Member, Organization
from portal.core.errors import NotFound, Unauthenticated
from portal.ids import hash_secret, new_id, new_secret
from portal.tables import sessions

SESSION_IDLE = timedelta(minutes=30)
SESSION_LIFETIME = timedelta(hours=12)
#: How often a session's last use is written down at most.
SEEN_EVERY = timedelta(minutes=1)
#: How long a link from the mail lets somebody set a password without the old one.
FRESH = timedelta(minutes=10)
LONGEST_DEVICE = 300
#: Where a session keeps the memberships whose password was typed, where there are several.
CHOICES = "choices"

#: The ways to sign in, as sessions remember them.
BY_LINK, BY_PASSWORD, BY_MAIL, BY_PROVIDER, BY_PASSKEY = (
    "link",
    "password",
    "mail",
    "provider",
    "passkey",
)


@dataclass(frozen=True)
class Visitor:
    """Who is signed in: a member of an organization, or the operator; or who may choose to be."""

    member: Member | None = None
    organization: Organization | None = None
    operator_email: str = ""
    #: The address they have shown to be theirs, where they did.
    proven_email: str = ""
    #: Whether they are signed in and have yet to choose where.
    is_undecided: bool = False


@dataclass(frozen=True)
class StoredSession:
    """A session row in force."""

    session_hash: str
    visitor: Visitor
    data: dict[str, Any]
    seen_at: datetime
    session_id: str = ""
    method: str = ""
    created_at: datetime | None = None
    #: Whether the role changed since its secret was made.
    is_outdated: bool = False
    #: Whose it is, whatever is looked at in it: an organization's member or the operator.
    organization_id: str = ""
    owner: str = ""

    def is_fresh_from_mail(self, now: datetime) -> bool:
        """Whether a link from the mail began it just now, which is as good as the password."""
        return (
            self.method == BY_MAIL and self.created_at is not None and now < self.created_at + FRESH
        )


def begin_session(
    tx: Connection,
    *,
    organization_id: str | None,
    member_id: str | None,
    operator_email: str | None,
    data: dict[str, Any] | None = None,
    method: str = BY_LINK,
    proven_email: str = "",
    device: str = "",
    link_id: str = "",
    now: datetime,
) -> str:
    """Begin a session and return its secret, which only the cookie keeps."""
    secret = new_secret()
    tx.execute(
        insert(sessions).values(
            session_hash=hash_secret(secret),
            session_id=new_id("se"),
            organization_id=organization_id,
            member_id=member_id,
            operator_email=operator_email,
            role=_role(tx, organization_id, member_id),
            data=data or {},
            method=method,
            proven_email=proven_email,
            device=device[:LONGEST_DEVICE],
            link_id=link_id,
            created_at=now,
            seen_at=now,
            expires_at=now + SESSION_LIFETIME,
        )
    )
    return secret


def _role(tx: Connection, organization_id: str | None, member_id: str | None) -> str:
    if organization_id is None or member_id is None:
        return ""
    try:
        return accounts.find_member(tx, organization_id, member_id).role
    except NotFound:
        return ""


def find_session(tx: Connection, secret: str, *, now: datetime) -> StoredSession | None:
    """Return the session of a cookie, where it is in force and its person still may sign in."""
    row = tx.execute(
        select(sessions).where(
            sessions.c.session_hash == hash_secret(secret),
            sessions.c.expires_at > now,
            sessions.c.seen_at > now - SESSION_IDLE,
        )
    ).first()
    visitor = None if row is None else _visitor(tx, row)
    if row is None or visitor is None:
        return None
    return StoredSession(
        row.session_hash,
        visitor,
        row.data,
        row.seen_at,
        row.session_id,
        row.method,
        row.created_at,
        is_outdated=bool(row.member_id and visitor.member and visitor.member.role != row.role),
        organization_id=row.organization_id or "",
        owner=row.member_id or (f"operator:{row.operator_email}" if row.operator_email else ""),
    )


def _visitor(tx: Connection, row: Row[Any]) -> Visitor | None:
    if row.operator_email:
        return Visitor(operator_email=row.operator_email, proven_email=row.proven_email)
    if row.organization_id and row.member_id:
        try:
            return Visitor(
                accounts.find_member(tx, row.organization_id, row.member_id),
                accounts.find_organization(tx, row.organization_id),
                proven_email=row.proven_email,
            )
        except NotFound:
            return None
    if row.proven_email or row.data.get(CHOICES):
        return Visitor(proven_email=row.proven_email, is_undecided=True)
    return None


def keep_session(tx: Connection, session_hash: str, data: dict[str, Any], *, now: datetime) -> None:
    """Store what a session carries, and that it was used."""
    tx.execute(
        update(sessions)
        .where(sessions.c.session_hash == session_hash)
        .values(data=data, seen_at=now)
    )


def renew_session(tx: Connection, session_hash: str, *, now: datetime, **changes: Any) -> str:
    """Give a session another secret, and perhaps another person or method; its end stays.

    Raises Unauthenticated where it has ended meanwhile.
    """
    row = tx.execute(select(sessions).where(sessions.c.session_hash == session_hash)).first()
    secret = new_secret()
    whose = {"organization_id": row.organization_id, "member_id": row.member_id} if row else {}
    whose |= {name: value for name, value in changes.items() if name in whose}
    renewed = tx.execute(
        update(sessions)
        .where(sessions.c.session_hash == session_hash)
        .values(
            {
                **changes,
                "session_hash": hash_secret(secret),
                "role": _role(tx, whose.get("organization_id"), whose.get("member_id")),
                "seen_at": now,
            }
        )
    ).rowcount
    if renewed != 1:
        raise Unauthenticated("You have been signed out. Sign in again.")
    return secret


def end_session(tx: Connection, session_hash: str) -> None:
    """End a session for every copy of its cookie."""
    tx.execute(delete(sessions).where(sessions.c.session_hash == session_hash))


def end_sessions_of(tx: Connection, organization_id: str, member_id: str, *, but: str = "") -> int:
    """End a member's sessions, all or all but the one with a hash; returns how many."""
    return tx.execute(
        delete(sessions).where(
            sessions.c.organization_id == organization_id,
            sessions.c.member_id == member_id,
            sessions.c.session_hash != but,
        )
    ).rowcount


def end_session_of_link(tx: Connection, link_id: str) -> str | None:
    """End the session that began with a portal link; returns its organization, if there was one."""
    if not link_id:
        return None
    row = tx.execute(
        select(sessions.c.organization_id).where(sessions.c.link_id == link_id)
    ).first()
    if row is None:
        return None
    tx.execute(delete(sessions).where(sessions.c.link_id == link_id))
    return str(row.organization_id)


@dataclass(frozen=True)
class SessionLine:
    """A session as its owner's list tells of it."""

    session_id: str
    method: str
    device: str
    created_at: datetime
    seen_at: datetime


def sessions_of(tx: Connection, member: Member, *, now: datetime) -> Sequence[SessionLine]:
    """Return a member's sessions in force, the last used first."""
    rows = tx.execute(
        select(sessions)
        .where(
            sessions.c.organization_id == member.organization_id,
            sessions.c.member_id == member.member_id,
            sessions.c.expires_at > now,
            sessions.c.seen_at > now - SESSION_IDLE,
        )
        .order_by(sessions.c.seen_at.desc(), sessions.c.session_id)
    )
    return [
        SessionLine(row.session_id, row.method, row.device, row.created_at, row.seen_at)
        for row in rows
    ]


def end_session_named(tx: Connection, member: Member, session_id: str) -> bool:
    """End one of a member's own sessions; returns whether it was there."""
    ended = tx.execute(
        delete(sessions).where(
            sessions.c.organization_id == member.organization_id,
            sessions.c.member_id == member.member_id,
            sessions.c.session_id == session_id,
        )
    )
    return ended.rowcount == 1
