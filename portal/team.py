"""The team page: who is here, as what, and what each spent this period. Reads only.

Every sum is the rollup's: people, those who left, and work that named nobody make up the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from portal import accounts, holds, invitations, usage
from portal.accounts import Member, Organization
from portal.breakdown import DAY, days_of
from portal.core import roles
from portal.invitations import Invitation

#: How many people stand on one page.
PEOPLE_A_PAGE = 100
#: How long somebody who was removed can be taken back here.
RECENTLY = timedelta(days=30)


@dataclass(frozen=True)
class Person:
    """A member with what they spent this period; credits in millionths."""

    member: Member
    team: str
    credits_micro: int
    #: Work of theirs in progress: how many pieces, and what they hold.
    in_progress: int
    held_micro: int
    #: The roles the reader may give them; empty where they may not change them.
    may_become: tuple[str, ...]
    removable: bool


@dataclass(frozen=True)
class TeamLine:
    """A team with how many are in it and what it spent this period, in millionths."""

    team_id: str
    name: str
    people: int
    credits_micro: int


@dataclass(frozen=True)
class TeamPage:
    """The page, as its reader may see it; credits in millionths."""

    as_of: datetime
    first_day: date
    last_day: date
    people: Sequence[Person]
    teams: Sequence[TeamLine]
    no_team_micro: int
    others_micro: int
    total_micro: int
    waiting: Sequence[Invitation]
    removed: Sequence[Member]
    names: Mapping[str, str]
    inviting: tuple[str, ...]


@dataclass(frozen=True)
class Listed:
    """The people on one page of the list; ``number`` of ``last`` pages, both from one on.

    ``found`` of them answer to what was searched for.
    """

    people: Sequence[Person]
    search: str
    found: int
    number: int
    last: int


def listed(page: TeamPage, *, search: str = "", number: int = 1) -> Listed:
    """Return the people whose name or address has ``search`` in it, a page of them.

    A page that there is not is the nearest that there is.
    """
    wanted = search.strip().casefold()
    found = [
        one
        for one in page.people
        if wanted in one.member.name.casefold() or wanted in one.member.email.casefold()
    ]
    last = max(1, -(-len(found) // PEOPLE_A_PAGE))
    number = min(max(number, 1), last)
    first = (number - 1) * PEOPLE_A_PAGE
    return Listed(found[first : first + PEOPLE_A_PAGE], search.strip(), len(found), number, last)


def team_page(
    tx: Connection, organization: Organization, reader: Member, *, now: datetime
) -> TeamPage:
    """Put the page together."""
    key = organization.organization_id
    start, end = days_of(organization.period_at(now), organization)
    spent = _spent(tx, key, "member", start, end)
    by_team = _spent(tx, key, "team", start, end)
    members, teams = accounts.list_members(tx, key), accounts.list_teams(tx, key)
    team_names = {one.team_id: one.name for one in teams}
    working = holds.in_progress(tx, key, now=now)
    owners = accounts.count_owners(tx, key)
    people = [
        _person(one, reader, team_names, spent, working.get(one.member_id, (0, 0)), owners)
        for one in members
    ]
    total = sum(spent.values())
    manages = reader.may("manage_people")
    return TeamPage(
        as_of=now,
        first_day=start,
        last_day=end - DAY,
        people=people,
        teams=[
            TeamLine(
                one.team_id,
                one.name,
                sum(member.team_id == one.team_id for member in members),
                by_team.get(one.team_id, 0),
            )
            for one in teams
        ],
        no_team_micro=total - sum(by_team.get(one.team_id, 0) for one in teams),
        others_micro=total - sum(person.credits_micro for person in people),
        total_micro=total,
        waiting=invitations.waiting(tx, key),
        removed=accounts.removed_members(tx, key, since=now - RECENTLY) if manages else [],
        names=accounts.names(tx, key, "member"),
        inviting=roles.given_by(reader.role),
    )


def _spent(
    tx: Connection, organization_id: str, group: str, start: date, end: date
) -> dict[str, int]:
    found = usage.report(tx, organization_id, start=start, end=end, group_by=[group])
    return {row.labels[group]: row.totals.credits_micro for row in found.rows}


def _person(
    member: Member,
    reader: Member,
    team_names: Mapping[str, str],
    spent: Mapping[str, int],
    working: tuple[int, int],
    owners: int,
) -> Person:
    last = member.role == "owner" and owners == 1
    return Person(
        member=member,
        team=team_names.get(member.team_id, ""),
        credits_micro=spent.get(member.member_id, 0),
        in_progress=working[0],
        held_micro=working[1],
        may_become=_may_become(member, reader, last=last),
        removable=not last and roles.may_give(reader.role, before=member.role, after=""),
    )


def _may_become(member: Member, reader: Member, *, last: bool) -> tuple[str, ...]:
    """Return the roles to choose from; the last owner's stays, and only their team is chosen."""
    given = roles.given_by(reader.role, before=member.role)
    return ("owner",) if last and given else given
