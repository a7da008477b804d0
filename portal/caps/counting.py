"""What a window of a cap counts: sums over events and holds. Reads only.

Invariant: a window counts from its start, whatever stands in its counter; the counters are written
from these sums, and proven by them.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
)

from portal.core.caps import Cap
from portal.core.periods import Period
from portal.tables import IS_OPEN, Flag, Instant, events, hold_caps, holds

#: A hold counts when it was authorized; one captured past its deadline, when it was charged.
_COUNTED_AT = case(
    (holds.c.ended_at >= holds.c.expires_at, holds.c.ended_at), else_=holds.c.authorized_at
)


def _in_scope(table: Table, scope: str, *, of_action: bool) -> list[ColumnElement[bool]]:
    """Return the conditions under which a row of events or holds counts in a cap."""
    conditions = []
    if scope != "organization":
        conditions.append(table.c[f"{scope}_id"] == bindparam("target_"))
    if of_action:
        conditions.append(table.c.action == bindparam("action_"))
    return conditions


# What came too late for its period, or is dated ahead of the clock, counts when it came. A
# correction is dated to when what it corrects counted.
_DATED = or_(
    events.c.corrects_id != "",
    and_(events.c.adjusts.is_(None), events.c.occurred_at <= events.c.received_at),
)
_EVENT_COUNTED_AT = case((_DATED, events.c.occurred_at), else_=events.c.received_at)
_FROM, _UNTIL = bindparam("from_", type_=Instant), bindparam("until_", type_=Instant)


@lru_cache
def _counting(scope: str, *, of_action: bool) -> tuple[Select[Any], Select[Any]]:
    """Return the statements that count a window of a cap: over events, and over holds."""
    spent = select(
        func.coalesce(func.sum(events.c.credits_micro - events.c.uncollected_micro), 0)
    ).where(
        events.c.organization_id == bindparam("org"),
        or_(events.c.occurred_at >= _FROM, events.c.adjusts.is_not(None)),
        _EVENT_COUNTED_AT >= _FROM,
        _EVENT_COUNTED_AT < _UNTIL,
        events.c.charged == literal(True, Flag),
        events.c.hold_id == "",
        *_in_scope(events, scope, of_action=of_action),
    )
    of_holds = select(holds).where(
        holds.c.organization_id == bindparam("org"),
        _FROM <= _COUNTED_AT,
        _UNTIL > _COUNTED_AT,
        holds.c.status.in_(["authorized", "captured"]),
        *_in_scope(holds, scope, of_action=of_action),
    )
    return spent, of_holds


def counted(
    tx: Connection, organization_id: str, cap: Cap, window: Period
) -> tuple[int, list[RowMapping]]:
    """Count a window from its start: what was charged, and the holds that are open in it."""
    over_events, over_holds = _counting(cap.scope, of_action=bool(cap.action))
    named = {
        "org": organization_id,
        "from_": window.start,
        "until_": window.end,
        "target_": cap.target,
        "action_": cap.action,
    }
    spent = tx.execute(over_events, named).scalar_one()
    rows = list(tx.execute(over_holds, named).mappings())
    for row in rows:
        if row["status"] == "captured":
            spent += int(row["outcome"]["charged_micro"])
    return int(spent), [row for row in rows if row["status"] == "authorized"]


def held_by_window(
    tx: Connection, organization_id: str, *which: ColumnElement[bool]
) -> dict[tuple[str, datetime], int]:
    """Add up by window what those of the organization's open holds set aside."""
    rows = tx.execute(
        select(
            hold_caps.c.cap_id,
            hold_caps.c.window_start,
            func.sum(holds.c.credits_micro).label("held_micro"),
        )
        .join(
            holds,
            and_(
                holds.c.organization_id == hold_caps.c.organization_id,
                holds.c.hold_id == hold_caps.c.hold_id,
            ),
        )
        .where(
            holds.c.organization_id == organization_id,
            IS_OPEN,
            *which,
        )
        .group_by(hold_caps.c.cap_id, hold_caps.c.window_start)
    )
    return {(row.cap_id, row.window_start): int(row.held_micro) for row in rows}
