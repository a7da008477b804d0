"""Statements of a billing period: opening, movements, closing. JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from flask import Response, request

from portal import desk, statements
from portal.accounts import Organization
from portal.core.errors import InvalidRequest
from portal.core.periods import Period, start_of_day
from portal.core.units import format_micro
from portal.statements import Statement
from portal.web.api import answers, blueprint
from portal.web.api.access import current, need
from portal.web.api.cells import safe_cell
from portal.web.api.shapes import instant
from portal.web.services import services


@blueprint.get("/organizations/<organization_id>/statement")
def get_statement(organization_id: str) -> tuple[Response, int] | Response:
    """Answer what a billing period began with, what moved, and what it ended with."""
    need("read")
    detail = request.args.get("detail", "days")
    if detail not in {"days", "movements"}:
        raise InvalidRequest.at("/detail", "is not one of days, movements")
    parts, now = services(), services().clock()
    organization = current(organization_id)
    period = _period(organization, now)
    desk.book_due(parts.database, organization_id, now=now)
    with parts.database.reading() as tx:
        found = statements.statement(tx, organization, period, now=now)
    rows = _rows(found, detail)
    if "text/csv" in request.headers.get("Accept", ""):
        return Response(_csv(found, rows), content_type="text/csv; charset=utf-8")
    return answers.answer(
        {
            "period": {"start": answers.when(period.start), "end": answers.when(period.end)},
            "closed": not found.running,
            "until": answers.when(found.until),
            "opening": {"credits": format_micro(found.opening_micro)},
            "movements": rows,
            "closing": {"credits": format_micro(found.closing_micro)},
        }
    )


def _period(organization: Organization, now: datetime) -> Period:
    """Return the billing period asked for: current, previous, or the one that holds a time."""
    given = request.args.get("period", "current")
    running = organization.period_at(now)
    if given == "current":
        return running
    if given == "previous":
        return organization.period_at(running.start - timedelta(microseconds=1))
    at = _day(given, organization) if len(given) == len("2026-11-01") else instant(given, "/period")
    if at > now:
        raise InvalidRequest.at("/period", "lies in the future")
    return organization.period_at(at)


def _day(given: str, organization: Organization) -> datetime:
    try:
        return start_of_day(date.fromisoformat(given), organization.zone)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest.at(
            "/period", "is not current, previous, or a day or time of the period"
        ) from error


def _rows(found: Statement, detail: str) -> list[dict[str, Any]]:
    if detail == "movements":
        return [
            {
                "at": answers.when(one.at),
                "kind": one.kind,
                "source": one.source or None,
                "credits": format_micro(one.credits_micro),
                "reference": one.reference or None,
            }
            for one in found.movements
        ]
    return [
        {
            "day": line.day.isoformat(),
            "kind": line.kind,
            "source": line.source or None,
            "credits": format_micro(line.credits_micro),
        }
        for line in found.lines
    ]


def _csv(found: Statement, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Write the statement as RFC 4180, from the opening's line to the closing's."""
    columns = list(rows[0]) if rows else ["day", "kind", "source", "credits"]
    when = columns[0]
    line = io.StringIO()
    writer = csv.DictWriter(line, columns, lineterminator="\r\n", restval="")
    opening = {
        when: answers.when(found.period.start),
        "kind": "opening",
        "credits": format_micro(found.opening_micro),
    }
    closing = {
        when: answers.when(found.until),
        "kind": "closing",
        "credits": format_micro(found.closing_micro),
    }
    writer.writeheader()
    for row in (opening, *rows, closing):
        text = {name: safe_cell(str(row.get(name) or "")) for name in columns if name != "credits"}
        writer.writerow({**text, "credits": row["credits"]})
        yield line.getvalue()
        line.seek(0)
        line.truncate()
