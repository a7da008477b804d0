"""The activity log: who did what and since when, a page at a time and as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from flask import Response, render_template, request, stream_with_context
from sqlalchemy import Connection

from portal import accounts, audit
from portal.accounts import Member, Organization
from portal.audit import Act, Wanted
from portal.core import actors
from portal.core.periods import start_of_day
from portal.spending import Choices
from portal.web.cells import safe_cell
from portal.web.customer.settings.page import Section, add
from portal.web.customer.shell import blueprint, entitled
from portal.web.services import services

LATEST, PAGE, MOST_IN_CSV = 5, 50, 10_000
#: What acts are about, in the order of the filter.
ABOUT = {
    "member": "People",
    "invitation": "Invitations",
    "team": "Teams",
    "project": "Projects",
    "cap": "Caps",
    "raise": "Requests for more",
    "spending": "What happens at zero",
    "tier": "Plan",
    "pack": "Packs",
    "top_up": "Bought by itself",
    "grant": "Credits given",
    "payment": "Payments taken back",
    "refund": "Refunds",
    "overage": "Beyond the plan",
    "key": "API keys",
    "session": "Signing in and out",
    "password": "Passwords",
    "passkey": "Passkeys",
    "settings": "Settings",
    "timezone": "Time zone",
    "alerts": "Low balance",
    "webhook": "Webhooks",
    "event": "Corrections",
    "events": "Use that was sent again",
    "view": "Looked at by others",
}
WORDS = {
    "member.added": "Added a member",
    "member.changed": "Changed a member",
    "member.removed": "Removed a member",
    "member.restored": "Took a member back",
    "invitation.made": "Invited",
    "invitation.accepted": "Joined",
    "invitation.withdrawn": "Withdrew an invitation",
    "team.made": "Made a team",
    "team.renamed": "Renamed a team",
    "project.made": "Made a project",
    "project.renamed": "Renamed a project",
    "cap.set": "Set a cap",
    "cap.changed": "Changed a cap",
    "cap.removed": "Removed a cap",
    "raise.asked": "Asked for more",
    "raise.allowed": "Allowed more",
    "raise.declined": "Declined a request for more",
    "spending.set": "Chose what happens at zero",
    "tier.billed": "The plan began or changed",
    "tier.ended": "The plan ended",
    "tier.upgrade": "Chose a larger plan",
    "tier.downgrade": "Chose a smaller plan",
    "tier.cancel": "Ended the plan",
    "tier.change_undone": "Took a change of plan back",
    "tier.upgrade_dropped": "Dropped a larger plan before paying",
    "pack.bought": "Bought a pack",
    "top_up.made": "Credits were bought by themselves",
    "grant.made": "Gave credits",
    "grant.voided": "Took credits back",
    "payment.reversed": "A payment went back",
    "refund.started": "Started a refund",
    "refund.failed": "A refund failed at the bank",
    "overage.billed": "Billed what went beyond the plan",
    "overage.draft_deleted": "Deleted a draft invoice: what was on it is billed again",
    "overage.waived": "Waived what went beyond the plan",
    "overage.owed": "Owed what went beyond the plan",
    "overage.uncollectible": "Wrote off what went beyond the plan: it is owed all the same",
    "key.made": "Made an API key",
    "key.issued": "Made an API key",
    "key.replaced": "Replaced an API key",
    "key.revoked": "Revoked an API key",
    "session.begun": "Signed in",
    "session.ended": "Signed out",
    "password.changed": "Changed their password",
    "passkey.added": "Added a passkey",
    "passkey.removed": "Removed a passkey",
    "settings.changed": "Changed the settings",
    "timezone.changed": "Changed the time zone",
    "timezone.change_cancelled": "Took a change of time zone back",
    "alerts.low_balance": "Chose when the balance is low",
    "webhook.made": "Added a webhook endpoint",
    "webhook.rotated": "Gave an endpoint a new secret",
    "webhook.on": "Switched an endpoint on",
    "webhook.off": "Switched an endpoint off",
    "webhook.removed": "Removed an endpoint",
    "webhook.replayed": "Sent a delivery again",
    "event.corrected": "Corrected what work counted",
    "events.replayed": "Took in use that was refused before",
    "view.began": "Looked at the pages as a member",
    "view.ended": "Looked no more",
}
#: What may be told of an act beside its target; the rest of the record is the operator's.
TOLD = (
    "name",
    "email",
    "role",
    "credits",
    "scope",
    "limit",
    "mode",
    "scopes",
    "on_empty",
    "members_see_balance",
    "by",
    "device",
    "url",
)
#: An id by which only the store knows a thing.
_MADE_UP = re.compile(r"[a-z]+_[0-9a-z]{20}")
_ANSWERS = {True: "yes", False: "no"}


@dataclass(frozen=True)
class Line:
    """One act in words."""

    sequence: int
    at: datetime
    who: str
    what: str
    target: str
    detail: str


@dataclass(frozen=True)
class Names:
    """How what acts are about is called, by id; ``brand`` is what the operator is called."""

    members: Mapping[str, str]
    teams: Mapping[str, str]
    projects: Mapping[str, str]
    brand: str

    def who(self, actor: str) -> str:
        """Return who acted: never which of the operator's people."""
        known = {"stripe": "Stripe", "clearmeter": "By itself"}
        return known.get(actor) or actors.called(actor, self.members, self.brand)

    def target(self, act: Act) -> str:
        """Return what an act is about, as it is called; an id that only the store knows is none."""
        noun, detail = act.act.partition(".")[0], act.detail
        if noun == "cap" and "of" in detail:
            called = Choices(self.teams, self.members, self.projects, {})
            return called.subject_of(detail["scope"], detail["of"])
        known: Mapping[str, str] = {}
        key = act.target
        if noun in {"member", "view"}:
            known = self.members
        elif noun == "raise":
            known, key = self.members, detail.get("member", "")
        found = known.get(key)
        if found is None and noun in {"member", "team", "project"}:
            found = detail.get("name", key)
        found = key if found is None else found
        return found if isinstance(found, str) and not _MADE_UP.fullmatch(found) else ""


def _line(act: Act, names: Names) -> Line:
    fallback = act.act.replace(".", ": ").replace("_", " ").capitalize()
    return Line(
        act.sequence,
        act.at,
        names.who(act.actor),
        WORDS.get(act.act, fallback),
        names.target(act),
        _told(act.detail) if act.act in WORDS else "",
    )


def _told(detail: Mapping[str, Any]) -> str:
    parts = []
    for name in TOLD:
        # Whose a cap is stands beside the act already.
        value = None if name == "scope" and "of" in detail else detail.get(name)
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            parts.append(f"{label}: {_said(value.get('from'))} → {_said(value.get('to'))}")
        elif value is not None:
            parts.append(f"{label}: {_said(value)}")
    return " · ".join(parts)


def _said(value: Any) -> str:
    return _ANSWERS[value] if isinstance(value, bool) else str(value or "none")


def _names(tx: Connection, organization_id: str) -> Names:
    members, teams, projects = (
        accounts.names(tx, organization_id, scope) for scope in ("member", "team", "project")
    )
    return Names(members, teams, projects, services().settings.brand.name)


def _lines(organization: Organization, wanted: Wanted, limit: int) -> Sequence[Line]:
    with services().database.reading() as tx:
        names = _names(tx, organization.organization_id)
        found = audit.acts(tx, organization.organization_id, wanted, limit=limit)
    return [_line(one, names) for one in found]


def _fill(organization: Organization, member: Member) -> dict[str, Any]:  # noqa: ARG001 # a section's
    return {"latest": _lines(organization, Wanted(), LATEST)}


add(Section(90, "activity", "Activity log", "see_settings", _fill))


def _wanted(organization: Organization, *, paged: bool) -> Wanted:
    """Read the filters from the address; what makes no sense is left out."""
    asked = request.args
    since, before = None, asked.get("before", "")
    try:
        since = start_of_day(date.fromisoformat(asked.get("since", "")), organization.zone)
    except (ValueError, OverflowError):
        since = None
    number = before.isascii() and before.isdigit() and len(before) <= 15
    return Wanted(
        actor=asked.get("who", ""),
        about=asked.get("about", "") if asked.get("about") in ABOUT else "",
        since=since,
        before=int(before) if number and paged else None,
    )


@blueprint.get("/settings/activity")
def activity() -> str:
    """Show the log, as the address filters it."""
    organization, _ = entitled("see_settings")
    wanted = _wanted(organization, paged=True)
    lines = _lines(organization, wanted, PAGE + 1)
    with services().database.reading() as tx:
        names = _names(tx, organization.organization_id)
        people = {
            actor: names.who(actor) for actor in audit.actors(tx, organization.organization_id)
        }
    chosen = {
        name: request.args[name] for name in ("who", "about", "since") if request.args.get(name)
    }
    return render_template(
        "customer/activity.html",
        lines=lines[:PAGE],
        more=lines[PAGE - 1].sequence if len(lines) > PAGE else None,
        wanted=wanted,
        chosen=chosen,
        people=people,
        about=ABOUT,
        organization=organization,
        as_of=services().clock(),
    )


@blueprint.get("/settings/activity.csv")
def activity_csv() -> Response:
    """Send the log, as the address filters it, the latest first."""
    organization, _ = entitled("see_settings")
    lines = _lines(organization, _wanted(organization, paged=False), MOST_IN_CSV)
    body = stream_with_context(_sheet(lines, organization))
    response = Response(body, content_type="text/csv; charset=utf-8")
    response.headers.set("Content-Disposition", "attachment", filename="activity.csv")
    return response


def _sheet(lines: Sequence[Line], organization: Organization) -> Iterator[str]:
    yield _row(["When", "Who", "What", "Of what", "Detail"])
    for one in lines:
        when = one.at.astimezone(organization.zone.at(one.at)).isoformat(timespec="seconds")
        yield _row([when, *map(safe_cell, (one.who, one.what, one.target, one.detail))])


def _row(cells: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue()
