"""Caps: who set which limit, and what each window has counted. The only writer of their counters.

Invariant: under the wallet's lock, what a hard cap counts as spent and held never passes its limit
through new work; the guard stands in the UPDATE. A counter counts its whole window from the start,
also where the cap was made later, and editing a cap never resets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
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
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from portal import accounts, alerts, catalog
from portal.accounts import Organization
from portal.core.caps import THRESHOLDS, Cap, CapState, Spender, window_of
from portal.core.catalog import PriceBook
from portal.core.errors import CapExists, InvalidRequest, NotFound, Unavailable
from portal.core.periods import Period
from portal.core.units import credits_within
from portal.ids import new_id
from portal.tables import Flag, Instant, Whole, cap_windows, caps, events, hold_caps, holds


@dataclass(frozen=True)
class CapRequest:
    """A cap as somebody asks for it.

    Its limit is in millionths of a credit, or an amount in minor units: one of the two.
    """

    scope: str
    target: str
    action: str
    window: str
    limit_micro: int | None
    mode: str
    limit_minor: int | None = None
    thresholds: tuple[int, ...] = THRESHOLDS


@dataclass(frozen=True)
class CapChange:
    """What somebody changes about a cap; None stays as it is."""

    limit_micro: int | None = None
    limit_minor: int | None = None
    mode: str | None = None
    thresholds: tuple[int, ...] | None = None


#: A limit in credits stays well inside 64 bits, however little a credit costs.
LARGEST_LIMIT_MICRO = 10**16

# The statements of the hot path are built once: building one costs more than running it.
#: A hold counts when it was authorized; one captured past its deadline, when it was charged.
_COUNTED_AT = case(
    (holds.c.ended_at >= holds.c.expires_at, holds.c.ended_at), else_=holds.c.authorized_at
)
_IN_FORCE = (
    select(caps)
    .where(caps.c.organization_id == bindparam("org"), caps.c.removed_at.is_(None))
    .order_by(caps.c.created_at, caps.c.cap_id)
)
_OF_ORGANIZATION = cap_windows.c.organization_id == bindparam("org")
_LISTED = tuple_(cap_windows.c.cap_id, cap_windows.c.window_start).in_(
    bindparam("windows_", expanding=True)
)
_WINDOWS = select(cap_windows).where(_OF_ORGANIZATION, _LISTED)
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
    .where(_OF_ORGANIZATION, _LISTED, _HAS_ROOM)
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
    .where(_OF_ORGANIZATION, _LINKED, _HAS_ROOM)
    .values(held_micro=cap_windows.c.held_micro + _MORE)
)
_SETTLE = (
    update(cap_windows)
    .where(_OF_ORGANIZATION, _LINKED)
    .values(
        held_micro=cap_windows.c.held_micro - bindparam("held_", type_=Whole),
        spent_micro=cap_windows.c.spent_micro + bindparam("spent_", type_=Whole),
    )
)
_ADD_SPENT = (
    update(cap_windows)
    .where(_OF_ORGANIZATION, _LISTED)
    .values(spent_micro=cap_windows.c.spent_micro + bindparam("spent_", type_=Whole))
)
_RAISE = (
    update(cap_windows)
    .where(_OF_ORGANIZATION, _LISTED)
    .values(raised_micro=cap_windows.c.raised_micro + _MORE)
)
_WINDOW_AND_CAP = (
    select(cap_windows, *(column for column in caps.c if column.name not in cap_windows.c))
    .join(
        caps,
        and_(
            caps.c.organization_id == cap_windows.c.organization_id,
            caps.c.cap_id == cap_windows.c.cap_id,
        ),
    )
    .where(_OF_ORGANIZATION)
)
_RUNNING = _WINDOW_AND_CAP.where(cap_windows.c.window_end > bindparam("now_", type_=Instant))
_EVERY_WINDOW = _WINDOW_AND_CAP.where(caps.c.removed_at.is_(None))
_RECUT = (
    update(cap_windows)
    .where(_OF_ORGANIZATION, _LISTED)
    .values(
        window_end=bindparam("end_", type_=Instant),
        spent_micro=bindparam("spent_", type_=Whole),
        held_micro=bindparam("held_", type_=Whole),
    )
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


def _cap(row: RowMapping) -> Cap:
    return Cap(
        cap_id=row["cap_id"],
        scope=row["scope"],
        target=row["target"],
        action=row["action"],
        window=row["window_kind"],
        limit_micro=row["limit_micro"],
        mode=row["mode"],
        limit_minor=row["limit_minor"],
        thresholds=tuple(row["thresholds"]),
    )


def in_force(tx: Connection, organization_id: str) -> list[Cap]:
    """Return the organization's caps, widest scope first."""
    rows = tx.execute(_IN_FORCE, {"org": organization_id}).mappings()
    order = {"organization": 0, "team": 1, "project": 2, "member": 3}
    return sorted((_cap(row) for row in rows), key=lambda cap: order[cap.scope])


def find(tx: Connection, organization_id: str, cap_id: str) -> Cap:
    """Return a cap in force. Raises NotFound."""
    for cap in in_force(tx, organization_id):
        if cap.cap_id == cap_id:
            return cap
    raise NotFound("cap", cap_id)


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


def _counted(
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


def _stored(
    tx: Connection, organization_id: str, windows: Iterable[tuple[Cap, Period]]
) -> dict[str, CapState]:
    wanted = {(cap.cap_id, window.start): cap for cap, window in windows}
    if not wanted:
        return {}
    rows = tx.execute(_WINDOWS, {"org": organization_id, "windows_": list(wanted)}).mappings()
    return {
        row["cap_id"]: CapState(
            wanted[(row["cap_id"], row["window_start"])],
            Period(row["window_start"], row["window_end"]),
            row["spent_micro"],
            row["held_micro"],
            row["raised_micro"],
        )
        for row in rows
    }


def states(
    tx: Connection, organization: Organization, wanted: Sequence[Cap], *, at: datetime
) -> list[CapState]:
    """Return what each cap's window at ``at`` has counted, for reading: pages and answers.

    Holds past their deadline do not count, whether or not a job has booked it yet.
    """
    period = organization.period_at(at)
    windows = [(cap, window_of(cap.window, at, organization.zone, period)) for cap in wanted]
    known = _stored(tx, organization.organization_id, windows)
    past = holds.c.expires_at <= at
    lapsed = _held(tx, organization.organization_id, past) if known else {}
    result = []
    for cap, window in windows:
        state = known.get(cap.cap_id)
        if state is None:
            spent, open_holds = _counted(tx, organization.organization_id, cap, window)
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
    period = organization.period_at(at)
    windows = [(cap, window_of(cap.window, at, organization.zone, period)) for cap in wanted]
    found = _stored(tx, organization.organization_id, windows)
    return {cap_id: state.raised_micro for cap_id, state in found.items()}


def _held(
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
            holds.c.status == "authorized",
            *which,
        )
        .group_by(hold_caps.c.cap_id, hold_caps.c.window_start)
    )
    return {(row.cap_id, row.window_start): int(row.held_micro) for row in rows}


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
    period = organization.period_at(at)
    windows = [(cap, window_of(cap.window, at, organization.zone, period)) for cap in wanted]
    known = _stored(tx, organization.organization_id, windows)
    for cap, window in windows:
        if cap.cap_id not in known and (make is None or make(window)):
            made = _make_window(tx, organization.organization_id, cap, window, at=at)
            known[cap.cap_id] = made
    return [known[cap.cap_id] for cap in wanted if cap.cap_id in known]


def _make_window(
    tx: Connection, organization_id: str, cap: Cap, window: Period, *, at: datetime
) -> CapState:
    spent, open_holds = _counted(tx, organization_id, cap, window)
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
                _cap(row), window, row["spent_micro"], row["held_micro"], row["raised_micro"]
            )
            _count_anew(tx, organization.organization_id, before, now=now)


def _count_anew(tx: Connection, organization_id: str, before: CapState, *, now: datetime) -> None:
    cap, window = before.cap, before.window
    links = (hold_caps.c.cap_id == cap.cap_id, hold_caps.c.window_start == window.start)
    later = select(holds.c.hold_id).where(
        holds.c.organization_id == organization_id,
        holds.c.status == "authorized",
        holds.c.authorized_at >= window.end,
    )
    tx.execute(
        delete(hold_caps).where(
            hold_caps.c.organization_id == organization_id, *links, hold_caps.c.hold_id.in_(later)
        )
    )
    spent, _ = _counted(tx, organization_id, cap, window)
    tx.execute(
        _RECUT,
        {
            "org": organization_id,
            "windows_": [(cap.cap_id, window.start)],
            "end_": window.end,
            "spent_": spent,
            "held_": sum(_held(tx, organization_id, *links).values()),
        },
    )
    alerts.watch(tx, organization_id, before, replace(before, spent_micro=spent), now=now)


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
    return [
        CapState(
            _cap(row),
            Period(row["window_start"], row["window_end"]),
            row["spent_micro"],
            row["held_micro"],
            row["raised_micro"],
        )
        for row in rows
    ]


def applying(tx: Connection, organization_id: str, spender: Spender) -> list[Cap]:
    """Return every cap in force that counts this spender's work."""
    return [cap for cap in in_force(tx, organization_id) if cap.applies_to(spender)]


def create(
    tx: Connection, organization: Organization, request: CapRequest, *, now: datetime
) -> CapState:
    """Make a cap, under the wallet's lock; its window counts from its start.

    Raises InvalidRequest for a target or an action that does not exist, or a cap that exists.
    """
    book = catalog.in_force(tx, at=now)
    _check(tx, organization, request, book)
    _refuse_twin(tx, organization.organization_id, request)
    cap_id = new_id("cap")
    values = {
        "organization_id": organization.organization_id,
        "cap_id": cap_id,
        "scope": request.scope,
        "target": request.target,
        "action": request.action,
        "window_kind": request.window,
        "limit_micro": _limit(request.limit_micro, request.limit_minor, organization, book),
        "limit_minor": request.limit_minor,
        "mode": request.mode,
        "thresholds": list(request.thresholds),
        "created_at": now,
    }
    tx.execute(insert(caps).values(values))
    cap = find(tx, organization.organization_id, cap_id)
    return open_windows(tx, organization, [cap], at=now)[0]


def _refuse_twin(
    tx: Connection, organization_id: str, asked: CapRequest | Cap, *, but: str = ""
) -> None:
    """Refuse a cap that would count the same in the same way as another one in force.

    ``but`` is the cap that is changed to it. Raises CapExists.
    """
    wanted = (asked.scope, asked.target, asked.action, asked.window, asked.mode)
    for cap in in_force(tx, organization_id):
        same = (cap.scope, cap.target, cap.action, cap.window, cap.mode) == wanted
        if same and cap.cap_id != but:
            raise CapExists(cap.cap_id, cap.mode)


def _limit(
    limit_micro: int | None, limit_minor: int | None, organization: Organization, book: PriceBook
) -> int:
    """Return a limit in millionths of a credit, whichever way it was stated."""
    if limit_minor is None:
        if limit_micro is None:
            raise AssertionError("a cap has a limit in credits or in money")
        return limit_micro
    if book.currency != organization.currency:
        raise InvalidRequest.at(
            "/limit/amount",
            f"cannot be counted: credits are priced in {book.currency.upper()}, this organization "
            f"is billed in {organization.currency.upper()}. Set the limit in credits",
        )
    value = book.credit_value(organization.tier)
    if value is None:
        raise InvalidRequest.at(
            "/limit/amount", "cannot be counted: no plan prices a credit. Set the limit in credits"
        )
    within = credits_within(limit_minor, value)
    if limit_minor and not within:
        raise InvalidRequest.at("/limit/amount", "is less than the smallest part of a credit costs")
    return min(within, LARGEST_LIMIT_MICRO)


def _check(
    tx: Connection, organization: Organization, request: CapRequest, book: PriceBook
) -> None:
    if request.scope == "organization":
        if request.target:
            raise InvalidRequest.at("/target", "belongs to a team, member or project cap only")
    elif request.target not in accounts.names(tx, organization.organization_id, request.scope):
        raise InvalidRequest.at("/target", f"is not a {request.scope} of this organization")
    if request.action and request.action not in book.actions:
        raise InvalidRequest.at("/action", f"is not one of {', '.join(book.actions)}")


def change(
    tx: Connection, organization: Organization, cap_id: str, change_: CapChange, *, now: datetime
) -> CapState:
    """Raise or lower a cap, or change what it does; what it counted stays.

    Under the wallet's lock. Raises NotFound, and InvalidRequest where another cap is its twin then.
    """
    cap = find(tx, organization.organization_id, cap_id)
    new = replace(
        cap, mode=change_.mode or cap.mode, thresholds=change_.thresholds or cap.thresholds
    )
    if change_.limit_micro is not None or change_.limit_minor is not None:
        book = catalog.in_force(tx, at=now)
        limit = _limit(change_.limit_micro, change_.limit_minor, organization, book)
        new = replace(new, limit_micro=limit, limit_minor=change_.limit_minor)
    if new.mode != cap.mode:
        _refuse_twin(tx, organization.organization_id, new, but=cap_id)
    before = open_windows(tx, organization, [cap], at=now)[0]
    _store(tx, organization.organization_id, new)
    after = replace(before, cap=new)
    alerts.watch(tx, organization.organization_id, before, after, now=now)
    return after


def raise_for_window(
    tx: Connection, organization: Organization, cap_id: str, amount_micro: int, *, now: datetime
) -> CapState:
    """Add to a cap's limit for the window of now; the next one has the cap's own limit again.

    Under the wallet's lock. Raises NotFound, and InvalidRequest where it would be too large.
    """
    cap = find(tx, organization.organization_id, cap_id)
    before = open_windows(tx, organization, [cap], at=now)[0]
    if before.limit_micro + amount_micro > LARGEST_LIMIT_MICRO:
        raise InvalidRequest.at("/credits", "is more than a limit may be")
    after = replace(before, raised_micro=before.raised_micro + amount_micro)
    tx.execute(
        _RAISE,
        {
            "org": organization.organization_id,
            "windows_": _windows([before]),
            "micro_": amount_micro,
        },
    )
    alerts.watch(tx, organization.organization_id, before, after, now=now)
    return after


def _store(tx: Connection, organization_id: str, cap: Cap) -> None:
    tx.execute(
        update(caps)
        .where(caps.c.organization_id == organization_id, caps.c.cap_id == cap.cap_id)
        .values(
            limit_micro=cap.limit_micro,
            limit_minor=cap.limit_minor,
            mode=cap.mode,
            thresholds=list(cap.thresholds),
        )
    )


def revalue(tx: Connection, organization: Organization, *, now: datetime) -> None:
    """Count anew after a change of tier: in the windows of the period that begins with it.

    Limits that are stated in money are what a credit is worth on the tier of now; they stay where
    credits are priced in another currency.
    """
    in_force_now = in_force(tx, organization.organization_id)
    open_windows(tx, organization, in_force_now, at=now)
    priced = catalog.in_force(tx, at=now).currency == organization.currency
    for cap in in_force_now:
        if priced and cap.limit_minor is not None:
            change(tx, organization, cap.cap_id, CapChange(limit_minor=cap.limit_minor), now=now)


def remove(tx: Connection, organization_id: str, cap_id: str, *, now: datetime) -> Cap:
    """Remove a cap. Raises NotFound."""
    cap = find(tx, organization_id, cap_id)
    tx.execute(
        update(caps)
        .where(caps.c.organization_id == organization_id, caps.c.cap_id == cap_id)
        .values(removed_at=now)
    )
    return cap


def faults(tx: Connection, organization_id: str) -> list[str]:
    """Return in words which windows do not stand at what their events and holds add up to."""
    found = []
    linked = _held(tx, organization_id)
    for row in tx.execute(_EVERY_WINDOW, {"org": organization_id}).mappings().all():
        cap, window = _cap(row), Period(row["window_start"], row["window_end"])
        spent, _ = _counted(tx, organization_id, cap, window)
        held = linked.get((cap.cap_id, window.start), 0)
        if (row["spent_micro"], row["held_micro"]) != (spent, held):
            found.append(
                f"cap {cap.cap_id} says {row['spent_micro']} spent and {row['held_micro']} held"
                f" since {window.start}, events and holds say {spent} and {held}"
            )
    return found
