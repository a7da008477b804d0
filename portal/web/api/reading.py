"""What stands: balance, usage, events, forecast, catalogue. Costs for service keys alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from flask import Response, request

from portal import (
    accounts,
    balances,
    cap_trail,
    catalog,
    event_sheet,
    forecasting,
    overage,
    usage,
    worst_case,
)
from portal.accounts import Organization
from portal.cap_trail import Passed
from portal.core.catalog import minor_places
from portal.core.costs import LAYERS
from portal.core.errors import InvalidRequest, NotAllowed
from portal.core.periods import Zone, local_day, start_of_day
from portal.core.projection import Projection
from portal.core.units import format_micro, format_nano_usd, format_scaled
from portal.forecasting import Forecast
from portal.overage import Standing
from portal.usage import CostTotals, EventRow
from portal.web.api import answers, blueprint, cursors
from portal.web.api.access import caller, current, need, own
from portal.web.api.organizations import page_size
from portal.web.api.shapes import EARLIEST, LATEST, instant
from portal.web.cells import line, safe_cell, safe_records
from portal.web.services import services

DAY = timedelta(days=1)


@blueprint.get("/organizations/<organization_id>/balance")
def get_balance(organization_id: str) -> tuple[Response, int]:
    """Answer what the organization has now."""
    need("read")
    parts, now = services(), services().clock()
    organization = current(organization_id)
    at = _instant("at") or now
    if at > now:
        raise InvalidRequest.at("/at", "lies in the future")
    with parts.database.reading() as tx:
        found = (
            balances.balance(tx, organization_id, now=now)
            if at == now
            else balances.balance_at(tx, organization_id, at=at)
        )
        book = catalog.in_force(tx, at=at)
        beyond = overage.standing(tx, organization, book, at=at)
        most = worst_case.of_period(tx, organization, book, beyond, at=at).amount_minor
    period = organization.period_at(at)
    return answers.answer(
        {
            "as_of": answers.when(at),
            "available": format_micro(found.available_micro),
            "held": format_micro(found.held_micro),
            "debt": format_micro(found.debt_micro),
            "frozen": format_micro(found.frozen_micro),
            "uncollected": format_micro(found.uncollected_micro),
            "period": {"start": answers.when(period.start), "end": answers.when(period.end)},
            "tier": organization.tier,
            "grants": [
                {
                    "id": lot.grant_id,
                    "source": lot.source,
                    "granted": format_micro(lot.granted_micro),
                    "remaining": format_micro(lot.remaining_micro),
                    "expires_at": answers.when(lot.expires_at),
                    "next": position == 0,
                }
                for position, lot in enumerate(found.lots)
            ],
            "overage": _overage(beyond, organization),
            "on_empty": organization.on_empty,
            "worst_case": _worst_case(most, organization),
        }
    )


def _overage(beyond: Standing, organization: Organization) -> dict[str, Any]:
    limit, currency = beyond.limit_minor, organization.currency
    return {
        "enabled": beyond.price_micro_minor is not None,
        "credits": format_micro(beyond.credits_micro),
        "amount": answers.money(beyond.amount_minor, currency),
        "limit": None if limit is None else answers.money(limit, currency),
    }


def _worst_case(most_minor: int | None, organization: Organization) -> dict[str, str] | None:
    if most_minor is None:
        return None
    currency = organization.currency
    return {"amount": answers.money(most_minor, currency), "currency": currency}


def _day(name: str, default: date, zone: Zone) -> date:
    """Return the local day a parameter names, or with whose first instant it begins."""
    given = request.args.get(name)
    if given is None:
        return default
    if len(given) == len("2026-11-01"):
        return calendar_day(given, f"/{name}")
    at = instant(given, f"/{name}")
    day = local_day(at, zone)
    if start_of_day(day, zone) != at:
        raise InvalidRequest.at(
            f"/{name}", "is not where a day of the organization begins: usage is counted by days"
        )
    return day


def calendar_day(given: str, pointer: str) -> date:
    """Return the day that a parameter names. Raises InvalidRequest."""
    try:
        day = date.fromisoformat(given)
    except ValueError as error:
        raise InvalidRequest.at(pointer, 'is not a day such as "2026-11-01"') from error
    if not EARLIEST.year <= day.year < LATEST.year:
        raise InvalidRequest.at(pointer, f"lies outside {EARLIEST.year} to {LATEST.year - 1}")
    return day


def _range(organization: Organization, now: datetime) -> tuple[date, date]:
    """Return the local days asked for, the billing period's where none are."""
    period = organization.period_at(now)
    zone = organization.zone
    start = _day("start", local_day(period.start, zone), zone)
    end = _day("end", local_day(now, zone) + DAY, zone)
    if not start < end:
        raise InvalidRequest.at("/end", "must be later than start; the end day itself is left out")
    return start, end


def _groups() -> list[str]:
    given = request.args.get("group_by", "")
    names = [name for name in given.split(",") if name]
    if len(names) != len(set(names)):
        raise InvalidRequest.at("/group_by", "names a group twice")
    return names


def _filters() -> dict[str, str]:
    return {name: request.args[name] for name in usage.FILTERS if name in request.args}


@blueprint.get("/organizations/<organization_id>/usage")
def get_usage(organization_id: str) -> tuple[Response, int] | Response:
    """Answer what was used: totals, and by group."""
    need("read")
    groups, filters = _groups(), _filters()
    asks_operator = usage.OPERATOR_ONLY & {*groups, *filters} or "include" in request.args
    if asks_operator and not caller().is_service:
        raise NotAllowed("Models and costs are the operator's: use a service key.")
    if request.args.get("include", "cost") != "cost":
        raise InvalidRequest.at("/include", "is not cost, the only thing to include")
    parts, now = services(), services().clock()
    organization = current(organization_id)
    zone = organization.zone
    with parts.database.reading() as tx:
        start, end = _range(organization, now)
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
        if request.args.get("include") == "cost":
            costs = usage.cost(
                tx, organization_id, start=start, end=end, group_by=groups, filters=filters
            )
    body: dict[str, Any] = {
        "start": report.start.isoformat(),
        "end": report.end.isoformat(),
        "timezone": zone.name_on(min(end - DAY, local_day(now, zone))),
        "timezone_changes": [
            {"at": answers.when(one.at), "timezone": one.name}
            for one in zone.changes
            if start < one.first_day < end
        ],
        "as_of": answers.when(now),
        "totals": _totals(report.totals),
        "data": [{**_labels(row.labels), **_totals(row.totals)} for row in report.rows],
    }
    if costs is not None:
        _add_costs(body, groups, *costs)
    if "text/csv" in request.headers.get("Accept", ""):
        rows = body["data"] if groups else [body["totals"]]
        columns = [*groups, *_SUMS, *(_COST_SUMS if costs is not None else ())]
        return Response(_csv(rows, columns), content_type="text/csv; charset=utf-8")
    return answers.answer(body)


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
    for row in body["data"]:
        row.setdefault("cost_usd", "0")


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


def _cursor() -> tuple[datetime, str, str] | None:
    place = cursors.sent("events", parts=3)
    if place is None:
        return None
    at, source, event_id = place
    return instant(at, "/cursor"), source, event_id


def _next_cursor(row: EventRow) -> str:
    return cursors.written("events", row.occurred_at.isoformat(), row.source, row.event_id)


def _event(row: EventRow) -> dict[str, Any]:
    return {
        "id": row.event_id,
        "source": row.source,
        "type": row.type,
        "time": answers.when(row.occurred_at),
        "member": row.member or None,
        "team": row.team or None,
        "project": row.project or None,
        "run": row.run or None,
        "quantity": format_micro(row.quantity_micro),
        "credits": format_micro(row.credits_micro),
        "uncollected": format_micro(row.uncollected_micro),
    }


@blueprint.get("/organizations/<organization_id>/events")
def get_events(organization_id: str) -> tuple[Response, int] | Response:
    """Answer events, newest first; as CSV all of them."""
    need("read")
    limit, filters = page_size(), _filters()
    if "model" in filters and not caller().is_service:
        raise NotAllowed("Models are the operator's: use a service key.")
    database = services().database
    with database.reading() as tx:
        zone = accounts.find_organization(tx, own(organization_id)).zone
        asked: Any = {
            "filters": filters,
            "start": _instant("start", zone),
            "end": _instant("end", zone),
            "with_costs": caller().is_service,
        }
        if "text/csv" in request.headers.get("Accept", ""):
            lines = _event_lines(event_sheet.parts(database, organization_id, **asked))
            return Response(lines, content_type="text/csv; charset=utf-8")
        found = usage.list_events(tx, organization_id, before=_cursor(), limit=limit + 1, **asked)
    page = found[:limit]
    more = _next_cursor(page[-1]) if len(found) > limit else None
    return answers.answer({"data": [_event(row) for row in page], "next_cursor": more})


def _event_lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    yield line(event_sheet.COLUMNS).encode()
    for records in parts:
        yield safe_records(records, numbers=event_sheet.NUMBERS)


def _instant(name: str, zone: Zone | None = None) -> datetime | None:
    """Return the instant a parameter names, or with a zone also the one that a day begins with."""
    given = request.args.get(name)
    if given is None:
        return None
    if zone is not None and len(given) == len("2026-11-01"):
        return start_of_day(calendar_day(given, f"/{name}"), zone)
    return instant(given, f"/{name}")


@blueprint.get("/organizations/<organization_id>/events/<path:event_id>")
def get_event(organization_id: str, event_id: str) -> tuple[Response, int]:
    """Answer one event's receipt: its price, what paid, and the caps that let it through."""
    need("read")
    with services().database.reading() as tx:
        accounts.find_organization(tx, own(organization_id))
        receipt = usage.receipt(
            tx,
            organization_id,
            event_id,
            source=request.args.get("source"),
            with_costs=caller().is_service,
        )
        body = _event(receipt.event)
        passed = cap_trail.of_event(tx, organization_id, receipt.event.source, event_id)
        if caller().is_service:
            lines = usage.cost_of_event(tx, organization_id, receipt.event.source, event_id)
            body["costs"] = [_cost_line(line) for line in lines]
    body["price"] = {
        "credits_each": format_micro(receipt.event.price_micro),
        "price_book": receipt.event.price_book_version,
    }
    body["paid_by"] = [
        {"grant": grant_id, "source": source, "credits": format_micro(amount)}
        for grant_id, source, amount in receipt.paid_by
    ]
    body["caps"] = [_passed(one) for one in passed]
    return answers.answer(body)


def _passed(one: Passed) -> dict[str, Any]:
    return {
        "cap": one.cap_id,
        "scope": one.scope,
        "target": one.target or None,
        "action": one.action or None,
        "window": one.window_kind,
        "start": answers.when(one.window.start),
        "end": answers.when(one.window.end),
    }


def _cost_line(line: dict[str, Any]) -> dict[str, Any]:
    amount, stated = line["amount_nano_usd"], line["stated_nano_usd"]
    return {
        "layer": line["layer"],
        "quality": line["quality"],
        "amount_usd": None if amount is None else format_nano_usd(amount),
        "provider": line["provider"] or None,
        "model": line["model"] or None,
        "resource": line["resource"] or None,
        "input_tokens": line["input_tokens"],
        "output_tokens": line["output_tokens"],
        "price_source": line["price_source"] or None,
        "stated_usd": None if stated is None else format_nano_usd(stated),
        "suspect": line["suspect"],
        "decision": line["decision"],
    }


@blueprint.get("/organizations/<organization_id>/forecast")
def get_forecast(organization_id: str) -> tuple[Response, int]:
    """Answer where the period is going, or why that cannot be said."""
    need("read")
    parts, now = services(), services().clock()
    organization = current(organization_id)
    at = _instant("at") or now
    if at > now:
        raise InvalidRequest.at("/at", "lies in the future")
    with parts.database.reading() as tx:
        found = forecasting.forecast(tx, organization, now=now, at=at)
    return answers.answer(_forecast(found, organization.currency))


def _forecast(found: Forecast, currency: str) -> dict[str, Any]:
    out, beyond = found.runs_out, found.beyond
    by_action = found.outlook.by_action if found.outlook else {}
    body: dict[str, Any] = {
        "as_of": answers.when(found.as_of),
        "period": {
            "start": answers.when(found.period.start),
            "end": answers.when(found.period.end),
        },
        "spent": format_micro(found.spent_micro),
        "projected": _projection(found.projection),
        "overage": beyond
        and {
            "p50": answers.money(beyond.middle_minor, currency),
            "p90": answers.money(beyond.high_minor, currency),
            "currency": currency,
        },
        "runs_out_at": out
        and {
            "p10": answers.when(out.early),
            "p50": answers.when(out.middle),
            "p90": answers.when(out.late),
        },
        "by_action": {
            action: {
                "spent": format_micro(found.spent_by_action.get(action, 0)),
                "projected": _projection(by_action.get(action)),
            }
            for action in sorted({*found.spent_by_action, *by_action})
        },
    }
    if found.refused:
        body["refused"] = found.refused
    return body


def _projection(found: Projection | None) -> dict[str, str] | None:
    if found is None:
        return None
    return {
        "p10": format_micro(found.low_micro),
        "p50": format_micro(found.middle_micro),
        "p90": format_micro(found.high_micro),
    }


@blueprint.get("/catalog")
def get_catalog() -> tuple[Response, int]:
    """Answer the actions, tiers and packs in force."""
    need("read")
    parts = services()
    with parts.database.reading() as tx:
        book = catalog.in_force(tx, at=parts.clock())
    places = minor_places(book.currency)
    return answers.answer(
        {
            "version": book.version,
            "effective_at": answers.when(book.effective_at),
            "currency": book.currency,
            "actions": [
                {
                    "key": one.key,
                    "name": one.name,
                    "plural": one.plural,
                    "credits": format_micro(one.price_micro),
                }
                for one in book.actions.values()
            ],
            "tiers": [
                {
                    "key": one.key,
                    "name": one.name,
                    "kind": one.kind,
                    "interval": one.interval,
                    "price": None
                    if one.price_minor is None
                    else format_scaled(one.price_minor, places=places),
                    "credits": format_micro(one.allowance_micro),
                    "overage": None
                    if one.overage_price_micro_minor is None
                    else format_scaled(one.overage_price_micro_minor, places=places + 6),
                }
                for one in book.tiers.values()
            ],
            "packs": [
                {
                    "key": one.key,
                    "name": one.name,
                    "credits": format_micro(one.credits_micro),
                    "price": format_scaled(one.price_minor, places=places),
                    "expires_after_days": one.expires_after_days,
                }
                for one in book.packs.values()
            ],
        }
    )
