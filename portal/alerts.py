"""What a cap's use has crossed: a record for each threshold, once in a window.

The only writer of cap alerts. Invariant: while a window runs an alert stands open exactly while
what is spent in it has reached its threshold, so that none is told twice and each recovery is told
too: both are written to the outbox with the record.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, bindparam, insert, select, update

from portal.core.caps import CapState, reached
from portal.notices import outbox
from portal.tables import Instant, cap_alerts, cap_windows, caps

#: A cap has come nearer its limit; its limit is reached; the forecast passes it.
NEAR, REACHED, PROJECTED = "cap-near", "cap-reached", "cap-projected"
WHOLE = 100
_KEY = ("organization_id", "cap_id", "window_start", "threshold", "raised_at")


@dataclass(frozen=True)
class CapAlert:
    """A threshold, in percent of a cap, that was reached in a window."""

    cap_id: str
    window_start: datetime
    threshold: int
    raised_at: datetime
    ended_at: datetime | None


def foretold(state: CapState) -> str:
    """Return the subject under which it stands that the forecast passes a cap in its window."""
    return f"{state.cap.cap_id} {state.window.start.isoformat()}"


def watch(
    tx: Connection,
    organization_id: str,
    before: CapState,
    after: CapState,
    *,
    now: datetime,
) -> None:
    """Record what changes when a window goes from ``before`` to ``after``: its use or its limit."""
    was, is_ = reached(before), reached(after)
    window = {
        "organization_id": organization_id,
        "cap_id": before.cap.cap_id,
        "window_start": before.window.start,
    }
    of_window = [cap_alerts.c[name] == value for name, value in window.items()]
    # What comes too late for a window that has ended is on record there, and stops nobody now.
    if is_ != was and now < after.window.end:
        _tell(tx, organization_id, after, begun=is_ - was, over=was - is_, now=now)
    if is_ - was:
        # What was raised and ended at this very instant stands on.
        standing = tx.execute(
            update(cap_alerts)
            .where(*of_window, cap_alerts.c.threshold.in_(is_ - was), cap_alerts.c.raised_at == now)
            .values(ended_at=None)
            .returning(cap_alerts.c.threshold)
        ).scalars()
        raised = [
            {**window, "threshold": one, "raised_at": now}
            for one in sorted(is_ - was - set(standing))
        ]
        if raised:
            tx.execute(insert(cap_alerts), raised)
    if was - is_:
        tx.execute(
            update(cap_alerts)
            .where(
                *of_window,
                cap_alerts.c.threshold.in_(was - is_),
                cap_alerts.c.ended_at.is_(None),
            )
            .values(ended_at=now)
        )


def _tell(
    tx: Connection,
    organization_id: str,
    state: CapState,
    *,
    begun: set[int],
    over: set[int],
    now: datetime,
) -> None:
    """Tell of thresholds that were passed in one go as of one: the highest says it all."""
    for changed, how in ((begun, outbox.BEGUN), (over, outbox.OVER)):
        if changed:
            outbox.tell(
                tx,
                organization_id,
                REACHED if WHOLE in changed else NEAR,
                state=how,
                subject=state.cap.cap_id,
                facts={**facts_of(state), "thresholds": sorted(changed)},
                now=now,
            )


def facts_of(state: CapState) -> dict[str, Any]:
    """Return a cap and what its window stands at, as a message tells it."""
    cap = state.cap
    return {
        "cap": cap.cap_id,
        "scope": cap.scope,
        "target": cap.target,
        "action": cap.action,
        "window": cap.window,
        "mode": cap.mode,
        "limit_micro": state.limit_micro,
        "spent_micro": state.spent_micro,
        "held_micro": state.held_micro,
        "remaining_micro": state.remaining_micro,
        "resets_at": state.window.end.isoformat(),
    }


#: Alerts that stand although their window has ended.
_OUTLASTED = (
    select(cap_alerts, cap_windows.c.window_end, caps)
    .join(
        cap_windows,
        and_(
            cap_windows.c.organization_id == cap_alerts.c.organization_id,
            cap_windows.c.cap_id == cap_alerts.c.cap_id,
            cap_windows.c.window_start == cap_alerts.c.window_start,
        ),
    )
    .join(
        caps,
        and_(
            caps.c.organization_id == cap_alerts.c.organization_id,
            caps.c.cap_id == cap_alerts.c.cap_id,
        ),
    )
    .where(
        cap_alerts.c.organization_id == bindparam("org"),
        cap_alerts.c.ended_at.is_(None),
        cap_windows.c.window_end <= bindparam("now_", type_=Instant),
    )
    .order_by(cap_windows.c.window_end, cap_alerts.c.cap_id)
)


def end_with_windows(tx: Connection, organization_id: str, *, now: datetime) -> int:
    """End the alerts of windows that have ended, at that instant, and tell who was stopped.

    Under the wallet's lock. Returns how many caps have room again.
    """
    rows = tx.execute(_OUTLASTED, {"org": organization_id, "now_": now}).mappings()
    again = 0
    for row in rows.all():
        tx.execute(
            update(cap_alerts)
            .where(
                *(cap_alerts.c[name] == row[name] for name in _KEY),
                cap_alerts.c.ended_at.is_(None),
            )
            .values(ended_at=max(row["window_end"], row["raised_at"]))
        )
        stopped = (
            row["threshold"] == WHOLE
            and row["mode"] == "hard"
            and row["removed_at"] is None
            and row["raised_at"] < row["window_end"]
        )
        if stopped:
            _tell_of_room(tx, row, now=now)
        again += stopped
    return again


def _tell_of_room(tx: Connection, row: RowMapping, *, now: datetime) -> None:
    """Tell that a cap which stopped work lets it go on: its next window has begun."""
    facts = {name: row[name] for name in ("scope", "target", "action", "mode")}
    facts |= {"cap": row["cap_id"], "window": row["window_kind"]}
    facts |= {"limit_micro": row["limit_micro"], "started_again": True}
    outbox.tell(
        tx,
        row["organization_id"],
        REACHED,
        state=outbox.OVER,
        subject=row["cap_id"],
        facts=facts,
        now=now,
    )


def of_windows(
    tx: Connection, organization_id: str, states: Iterable[CapState]
) -> dict[str, list[CapAlert]]:
    """Return the alerts of each cap's window, by cap, in the order they were raised."""
    wanted = {(state.cap.cap_id, state.window.start) for state in states}
    if not wanted:
        return {}
    rows = tx.execute(
        select(cap_alerts)
        .where(
            cap_alerts.c.organization_id == organization_id,
            cap_alerts.c.cap_id.in_({cap_id for cap_id, _ in wanted}),
            cap_alerts.c.window_start.in_({start for _, start in wanted}),
        )
        .order_by(cap_alerts.c.raised_at, cap_alerts.c.threshold)
    )
    found: dict[str, list[CapAlert]] = {}
    for row in rows:
        if (row.cap_id, row.window_start) in wanted:
            alert = CapAlert(
                row.cap_id, row.window_start, row.threshold, row.raised_at, row.ended_at
            )
            found.setdefault(row.cap_id, []).append(alert)
    return found
