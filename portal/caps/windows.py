"""The windows of caps: made when they are first needed, cut where the calendar says, proven.

Invariant: a counter is made and recut from what its whole window counts, so a cap that was made
later, or a period that was moved, has counted from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update

from portal import alerts
from portal.accounts import Organization
from portal.caps.counters import LISTED, OF_ORGANIZATION, counter_of, link
from portal.caps.counting import counted, held_by_window
from portal.caps.standing import cap_of
from portal.core.caps import Cap, CapState, window_of
from portal.core.periods import Period
from portal.tables import IS_OPEN, Instant, Whole, cap_windows, caps, hold_caps, holds

_WINDOWS = select(cap_windows).where(OF_ORGANIZATION, LISTED)
_WINDOW_AND_CAP = (
    select(cap_windows, *(column for column in caps.c if column.name not in cap_windows.c))
    .join(
        caps,
        and_(
            caps.c.organization_id == cap_windows.c.organization_id,
            caps.c.cap_id == cap_windows.c.cap_id,
        ),
    )
    .where(OF_ORGANIZATION)
)
_RUNNING = _WINDOW_AND_CAP.where(cap_windows.c.window_end > bindparam("now_", type_=Instant))
_EVERY_WINDOW = _WINDOW_AND_CAP.where(caps.c.removed_at.is_(None))
_RECUT = (
    update(cap_windows)
    .where(OF_ORGANIZATION, LISTED)
    .values(
        window_end=bindparam("end_", type_=Instant),
        spent_micro=bindparam("spent_", type_=Whole),
        held_micro=bindparam("held_", type_=Whole),
    )
)


def _windows_at(
    organization: Organization, wanted: Sequence[Cap], at: datetime
) -> list[tuple[Cap, Period]]:
    period = organization.period_at(at)
    return [(cap, window_of(cap.window, at, organization.zone, period)) for cap in wanted]


def _stored(
    tx: Connection, organization_id: str, windows: Iterable[tuple[Cap, Period]]
) -> dict[str, CapState]:
    wanted = {(cap.cap_id, window.start): cap for cap, window in windows}
    if not wanted:
        return {}
    rows = tx.execute(_WINDOWS, {"org": organization_id, "windows_": list(wanted)}).mappings()
    return {
        row["cap_id"]: counter_of(row, wanted[(row["cap_id"], row["window_start"])]) for row in rows
    }


def states(
    tx: Connection, organization: Organization, wanted: Sequence[Cap], *, at: datetime
) -> list[CapState]:
    """Return what each cap's window at ``at`` has counted, for reading: pages and answers.

    Holds past their deadline do not count, whether or not a job has booked it yet.
    """
    windows = _windows_at(organization, wanted, at)
    known = _stored(tx, organization.organization_id, windows)
    past = holds.c.expires_at <= at
    lapsed = held_by_window(tx, organization.organization_id, past) if known else {}
    result = []
    for cap, window in windows:
        state = known.get(cap.cap_id)
        if state is None:
            spent, open_holds = counted(tx, organization.organization_id, cap, window)
            held = sum(row["credits_micro"] for row in open_holds if row["expires_at"] > at)
            state = CapState(cap, window, spent, held)
        else:
            gone = lapsed.get((cap.cap_id, window.start), 0)
            state = replace(state, held_micro=state.held_micro - gone)
        result.append(state)
    return result


def raised(
    tx: Connection, organization: Organization, wanted: Sequence[Cap], *, at: datetime
) -> dict[str, int]:
    """Return by cap what was added to its limit in the window at ``at``, in millionths."""
    windows = _windows_at(organization, wanted, at)
    found = _stored(tx, organization.organization_id, windows)
    return {cap_id: state.raised_micro for cap_id, state in found.items()}


def open_windows(
    tx: Connection,
    organization: Organization,
    wanted: Sequence[Cap],
    *,
    at: datetime,
    make: Callable[[Period], bool] | None = None,
) -> list[CapState]:
    """Return the counters of the windows at ``at``, making those that do not exist yet.

    With ``make`` only those are made of which it says so, and the others left out. Under the
    wallet's lock only: that is why a missing row can be made without a race.
    """
    if not wanted:
        return []
    windows = _windows_at(organization, wanted, at)
    known = _stored(tx, organization.organization_id, windows)
    for cap, window in windows:
        if cap.cap_id not in known and (make is None or make(window)):
            made = _make_window(tx, organization.organization_id, cap, window, at=at)
            known[cap.cap_id] = made
    return [known[cap.cap_id] for cap in wanted if cap.cap_id in known]


def _make_window(
    tx: Connection, organization_id: str, cap: Cap, window: Period, *, at: datetime
) -> CapState:
    spent, open_holds = counted(tx, organization_id, cap, window)
    held = sum(row["credits_micro"] for row in open_holds)
    tx.execute(
        insert(cap_windows).values(
            organization_id=organization_id,
            cap_id=cap.cap_id,
            window_start=window.start,
            window_end=window.end,
            spent_micro=spent,
            held_micro=held,
        )
    )
    made = CapState(cap, window, spent, held)
    for row in open_holds:
        link(tx, organization_id, row["hold_id"], [made])
    # What was used before anybody looked may have reached a threshold already.
    alerts.watch(tx, organization_id, replace(made, spent_micro=0), made, now=at)
    return made


def recut(tx: Connection, organization: Organization, *, now: datetime) -> None:
    """Let the windows that still run end where the organization's calendar says now.

    Under the wallet's lock, after a change of time zone or tier. They are counted anew: what came
    after the new end, if that is past, counts in the window that begins there.
    """
    running = {"org": organization.organization_id, "now_": now}
    for row in tx.execute(_RUNNING, running).mappings().all():
        period = organization.period_at(row["window_start"])
        window = window_of(row["window_kind"], row["window_start"], organization.zone, period)
        if window.end != row["window_end"]:
            before = CapState(
                cap_of(row), window, row["spent_micro"], row["held_micro"], row["raised_micro"]
            )
            _count_anew(tx, organization.organization_id, before, now=now)


def _count_anew(tx: Connection, organization_id: str, before: CapState, *, now: datetime) -> None:
    cap, window = before.cap, before.window
    links = (hold_caps.c.cap_id == cap.cap_id, hold_caps.c.window_start == window.start)
    later = select(holds.c.hold_id).where(
        holds.c.organization_id == organization_id,
        IS_OPEN,
        holds.c.authorized_at >= window.end,
    )
    tx.execute(
        delete(hold_caps).where(
            hold_caps.c.organization_id == organization_id, *links, hold_caps.c.hold_id.in_(later)
        )
    )
    spent, _ = counted(tx, organization_id, cap, window)
    tx.execute(
        _RECUT,
        {
            "org": organization_id,
            "windows_": [(cap.cap_id, window.start)],
            "end_": window.end,
            "spent_": spent,
            "held_": sum(held_by_window(tx, organization_id, *links).values()),
        },
    )
    alerts.watch(tx, organization_id, before, replace(before, spent_micro=spent), now=now)


def faults(tx: Connection, organization_id: str) -> list[str]:
    """Return in words which windows do not stand at what their events and holds add up to."""
    found = []
    linked = held_by_window(tx, organization_id)
    for row in tx.execute(_EVERY_WINDOW, {"org": organization_id}).mappings().all():
        cap, window = cap_of(row), Period(row["window_start"], row["window_end"])
        spent, _ = counted(tx, organization_id, cap, window)
        held = linked.get((cap.cap_id, window.start), 0)
        if (row["spent_micro"], row["held_micro"]) != (spent, held):
            found.append(
                f"cap {cap.cap_id} says {row['spent_micro']} spent and {row['held_micro']} held"
                f" since {window.start}, events and holds say {spent} and {held}"
            )
    return found
