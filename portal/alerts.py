"""What a cap's use has crossed: a record for each threshold, once in a window.

The only writer of cap alerts. Invariant: an alert stands open exactly while what is spent in its
window has reached its threshold, so that none is told twice and each recovery is told too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from portal.core.caps import CapState, reached
from portal.tables import cap_alerts


@dataclass(frozen=True)
class CapAlert:
    """A threshold, in percent of a cap, that was reached in a window."""

    cap_id: str
    window_start: datetime
    threshold: int
    raised_at: datetime
    ended_at: datetime | None


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
