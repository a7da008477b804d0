"""Invitations: a row that waits until it is accepted or withdrawn, and links that last an hour.

Owns ``invitations`` and ``invitation_links``. Invariant: a link is stored as a hash, is good once,
and only the last one that was mailed; accepting makes a member or takes a removed one back, and
changes nothing of somebody who is a member already.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from portal import accounts, audit
from portal.accounts import Member, Organization
from portal.core import roles
from portal.core.errors import InvalidRequest, NotAllowed, NotFound, Unauthenticated
from portal.db import Database
from portal.ids import hash_secret, new_id, new_secret
from portal.rows import insert_or_ignore
from portal.tables import invitation_links, invitations

LINK_LIFETIME = timedelta(hours=1)
LONGEST_ADDRESS, LONGEST_NAME = 254, 80
_OVER = "This invitation was accepted or withdrawn. Ask whoever invited you for a new one."


@dataclass(frozen=True)
class Invitation:
    """Somebody who was asked to come, and as what."""

    organization_id: str
    invitation_id: str
    email: str
    role: str
    team_id: str
    invited_by: str
    created_at: datetime
    sent_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Fresh:
    """An invitation with the secret of the link that is to be mailed now."""

    invitation: Invitation
    organization: Organization
    token: str


@dataclass(frozen=True)
class Asked:
    """What a link leads to: the invitation, and whether this very link may still be used."""

    invitation: Invitation
    organization: Organization
    usable: bool
    #: The name of who has the address already, else "".
    known_as: str


def _invitation(row: Row[tuple[object, ...]]) -> Invitation:
    return Invitation(*(getattr(row, name) for name in Invitation.__dataclass_fields__))


def waiting(tx: Connection, organization_id: str) -> list[Invitation]:
    """Return the invitations that wait, the latest first."""
    rows = tx.execute(
        select(invitations)
        .where(invitations.c.organization_id == organization_id, invitations.c.ended_at.is_(None))
        .order_by(invitations.c.created_at.desc(), invitations.c.invitation_id)
    )
    return [_invitation(row) for row in rows]


def invite(
    database: Database,
    organization_id: str,
    *,
    email: str,
    role: str,
    team_id: str,
    by: Member,
    now: datetime,
) -> Fresh:
    """Invite somebody and return the link to mail to them.

    Raises InvalidRequest where the address is none, or is a member's or invited already, NotFound
    for a team that does not exist, NotAllowed.
    """
    address = _checked_address(email)
    if role not in roles.ROLES:
        raise InvalidRequest.at("/role", "must be chosen from the list")
    _check(by, role)
    with database.transaction() as tx:
        accounts.lock_people(tx, organization_id)
        known = accounts.member_of_address(tx, organization_id, address)
        if known is not None and not known[1]:
            raise InvalidRequest.at("/email", "belongs to a member already")
        if team_id and team_id not in accounts.names(tx, organization_id, "team"):
            raise NotFound("team", team_id)
        invitation_id = new_id("inv")
        made = insert_or_ignore(
            tx,
            invitations,
            {
                "organization_id": organization_id,
                "invitation_id": invitation_id,
                "email": address,
                "role": role,
                "team_id": team_id,
                "invited_by": by.member_id,
                "created_at": now,
            },
        )
        if not made:
            raise InvalidRequest.at("/email", "is invited already; send the mail again below")
        _note(tx, organization_id, by.member_id, "invitation.made", address, role, now)
        return _fresh(tx, organization_id, invitation_id, now=now)


def renew(
    database: Database, organization_id: str, invitation_id: str, *, by: Member, now: datetime
) -> Fresh:
    """Make a new link for an invitation that waits; earlier ones are worth nothing from now on.

    Raises NotFound where it does not wait, NotAllowed.
    """
    with database.transaction() as tx:
        found = _find_waiting(tx, organization_id, invitation_id)
        _check(by, found.role)
        return _fresh(tx, organization_id, invitation_id, now=now)


def renew_by_link(database: Database, token: str, *, now: datetime) -> Fresh:
    """Make a new link for whoever has an old one; it is mailed to the address that was invited.

    Raises Unauthenticated where the invitation does not wait any more.
    """
    with database.transaction() as tx:
        found = _of_link(tx, token)
        if found is None or found.ended_at is not None:
            raise Unauthenticated(_OVER)
        return _fresh(tx, found.organization_id, found.invitation_id, now=now)


def mailed(database: Database, invitation: Invitation, *, now: datetime) -> None:
    """Remember that the link was taken by the mail server."""
    with database.transaction() as tx:
        tx.execute(
            update(invitations)
            .where(*_key(invitation.organization_id, invitation.invitation_id))
            .values(sent_at=now)
        )


def withdraw(
    database: Database, organization_id: str, invitation_id: str, *, by: Member, now: datetime
) -> Invitation:
    """Take an invitation back. Raises NotFound where it does not wait, NotAllowed."""
    with database.transaction() as tx:
        found = _find_waiting(tx, organization_id, invitation_id)
        _check(by, found.role)
        if not _end(tx, found, None, now=now):
            raise NotFound("invitation", invitation_id)
        _note(tx, organization_id, by.member_id, "invitation.withdrawn", found.email, "", now)
        return found


def withdraw_all_by(tx: Connection, organization_id: str, member_id: str, *, now: datetime) -> None:
    """Take back what a member invited: what they began ends with their own right to it."""
    tx.execute(
        update(invitations)
        .where(
            invitations.c.organization_id == organization_id,
            invitations.c.invited_by == member_id,
            invitations.c.ended_at.is_(None),
        )
        .values(ended_at=now)
    )


def look(tx: Connection, token: str, *, now: datetime) -> Asked:
    """Return what a link leads to. Raises Unauthenticated where its invitation does not wait."""
    found = _of_link(tx, token)
    if found is None or found.ended_at is not None:
        raise Unauthenticated(_OVER)
    link = tx.execute(
        select(invitation_links).where(invitation_links.c.token_hash == hash_secret(token))
    ).one()
    known = accounts.member_of_address(tx, found.organization_id, found.email)
    return Asked(
        found,
        accounts.find_organization(tx, found.organization_id),
        link.used_at is None and link.expires_at > now,
        known[0].name if known else "",
    )


def accept(database: Database, token: str, *, name: str, now: datetime) -> Member:
    """Use a link, once, and return the member they are now.

    Somebody new bears ``name``; a removed member comes back under their own; a member stays what
    they are. Raises Unauthenticated where the link is used or past its end, InvalidRequest.
    """
    with database.transaction() as tx:
        used = tx.execute(
            update(invitation_links)
            .where(
                invitation_links.c.token_hash == hash_secret(token),
                invitation_links.c.used_at.is_(None),
                invitation_links.c.expires_at > now,
            )
            .values(used_at=now)
        )
        found = _of_link(tx, token)
        if used.rowcount != 1 or found is None:
            raise Unauthenticated("This link has been used or has ended. Ask for a fresh one.")
        accounts.lock_people(tx, found.organization_id)
        member, joined = _join(tx, found, name, now)
        if not _end(tx, found, member.member_id, now=now):
            raise Unauthenticated(_OVER)
        if joined:
            act, organization_id = "invitation.accepted", found.organization_id
            _note(tx, organization_id, member.member_id, act, found.email, member.role, now)
        return member


def _join(tx: Connection, found: Invitation, name: str, now: datetime) -> tuple[Member, bool]:
    known = accounts.member_of_address(tx, found.organization_id, found.email)
    if known is not None and not known[1]:
        return known[0], False
    # The team may be gone since: then they begin without one.
    teams = accounts.names(tx, found.organization_id, "team")
    member, _ = accounts.put_member(
        tx,
        found.organization_id,
        known[0].member_id if known else new_id("mem"),
        email=found.email,
        name=known[0].name if known else _checked_name(name),
        role=found.role,
        team_id=found.team_id if found.team_id in teams else "",
        now=now,
    )
    return member, True


def _check(by: Member, role: str) -> None:
    if not roles.may_give(by.role, before="", after=role):
        raise NotAllowed("Only an owner may invite an owner, and an owner or admin anybody else.")


def _checked_address(typed: str) -> str:
    address = typed.strip().lower()
    if len(address) > LONGEST_ADDRESS or not re.fullmatch(
        r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", address
    ):
        raise InvalidRequest.at("/email", "must be an address such as name@example.com")
    return address


def _checked_name(typed: str) -> str:
    name = " ".join(typed.split())
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise InvalidRequest.at("/name", f"must have 1 to {LONGEST_NAME} characters")
    return name


def _key(organization_id: str, invitation_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        invitations.c.organization_id == organization_id,
        invitations.c.invitation_id == invitation_id,
    )


def _find_waiting(tx: Connection, organization_id: str, invitation_id: str) -> Invitation:
    row = tx.execute(
        select(invitations).where(
            *_key(organization_id, invitation_id), invitations.c.ended_at.is_(None)
        )
    ).first()
    if row is None:
        raise NotFound("invitation", invitation_id)
    return _invitation(row)


def _of_link(tx: Connection, token: str) -> Invitation | None:
    row = tx.execute(
        select(invitations)
        .join(
            invitation_links,
            (invitation_links.c.organization_id == invitations.c.organization_id)
            & (invitation_links.c.invitation_id == invitations.c.invitation_id),
        )
        .where(invitation_links.c.token_hash == hash_secret(token))
    ).first()
    return None if row is None else _invitation(row)


def _end(tx: Connection, found: Invitation, member_id: str | None, *, now: datetime) -> bool:
    ended = tx.execute(
        update(invitations)
        .where(*_key(found.organization_id, found.invitation_id), invitations.c.ended_at.is_(None))
        .values(ended_at=now, member_id=member_id)
    )
    return ended.rowcount == 1


def _fresh(tx: Connection, organization_id: str, invitation_id: str, *, now: datetime) -> Fresh:
    tx.execute(
        update(invitation_links)
        .where(
            invitation_links.c.organization_id == organization_id,
            invitation_links.c.invitation_id == invitation_id,
            invitation_links.c.used_at.is_(None),
        )
        .values(used_at=now)
    )
    token = new_secret()
    tx.execute(
        insert(invitation_links).values(
            token_hash=hash_secret(token),
            organization_id=organization_id,
            invitation_id=invitation_id,
            created_at=now,
            expires_at=now + LINK_LIFETIME,
        )
    )
    return Fresh(
        _find_waiting(tx, organization_id, invitation_id),
        accounts.find_organization(tx, organization_id),
        token,
    )


def _note(
    tx: Connection,
    organization_id: str,
    actor: str,
    act: str,
    email: str,
    role: str,
    now: datetime,
) -> None:
    audit.note(
        tx,
        organization_id,
        actor=actor,
        act=act,
        target=email,
        detail={"role": role} if role else {},
        now=now,
    )


def organizations_with_old(tx: Connection, before: datetime) -> Sequence[str]:
    """Return the organizations of which an invitation was over before an instant."""
    query = select(invitations.c.organization_id).where(invitations.c.ended_at < before)
    return tx.execute(query.distinct()).scalars().all()


def find_old(tx: Connection, organization_id: str, before: datetime, limit: int) -> Sequence[str]:
    """Return the invitations that were over before an instant; none that waits is."""
    query = select(invitations.c.invitation_id).where(
        invitations.c.organization_id == organization_id, invitations.c.ended_at < before
    )
    return tx.execute(query.limit(limit)).scalars().all()


def forget(tx: Connection, organization_id: str, chosen: Sequence[str], before: datetime) -> int:
    """Take away those of some invitations that were over before an instant, with their links."""
    over = select(invitations.c.invitation_id).where(
        invitations.c.organization_id == organization_id,
        invitations.c.invitation_id.in_(chosen),
        invitations.c.ended_at < before,
    )
    links = delete(invitation_links).where(
        invitation_links.c.organization_id == organization_id,
        invitation_links.c.invitation_id.in_(over),
    )
    people = delete(invitations).where(
        invitations.c.organization_id == organization_id,
        invitations.c.invitation_id.in_(chosen),
        invitations.c.ended_at < before,
    )
    return tx.execute(links).rowcount + tx.execute(people).rowcount
