"""The counters of work: what it holds and what it spent, in every window it counts in.

Under the wallet's lock. Invariant: what a hard cap counts never passes its limit through new work,
the guard stands in the UPDATE; and a hold ends in exactly the windows it was linked to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from portal import alerts
from portal.accounts import Organization
from portal.caps.standing import cap_of
from portal.core.caps import Cap, CapState
from portal.core.errors import Unavailable
from portal.core.periods import Period
from portal.tables import Whole, cap_windows, caps, hold_caps

# The statements of the hot path are built once: building one costs more than running it.
OF_ORGANIZATION = cap_windows.c.organization_id == bindparam("org")
LISTED = tuple_(cap_windows.c.cap_id, cap_windows.c.window_start).in_(
    bindparam("windows_", expanding=True)
)
#: The limit of a window, with what it was raised by.
_HARD_LIMIT = (
    select(caps.c.limit_micro + cap_windows.c.raised_micro)
    .where(
        caps.c.organization_id == cap_windows.c.organization_id,
        caps.c.cap_id == cap_windows.c.cap_id,
        caps.c.mode == "hard",
        caps.c.removed_at.is_(None),
    )
    .scalar_subquery()
)
_MORE = bindparam("micro_", type_=Whole)
_HAS_ROOM = or_(
    _HARD_LIMIT.is_(None),
    cap_windows.c.spent_micro + cap_windows.c.held_micro + _MORE <= _HARD_LIMIT,
    _MORE == 0,
)
_RESERVE = (
    update(cap_windows)
    .where(OF_ORGANIZATION, LISTED, _HAS_ROOM)
    .values(held_micro=cap_windows.c.held_micro + _MORE)
)
#: The windows a hold counts in, also those of caps that were removed since.
_LINKED = tuple_(cap_windows.c.cap_id, cap_windows.c.window_start).in_(
    select(hold_caps.c.cap_id, hold_caps.c.window_start).where(
        hold_caps.c.organization_id == bindparam("org"),
        hold_caps.c.hold_id == bindparam("hold_"),
    )
)
_COUNT_LINKS = (
    select(func.count())
    .select_from(hold_caps)
    .where(
        hold_caps.c.organization_id == bindparam("org"),
        hold_caps.c.hold_id == bindparam("hold_"),
    )
)
_EXTEND = (
    update(cap_windows)
    .where(OF_ORGANIZATION, _LINKED, _HAS_ROOM)
    .values(held_micro=cap_windows.c.held_micro + _MORE)
)
_SETTLE = (
    update(cap_windows)
    .where(OF_ORGANIZATION, _LINKED)
    .values(
        held_micro=cap_windows.c.held_micro - bindparam("held_", type_=Whole),
        spent_micro=cap_windows.c.spent_micro + bindparam("spent_", type_=Whole),
    )
)
_LEAVE = (
    update(cap_windows)
    .where(
        OF_ORGANIZATION,
        cap_windows.c.cap_id == bindparam("cap_"),
        cap_windows.c.window_start == bindparam("start_"),
    )
    .values(held_micro=cap_windows.c.held_micro - bindparam("held_", type_=Whole))
)
_ADD_SPENT = (
    update(cap_windows)
    .where(OF_ORGANIZATION, LISTED)
    .values(spent_micro=cap_windows.c.spent_micro + bindparam("spent_", type_=Whole))
)
_RAISE = (
    update(cap_windows)
    .where(OF_ORGANIZATION, LISTED)
    .values(raised_micro=cap_windows.c.raised_micro + _MORE)
)
_COUNTERS_OF_HOLD = (
    select(cap_windows, caps.c.scope, caps.c.target, caps.c.action, caps.c.window_kind)
    .add_columns(caps.c.limit_micro, caps.c.limit_minor, caps.c.mode, caps.c.thresholds)
    .join(
        hold_caps,
        and_(
            hold_caps.c.organization_id == cap_windows.c.organization_id,
            hold_caps.c.cap_id == cap_windows.c.cap_id,
            hold_caps.c.window_start == cap_windows.c.window_start,
        ),
    )
    .join(
        caps,
        and_(
            caps.c.organization_id == cap_windows.c.organization_id,
            caps.c.cap_id == cap_windows.c.cap_id,
        ),
    )
    .where(
        hold_caps.c.organization_id == bindparam("org"),
        hold_caps.c.hold_id == bindparam("hold_"),
        caps.c.removed_at.is_(None),
    )
)


def counter_of(row: RowMapping, cap: Cap) -> CapState:
    """Return what the row of a window has counted."""
    return CapState(
        cap,
        Period(row["window_start"], row["window_end"]),
        row["spent_micro"],
        row["held_micro"],
        row["raised_micro"],
    )


def reserve(tx: Connection, organization_id: str, counters: Sequence[CapState], micro: int) -> None:
    """Count work in flight in every cap that applies, all or none; the guard is in the UPDATE.

    Raises Unavailable where a hard cap would be passed after all.
    """
    if not counters:
        return
    counted = tx.execute(
        _RESERVE,
        {"org": organization_id, "windows_": _windows(counters), "micro_": micro},
    ).rowcount
    if counted != len(counters):
        raise Unavailable("A cap changed underneath. Nothing was done; try again.")


def extend(tx: Connection, organization_id: str, hold_id: str, micro: int) -> None:
    """Count more work of a hold in every window the hold counts in, all or none.

    Windows of caps that were removed since count too, so that the hold's end takes off what it
    put on; they limit nothing. Raises Unavailable where a hard cap would be passed after all.
    """
    of_hold = {"org": organization_id, "hold_": hold_id}
    linked = tx.execute(_COUNT_LINKS, of_hold).scalar_one()
    if tx.execute(_EXTEND, {**of_hold, "micro_": micro}).rowcount != linked:
        raise Unavailable("A cap changed underneath. Nothing was done; try again.")


def link(tx: Connection, organization_id: str, hold_id: str, counters: Sequence[CapState]) -> None:
    """Remember in which windows a hold counts, so that its end counts there too."""
    if not counters:
        return
    tx.execute(
        insert(hold_caps),
        [
            {
                "organization_id": organization_id,
                "hold_id": hold_id,
                "cap_id": state.cap.cap_id,
                "window_start": state.window.start,
            }
            for state in counters
        ],
    )


def raise_limit(tx: Connection, organization_id: str, counter: CapState, micro: int) -> None:
    """Add to the limit of one window, whatever it has counted."""
    tx.execute(
        _RAISE,
        {"org": organization_id, "windows_": _windows([counter]), "micro_": micro},
    )


def _windows(counters: Sequence[CapState]) -> list[tuple[str, datetime]]:
    return [(state.cap.cap_id, state.window.start) for state in counters]


def settle(
    tx: Connection, organization_id: str, hold_id: str, *, held_micro: int, spent_micro: int
) -> None:
    """End a hold in the windows it was counted in: take it off, add what was charged."""
    tx.execute(
        _SETTLE,
        {
            "org": organization_id,
            "hold_": hold_id,
            "held_": held_micro,
            "spent_": spent_micro,
        },
    )


def settle_all(
    tx: Connection,
    organization_id: str,
    held_micro: Mapping[str, int],
    *,
    of: Select[tuple[str]],
    asked: Mapping[str, Any],
) -> None:
    """Take holds that nothing was charged for off their windows; each with what it had held.

    ``of`` selects their ids, as ``asked``: thousands of them would make a slow list.
    """
    links = select(hold_caps.c.hold_id, hold_caps.c.cap_id, hold_caps.c.window_start).where(
        hold_caps.c.organization_id == organization_id, hold_caps.c.hold_id.in_(of)
    )
    sums: dict[tuple[str, datetime], int] = defaultdict(int)
    for link in tx.execute(links, asked):
        sums[link.cap_id, link.window_start] += held_micro[link.hold_id]
    if sums:
        windows = [
            {"org": organization_id, "cap_": cap_id, "start_": start, "held_": sums[cap_id, start]}
            for cap_id, start in sorted(sums)
        ]
        tx.execute(_LEAVE, windows)


def add_spent(
    tx: Connection,
    organization_id: str,
    counters: Sequence[CapState],
    spent_micro: int,
    *,
    now: datetime,
) -> None:
    """Count what was charged without a hold; the caller has checked the room under the lock."""
    if not counters or not spent_micro:
        return
    tx.execute(
        _ADD_SPENT,
        {"org": organization_id, "windows_": _windows(counters), "spent_": spent_micro},
    )
    watch_spent(tx, organization_id, counters, spent_micro, now=now)


def watch_spent(
    tx: Connection,
    organization_id: str,
    counters: Sequence[CapState],
    spent_micro: int,
    *,
    now: datetime,
) -> None:
    """Raise and end the alerts of counters that have just counted ``spent_micro`` more."""
    for state in counters:
        after = replace(state, spent_micro=state.spent_micro + spent_micro)
        alerts.watch(tx, organization_id, state, after, now=now)


def counters_of_hold(tx: Connection, organization: Organization, hold_id: str) -> list[CapState]:
    """Return the counters a hold was counted in, of caps still in force."""
    rows = tx.execute(
        _COUNTERS_OF_HOLD, {"org": organization.organization_id, "hold_": hold_id}
    ).mappings()
    return [counter_of(row, cap_of(row)) for row in rows]
