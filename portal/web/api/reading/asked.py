"""What a reader asks for in the address: instants, days, groups and filters.

Invariant: a day is the organization's own, and an instant that begins none is refused, not rounded.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from flask import request

from portal import usage
from portal.accounts import Organization
from portal.core.errors import InvalidRequest
from portal.core.periods import Zone, local_day, start_of_day
from portal.web.api.shapes import EARLIEST, LATEST, instant

DAY = timedelta(days=1)


def instant_asked(name: str, zone: Zone | None = None) -> datetime | None:
    """Return the instant a parameter names, or with a zone also the one that a day begins with."""
    given = request.args.get(name)
    if given is None:
        return None
    if zone is not None and len(given) == len("2026-11-01"):
        return start_of_day(calendar_day(given, f"/{name}"), zone)
    return instant(given, f"/{name}")


def past_instant_asked(now: datetime) -> datetime:
    """Return the instant that ``at`` names, or now where it is left out. Raises InvalidRequest."""
    at = instant_asked("at") or now
    if at > now:
        raise InvalidRequest.at("/at", "lies in the future")
    return at


def calendar_day(given: str, pointer: str) -> date:
    """Return the day that a parameter names. Raises InvalidRequest."""
    try:
        day = date.fromisoformat(given)
    except ValueError as error:
        raise InvalidRequest.at(pointer, 'is not a day such as "2026-11-01"') from error
    if not EARLIEST.year <= day.year < LATEST.year:
        raise InvalidRequest.at(pointer, f"lies outside {EARLIEST.year} to {LATEST.year - 1}")
    return day


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


def days_asked(organization: Organization, now: datetime) -> tuple[date, date]:
    """Return the local days asked for, the billing period's where none are."""
    period = organization.period_at(now)
    zone = organization.zone
    start = _day("start", local_day(period.start, zone), zone)
    end = _day("end", local_day(now, zone) + DAY, zone)
    if not start < end:
        raise InvalidRequest.at("/end", "must be later than start; the end day itself is left out")
    return start, end


def groups_asked() -> list[str]:
    """Return by what usage is to be grouped. Raises InvalidRequest where a name comes twice."""
    given = request.args.get("group_by", "")
    names = [name for name in given.split(",") if name]
    if len(names) != len(set(names)):
        raise InvalidRequest.at("/group_by", "names a group twice")
    return names


def filters_asked() -> dict[str, str]:
    """Return which usage is asked for, by what usage can be filtered by."""
    return {name: request.args[name] for name in usage.FILTERS if name in request.args}
