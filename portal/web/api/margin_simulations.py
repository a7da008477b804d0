"""Simulations of other prices over what really happened, for service keys alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from flask import Response, request

from portal import catalog
from portal.core.errors import InvalidRequest
from portal.core.simulation import Outcome, Side, Spread, Summary
from portal.core.units import format_micro, format_nano_usd, format_scaled
from portal.db import Database
from portal.margin import simulation
from portal.margin.simulation import Simulation
from portal.web.api import answers, blueprint, cursors
from portal.web.api.access import caller, need, need_service
from portal.web.api.body import read
from portal.web.api.margin_shapes import SimulationBody, simulation_request
from portal.web.api.organizations import page_size
from portal.web.cells import safe_cell
from portal.web.services import services

#: So many rows of a sheet are read at a time.
SHEET_PART = 5_000
COLUMNS = (
    "organization", "currency", "simulated", "today", "more", "cost_usd", "margin_usd",
    "margin_today_usd", "swing", "swing_today", "uncollected_credits", "grandfather",
)  # fmt: skip


@blueprint.post("/margin/simulations")
def post_simulation() -> tuple[Response, int]:
    """Simulate another way to charge: done at once (201), or by the worker (202)."""
    need_service()
    need("manage")
    body = read(SimulationBody)
    parts, now = services(), services().clock()
    with parts.database.reading() as tx:
        currency = catalog.in_force(tx, at=now).currency
    found = simulation.take_on(
        parts.database, simulation_request(body, currency), actor=caller().actor, now=now
    )
    ended = found.status in {"done", "failed"}
    return answers.answer(_simulation(found, _grandfathered(found)), 201 if ended else 202)


@blueprint.get("/margin/simulations")
def get_simulations() -> tuple[Response, int]:
    """Answer the simulations, newest first, each with what it found."""
    need_service()
    need("read")
    limit = page_size()
    place = cursors.sent("simulations", parts=2)
    before = (_instant(place[0]), place[1]) if place else None
    with services().database.reading() as tx:
        found = simulation.listed(tx, before=before, limit=limit)
    last = found[-1] if len(found) == limit else None
    return answers.answer(
        {
            "data": [_simulation(one) for one in found],
            "next_cursor": None
            if last is None
            else cursors.written("simulations", last.created_at.isoformat(), last.simulation_id),
        }
    )


@blueprint.get("/margin/simulations/<simulation_id>")
def get_simulation(simulation_id: str) -> tuple[Response, int]:
    """Answer how far a simulation has come, and what it found once it is done."""
    need_service()
    need("read")
    with services().database.reading() as tx:
        found = simulation.find(tx, simulation_id)
    return answers.answer(_simulation(found, _grandfathered(found)))


@blueprint.get("/margin/simulations/<simulation_id>/customers")
def get_simulated_customers(simulation_id: str) -> tuple[Response, int] | Response:
    """Answer what a simulation found for each customer, who would pay most more first."""
    need_service()
    need("read")
    sort, limit = request.args.get("sort", "more"), page_size()
    place = cursors.sent(f"simulated {sort}", parts=2)
    after = (cursors.number(place[0]), place[1]) if place else None
    database, sheet = services().database, "text/csv" in request.headers.get("Accept", "")
    with database.reading() as tx:
        simulation.find(tx, simulation_id)
        page = simulation.customers(tx, simulation_id, sort=sort, after=after, limit=limit)
        # A page that is never looked at asks the store nothing.
        found = [] if sheet else list(page)
    if sheet:
        lines = _sheet(database, simulation_id, sort)
        return Response(lines, content_type="text/csv; charset=utf-8")
    cursor = None
    if len(found) == limit:
        figure = simulation.figure_of(found[-1], sort)
        cursor = cursors.written(f"simulated {sort}", str(figure), found[-1].customer)
    return answers.answer({"data": [_outcome(one) for one in found], "next_cursor": cursor})


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest.at("/cursor", "is not one that this list gave") from error
    if found.tzinfo is None:
        raise InvalidRequest.at("/cursor", "is not one that this list gave")
    return found


def _sheet(database: Database, simulation_id: str, sort: str) -> Iterator[str]:
    """Write a row for each customer, as they are read."""
    yield _line(COLUMNS)
    after: tuple[int, str] | None = None
    while True:
        # No connection is held while somebody slow takes what was read.
        with database.figures() as tx:
            page = list(
                simulation.customers(tx, simulation_id, sort=sort, after=after, limit=SHEET_PART)
            )
        for one in page:
            cells = _outcome(one) | {"organization": safe_cell(one.customer)}
            yield _line([cells[name] for name in COLUMNS])
        if len(page) < SHEET_PART:
            return
        after = (simulation.figure_of(page[-1], sort), page[-1].customer)


def _line(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()


def _grandfathered(found: Simulation) -> list[Outcome]:
    if found.summary is None:
        return []
    with services().database.reading() as tx:
        return simulation.to_grandfather(tx, found.simulation_id)


def _simulation(one: Simulation, grandfathered: list[Outcome] | None = None) -> dict[str, Any]:
    asked, notes = one.request, one.notes
    body: dict[str, Any] = {
        "id": one.simulation_id,
        "name": one.name,
        "kind": asked.kind.value,
        "start": asked.start.isoformat(),
        "end": asked.end.isoformat(),
        "status": one.status,
        "progress": {"done": one.done, "total": one.total},
        "started_by": one.started_by,
        "created_at": answers.when(one.created_at),
        "finished_at": answers.when(one.finished_at),
        "assumptions": list(one.assumptions),
        "notes": {
            "other_currencies": notes.left_out,
            "unpriced_actions": list(notes.unpriced_actions),
            "unpriced_tiers": list(notes.unpriced_tiers),
        },
        "result": one.summary and _summary(one.summary),
    }
    if one.failure:
        body["failure"] = one.failure
    if grandfathered is not None:
        body["grandfather"] = [_outcome(outcome) for outcome in grandfathered]
    return body


def _summary(one: Summary) -> dict[str, Any]:
    return {
        "customers": one.customers,
        "cost_usd": format_nano_usd(one.cost_nano_usd),
        "simulated": _side(one.simulated),
        "today": _side(one.today),
        "pays_more": one.pays_more,
        "pays_less": one.pays_less,
        "grandfathered": one.grandfathered,
        "without_margin": one.without_margin,
    }


def _side(one: Side) -> dict[str, Any]:
    return {
        "revenue": {
            currency: answers.money(amount, currency)
            for currency, amount in sorted(one.revenue_minor.items())
        },
        "margin_usd": format_nano_usd(one.margin_nano_usd),
        "margins_usd": _spread(one.margins_nano_usd, places=9),
        "margins": _spread(one.margins_permille, places=3),
        "under_water": one.under_water,
        "swings": _spread(one.swings_permille, places=3),
    }


def _spread(one: Spread | None, *, places: int) -> dict[str, str] | None:
    if one is None:
        return None
    return {
        name: format_scaled(getattr(one, name), places=places) for name in ("p10", "p50", "p90")
    }


def _outcome(one: Outcome) -> dict[str, Any]:
    margin, today = one.margin_nano_usd(), one.margin_nano_usd(today=True)
    return {
        "organization": one.customer,
        "currency": one.currency,
        "simulated": answers.money(one.revenue_minor, one.currency),
        "today": answers.money(one.today_minor, one.currency),
        "more": answers.money(one.more_minor, one.currency),
        "cost_usd": format_nano_usd(one.cost_nano_usd),
        "margin_usd": None if margin is None else format_nano_usd(margin),
        "margin_today_usd": None if today is None else format_nano_usd(today),
        "swing": format_scaled(one.swing_permille, places=3),
        "swing_today": format_scaled(one.today_swing_permille, places=3),
        "uncollected_credits": format_micro(one.uncollected_micro),
        "grandfather": one.grandfathered,
    }
