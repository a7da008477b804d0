"""Capture or release when it is known what the work took.

Invariant: a step that was authorized can always be captured, and what it did not take goes back to
the very grants it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from portal import caps, costs, events, express, holds, idempotency, overage
from portal.authorization.act import Act, once
from portal.authorization.requests import CaptureRequest
from portal.authorization.terms import credits_for, on_hold, settled
from portal.core.costs import CostLine
from portal.core.events import GRACE, OWN_SOURCES, RatedEvent, UsageEvent
from portal.core.ledger import Account, Take, split_receipt
from portal.core.overage import Place
from portal.core.units import format_micro
from portal.db import Database
from portal.holds import Hold
from portal.idempotency import Answer

#: The source of the events that captures make.
SOURCE = f"{OWN_SOURCES}authorizations"


def capture(
    database: Database,
    hold_id: str,
    request: CaptureRequest,
    *,
    key: str | None,
    now: datetime,
    only: str | None = None,
) -> Answer:
    """Charge what the work took, return the rest to the grants it came from, make the event.

    More than was authorized is tried in the same transaction: what fits is charged, the rest is
    uncollected. A capture of nothing is a release. Raises NotFound, AuthorizationSettled.
    """
    quick = _capture_at_once(database, hold_id, request, key, only, now)
    if quick is not None:
        return quick
    return once(
        database,
        on_hold(database, hold_id, only),
        route=f"capture/{hold_id}",
        key=key,
        content=repr(request),
        now=now,
        act=lambda desk: _capture(desk, desk.hold(hold_id), request),
    )


def _capture_at_once(
    database: Database,
    hold_id: str,
    request: CaptureRequest,
    key: str | None,
    only: str | None,
    now: datetime,
) -> Answer | None:
    """Take the store's express lane where it is offered; None where the case is not plain."""
    if not express.offered(database):
        return None
    if request.time is not None and request.time < now - GRACE:
        return None  # Its period may have closed.
    lines: tuple[CostLine, ...] = ()
    if request.costs:
        books = express.cost_books_of(database)
        lines = costs.cost_lines(request.costs, at=request.time or now, books=books)
    body = express.capture(
        database,
        hold_id,
        only=only,
        quantity_micro=request.quantity_micro,
        occurred_at=request.time,
        now=now,
        key=key,
        print_=idempotency.fingerprint(repr(request)),
        content_print=_content_print(hold_id, request),
        properties=request.properties,
        lines=lines,
    )
    return None if body is None else Answer(200, body)


def _content_print(hold_id: str, request: CaptureRequest) -> str:
    """Return the identity of what a capture's event says: nobody else can send its like."""
    return idempotency.fingerprint([hold_id, repr(request)])


def _capture(desk: Act, hold: Hold, request: CaptureRequest) -> tuple[int, dict[str, Any]]:
    if hold.status in {"captured", "released"}:
        raise settled(hold)
    late = hold.status == "expired"
    quantity = hold.quantity_micro if request.quantity_micro is None else request.quantity_micro
    if quantity == 0:
        return _release(desk, hold, late=late)
    due = credits_for(quantity, hold.price_micro)
    used, released = ([], 0) if late else _use_pinned(desk, hold, due)
    extra, place = _take_excess(desk, hold, due - _sum(used), late=late)
    receipt = _merged([*used, *extra])
    # A shadow organization owes nothing, so nothing of it is uncollected either; but credits that
    # were set aside before it became one are spent as they were promised.
    free = desk.organization.shadow and not receipt
    uncollected = 0 if free else due - _sum(receipt)
    desk.wallet.leave_uncollected(uncollected, hold.hold_id)
    event_id = _record(desk, hold, request, quantity, due, uncollected, receipt, place)
    answer = {
        "id": hold.hold_id,
        "status": "captured",
        "credits": format_micro(due - uncollected),
        "released": format_micro(released),
        "uncollected": format_micro(uncollected),
        "late": late,
        "event": event_id,
    }
    outcome = {"charged_micro": _sum(receipt), "answer": answer}
    ended = holds.end_late if late else holds.end
    ended(desk.tx, desk.wallet, hold.hold_id, status="captured", outcome=outcome)
    return 200, answer


def _sum(receipt: Sequence[Take]) -> int:
    return sum(line.amount_micro for line in receipt)


def _use_pinned(desk: Act, hold: Hold, due: int) -> tuple[list[Take], int]:
    """Spend what the hold pins, up to what is due, and return the rest; the receipt, the rest."""
    pinned = holds.receipt_of(desk.tx, desk.organization_id, hold.hold_id)
    used, returned = split_receipt(pinned, min(due, _sum(pinned)))
    desk.wallet.capture_held(used, hold.hold_id)
    desk.wallet.give_back(returned, hold.hold_id)
    desk.wallet.owe_claims(pinned, hold.hold_id)
    counters = caps.counters_of_hold(desk.tx, desk.organization, hold.hold_id)
    holds.leave_limits(desk.tx, desk.organization_id, hold, pinned, used=used)
    caps.watch_spent(desk.tx, desk.organization_id, counters, _sum(used), now=desk.now)
    return used, _sum(returned)


def _take_excess(
    desk: Act, hold: Hold, missing: int, *, late: bool
) -> tuple[list[Take], Place | None]:
    """Take what fits of the credits a capture needs beyond its hold, and count it in the limits.

    Returns the receipt, and where what the capture used beyond all grants is counted.
    """
    place = None if late else hold.place
    if missing <= 0 or desk.organization.shadow or desk.wallet.debt_micro:
        return [], place
    if late:
        counters = desk.counters(hold.spender)
    else:
        counters = caps.counters_of_hold(desk.tx, desk.organization, hold.hold_id)
    room = min((state.remaining_micro for state in counters if state.cap.hard), default=missing)
    extra, short = desk.wallet.take(min(missing, room))
    if short:
        beyond = desk.overage(None if late else hold)
        more = min(short, beyond.room_micro)
        if more:
            extra.append(Take(Account.OVERAGE, more))
            overage.count(desk.tx, desk.organization_id, beyond, held_micro=0, spent_micro=more)
            place = beyond.place
    desk.wallet.debit(extra, hold.hold_id)
    caps.add_spent(desk.tx, desk.organization_id, counters, _sum(extra), now=desk.now)
    return extra, place


def _merged(receipt: Sequence[Take]) -> list[Take]:
    totals: dict[str, int] = {}
    for line in receipt:
        totals[line.account] = totals.get(line.account, 0) + line.amount_micro
    return [Take(account, amount) for account, amount in totals.items()]


def _record(
    desk: Act,
    hold: Hold,
    request: CaptureRequest,
    quantity_micro: int,
    credits_micro: int,
    uncollected_micro: int,
    receipt: Sequence[Take],
    place: Place | None,
) -> str:
    event = UsageEvent(
        source=SOURCE,
        event_id=hold.hold_id,
        organization_id=desk.organization.organization_id,
        type=hold.action,
        time=request.time,
        quantity_micro=quantity_micro,
        member=hold.member,
        team=hold.team,
        project=hold.project,
        run=hold.run,
        authorization=hold.hold_id,
        costs=request.costs,
        properties=request.properties or {},
    )
    occurred_at = request.time or desk.now
    charged = bool(receipt) or not desk.organization.shadow
    closed = desk.organization.closed_period(occurred_at, now=desk.now) if charged else None
    rated = RatedEvent(
        event=event,
        occurred_at=occurred_at,
        action=hold.action,
        team=hold.team,
        credits_micro=credits_micro,
        uncollected_micro=uncollected_micro,
        price_micro=hold.price_micro,
        price_book_version=hold.price_book_version,
        charged=charged,
        receipt=tuple(receipt),
        costs=costs.Costing(desk.tx).lines(request.costs, at=occurred_at),
        hold_id=hold.hold_id,
        adjusts=closed,
        beyond=place,
        content_print=_content_print(hold.hold_id, request),
    )
    events.record(desk.tx, desk.organization, [rated], now=desk.now)
    return event.event_id


def release(
    database: Database,
    hold_id: str,
    *,
    key: str | None,
    now: datetime,
    only: str | None = None,
) -> Answer:
    """Return all that was set aside. Raises NotFound, AuthorizationSettled."""

    def act(desk: Act) -> tuple[int, dict[str, Any]]:
        hold = desk.hold(hold_id)
        if hold.status != "authorized":
            raise settled(hold)
        return _release(desk, hold)

    return once(
        database,
        on_hold(database, hold_id, only),
        route=f"release/{hold_id}",
        key=key,
        content=None,
        now=now,
        act=act,
    )


def _release(desk: Act, hold: Hold, *, late: bool = False) -> tuple[int, dict[str, Any]]:
    """Give everything back; of a hold past its deadline that has happened already."""
    organization_id = desk.organization.organization_id
    pinned: list[Take] = []
    if not late:
        pinned = holds.receipt_of(desk.tx, organization_id, hold.hold_id)
        desk.wallet.give_back(pinned, hold.hold_id)
        holds.leave_limits(desk.tx, organization_id, hold, pinned, used=[])
    answer = {
        "id": hold.hold_id,
        "status": "released",
        "credits": "0",
        "released": format_micro(sum(line.amount_micro for line in pinned)),
        "uncollected": "0",
        "late": late,
        "event": None,
    }
    outcome = {"charged_micro": 0, "answer": answer}
    ended = holds.end_late if late else holds.end
    ended(desk.tx, desk.wallet, hold.hold_id, status="released", outcome=outcome)
    return 200, answer
