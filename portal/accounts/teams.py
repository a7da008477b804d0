"""Teams and projects, and the names of all that spends. Owns ``teams`` and ``projects``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Table, select, update

from portal.core.errors import NotFound
from portal.rows import insert_or_ignore
from portal.tables import members, projects, teams


@dataclass(frozen=True)
class Team:
    """A team of an organization."""

    team_id: str
    name: str


def list_teams(tx: Connection, organization_id: str) -> list[Team]:
    """Return an organization's teams, by name."""
    query = (
        select(teams.c.team_id, teams.c.name)
        .where(teams.c.organization_id == organization_id)
        .order_by(teams.c.name, teams.c.team_id)
    )
    return [Team(*row) for row in tx.execute(query)]


def known_team(tx: Connection, organization_id: str, team_id: str) -> None:
    """Refuse a team that does not exist. Raises NotFound."""
    found = tx.execute(
        select(teams.c.team_id).where(
            teams.c.organization_id == organization_id, teams.c.team_id == team_id
        )
    ).first()
    if found is None:
        raise NotFound("team", team_id)


def put_team(tx: Connection, organization_id: str, team_id: str, *, name: str) -> bool:
    """Make or rename a team; tells whether it is new."""
    return _put(tx, teams, {"organization_id": organization_id, "team_id": team_id}, name)


def put_project(tx: Connection, organization_id: str, project_id: str, *, name: str) -> bool:
    """Make or rename a project; tells whether it is new."""
    return _put(tx, projects, {"organization_id": organization_id, "project_id": project_id}, name)


def _put(tx: Connection, table: Table, key: dict[str, str], name: str) -> bool:
    new = insert_or_ignore(tx, table, {**key, "name": name})
    if not new:
        same = (table.c[column] == value for column, value in key.items())
        tx.execute(update(table).where(*same).values(name=name))
    return new


_NAMED: Mapping[str, tuple[Table, Column[str]]] = {
    "team": (teams, teams.c.team_id),
    "member": (members, members.c.member_id),
    "project": (projects, projects.c.project_id),
}


def names_among(
    tx: Connection, scope: str, organization_ids: Collection[str], ids: Collection[str]
) -> dict[str, dict[str, str]]:
    """Return the names of some teams, members or projects of some organizations, by each's id."""
    table, key = _NAMED[scope]
    rows = tx.execute(
        select(table.c.organization_id, key, table.c.name).where(
            table.c.organization_id.in_(organization_ids), key.in_(ids)
        )
    )
    found: dict[str, dict[str, str]] = {one: {} for one in organization_ids}
    for organization_id, one, name in rows:
        found[organization_id][one] = name
    return found


def names(tx: Connection, organization_id: str, scope: str) -> dict[str, str]:
    """Return the display names of teams, members (also removed ones) or projects by id."""
    table, key = _NAMED[scope]
    rows = tx.execute(select(key, table.c.name).where(table.c.organization_id == organization_id))
    return {row[0]: row[1] for row in rows}
