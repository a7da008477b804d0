"""Events that were not taken: kept with the reason, to be tried again once the cause is mended.

The only writer of rejected events. Invariant: nothing that was sent is lost; what lands later is
marked, never deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, insert, or_, select, update

from portal.ids import new_id
from portal.tables import rejected_events

LONGEST_DETAIL = 2_000


@dataclass(frozen=True)
class RejectedEvent:
    """An event as it was sent, and why it was not taken."""

    organization_id: str
    rejection_id: str
    source: str
    event_id: str
    code: str
    detail: str
    content: Any
    received_at: datetime
    replayed_at: datetime | None


@dataclass(frozen=True)
class Reason:
    """Why one event was not taken, with what it says its source and id are."""

    source: str
    event_id: str
    code: str
    detail: str
    content: Any


def keep(tx: Connection, organization_id: str, reasons: Sequence[Reason], *, now: datetime) -> None:
    """Keep events with the reason they were not taken."""
    if not reasons:
        return
    tx.execute(
        insert(rejected_events),
        [
            {
                "organization_id": organization_id,
                "rejection_id": new_id("rej"),
                "source": one.source,
                "event_id": one.event_id,
                "code": one.code,
                "detail": one.detail[:LONGEST_DETAIL],
                "content": one.content,
                "received_at": now,
            }
            for one in reasons
        ],
    )


def waiting(
    tx: Connection,
    organization_id: str,
    *,
    after: str = "",
    code: str | None = None,
    chosen: Sequence[str] | None = None,
    limit: int,
) -> list[RejectedEvent]:
    """Return rejected events that have not landed since, in the order of their ids.

    ``chosen`` are the ids of the only ones that are wanted.
    """
    conditions: list[ColumnElement[bool]] = [
        rejected_events.c.organization_id == organization_id,
        rejected_events.c.replayed_at.is_(None),
        rejected_events.c.rejection_id > after,
    ]
    if code is not None:
        conditions.append(rejected_events.c.code == code)
    if chosen is not None:
        conditions.append(rejected_events.c.rejection_id.in_(chosen))
    query = (
        select(rejected_events)
        .where(*conditions)
        .order_by(rejected_events.c.rejection_id)
        .limit(limit)
    )
    return [RejectedEvent(**row) for row in tx.execute(query).mappings()]


def everywhere(
    tx: Connection,
    *,
    organization_id: str | None = None,
    code: str = "",
    before: tuple[datetime, str] | None = None,
    limit: int,
) -> list[RejectedEvent]:
    """Return rejected events of all organizations that wait, the latest first. Operator only."""
    came, key = rejected_events.c.received_at, rejected_events.c.rejection_id
    conditions: list[ColumnElement[bool]] = [rejected_events.c.replayed_at.is_(None)]
    if organization_id is not None:
        conditions.append(rejected_events.c.organization_id == organization_id)
    if code:
        conditions.append(rejected_events.c.code == code)
    if before is not None:
        at, last = before
        conditions.append(or_(came < at, and_(came == at, key < last)))
    query = select(rejected_events).where(*conditions).order_by(came.desc(), key.desc())
    return [RejectedEvent(**row) for row in tx.execute(query.limit(limit)).mappings()]


def why(tx: Connection) -> dict[str, int]:
    """Return how many events of all organizations wait, by why they were not taken."""
    rows = tx.execute(
        select(rejected_events.c.code, func.count())
        .where(rejected_events.c.replayed_at.is_(None))
        .group_by(rejected_events.c.code)
        .order_by(rejected_events.c.code)
    )
    return {row[0]: int(row[1]) for row in rows}


def chosen_of(tx: Connection, ids: Sequence[str]) -> list[RejectedEvent]:
    """Return the events that wait of those that were chosen, whosever they are."""
    query = select(rejected_events).where(
        rejected_events.c.rejection_id.in_(ids), rejected_events.c.replayed_at.is_(None)
    )
    return [RejectedEvent(**row) for row in tx.execute(query).mappings()]


_LANDED = (
    update(rejected_events)
    .where(
        rejected_events.c.organization_id == bindparam("org"),
        rejected_events.c.rejection_id == bindparam("id_"),
        rejected_events.c.replayed_at.is_(None),
    )
    .values(replayed_at=bindparam("now"))
)
_AGAIN = (
    update(rejected_events)
    .where(
        rejected_events.c.organization_id == bindparam("org"),
        rejected_events.c.rejection_id == bindparam("id_"),
    )
    .values(code=bindparam("code_"), detail=bindparam("detail_"))
)


def landed(tx: Connection, rejected: Sequence[RejectedEvent], *, now: datetime) -> None:
    """Mark events that were taken after all."""
    for one in rejected:
        tx.execute(_LANDED, {"org": one.organization_id, "id_": one.rejection_id, "now": now})


def failed_again(tx: Connection, rejected: RejectedEvent, *, code: str, detail: str) -> None:
    """Remember why an event still cannot be taken."""
    tx.execute(
        _AGAIN,
        {
            "org": rejected.organization_id,
            "id_": rejected.rejection_id,
            "code_": code,
            "detail_": detail[:LONGEST_DETAIL],
        },
    )
