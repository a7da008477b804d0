"""Single events: a page of them, and one with its receipt. Costs for service keys alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flask import Response, request

from portal import accounts, cap_trail, event_sheet, usage
from portal.cap_trail import Passed
from portal.core.errors import NotAllowed
from portal.core.units import format_micro, format_nano_usd
from portal.usage import EventRow
from portal.web.api import answers, blueprint, cursors
from portal.web.api.access import caller, need, own
from portal.web.api.organizations import page_size
from portal.web.api.reading.asked import filters_asked, instant_asked
from portal.web.api.shapes import instant
from portal.web.cells import line, safe_records
from portal.web.services import services


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
    limit, filters = page_size(), filters_asked()
    if "model" in filters and not caller().is_service:
        raise NotAllowed("Models are the operator's: use a service key.")
    database = services().database
    with database.reading() as tx:
        zone = accounts.find_organization(tx, own(organization_id)).zone
        asked: Any = {
            "filters": filters,
            "start": instant_asked("start", zone),
            "end": instant_asked("end", zone),
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
