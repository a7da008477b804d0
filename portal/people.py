"""People as admins and the operator keep them: roles, teams, leaving and coming back, on record.

Invariant: what only an owner may give or take is checked where it is done, and the last owner
stays, whoever asks. What a person used stays theirs after they left.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from portal import access, accounts, audit, invitations
from portal.accounts import Member
from portal.core import roles
from portal.core.errors import InvalidRequest, NotAllowed, NotFound
from portal.db import Database
from portal.ids import new_id

LONGEST_NAME = 80
_OWNERS_ONLY = "Only an owner may make somebody an owner, or change one. Ask an owner."


def change(
    database: Database,
    organization_id: str,
    member_id: str,
    *,
    role: str,
    team_id: str,
    by: Member,
    now: datetime,
) -> tuple[Member, Member]:
    """Give a member another role or team; returns them before and after.

    Raises NotFound, NotAllowed, and InvalidRequest where the last owner would go.
    """
    if role not in roles.ROLES:
        raise InvalidRequest.at("/role", "must be chosen from the list")
    with database.transaction() as tx:
        accounts.lock_people(tx, organization_id)
        before = accounts.find_member(tx, organization_id, member_id)
        _check(by, before=before.role, after=role)
        after, _ = accounts.put_member(
            tx,
            organization_id,
            member_id,
            email=before.email,
            name=before.name,
            role=role,
            team_id=team_id,
            now=now,
        )
        note_change(tx, before, after, actor=by.member_id, now=now)
        return before, after


def _check(by: Member, *, before: str, after: str) -> None:
    if not roles.may(by.role, "manage_people"):
        raise NotAllowed("Only an owner or an admin may do this. Ask one of them.")
    if not roles.may_give(by.role, before=before, after=after):
        raise NotAllowed(_OWNERS_ONLY)


def note_change(
    tx: Connection, before: Member | None, after: Member, *, actor: str, now: datetime
) -> None:
    """Put on record what became of a member, where anything did."""
    kept = ("email", "name", "role", "team_id")
    detail = {
        name: getattr(after, name)
        if before is None
        else {"from": getattr(before, name), "to": getattr(after, name)}
        for name in kept
        if before is None or getattr(before, name) != getattr(after, name)
    }
    if detail:
        audit.note(
            tx,
            after.organization_id,
            actor=actor,
            act="member.added" if before is None else "member.changed",
            target=after.member_id,
            detail=detail,
            now=now,
        )


def remove(
    database: Database,
    organization_id: str,
    member_id: str,
    *,
    by: Member | None = None,
    actor: str = "",
    now: datetime,
) -> Member:
    """Remove a member from the next request on: they are signed out, and their invitations lapse.

    Work of theirs that has begun may be finished. ``by`` is whose right is checked, where it is a
    member who asks. Raises NotFound, NotAllowed, and InvalidRequest for the last owner.
    """
    with database.transaction() as tx:
        accounts.lock_people(tx, organization_id)
        found = accounts.find_member(tx, organization_id, member_id)
        if by is not None:
            _check(by, before=found.role, after="")
        accounts.remove_member(tx, organization_id, member_id, now=now)
        access.shut_out(tx, organization_id, member_id)
        invitations.withdraw_all_by(tx, organization_id, member_id, now=now)
        audit.note(
            tx,
            organization_id,
            actor=by.member_id if by else actor,
            act="member.removed",
            target=member_id,
            detail={"role": found.role},
            now=now,
        )
    return found


def restore(
    database: Database, organization_id: str, member_id: str, *, by: Member, now: datetime
) -> Member:
    """Take a removed member back as they were; they sign in anew. Raises NotFound, NotAllowed."""
    with database.transaction() as tx:
        found = accounts.restore_member(tx, organization_id, member_id)
        _check(by, before="", after=found.role)
        audit.note(
            tx,
            organization_id,
            actor=by.member_id,
            act="member.restored",
            target=member_id,
            detail={"role": found.role},
            now=now,
        )
    return found


def put_team(
    database: Database, organization_id: str, team_id: str, *, name: str, actor: str, now: datetime
) -> bool:
    """Make or rename a team; tells whether it is new. Raises NotFound."""
    return _put_name(database, organization_id, "team", team_id, name, actor=actor, now=now)


def put_project(
    database: Database,
    organization_id: str,
    project_id: str,
    *,
    name: str,
    actor: str,
    now: datetime,
) -> bool:
    """Make or rename a project; tells whether it is new. Raises NotFound."""
    return _put_name(database, organization_id, "project", project_id, name, actor=actor, now=now)


def _put_name(
    database: Database,
    organization_id: str,
    noun: str,
    target: str,
    name: str,
    *,
    actor: str,
    now: datetime,
) -> bool:
    put = accounts.put_team if noun == "team" else accounts.put_project
    with database.transaction() as tx:
        accounts.find_organization(tx, organization_id)
        known = accounts.names(tx, organization_id, noun).get(target)
        new = put(tx, organization_id, target, name=name)
        _note_name(tx, organization_id, noun, target, known, name, actor=actor, now=now)
        return new


def _note_name(
    tx: Connection,
    organization_id: str,
    noun: str,
    target: str,
    known: str | None,
    name: str,
    *,
    actor: str,
    now: datetime,
) -> None:
    if known == name:
        return
    audit.note(
        tx,
        organization_id,
        actor=actor,
        act=f"{noun}.made" if known is None else f"{noun}.renamed",
        target=target,
        detail={"name": name} if known is None else {"name": name, "was": {"name": known}},
        now=now,
    )


def make_team(
    database: Database, organization_id: str, *, name: str, by: Member, now: datetime
) -> str:
    """Make a team and return its id. Raises InvalidRequest, NotAllowed."""
    _check(by, before="", after="member")
    team_id = new_id("team")
    put_team(
        database,
        organization_id,
        team_id,
        name=checked_name(name),
        actor=by.member_id,
        now=now,
    )
    return team_id


def rename_team(
    database: Database,
    organization_id: str,
    team_id: str,
    *,
    name: str,
    by: Member,
    now: datetime,
) -> None:
    """Give a team another name. Raises NotFound, InvalidRequest, NotAllowed."""
    _check(by, before="", after="member")
    name = checked_name(name)
    with database.reading() as tx:
        if team_id not in accounts.names(tx, organization_id, "team"):
            raise NotFound("team", team_id)
    put_team(database, organization_id, team_id, name=name, actor=by.member_id, now=now)


def checked_name(typed: str) -> str:
    """Return a name as it may be typed. Raises InvalidRequest."""
    name = " ".join(typed.split())
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise InvalidRequest.at("/name", f"must have 1 to {LONGEST_NAME} characters")
    return name
