"""Single events as a customer may see them: a list, and one with what paid for it.

Invariant: an event shows what it was charged, and what paid for it adds up to that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, or_, select, tuple_

from portal.core.errors import InvalidRequest, NotFound
from portal.core.ledger import Account
from portal.tables import IS_OF_A_RUN, event_debits, events, grants
from portal.usage.groups import GROUPS


@dataclass(frozen=True)
class EventRow:
    """One event, as a customer may see it; ``credits_micro`` is what was charged."""

    source: str
    event_id: str
    type: str
    action: str
    occurred_at: datetime
    member: str
    team: str
    project: str
    run: str
    quantity_micro: int
    credits_micro: int
    uncollected_micro: int
    price_micro: int
    price_book_version: int


@dataclass(frozen=True)
class Receipt:
    """One event with what paid for it: the grant, its source, and the millionths.

    What was used beyond all grants has no grant, and ``overage`` for its source. ``granted`` says
    of each grant what it was granted for, and when it began.
    """

    event: EventRow
    paid_by: Sequence[tuple[str | None, str, int]]
    granted: Mapping[str, tuple[str, datetime]] = field(default_factory=dict)


#: After every event.
_NEVER = datetime(9999, 12, 31, tzinfo=UTC)


def _event(row: Any) -> EventRow:
    return EventRow(
        row.source,
        row.event_id,
        row.type,
        row.action,
        row.occurred_at,
        row.member_id,
        row.team_id,
        row.project_id,
        row.run_id,
        row.quantity_micro,
        row.credits_micro - row.uncollected_micro,
        row.uncollected_micro,
        row.price_micro,
        row.price_book_version,
    )


def fitting(
    organization_id: str,
    filters: Mapping[str, str],
    start: datetime | None,
    end: datetime | None,
    *,
    with_costs: bool = False,
) -> list[ColumnElement[bool]]:
    """Return the condition for the events of a span that fit the filters."""
    found: list[ColumnElement[bool]] = [events.c.organization_id == organization_id]
    found += [events.c[GROUPS[name]] == value for name, value in filters.items()]
    if filters.get("run"):
        found.append(IS_OF_A_RUN)
    if start is not None:
        found.append(events.c.occurred_at >= start)
    if end is not None or start is None:
        # Without a bound the index by time would not be looked at.
        found.append(events.c.occurred_at < (end or _NEVER))
    if not with_costs:
        found.append(events.c.action != "")
    return found


def after_place(place: tuple[datetime, str, str]) -> ColumnElement[bool]:
    """Return the condition for the events that a list, newest first, has after a place.

    That is an event's instant, source and id.
    """
    at, source, event_id = place
    further = tuple_(events.c.source, events.c.event_id) < tuple_(source, event_id)
    # The first condition alone tells the stores where in the index to begin.
    return and_(events.c.occurred_at <= at, or_(events.c.occurred_at < at, further))


def list_events(
    tx: Connection,
    organization_id: str,
    *,
    filters: Mapping[str, str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    before: tuple[datetime, str, str] | None = None,
    limit: int = 50,
    with_costs: bool = False,
) -> list[EventRow]:
    """Return events, newest first, those after the cursor ``before``.

    Events that only cost the operator are left out unless ``with_costs``.
    """
    conditions = fitting(organization_id, filters or {}, start, end, with_costs=with_costs)
    if before is not None:
        conditions.append(after_place(before))
    query = (
        select(events)
        .where(*conditions)
        .order_by(events.c.occurred_at.desc(), events.c.source.desc(), events.c.event_id.desc())
        .limit(limit)
    )
    return [_event(row) for row in tx.execute(query)]


def receipt(
    tx: Connection,
    organization_id: str,
    event_id: str,
    *,
    source: str | None,
    member: str | None = None,
    with_costs: bool = False,
) -> Receipt:
    """Return one event with what paid. Raises NotFound.

    An event that only costs the operator is not there unless ``with_costs``; with ``member`` only
    that member's events are. Raises InvalidRequest that names the sources where several events
    share the id and ``source`` does not say which.
    """
    row = _only(tx, organization_id, event_id, source, member, with_costs=with_costs)
    paid = _paid(tx, organization_id, row.source, event_id)
    return Receipt(
        _event(row),
        [(one.grant_id, one.source or Account.OVERAGE.value, one.amount_micro) for one in paid],
        {one.grant_id: (one.reason, one.effective_at) for one in paid if one.grant_id},
    )


#: How many sources are named where several events share an id.
_MOST_SOURCES = 20


def _sources(organization_id: str) -> Select[tuple[str]]:
    """Return the query of an organization's sources, each found by the one before it.

    So that one event is looked up in the primary key once for each of them: all events of an
    organization are too many to go over.
    """
    of = events.c.organization_id == organization_id
    first = select(func.min(events.c.source).label("source")).where(of)
    found = first.cte("sources", recursive=True)
    following = select(func.min(events.c.source)).where(of, events.c.source > found.c.source)
    found = found.union_all(select(following.scalar_subquery()).where(found.c.source.is_not(None)))
    return select(found.c.source).where(found.c.source.is_not(None))


def _only(
    tx: Connection,
    organization_id: str,
    event_id: str,
    source: str | None,
    member: str | None,
    *,
    with_costs: bool,
) -> Row[Any]:
    conditions = [events.c.organization_id == organization_id, events.c.event_id == event_id]
    if not with_costs:
        conditions.append(events.c.action != "")
    if source is not None:
        conditions.append(events.c.source == source)
    else:
        conditions.append(events.c.source.in_(_sources(organization_id)))
    if member is not None:
        conditions.append(events.c.member_id == member)
    rows = tx.execute(
        select(events).where(*conditions).order_by(events.c.source).limit(_MOST_SOURCES)
    ).all()
    if not rows:
        raise NotFound("event", event_id)
    if len(rows) > 1:
        sources = ", ".join(repr(one.source) for one in rows)
        raise InvalidRequest.at("/source", f"must say which event is meant: one of {sources}")
    return rows[0]


def _paid(tx: Connection, organization_id: str, source: str, event_id: str) -> Sequence[Any]:
    """Return what paid for an event, grant by grant; what was used beyond all grants is last."""
    return tx.execute(
        select(
            grants.c.grant_id,
            grants.c.source,
            event_debits.c.amount_micro,
            grants.c.reason,
            grants.c.effective_at,
        )
        .select_from(event_debits)
        .outerjoin(
            grants,
            and_(
                grants.c.organization_id == event_debits.c.organization_id,
                grants.c.grant_id == event_debits.c.account,
            ),
        )
        .where(
            event_debits.c.organization_id == organization_id,
            event_debits.c.source == source,
            event_debits.c.event_id == event_id,
        )
        .order_by(grants.c.grant_id.is_(None), grants.c.priority, grants.c.grant_id)
    ).all()
