"""Simulations: another way to charge, replayed over what really happened, beside today's."""

from __future__ import annotations

from datetime import timedelta

from flask import Response, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from portal import catalog, everybody
from portal.core.errors import CatalogError, InvalidRequest, Unavailable
from portal.core.margin.figures import Span
from portal.core.simulation import Outcome
from portal.core.units import format_micro, format_nano_usd
from portal.margin import simulation, whole
from portal.margin.whole import Totals
from portal.office import asking, places
from portal.web.operator.sheets import sheet
from portal.web.operator.shell import actor, blueprint
from portal.web.problems import error_words
from portal.web.services import services

PAGE = 30
SHOWN = 50
TITLES = (
    "Customer", "Currency", "Today minor units", "Simulated minor units", "More minor units",
    "Cost USD", "Swing today permille", "Swing permille", "Not charged credits", "Grandfather",
)  # fmt: skip


@blueprint.get("/simulation")
def simulations() -> str:
    """Show the simulations there are, and the form of another."""
    return _page()


def _page(wrong: str = "") -> str:
    parts = services()
    now = parts.clock()
    with parts.database.reading() as tx:
        found = simulation.listed(
            tx, before=places.read(request.args.get("after", "")), limit=PAGE + 1
        )
        book = catalog.in_force(tx, at=now)
    lines = found[:PAGE]
    last = lines[-1] if len(found) > PAGE else None
    return render_template(
        "operator/simulations.html",
        lines=lines,
        book=book,
        kinds=asking.KINDS,
        given=request.form,
        wrong=wrong,
        first=(now - timedelta(days=60)).date().replace(day=1),
        last=now.date(),
        following=places.written(last.created_at, last.simulation_id) if last else "",
        as_of=now,
    )


@blueprint.post("/simulation")
def simulate() -> AnyResponse | tuple[str, int]:
    """Take a simulation on; a short one is run at once, a longer one by the worker."""
    parts = services()
    with parts.database.reading() as tx:
        book = catalog.in_force(tx, at=parts.clock())
    try:
        wanted = asking.simulation_asked(request.form, book)
        begun = simulation.take_on(parts.database, wanted, actor=actor(), now=parts.clock())
    except (InvalidRequest, CatalogError) as error:
        return _page(error_words(error)), 422
    flash("The simulation is taken on.")
    return redirect(url_for(".simulated", simulation_id=begun.simulation_id), 303)


@blueprint.get("/simulation/<simulation_id>")
def simulated(simulation_id: str) -> str:
    """Show how far a simulation has come, and what it found, beside today's prices."""
    parts = services()
    sort = request.args.get("sort", "more")
    with parts.database.reading() as tx:
        found = simulation.find(tx, simulation_id)
        lines = list(simulation.customers(tx, simulation_id, sort=sort, limit=SHOWN))
        kept = simulation.to_grandfather(tx, simulation_id)
        names = everybody.names(tx, {one.customer for one in (*lines, *kept)})
    return render_template(
        "operator/simulated.html",
        found=found,
        earned=_earned(found) if found.summary else None,
        kinds=asking.KINDS,
        lines=lines,
        sort=sort,
        kept=kept,
        names=names,
        as_of=parts.clock(),
    )


def _earned(found: simulation.Simulation) -> Totals | None:
    """Return what the Margin page says of the same days; None where that takes too long."""
    try:
        with services().database.figures() as tx:
            return whole.totals(tx, Span(*found.request.days))
    except Unavailable:
        return None


@blueprint.get("/simulation/<simulation_id>.csv")
def simulated_csv(simulation_id: str) -> Response:
    """Send what a simulation found for every customer."""
    with services().database.reading() as tx:
        simulation.find(tx, simulation_id)
        rows = [_cells(one) for one in simulation.customers(tx, simulation_id, limit=None)]
    return sheet(simulation_id, TITLES, rows)


def _cells(one: Outcome) -> list[str]:
    return [
        one.customer,
        one.currency,
        str(one.today_minor),
        str(one.revenue_minor),
        str(one.more_minor),
        format_nano_usd(one.cost_nano_usd),
        str(one.today_swing_permille),
        str(one.swing_permille),
        format_micro(one.uncollected_micro),
        "yes" if one.grandfathered else "no",
    ]
