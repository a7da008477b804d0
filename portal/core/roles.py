"""What each role may do: the one table that pages, forms and routes ask.

Pure. A role is looked up at every request, so a change of it is in force with the next one.
"""

from __future__ import annotations

from collections.abc import Mapping

#: From who decides most to who decides nothing.
ROLES = ("owner", "admin", "billing", "member", "viewer")

#: Each right, in words a person may read, and the roles that have it.
RIGHTS: Mapping[str, tuple[str, frozenset[str]]] = {
    right: (words, frozenset(roles.split()))
    for right, words, roles in (
        ("see_all_use", "sees everybody's use and limits", "owner admin billing viewer"),
        ("see_people", "sees who is in the organization", "owner admin billing viewer"),
        ("see_billing", "sees invoices and statements", "owner admin billing viewer"),
        ("see_settings", "sees settings, keys and the activity log", "owner admin viewer"),
        ("buy", "chooses the plan, buys credits and pays", "owner admin billing"),
        ("set_limits", "sets caps and what happens at zero", "owner admin"),
        ("manage_people", "invites, moves and removes people", "owner admin"),
        ("manage_keys", "makes, renews and revokes keys", "owner admin"),
        ("manage_settings", "changes the organization's settings", "owner admin"),
        ("manage_owners", "makes and unmakes owners", "owner"),
    )
}


def may(role: str, right: str) -> bool:
    """Tell whether a role has a right. Raises KeyError for a right that is none."""
    return role in RIGHTS[right][1]


def having(right: str) -> tuple[str, ...]:
    """Return the roles that decide, of those that have a right."""
    return tuple(role for role in ROLES if may(role, right) and role != "viewer")


def may_give(actor_role: str, *, before: str, after: str) -> bool:
    """Tell whether somebody may turn a role into another; ``""`` stands for none.

    What an owner has, only an owner gives or takes.
    """
    if not may(actor_role, "manage_people"):
        return False
    return "owner" not in {before, after} or may(actor_role, "manage_owners")


def given_by(actor_role: str, *, before: str = "") -> tuple[str, ...]:
    """Return the roles that somebody may give to a person who has ``before``."""
    return tuple(role for role in ROLES if may_give(actor_role, before=before, after=role))


def sees_balance(role: str, *, members_see_balance: bool) -> bool:
    """Tell whether a role sees what the whole organization has left."""
    return may(role, "see_all_use") or members_see_balance


#: Each role in a few words, as pages write them beside its name.
SUMMARIES: Mapping[str, str] = {
    "owner": "may do everything",
    "admin": "everything but making owners",
    "billing": "buys and pays, sees everybody's use",
    "member": "sees their own use and limits",
    "viewer": "sees everything, changes nothing",
}
