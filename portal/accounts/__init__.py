"""Organizations and who spends in them: teams, members, projects. The tenancy scope lives here.

Invariant: everything below an organization is looked up by (organization, id), so another
organization's rows cannot be named. Any use case may call this package.
"""

from __future__ import annotations

from portal.accounts.members import (
    Member,
    Recognized,
    count_owners,
    find_member,
    list_members,
    lock_people,
    member_of_address,
    members_among,
    put_member,
    recognize,
    remove_member,
    removed_members,
    restore_member,
    saw,
    sees_balance,
    teams_of_members,
)
from portal.accounts.organizations import (
    Organization,
    check_zone,
    create_organization,
    find_customer,
    find_organization,
    find_organizations,
    keep_calendar,
    list_organizations,
    remember_stripe_customer,
    set_charging,
    set_spending,
    show_balance_to_members,
    update_organization,
)
from portal.accounts.subscriptions import (
    begin_cycle,
    begin_period,
    bill,
    organizations_due,
    subscribe,
    unsubscribe,
)
from portal.accounts.teams import (
    Team,
    list_teams,
    names,
    names_among,
    put_project,
    put_team,
)
from portal.core.roles import ROLES

__all__ = [
    "ROLES",
    "Member",
    "Organization",
    "Recognized",
    "Team",
    "begin_cycle",
    "begin_period",
    "bill",
    "check_zone",
    "count_owners",
    "create_organization",
    "find_customer",
    "find_member",
    "find_organization",
    "find_organizations",
    "keep_calendar",
    "list_members",
    "list_organizations",
    "list_teams",
    "lock_people",
    "member_of_address",
    "members_among",
    "names",
    "names_among",
    "organizations_due",
    "put_member",
    "put_project",
    "put_team",
    "recognize",
    "remember_stripe_customer",
    "remove_member",
    "removed_members",
    "restore_member",
    "saw",
    "sees_balance",
    "set_charging",
    "set_spending",
    "show_balance_to_members",
    "subscribe",
    "teams_of_members",
    "unsubscribe",
    "update_organization",
]
