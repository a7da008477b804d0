"""Usage: by action, day, member, team or project; as a page, as CSV, and event by event."""

from __future__ import annotations

from flask import Response, render_template, request, stream_with_context

from portal import breakdown as read
from portal import receipts
from portal.web.customer import pictures, sheet
from portal.web.customer.shell import blueprint, reader
from portal.web.services import services


def _breakdown() -> read.Breakdown:
    organization, member = reader()
    parts = services()
    now = parts.clock()
    selection = read.select(organization, member, request.args, now=now)
    with parts.database.reading() as tx:
        return read.breakdown(tx, organization, selection, now=now)


@blueprint.get("/usage")
def usage() -> str:
    """Show usage as selected in the address."""
    organization, _ = reader()
    page = _breakdown()
    return render_template(
        "customer/usage.html", page=page, picture=pictures.usage(page), organization=organization
    )


@blueprint.get("/usage.csv")
def usage_csv() -> Response:
    """Send the table that the page shows for the same address."""
    page = _breakdown()
    body = stream_with_context(sheet.lines(page))
    response = Response(body, content_type="text/csv; charset=utf-8")
    chosen = page.selection.range
    response.headers.set(
        "Content-Disposition",
        "attachment",
        filename=f"usage-by-{page.selection.group}-{chosen.start}-to-{chosen.last}.csv",
    )
    return response


@blueprint.get("/usage/events")
def events() -> str:
    """List work, newest first: a run is one line, which opens."""
    organization, member = reader()
    parts = services()
    now = parts.clock()
    args = request.args
    asked = receipts.ListRequest(args.get("run", ""), args.get("open", ""), args.get("after", ""))
    selection = read.select(organization, member, request.args, now=now)
    with parts.database.reading() as tx:
        page = receipts.events(tx, organization, selection, asked, now=now)
    return render_template("customer/events.html", page=page, organization=organization)


@blueprint.get("/usage/events/<path:event_id>")
def event(event_id: str) -> str:
    """Show one event's receipt."""
    organization, member = reader()
    parts = services()
    with parts.database.reading() as tx:
        page = receipts.receipt(
            tx,
            organization,
            member,
            event_id,
            source=request.args.get("source"),
            now=parts.clock(),
        )
    return render_template("customer/event.html", page=page, organization=organization)
