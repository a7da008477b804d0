"""The kinds of what is told: who hears of each, how soon, and how people choose among them.

Pure. A kind that is not named here is told to whoever pays, as it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from portal.accounts import Member
from portal.notices.outbox import Message

MAIL, PAGE = "mail", "page"


@dataclass(frozen=True)
class Group:
    """What somebody chooses about in one go; ``mailed`` are the roles that it is mailed to."""

    key: str
    name: str
    says: str
    mailed: frozenset[str]


@dataclass(frozen=True)
class Kind:
    """One kind: its group, the roles that hear of it, and whether it waits for a digest."""

    group: str
    roles: frozenset[str]
    urgent: bool = False


_MANAGERS = frozenset({"owner", "admin"})
_PAYERS = frozenset({"owner", "admin", "billing"})

GROUPS = (
    Group(
        "requests",
        "Requests for more",
        "Somebody asks for more than a cap allows, and what became of it.",
        frozenset({"owner", "admin", "billing", "member"}),
    ),
    Group(
        "caps",
        "Caps reached",
        "A cap is used up, and when there is room again.",
        frozenset({"owner", "admin", "member"}),
    ),
    Group(
        "near",
        "Caps on their way",
        "A cap passes 50, 75 or 90%, or is on course to be passed.",
        _MANAGERS,
    ),
    Group(
        "balance",
        "Credits running low",
        "Credits are low or gone, or will expire in 30 or 7 days.",
        _PAYERS,
    ),
    Group(
        "beyond",
        "Beyond the plan",
        "Credits are used beyond the plan, or work was done that nobody pays for.",
        _PAYERS,
    ),
    Group(
        "payments",
        "Payments and top-ups",
        "A payment or top-up was made, failed, or needs somebody.",
        _PAYERS,
    ),
)

KINDS: Mapping[str, Kind] = {
    "raise-asked": Kind("requests", _MANAGERS, urgent=True),
    "raise-answered": Kind("requests", frozenset(), urgent=True),
    "cap-reached": Kind("caps", _MANAGERS),
    "cap-near": Kind("near", _MANAGERS),
    "cap-projected": Kind("near", _MANAGERS),
    "credits-low": Kind("balance", _PAYERS),
    "credits-out": Kind("balance", _PAYERS),
    "credits-expiring": Kind("balance", _PAYERS),
    "overage-begun": Kind("beyond", _PAYERS),
    "overrun": Kind("beyond", _PAYERS),
    "overage-unpaid": Kind("payments", _PAYERS, urgent=True),
    "payment-failed": Kind("payments", _PAYERS, urgent=True),
    "pack-failed": Kind("payments", _PAYERS, urgent=True),
    "upgrade-unpaid": Kind("payments", _PAYERS, urgent=True),
    "plan-ended": Kind("payments", _PAYERS),
    "dispute": Kind("payments", _PAYERS, urgent=True),
    "top-up-made": Kind("payments", _PAYERS),
    "top-up-failed": Kind("payments", _PAYERS, urgent=True),
    "top-up-authentication": Kind("payments", _PAYERS, urgent=True),
    "top-up-limit": Kind("payments", _PAYERS),
}


_OTHER = Kind("payments", _PAYERS)


def kind_of(name: str) -> Kind:
    """Return what a kind is; one that is not named here is for who pays."""
    return KINDS.get(name, _OTHER)


def hears(message: Message, member: Member) -> bool:
    """Tell whether a message is for this member: by role, or because it is about them."""
    if member.role in kind_of(message.kind).roles:
        # Who asks for more need not be told that they did.
        return message.facts.get("member") != member.member_id or message.kind != "raise-asked"
    about_caps = message.kind in {"cap-reached", "cap-near"}
    if about_caps and message.facts.get("scope") == "member":
        return bool(message.facts.get("target") == member.member_id)
    return message.kind == "raise-answered" and message.facts.get("member") == member.member_id


def by_mail(kind: str, member: Member, choices: Mapping[str, str]) -> bool:
    """Tell whether a member hears of a kind by mail: as they chose, or as their role has it."""
    group = next(one for one in GROUPS if one.key == kind_of(kind).group)
    default = MAIL if member.role in group.mailed else PAGE
    return choices.get(group.key, default) == MAIL


def mailed(group: Group, member: Member, choices: Mapping[str, str]) -> bool:
    """Tell whether a member hears of a group by mail, whomever its news are about."""
    heard = any(member.role in one.roles for one in KINDS.values() if one.group == group.key)
    default = MAIL if member.role in group.mailed else PAGE
    return heard and choices.get(group.key, default) == MAIL


def groups_for(member: Member) -> list[Group]:
    """Return what a member may choose about: what they may ever hear of."""
    heard = {one.group for one in KINDS.values() if member.role in one.roles}
    if member.role not in {"viewer", "billing"}:
        heard |= {"requests", "caps", "near"}
    return [one for one in GROUPS if one.key in heard]


def type_of(kind: str) -> str:
    """Return a kind as webhooks name it: ``cap.reached``, ``top-up.made``."""
    noun = "top-up" if kind.startswith("top-up-") else kind.partition("-")[0]
    what = kind.removeprefix(noun).removeprefix("-")
    return f"{noun}.{what}" if what else noun


#: What an endpoint can ask for.
TYPES = tuple(sorted(type_of(kind) for kind in KINDS))
