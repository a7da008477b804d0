"""Customers: the table of all, one of them, their events and what happened with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flask import Response, render_template, request
from sqlalchemy import Connection

from portal import accounts, desk, usage
from portal.accounts import Organization
from portal.core.units import format_micro, format_nano_usd
from portal.margin import revenue
from portal.office import customers as read
from portal.office import dossier, margin, places, timeline
from portal.office.customers import CustomerLine, Customers
from portal.office.timeline import Moment
from portal.web import record
from portal.web.operator.pictures import waterfall
from portal.web.operator.sheets import sheet
from portal.web.operator.shell import blueprint
from portal.web.record import Line
from portal.web.services import services

EVENTS_PAGE = 50
TITLES = (
    "Customer", "Id", "Plan", "Charging", "First day", "Last day", "Credits used", "Not charged",
    "Cost USD", "Margin of 30 days USD", "Unpriced lines", "Growth percent", "Credits left",
    "State",
)  # fmt: skip


def _table(*, whole: bool = False) -> Customers:
    parts = services()
    now = parts.clock()
    # The margins are those of the Margin page, which brings revenue up to date as well.
    revenue.bring_up_to_date(parts.database, now=now, most=margin.AT_ONCE)
    with parts.database.figures() as tx:
        return read.customers(tx, read.asked(request.args), now=now, whole=whole)


@blueprint.get("/customers")
def customers() -> str:
    """Show what every customer used, cost and has left."""
    return render_template("operator/customers.html", page=_table())


@blueprint.get("/customers.csv")
def customers_csv() -> Response:
    """Send the table as it is asked for, all of its lines."""
    page = _table(whole=True)
    return sheet(f"customers-{page.as_of:%Y-%m-%d}", TITLES, _cells(page.lines))


def _cells(lines: Sequence[CustomerLine]) -> Iterator[list[str]]:
    for line in lines:
        one = line.organization
        growth, left = line.growth_percent, line.margin_nano_usd
        yield [
            one.name,
            one.organization_id,
            line.tier,
            one.charging,
            line.first_day.isoformat(),
            line.last_day.isoformat(),
            format_micro(line.used_micro),
            format_micro(line.uncollected_micro),
            format_nano_usd(line.cost_nano_usd),
            "" if left is None else format_nano_usd(left),
            str(line.unknown_lines),
            "" if growth is None else str(growth),
            format_micro(line.left_micro),
            " ".join(line.states),
        ]


@blueprint.get("/customers/<organization_id>")
def customer(organization_id: str) -> str:
    """Show one customer."""
    parts = services()
    now = parts.clock()
    desk.book_due(parts.database, organization_id, now=now)
    revenue.recognise(parts.database, organization_id, now=now)
    with parts.database.reading() as tx:
        page = dossier.dossier(tx, organization_id, now=now)
        happened = timeline.timeline(tx, organization_id)
        acts = _in_words(tx, page.organization, happened.moments)
        left = margin.of_customer(tx, organization_id, now=now)
    return render_template(
        "operator/customer.html",
        page=page,
        organization=page.organization,
        timeline=happened,
        acts=acts,
        left=left,
        steps=waterfall(left.margin.figures.waterfall()),
    )


@blueprint.get("/customers/<organization_id>/timeline")
def customer_timeline(organization_id: str) -> str:
    """Show what happened with a customer, page by page."""
    parts = services()
    with parts.database.reading() as tx:
        organization = accounts.find_organization(tx, organization_id)
        page = timeline.timeline(tx, organization_id, after=request.args.get("after", ""))
        acts = _in_words(tx, organization, page.moments)
    return render_template(
        "operator/timeline.html",
        timeline=page,
        acts=acts,
        organization=organization,
        as_of=parts.clock(),
    )


def _in_words(
    tx: Connection, organization: Organization, moments: Sequence[Moment]
) -> dict[str, Line]:
    """Return the acts among moments in the words of the customer's own log, by their keys."""
    parts = services()
    names = record.names_of(
        tx, organization, brand=parts.settings.brand.name, operators=True, now=parts.clock()
    )
    return {one.key: record.line(one.act, names) for one in moments if one.act is not None}


@blueprint.get("/customers/<organization_id>/events")
def customer_events(organization_id: str) -> str:
    """Show a customer's events with what each cost, of a run or of all, newest first."""
    parts = services()
    run, last = request.args.get("run", ""), places.read(request.args.get("after", ""))
    source, _, event_id = last[1].partition("\n") if last else ("", "", "")
    with parts.database.reading() as tx:
        organization = accounts.find_organization(tx, organization_id)
        found = usage.list_events(
            tx,
            organization_id,
            filters={"run": run} if run else None,
            before=(last[0], source, event_id) if last else None,
            limit=EVENTS_PAGE + 1,
            with_costs=True,
        )
        lines = found[:EVENTS_PAGE]
        costs = usage.costs_of_events(tx, organization_id, lines)
    end = lines[-1] if len(found) > EVENTS_PAGE else None
    return render_template(
        "operator/customer_events.html",
        lines=lines,
        costs=costs,
        run=run,
        following=places.written(end.occurred_at, f"{end.source}\n{end.event_id}") if end else "",
        organization=organization,
        as_of=parts.clock(),
    )


@blueprint.get("/customers/<organization_id>/event")
def customer_event(organization_id: str) -> str:
    """Show one event: what paid for it, and its cost line by line."""
    parts = services()
    source, event_id = request.args.get("source", ""), request.args.get("id", "")
    with parts.database.reading() as tx:
        organization = accounts.find_organization(tx, organization_id)
        receipt = usage.receipt(tx, organization_id, event_id, source=source, with_costs=True)
        lines = usage.cost_of_event(tx, organization_id, source, event_id)
    return render_template(
        "operator/customer_event.html",
        receipt=receipt,
        lines=lines,
        organization=organization,
        as_of=parts.clock(),
    )
