"""Which caps let an event through: the windows it was counted in when it was taken. Reads only.

A capture was counted where its authorization was. What had no hold, or was captured past the
deadline, was counted in the caps in force when it came.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, bindparam, or_, select

from portal.core.caps import SCOPES
from portal.core.periods import Period
from portal.tables import cap_windows, caps, events, hold_caps, holds


@dataclass(frozen=True)
class Passed:
    """A cap that an event was counted in, with what of it never changes, and the window."""

    cap_id: str
    scope: str
    target: str
    action: str
    window_kind: str
    window: Period


_COUNTED_IN = select(
    caps.c.cap_id, caps.c.scope, caps.c.target, caps.c.action, caps.c.window_kind
).add_columns(cap_windows.c.window_start, cap_windows.c.window_end)
_WINDOW_OF_CAP = and_(
    cap_windows.c.organization_id == caps.c.organization_id,
    cap_windows.c.cap_id == caps.c.cap_id,
)
_EVENT = (
    select(events, holds.c.ended_at, holds.c.expires_at)
    .outerjoin(
        holds,
        and_(
            holds.c.organization_id == events.c.organization_id,
            holds.c.hold_id == events.c.hold_id,
        ),
    )
    .where(
        events.c.organization_id == bindparam("org"),
        events.c.source == bindparam("source_"),
        events.c.event_id == bindparam("event_"),
    )
)
_OF_HOLD = (
    _COUNTED_IN.select_from(caps)
    .join(cap_windows, _WINDOW_OF_CAP)
    .join(
        hold_caps,
        and_(
            hold_caps.c.organization_id == cap_windows.c.organization_id,
            hold_caps.c.cap_id == cap_windows.c.cap_id,
            hold_caps.c.window_start == cap_windows.c.window_start,
        ),
    )
    .where(
        hold_caps.c.organization_id == bindparam("org"), hold_caps.c.hold_id == bindparam("hold_")
    )
)
_IN_FORCE_THEN = (
    _COUNTED_IN.select_from(caps)
    .join(cap_windows, _WINDOW_OF_CAP)
    .where(
        caps.c.organization_id == bindparam("org"),
        caps.c.created_at <= bindparam("came"),
        or_(caps.c.removed_at.is_(None), caps.c.removed_at > bindparam("came")),
        caps.c.action.in_(["", bindparam("action_")]),
        or_(
            caps.c.scope == "organization",
            *(
                and_(caps.c.scope == scope, caps.c.target == bindparam(scope))
                for scope in SCOPES
                if scope != "organization"
            ),
        ),
        cap_windows.c.window_start <= bindparam("counted"),
        cap_windows.c.window_end > bindparam("counted"),
    )
)


def of_event(tx: Connection, organization_id: str, source: str, event_id: str) -> list[Passed]:
    """Return the caps an event was counted in, widest scope first.

    None where it was not charged, and for a correction, which only gives back.
    """
    key = {"org": organization_id, "source_": source, "event_": event_id}
    event = tx.execute(_EVENT, key).mappings().one()
    if not event["charged"] or event["corrects_id"]:
        return []
    late = event["expires_at"] is not None and event["ended_at"] >= event["expires_at"]
    if event["hold_id"] and not late:
        of_hold = {"org": organization_id, "hold_": event["hold_id"]}
        return _sorted(tx.execute(_OF_HOLD, of_hold))
    labels = {scope: event[f"{scope}_id"] for scope in SCOPES if scope != "organization"}
    return _sorted(
        tx.execute(
            _IN_FORCE_THEN,
            {
                "org": organization_id,
                "came": event["received_at"],
                "counted": _counted_at(event, late=late),
                "action_": event["action"],
                **labels,
            },
        )
    )


def _counted_at(event: RowMapping, *, late: bool) -> datetime:
    """Return the instant that decided in which windows work without a hold counted."""
    came: datetime = event["received_at"]
    return came if late or event["adjusts"] is not None else min(event["occurred_at"], came)


def _sorted(rows: Iterable[Any]) -> list[Passed]:
    found = [
        Passed(
            row.cap_id,
            row.scope,
            row.target,
            row.action,
            row.window_kind,
            Period(row.window_start, row.window_end),
        )
        for row in rows
    ]
    return sorted(found, key=lambda one: (SCOPES.index(one.scope), one.cap_id))
