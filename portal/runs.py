"""Work as people count it: what belongs together, one document made by many events, is one line.

Reads events. Invariant: a run is listed once, where its newest event stands, and its line's sums
are those of exactly the events that were asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, case, func, literal, select, tuple_

from portal import usage
from portal.tables import IS_OF_A_RUN, events
from portal.usage import EventRow, Totals

#: Where an event stands among all, newest first: when, whose, which.
Place = tuple[datetime, str, str]

#: A page reads this many events at once, and never more than so many times.
_CHUNK = 200
_MOST_CHUNKS = 10


@dataclass(frozen=True)
class Run:
    """What one run came to: over how many events, kinds of work and people, from when to when."""

    totals: Totals
    pieces: int
    kinds: int
    people: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class Work:
    """One line: the newest event, and the run it belongs to where that has more of them."""

    newest: EventRow
    run: Run | None


@dataclass(frozen=True)
class Asked:
    """Which events are meant: an organization's, that fit the filters, of ``[start, end)``."""

    organization_id: str
    filters: Mapping[str, str]
    start: datetime | None = None
    end: datetime | None = None


def place_of(event: EventRow) -> Place:
    """Return where an event stands."""
    return event.occurred_at, event.source, event.event_id


def work(
    tx: Connection, asked: Asked, *, before: Place | None = None, limit: int = 50
) -> tuple[list[Work], Place | None]:
    """Return a page of work after the place ``before``, newest first, and where the next begins.

    The place is None at the end.
    """
    lines: list[Work] = []
    seen: set[str] = set()
    place = before
    for _ in range(_MOST_CHUNKS):
        found = _events(tx, asked, place, _CHUNK)
        fresh = {one.run for one in found if one.run} - seen
        known = _totals(tx, asked, fresh, before=before)
        for event in found:
            run, listed = known.get(event.run, (None, False))
            if event.run in seen or listed:
                place = place_of(event)
                continue
            if len(lines) == limit:
                return lines, place
            if event.run:
                seen.add(event.run)
            lines.append(Work(event, run if run and run.pieces > 1 else None))
            place = place_of(event)
        if len(found) < _CHUNK:
            return lines, None
    return lines, place


def run(tx: Connection, asked: Asked, run_id: str) -> Run | None:
    """Return what a run came to; None where none of its events is meant."""
    found = _totals(tx, asked, {run_id}, before=None)
    return found[run_id][0] if run_id in found else None


def pieces(tx: Connection, asked: Asked, run_id: str, *, limit: int = 200) -> list[EventRow]:
    """Return the events of a run, newest first."""
    whole = Asked(asked.organization_id, {**asked.filters, "run": run_id}, asked.start, asked.end)
    return _events(tx, whole, None, limit)


def _events(tx: Connection, asked: Asked, before: Place | None, limit: int) -> list[EventRow]:
    return usage.list_events(
        tx,
        asked.organization_id,
        filters=asked.filters,
        start=asked.start,
        end=asked.end,
        before=before,
        limit=limit,
    )


def _totals(
    tx: Connection, asked: Asked, run_ids: Collection[str], *, before: Place | None
) -> dict[str, tuple[Run, bool]]:
    """Return some runs, and whether each was listed already: at or before a place."""
    if not run_ids:
        return {}
    rows = tx.execute(
        select(
            events.c.run_id,
            *usage.sums_of(events),
            func.count().label("pieces"),
            func.count(events.c.action.distinct()).label("kinds"),
            func.count(events.c.member_id.distinct()).label("people"),
            func.min(events.c.occurred_at).label("first_at"),
            func.max(events.c.occurred_at).label("last_at"),
            func.max(_at_or_before(before)).label("listed"),
        )
        .where(
            *usage.fitting(asked.organization_id, asked.filters, asked.start, asked.end),
            IS_OF_A_RUN,
            events.c.run_id.in_(run_ids),
        )
        .group_by(events.c.run_id)
    )
    return {
        row.run_id: (
            Run(
                Totals(*(int(getattr(row, name)) for name in _SUMS)),
                row.pieces,
                row.kinds,
                row.people,
                row.first_at,
                row.last_at,
            ),
            bool(row.listed),
        )
        for row in rows
    }


_SUMS: Sequence[str] = ("credits_micro", "quantity_micro", "uncollected_micro", "events")


def _at_or_before(place: Place | None) -> ColumnElement[int]:
    if place is None:
        return literal(0)
    at, source, event_id = place
    # The instant is bound as the store keeps it: a tuple's values have no types of their own.
    bound = tuple_(literal(at, events.c.occurred_at.type), literal(source), literal(event_id))
    stands = tuple_(events.c.occurred_at, events.c.source, events.c.event_id)
    return case((stands >= bound, 1), else_=0)
