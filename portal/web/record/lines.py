"""One act on record as a line that people read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from portal.audit import Act
from portal.core.units import parse_micro
from portal.spending import Choices
from portal.web.record.called import CALLED, DISPUTES, OPERATORS_OWN
from portal.web.record.names import Names
from portal.web.record.said import said

#: An id by which only the store knows a thing.
_MADE_UP = re.compile(r"[a-z]+_[0-9a-z]{20}")
#: What is named by a detail of the act: what it is called now is beside the point.
_NAMED_THEN = {"team", "project", "passkey"}
#: What only ids stand for: what they are for is in the details.
_UNNAMED = {"session", "pack", "top_up", "grant", "payment", "refund", "overage", "cost"}
_OF_A_REFUND = "operator.refund_"


@dataclass(frozen=True)
class Line:
    """One act in words; ``detail`` is empty where there is nothing more to say."""

    sequence: int
    at: datetime
    who: str
    what: str
    target: str
    detail: str


def line(act: Act, names: Names) -> Line:
    """Return an act in words. One that has none is told by its name, without its details."""
    fallback = act.act.replace(".", ": ").replace("_", " ").capitalize()
    called = _dispute(act) or CALLED.get(act.act) or OPERATORS_OWN.get(act.act)
    return Line(
        act.sequence,
        act.at,
        names.who(act.actor),
        called or fallback,
        target_of(act, names),
        " · ".join(said(act, names)) if called else "",
    )


def _dispute(act: Act) -> str:
    """Return what a dispute is called that took nothing; nothing where it took or is none."""
    if act.act != "payment.reversed" or act.detail.get("refunded_minor"):
        return ""
    taken = str(act.detail.get("credits_taken") or "0")
    if not taken.startswith("-") and parse_micro(taken):
        return ""
    return DISPUTES.get(act.detail.get("dispute", ""), "")


def target_of(act: Act, names: Names) -> str:
    """Return what an act is about, as it is called; an id that only the store knows is none."""
    noun, detail = act.act.partition(".")[0], act.detail
    if noun in _UNNAMED or act.act.startswith(_OF_A_REFUND):
        return ""
    if noun == "cap" and "of" in detail:
        called = Choices(names.teams, names.members, names.projects, {})
        return called.subject_of(detail["scope"], detail["of"])
    if noun == "tier":
        return names.tier(act.target) if act.target else ""
    key = detail.get("member", "") if noun == "raise" else act.target
    found = _known(noun, names).get(key)
    if noun in _NAMED_THEN or (found is None and noun in {"member", "key", "webhook"}):
        found = detail.get("url" if noun == "webhook" else "name") or found
    found = key if found is None else found
    return found if isinstance(found, str) and not _MADE_UP.fullmatch(found) else ""


def _known(noun: str, names: Names) -> Mapping[str, str]:
    known = {
        "member": names.members,
        "view": names.members,
        "raise": names.members,
        "team": names.teams,
        "project": names.projects,
        "key": names.keys,
    }
    return known.get(noun, {})
