"""Work for a customer: the list, newest first, runs as one line; and one event's receipt, named.

Invariant: a member reads their own events only; another's is the same as one that does not exist.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from portal import cap_trail, runs, usage
from portal.accounts import Member, Organization
from portal.breakdown import Chip, Selection, chips
from portal.cap_trail import Passed
from portal.core.errors import InvalidRequest
from portal.core.periods import Period, start_of_day
from portal.runs import Asked, Place, Run
from portal.spending import Choices, book_at, choices
from portal.usage import EventRow

PAGE = 50
#: A run is shown with its newest events where it has more than anybody reads.
LONGEST_RUN = 200


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
class WorkLine:
    """One line of the list: an event, or a whole run where that has more than one.

    ``parts`` are the run's events where the reader opened it.
    """

    newest: EventLine
    run: Run | None
    parts: Sequence[EventLine]


@dataclass(frozen=True)
class Events:
    """A page of work and the cursor of the next one, empty at the end.

    Where one run alone is shown, ``run`` is its id, and its events stand one by one. ``last_seen``
    is when the last line of the page before was made.
    """

    as_of: datetime
    selection: Selection
    run: str
    whole: Run | None
    lines: Sequence[WorkLine]
    cursor: str
    chips: Sequence[Chip]
    last_seen: datetime | None = None


@dataclass(frozen=True)
class PaidBy:
    """One grant's part in paying for an event; no grant's where it went beyond them.

    ``source``, ``reason`` and ``effective_at`` are the grant's, as a lot has them.
    """

    grant_id: str | None
    source: str
    amount_micro: int
    reason: str
    effective_at: datetime


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


@dataclass(frozen=True)
class ListRequest:
    """What of the list is asked for: one run alone, one that is opened, or the page after one."""

    run: str = ""
    opened: str = ""
    cursor: str = ""


def events(
    tx: Connection,
    organization: Organization,
    selection: Selection,
    asked: ListRequest,
    *,
    now: datetime,
) -> Events:
    """Return a page of work as selected. Raises InvalidRequest for a cursor that is none."""
    zone = organization.zone
    meant = Asked(
        organization.organization_id,
        selection.filters,
        None if asked.run else start_of_day(selection.range.start, zone),
        None if asked.run else start_of_day(selection.range.end, zone),
    )
    before = _read_cursor(asked.cursor) if asked.cursor else None
    known = choices(tx, organization.organization_id, book_at(tx, now))
    shown = chips(selection, known)
    if asked.run:
        found = runs.pieces(tx, meant, asked.run, limit=LONGEST_RUN)
        lines = [WorkLine(_line(one, known), None, ()) for one in found]
        whole = runs.run(tx, meant, asked.run)
        return Events(now, selection, asked.run, whole, lines, "", shown)
    page, following = runs.work(tx, meant, before=before, limit=PAGE)
    lines = []
    for one in page:
        opened = one.run is not None and one.newest.run == asked.opened
        parts = runs.pieces(tx, meant, one.newest.run, limit=LONGEST_RUN) if opened else []
        lines.append(
            WorkLine(_line(one.newest, known), one.run, [_line(part, known) for part in parts])
        )
    cursor = _write_cursor(following) if following else ""
    last_seen = before[0] if before else None
    return Events(now, selection, "", None, lines, cursor, shown, last_seen)


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
    nothing = ("", found.event.occurred_at)
    paid = [
        PaidBy(grant, source, micro, *found.granted.get(grant or "", nothing))
        for grant, source, micro in found.paid_by
    ]
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


def _write_cursor(place: Place) -> str:
    at, source, event_id = place
    written = json.dumps([at.isoformat(), source, event_id])
    return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> Place:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        at, source, event_id = json.loads(base64.urlsafe_b64decode(padded))
        instant = datetime.fromisoformat(at)
        if instant.tzinfo is None or not isinstance(source, str) or not isinstance(event_id, str):
            raise ValueError
    except (ValueError, TypeError) as error:
        raise InvalidRequest("This link to older work is damaged. Open the list again.") from error
    return instant, source, event_id
