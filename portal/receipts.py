"""Single events for a customer: the list, newest first, and one event's receipt with names.

Invariant: a member reads their own events only; another's is the same as one that does not exist.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from portal import cap_trail, usage
from portal.accounts import Member, Organization
from portal.breakdown import Selection
from portal.cap_trail import Passed
from portal.core.errors import InvalidRequest
from portal.core.periods import Period, start_of_day
from portal.spending import Choices, book_at, choices
from portal.usage import EventRow

PAGE = 50
#: What paid, in the customer's words.
SOURCES = {
    "allowance": "Included in your plan",
    "rollover": "Carried over",
    "promotion": "Promotion",
    "pack": "Pack",
    "adjustment": "Adjustment",
    "restoration": "Restored",
    "overage": "Beyond your credits",
}


@dataclass(frozen=True)
class EventLine:
    """An event with the names behind its labels."""

    event: EventRow
    action: str
    member: str
    team: str
    project: str

    @property
    def charged_micro(self) -> int:
        """What was taken from the credits."""
        return self.event.credits_micro


@dataclass(frozen=True)
class Events:
    """A page of events and the cursor of the next one, empty at the end."""

    as_of: datetime
    selection: Selection
    run: str
    lines: Sequence[EventLine]
    cursor: str


@dataclass(frozen=True)
class PaidBy:
    """One grant's part in paying for an event; no grant's where it went beyond them."""

    grant_id: str | None
    name: str
    amount_micro: int


@dataclass(frozen=True)
class CountedIn:
    """A cap that let an event through: whom it is about, for which work, and from when to when."""

    cap_id: str
    subject: str
    work: str
    window_kind: str
    window: Period


@dataclass(frozen=True)
class EventReceipt:
    """What one event cost, what paid for it, and the caps that let it through."""

    as_of: datetime
    line: EventLine
    paid_by: Sequence[PaidBy]
    counted_in: Sequence[CountedIn]


def events(
    tx: Connection,
    organization: Organization,
    selection: Selection,
    *,
    run: str = "",
    cursor: str = "",
    now: datetime,
) -> Events:
    """Return a page of events as selected. Raises InvalidRequest for a cursor that is none."""
    filters = dict(selection.filters)
    if run:
        filters["run"] = run
    found = usage.list_events(
        tx,
        organization.organization_id,
        filters=filters,
        start=None if run else start_of_day(selection.range.start, organization.zone),
        end=None if run else start_of_day(selection.range.end, organization.zone),
        before=_read_cursor(cursor) if cursor else None,
        limit=PAGE + 1,
    )
    known = choices(tx, organization.organization_id, book_at(tx, now))
    lines = [_line(event, known) for event in found[:PAGE]]
    more = _write_cursor(found[PAGE - 1]) if len(found) > PAGE else ""
    return Events(now, selection, run, lines, more)


def receipt(
    tx: Connection,
    organization: Organization,
    member: Member,
    event_id: str,
    *,
    source: str | None,
    now: datetime,
) -> EventReceipt:
    """Return one event's receipt. Raises NotFound, InvalidRequest."""
    found = usage.receipt(
        tx,
        organization.organization_id,
        event_id,
        source=source,
        member=None if member.sees_all_use else member.member_id,
    )
    known = choices(tx, organization.organization_id, book_at(tx, now))
    paid = [PaidBy(grant, SOURCES.get(kind, kind), micro) for grant, kind, micro in found.paid_by]
    passed = cap_trail.of_event(
        tx, organization.organization_id, found.event.source, found.event.event_id
    )
    return EventReceipt(
        now, _line(found.event, known), paid, [_counted_in(one, known) for one in passed]
    )


def _counted_in(passed: Passed, known: Choices) -> CountedIn:
    action = known.actions.get(passed.action)
    return CountedIn(
        passed.cap_id,
        known.subject_of(passed.scope, passed.target),
        action.plural if action else passed.action,
        passed.window_kind,
        passed.window,
    )


def _line(event: EventRow, known: Choices) -> EventLine:
    action = known.actions.get(event.action)
    return EventLine(
        event,
        action.name if action else event.action,
        _named(known.members, event.member),
        _named(known.teams, event.team),
        _named(known.projects, event.project),
    )


def _named(names: Mapping[str, str], key: str) -> str:
    return names.get(key, key)


def _write_cursor(event: EventRow) -> str:
    place = [event.occurred_at.isoformat(), event.source, event.event_id]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, str, str]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        at, source, event_id = json.loads(base64.urlsafe_b64decode(padded))
        instant = datetime.fromisoformat(at)
        if instant.tzinfo is None or not isinstance(source, str) or not isinstance(event_id, str):
            raise ValueError
    except (ValueError, TypeError) as error:
        raise InvalidRequest("This link to older work is damaged. Open the list again.") from error
    return instant, source, event_id
