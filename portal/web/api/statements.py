"""Statements of a billing period: opening, movements, closing. JSON and CSV."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from flask import Response, request

from portal import desk, statements
from portal.accounts import Organization
from portal.core.errors import InvalidRequest
from portal.core.periods import Period, start_of_day
from portal.core.units import format_micro
from portal.web.api import answers, blueprint
from portal.web.api.access import current, need
from portal.web.api.shapes import instant
from portal.web.services import services
from portal.web.statement_sheet import rows, sheet


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
    movements = rows(found, detail)
    if "text/csv" in request.headers.get("Accept", ""):
        return Response(sheet(found, movements), content_type="text/csv; charset=utf-8")
    return answers.answer(
        {
            "period": {"start": answers.when(period.start), "end": answers.when(period.end)},
            "closed": not found.running,
            "until": answers.when(found.until),
            "opening": {"credits": format_micro(found.opening_micro)},
            "movements": movements,
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
