"""What an organization's admins choose for all of it: name, time zone, who sees the balance.

Another time zone takes effect with the next billing period, so that no day is counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from portal import accounts, audit, onboarding
from portal.accounts import Member, Organization
from portal.core.errors import InvalidRequest, NotAllowed
from portal.db import Database
from portal.desk import open_desk

LONGEST_NAME = 80


@dataclass(frozen=True)
class Preferences:
    """What was chosen, as it was typed."""

    name: str
    timezone: str
    members_see_balance: bool


def choose(
    database: Database, organization_id: str, asked: Preferences, *, by: Member, now: datetime
) -> Organization:
    """Keep what was chosen, all of it or nothing. Raises InvalidRequest, NotAllowed."""
    if not by.may("manage_settings"):
        raise NotAllowed("Only an owner or an admin may change this. Ask one of them.")
    name = " ".join(asked.name.split())
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise InvalidRequest.at("/name", f"must have 1 to {LONGEST_NAME} characters")
    with database.transaction() as tx:
        desk = open_desk(tx, organization_id, now=now)
        before = desk.organization
        accounts.update_organization(
            tx, organization_id, name=name, email=before.email or None, charging=before.charging
        )
        accounts.show_balance_to_members(tx, organization_id, shown=asked.members_see_balance)
        onboarding.change_zone(desk.wallet, asked.timezone, by.member_id)
        desk.wallet.write()
        changed: dict[str, object] = {}
        if name != before.name:
            changed["name"] = name
        if asked.members_see_balance != before.members_see_balance:
            changed["members_see_balance"] = asked.members_see_balance
        if changed:
            audit.note(
                tx,
                organization_id,
                actor=by.member_id,
                act="settings.changed",
                detail=changed | {"was": {field: getattr(before, field) for field in changed}},
                now=now,
            )
        return accounts.find_organization(tx, organization_id)
