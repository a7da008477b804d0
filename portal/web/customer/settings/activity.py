"""The activity log: who did what and since when, a page at a time and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from flask import Response, render_template, request, stream_with_context
from sqlalchemy import Connection

from portal import audit
from portal.accounts import Member, Organization
from portal.audit import Wanted
from portal.core.periods import start_of_day
from portal.web import record
from portal.web.cells import safe_cell
from portal.web.customer.settings.page import Section, add
from portal.web.customer.shell import blueprint, entitled
from portal.web.record import Line, Names
from portal.web.services import services

LATEST, PAGE, MOST_IN_CSV = 5, 50, 10_000


def _names(tx: Connection, organization: Organization) -> Names:
    parts = services()
    return record.names_of(tx, organization, brand=parts.settings.brand.name, now=parts.clock())


def _lines(organization: Organization, wanted: Wanted, limit: int) -> Sequence[Line]:
    with services().database.reading() as tx:
        names = _names(tx, organization)
        found = audit.acts(tx, organization.organization_id, wanted, limit=limit)
    return [record.line(one, names) for one in found]


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
        about=asked.get("about", "") if asked.get("about") in record.ABOUT else "",
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
        names = _names(tx, organization)
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
        about=record.ABOUT,
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
