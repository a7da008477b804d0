"""Beginning, moving and ending a session; each is on the record of whose it is.

Invariant: who somebody is changes only together with the secret of their session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import request
from sqlalchemy import Connection

from portal import access, accounts, audit
from portal.access import StoredSession
from portal.core.devices import device_name
from portal.core.errors import Unauthenticated
from portal.web.security.sessions import Session
from portal.web.services import services

#: Whether whoever is signed in belongs elsewhere too.
ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class _Act:
    """A session's beginning or end, for the audit log of whose it is."""

    organization_id: str
    actor: str
    act: str
    target: str = ""
    detail: dict[str, str] = field(default_factory=dict)
    #: By when it was over anyway.
    latest: datetime | None = None


def _begun(place: access.Place, method: str, session_id: str = "") -> list[_Act]:
    if not place.member_id:
        return []
    actor = place.member_id if place.organization_id else f"operator:{place.member_id}"
    detail = {"by": method, "device": device_name(request.user_agent.string)}
    return [_Act(place.organization_id, actor, "session.begun", session_id, detail)]


def _ended(stored: StoredSession | None) -> list[_Act]:
    if stored is None or not stored.owner:
        return []
    return [_Act(stored.organization_id, stored.owner, "session.ended", stored.session_id)]


def _looked(session: Session) -> list[_Act]:
    """Return the end of the view that a session is in: it ends with the session."""
    view, visitor = session.get(access.VIEW), session.visitor
    if view is None:
        return []
    actor = f"operator:{visitor.watched_by or visitor.operator_email}"
    latest = datetime.fromisoformat(view["until"])
    return [_Act(view["organization"], actor, "view.ended", view["member"], latest=latest)]


def _note(tx: Connection, acts: list[_Act], *, now: datetime) -> None:
    # In one order for everybody, so that no two wait for each other.
    for one in sorted(acts, key=lambda one: one.organization_id):
        audit.note(
            tx,
            one.organization_id,
            actor=one.actor,
            act=one.act,
            target=one.target,
            detail=dict(one.detail),
            now=min(now, one.latest or now),
        )


def sign_in(
    session: Session,
    *,
    organization_id: str | None,
    member_id: str | None,
    operator: str | None,
    carried: dict[str, Any] | None = None,
    method: str = access.BY_LINK,
    proven_email: str = "",
    link_id: str = "",
) -> None:
    """Begin a new session for somebody; the one they had before ends.

    With nobody named they are signed in as the owner of ``proven_email`` and choose where.
    """
    parts, stored = services(), session.stored
    with parts.database.transaction() as tx:
        if organization_id is not None and member_id is not None:
            accounts.saw(tx, organization_id, member_id, now=parts.clock())
        if stored is not None:
            access.end_session(tx, stored.session_hash)
        secret = access.begin_session(
            tx,
            organization_id=organization_id,
            member_id=member_id,
            operator_email=operator,
            data=carried,
            method=method,
            proven_email=proven_email,
            device=request.user_agent.string,
            link_id=link_id,
            now=parts.clock(),
        )
        place = access.Place(organization_id or "", member_id=member_id or operator or "")
        acts = _looked(session) + _ended(stored) + _begun(place, method)
        _note(tx, acts, now=parts.clock())
    session.go_on_as(secret, carried or {})


def move(session: Session, place: access.Place) -> None:
    """Lead a session to another place its person belongs to; it gets a new secret.

    What it carried of the last place stays behind. Raises Unauthenticated where it has ended.
    """
    parts, stored = services(), session.stored
    if stored is None:
        raise Unauthenticated("You have been signed out. Sign in again.")
    operates = not place.organization_id
    kept = {name: session[name] for name in (access.CHOICES, ELSEWHERE) if name in session}
    with parts.database.transaction() as tx:
        if not operates:
            accounts.saw(tx, place.organization_id, place.member_id, now=parts.clock())
        secret = access.renew_session(
            tx,
            stored.session_hash,
            organization_id=place.organization_id or None,
            member_id=None if operates else place.member_id,
            operator_email=place.member_id if operates else None,
            data=kept,
            now=parts.clock(),
        )
        acts = [*_looked(session), *_ended(stored)]
        acts += _begun(place, stored.method, stored.session_id)
        _note(tx, acts, now=parts.clock())
    session.go_on_as(secret, kept)


def sign_out(session: Session) -> None:
    """End the session, for every copy of its cookie."""
    stored, parts = session.stored, services()
    if stored is not None:
        with parts.database.transaction() as tx:
            access.end_session(tx, stored.session_hash)
            _note(tx, _looked(session) + _ended(stored), now=parts.clock())
    session.ended = True
    session.clear()
