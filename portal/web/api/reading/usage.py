"""What was used, in all and by group, as JSON or CSV. Models and costs for service keys alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flask import Response, request

from portal import usage
from portal.core.costs import LAYERS
from portal.core.errors import InvalidRequest, NotAllowed
from portal.core.periods import Zone, local_day
from portal.core.units import format_micro, format_nano_usd
from portal.usage import CostTotals, UsageReport
from portal.web.api import answers, blueprint
from portal.web.api.access import caller, current, need
from portal.web.api.reading.asked import DAY, days_asked, filters_asked, groups_asked
from portal.web.cells import line, safe_cell
from portal.web.services import services


@blueprint.get("/organizations/<organization_id>/usage")
def get_usage(organization_id: str) -> tuple[Response, int] | Response:
    """Answer what was used: totals, and by group."""
    need("read")
    groups, filters = groups_asked(), filters_asked()
    asks_cost = _asks_cost({*groups, *filters})
    parts, now = services(), services().clock()
    organization = current(organization_id)
    with parts.database.reading() as tx:
        start, end = days_asked(organization, now)
        report = usage.report(
            tx,
            organization_id,
            start=start,
            end=end,
            group_by=groups,
            filters=filters,
            with_costs=caller().is_service,
        )
        costs = None
        if asks_cost:
            costs = usage.cost(
                tx, organization_id, start=start, end=end, group_by=groups, filters=filters
            )
    body = _body(report, organization.zone, now)
    if costs is not None:
        _add_costs(body, groups, *costs)
    if "text/csv" in request.headers.get("Accept", ""):
        rows = body["data"] if groups else [body["totals"]]
        columns = [*groups, *_SUMS, *(_COST_SUMS if costs is not None else ())]
        return Response(_csv(rows, columns), content_type="text/csv; charset=utf-8")
    return answers.answer(body)


def _asks_cost(labels: set[str]) -> bool:
    """Tell whether costs are asked for. Raises NotAllowed where they are the operator's alone."""
    asks_operator = usage.OPERATOR_ONLY & labels or "include" in request.args
    if asks_operator and not caller().is_service:
        raise NotAllowed("Models and costs are the operator's: use a service key.")
    if request.args.get("include", "cost") != "cost":
        raise InvalidRequest.at("/include", "is not cost, the only thing to include")
    return "include" in request.args


def _body(report: UsageReport, zone: Zone, now: datetime) -> dict[str, Any]:
    return {
        "start": report.start.isoformat(),
        "end": report.end.isoformat(),
        "timezone": zone.name_on(min(report.end - DAY, local_day(now, zone))),
        "timezone_changes": [
            {"at": answers.when(one.at), "timezone": one.name}
            for one in zone.changes
            if report.start < one.first_day < report.end
        ],
        "as_of": answers.when(now),
        "totals": _totals(report.totals),
        "data": [{**_labels(row.labels), **_totals(row.totals)} for row in report.rows],
    }


_SUMS = ("credits", "quantity", "events", "uncollected")
#: A row's costs as columns: the whole, then each layer's part.
_COST_SUMS = ("cost_usd", *LAYERS, "unknown_costs")


def _add_costs(
    body: dict[str, Any],
    groups: list[str],
    whole: CostTotals,
    by_group: dict[tuple[Any, ...], CostTotals],
) -> None:
    """Put costs beside the usage of the same group; a group that only cost has a row of its own."""
    body["totals"] |= _cost_totals(whole)
    rows = {tuple(row[name] for name in groups): row for row in body["data"]}
    for key, cost in by_group.items():
        labels = _labels(dict(zip(groups, key, strict=True)))
        row = rows.get(tuple(labels.values()))
        if groups and row is None:
            row = {**labels, **_totals(usage.Totals())}
            body["data"].append(row)
        if row is not None:
            row |= _cost_totals(cost)
    nothing = _cost_totals(CostTotals())
    for row in body["data"]:
        row |= nothing | row


def _cost_totals(cost: CostTotals) -> dict[str, Any]:
    return {
        "cost_usd": format_nano_usd(cost.cost_nano_usd),
        "cost_by_layer": {
            layer: format_nano_usd(amount) for layer, amount in cost.by_layer.items()
        },
        "unknown_costs": cost.unknown_lines,
        "suspect_costs": cost.suspect_lines,
        "suspect_stated_usd": format_nano_usd(cost.suspect_stated_nano_usd),
        "input_tokens": cost.input_tokens,
        "output_tokens": cost.output_tokens,
    }


def _labels(labels: Any) -> dict[str, Any]:
    return {name: str(value) or None for name, value in labels.items()}


def _totals(totals: usage.Totals) -> dict[str, Any]:
    return {
        "credits": format_micro(totals.credits_micro),
        "quantity": format_micro(totals.quantity_micro),
        "events": totals.events,
        "uncollected": format_micro(totals.uncollected_micro),
    }


def _csv(rows: list[dict[str, Any]], columns: list[str]) -> Iterator[str]:
    """Write rows as RFC 4180; a text that a spreadsheet would run is quoted (CSV injection)."""
    yield line(columns)
    for row in rows:
        yield line([_cell(row, name) for name in columns])


def _cell(row: dict[str, Any], name: str) -> str:
    if name in LAYERS:
        return str(row.get("cost_by_layer", {}).get(name, "0"))
    if name in _COST_SUMS:
        return str(row.get(name, "0"))
    value = row[name]
    return str(value) if name in _SUMS else safe_cell("" if value is None else str(value))
