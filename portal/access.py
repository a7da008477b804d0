"""Signing in to the portal: single-use links, passwords, and the sessions they begin.

Invariant: only hashes of secrets are stored; a session is a row, so signing out, removing a member
or revoking ends it for every copy of its cookie at the next request.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import Connection, delete, insert, select, update

from portal import accounts
from portal.accounts import Member, Organization
from portal.core.errors import InvalidRequest, NotFound, Unauthenticated
from portal.ids import hash_secret, new_secret
from portal.tables import members, operators, portal_links, sessions

LINK_LIFETIME = timedelta(minutes=10)
SESSION_IDLE = timedelta(minutes=30)
SESSION_LIFETIME = timedelta(hours=12)
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
#: How often a session's last use is written down at most.
SEEN_EVERY = timedelta(minutes=1)
#: What an operator's session carries while they look on as a member: whom, and until when.
VIEW = "viewing"
VIEW_LIFETIME = timedelta(minutes=30)
PAGES = ("overview", "usage", "spending", "plans")

_hasher = PasswordHasher()
#: Verified where nobody has that address, so that an unknown one takes as long as a known one.
_NOBODY = _hasher.hash("a password nobody has")


@dataclass(frozen=True)
class Visitor:
    """Who is signed in: a member of an organization, or the operator.

    ``watched_by`` is the operator who looks at the pages as this member sees them, until an
    instant: they change nothing, and are no operator meanwhile.
    """

    member: Member | None = None
    organization: Organization | None = None
    operator_email: str = ""
    watched_by: str = ""
    watched_until: datetime | None = None


@dataclass(frozen=True)
class StoredSession:
    """A session row in force."""

    session_hash: str
    visitor: Visitor
    data: dict[str, Any]
    seen_at: datetime


def make_link(
    tx: Connection,
    *,
    now: datetime,
    organization_id: str | None = None,
    member_id: str | None = None,
    operator_email: str | None = None,
    page: str = "overview",
    return_url: str = "",
    lifetime: timedelta = LINK_LIFETIME,
) -> tuple[str, datetime]:
    """Make a single-use sign-in link; returns its secret and when it ends."""
    if page not in PAGES:
        raise InvalidRequest.at("/page", f"is not one of {', '.join(PAGES)}")
    token, expires_at = new_secret(), now + lifetime
    tx.execute(
        insert(portal_links).values(
            token_hash=hash_secret(token),
            organization_id=organization_id,
            member_id=member_id,
            operator_email=operator_email,
            page=page,
            return_url=return_url,
            created_at=now,
            expires_at=expires_at,
        )
    )
    return token, expires_at


@dataclass(frozen=True)
class UsedLink:
    """What a link led to."""

    organization_id: str | None
    member_id: str | None
    operator_email: str | None
    page: str
    return_url: str


def use_link(tx: Connection, token: str, *, now: datetime) -> UsedLink:
    """Use a link, once. Raises Unauthenticated where it is unknown, used or past its end."""
    token_hash = hash_secret(token)
    used = tx.execute(
        update(portal_links)
        .where(
            portal_links.c.token_hash == token_hash,
            portal_links.c.used_at.is_(None),
            portal_links.c.expires_at > now,
        )
        .values(used_at=now)
    ).rowcount
    if used != 1:
        raise Unauthenticated("This link has been used or has ended. Ask for a new one.")
    row = tx.execute(select(portal_links).where(portal_links.c.token_hash == token_hash)).one()
    return UsedLink(
        row.organization_id, row.member_id, row.operator_email, row.page, row.return_url
    )


def begin_session(
    tx: Connection,
    *,
    organization_id: str | None,
    member_id: str | None,
    operator_email: str | None,
    data: dict[str, Any] | None = None,
    now: datetime,
) -> str:
    """Begin a session and return its secret, which only the cookie keeps."""
    secret = new_secret()
    tx.execute(
        insert(sessions).values(
            session_hash=hash_secret(secret),
            organization_id=organization_id,
            member_id=member_id,
            operator_email=operator_email,
            data=data or {},
            created_at=now,
            seen_at=now,
            expires_at=now + SESSION_LIFETIME,
        )
    )
    return secret


def find_session(tx: Connection, secret: str, *, now: datetime) -> StoredSession | None:
    """Return the session of a cookie, where it is in force and its person still may sign in."""
    row = tx.execute(
        select(sessions).where(
            sessions.c.session_hash == hash_secret(secret),
            sessions.c.expires_at > now,
            sessions.c.seen_at > now - SESSION_IDLE,
        )
    ).first()
    if row is None:
        return None
    if row.operator_email:
        visitor = _watching(tx, row.operator_email, row.data.get(VIEW), now=now)
    elif row.organization_id and row.member_id:
        try:
            visitor = Visitor(
                accounts.find_member(tx, row.organization_id, row.member_id),
                accounts.find_organization(tx, row.organization_id),
            )
        except NotFound:
            return None
    else:
        return None
    return StoredSession(row.session_hash, visitor, row.data, row.seen_at)


def _watching(
    tx: Connection, operator_email: str, view: dict[str, str] | None, *, now: datetime
) -> Visitor:
    """Return the operator, or whom they look on as while that lasts."""
    if view is None or datetime.fromisoformat(view["until"]) <= now:
        return Visitor(operator_email=operator_email)
    try:
        return Visitor(
            accounts.find_member(tx, view["organization"], view["member"]),
            accounts.find_organization(tx, view["organization"]),
            watched_by=operator_email,
            watched_until=datetime.fromisoformat(view["until"]),
        )
    except NotFound:
        return Visitor(operator_email=operator_email)


def lapsed_views(tx: Connection, *, now: datetime) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the session, the operator and what they carry, of views whose time is over."""
    rows = tx.execute(select(sessions).where(sessions.c.operator_email.is_not(None)))
    return [
        (row.session_hash, row.operator_email, row.data)
        for row in rows
        if VIEW in row.data and datetime.fromisoformat(row.data[VIEW]["until"]) <= now
    ]


def forget_view(tx: Connection, session_hash: str, data: dict[str, Any]) -> None:
    """Take the view out of what a session carries; it is not used by that."""
    kept = {name: value for name, value in data.items() if name != VIEW}
    tx.execute(update(sessions).where(sessions.c.session_hash == session_hash).values(data=kept))


def keep_session(tx: Connection, session_hash: str, data: dict[str, Any], *, now: datetime) -> None:
    """Store what a session carries, and that it was used."""
    tx.execute(
        update(sessions)
        .where(sessions.c.session_hash == session_hash)
        .values(data=data, seen_at=now)
    )


def end_session(tx: Connection, session_hash: str) -> None:
    """End a session for every copy of its cookie."""
    tx.execute(delete(sessions).where(sessions.c.session_hash == session_hash))


def end_sessions_of(tx: Connection, organization_id: str, member_id: str, *, but: str = "") -> None:
    """End a member's sessions, all or all but one."""
    tx.execute(
        delete(sessions).where(
            sessions.c.organization_id == organization_id,
            sessions.c.member_id == member_id,
            sessions.c.session_hash != but,
        )
    )


def set_password(tx: Connection, member: Member, password: str) -> None:
    """Set a member's password. Raises InvalidRequest where it is too short or too long."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidRequest.at(
            "/password", f"must have {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters"
        )
    tx.execute(
        update(members)
        .where(
            members.c.organization_id == member.organization_id,
            members.c.member_id == member.member_id,
        )
        .values(password_hash=_hasher.hash(password))
    )


def members_by_password(tx: Connection, email: str, password: str) -> list[tuple[str, str]]:
    """Return (organization, member) of everybody with this address and this password.

    A password belongs to one membership, so an organization that adds somebody's address gains
    nothing in any other. Takes as long for an address nobody has.
    """
    rows = tx.execute(
        select(members.c.organization_id, members.c.member_id, members.c.password_hash)
        .where(
            members.c.email == email,
            members.c.removed_at.is_(None),
            members.c.password_hash.is_not(None),
        )
        .order_by(members.c.organization_id)
        .limit(5)
    ).all()
    if not rows:
        _verified(_NOBODY, password)
    return [
        (row.organization_id, row.member_id)
        for row in rows
        if _verified(row.password_hash, password)
    ]


def _verified(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password[:LONGEST_PASSWORD])
    except (VerifyMismatchError, InvalidHashError):
        return False


def put_operator(tx: Connection, email: str, name: str, *, now: datetime) -> None:
    """Make somebody an operator."""
    known = tx.execute(select(operators.c.email).where(operators.c.email == email)).first()
    if known is None:
        tx.execute(insert(operators).values(email=email, name=name, created_at=now))


def forget_ended(tx: Connection, *, now: datetime) -> None:
    """Drop links and sessions that ended; nothing reads them any more."""
    tx.execute(delete(portal_links).where(portal_links.c.expires_at < now - timedelta(days=1)))
    tx.execute(delete(sessions).where(sessions.c.expires_at < now))
