"""Authorize before work starts; capture, increment or release when it is known what it took.

Invariant: each call is one transaction under the wallet's lock: rate, check balance and every cap,
take all or none. The sum of holds and debits never passes a hard limit, and a step that was
authorized can always be captured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from portal import (
    accounts,
    caps,
    catalog,
    costs,
    events,
    express,
    holds,
    idempotency,
    notices,
    overage,
)
from portal.accounts import Organization, Recognized
from portal.core import refusals
from portal.core.caps import CapState, Spender, tightest
from portal.core.costs import CostLine
from portal.core.errors import AuthorizationSettled, InsufficientCredits, InvalidRequest
from portal.core.events import GRACE, OWN_SOURCES, RatedEvent, StatedCost, UsageEvent
from portal.core.ledger import Account, Take, beyond_grants, split_receipt
from portal.core.overage import Place
from portal.core.rating import rate
from portal.core.units import MICRO, format_micro
from portal.db import Database
from portal.desk import open_desk
from portal.holds import Hold
from portal.idempotency import Answer
from portal.ids import new_id
from portal.overage import Standing

#: The source of the events that captures make.
SOURCE = f"{OWN_SOURCES}authorizations"
LARGEST_HOLD_MICRO = 10**15


@dataclass(frozen=True)
class AuthorizeRequest:
    """Work somebody wants to start; the quantity in millionths."""

    organization_id: str
    action: str
    quantity_micro: int = MICRO
    member: str = ""
    team: str = ""
    project: str = ""
    run: str = ""
    expires_in_seconds: int = 900


@dataclass(frozen=True)
class CaptureRequest:
    """What the work took: None for all that was authorized."""

    quantity_micro: int | None = None
    time: datetime | None = None
    costs: tuple[StatedCost, ...] = ()
    properties: dict[str, Any] | None = None


class _Act:
    """One call on one organization's open books: what it may take, and from where."""

    def __init__(self, tx: Connection, organization_id: str, *, now: datetime) -> None:
        desk = open_desk(tx, organization_id, now=now)
        self.tx, self.now = tx, desk.now
        self.wallet = desk.wallet
        self.organization: Organization = desk.organization
        self.organization_id = organization_id

    def counters(self, spender: Spender) -> list[CapState]:
        """Return the windows, open now, of every cap that counts this spender's work."""
        if self.organization.shadow:
            return []
        wanted = caps.applying(self.tx, self.organization_id, spender)
        return caps.open_windows(self.tx, self.organization, wanted, at=self.now)

    def recognize(self, member: str, team: str) -> Recognized:
        """Return whom work is for."""
        return accounts.recognize(self.tx, self.organization_id, member=member, team=team)

    def admit(self, known: Recognized) -> None:
        """Let those who are known begin or extend work that no limit has refused.

        Raises InvalidRequest for a member who was removed, and for one nobody knows where caps
        bind members or teams: misspelt, they would pass them by.
        """
        if self.organization.shadow:
            return
        if known.removed:
            raise InvalidRequest.at("/member", "was removed from this organization")
        if known.stranger and any(
            cap.scope in {"member", "team"} for cap in caps.in_force(self.tx, self.organization_id)
        ):
            raise InvalidRequest.at(
                "/member",
                "is not a member of this organization, where caps bind members or teams. PUT the "
                "member under this id first, or leave it out",
            )

    def overage(self, hold: Hold | None = None) -> Standing:
        """Return what may be used beyond all grants, where a hold counts if one is given."""
        book = catalog.in_force(self.tx, at=self.now)
        return overage.standing(
            self.tx,
            self.organization,
            book,
            at=hold.authorized_at if hold else self.now,
            since=hold.overage_since if hold else None,
            price_micro_minor=hold.overage_price_micro_minor if hold else 0,
        )

    def _pay_first(self) -> None:
        """Refuse new work where a plan was not paid for too long. Raises PaymentOverdue.

        Seats are owed for though no credits are; whom the operator only watches nothing stops.
        """
        stops_at = self.organization.stops_at
        if stops_at is None or self.now < stops_at:
            return
        if self.organization.shadow:
            owed = catalog.in_force(self.tx, at=self.now).plan_of(self.organization.tier)
            if owed is None or not owed.paid_anyway:
                return
        page_url = notices.url_of(self.tx, self.organization_id, notices.PAYMENT_FAILED)
        raise refusals.payment_overdue(stops_at, page_url)

    def plan(
        self, credits_micro: int, counters: Sequence[CapState], hold: Hold | None = None
    ) -> tuple[list[Take], Standing | None]:
        """Return the receipt for new work, and the overage it takes from, where it takes from it.

        Raises PaymentOverdue, InDebt, CapReached or InsufficientCredits.
        """
        self._pay_first()
        if self.organization.shadow:
            return [], None
        if self.wallet.debt_micro and credits_micro:
            raise refusals.in_debt(self.wallet.debt_micro)
        cap = tightest(counters)
        if cap is not None and cap.remaining_micro < credits_micro:
            raise refusals.cap_reached(cap, credits_micro)
        receipt, missing = self.wallet.take(credits_micro)
        if not missing:
            return receipt, None
        beyond = self.overage(hold)
        if beyond.room_micro < missing:
            raise self._insufficient(credits_micro, beyond)
        return [*receipt, Take(Account.OVERAGE, missing)], beyond

    def _insufficient(self, credits_micro: int, beyond: Standing) -> InsufficientCredits:
        period = self.organization.period_at(self.now)
        price = overage.sold(self.organization, catalog.in_force(self.tx, at=self.now))
        return refusals.insufficient(
            self.organization_id,
            credits_micro,
            available_micro=self.wallet.available_micro,
            held_micro=self.wallet.balance("held"),
            overage_room_micro=beyond.room_micro if beyond.price_micro_minor else None,
            sells_overage=price is not None,
            resets_at=period.end if self.organization.tier else None,
        )

    def finish(self) -> None:
        """Write the ledger."""
        self.wallet.write()

    def figures(self) -> dict[str, str]:
        """Return the balance as an answer shows it."""
        return {
            "available": format_micro(self.wallet.available_micro),
            "held": format_micro(self.wallet.balance("held")),
        }


def authorize(
    database: Database, request: AuthorizeRequest, *, key: str | None, now: datetime
) -> Answer:
    """Set credits aside for work about to start, or say which limit refuses it.

    Raises NotFound, UnknownAction, IdempotencyConflict, Unavailable, and InvalidRequest for a
    member whose caps could not hold; a refusal for want of credits or room is an Answer of status
    402.
    """
    quick = _authorize_at_once(database, request, key, now)
    if quick is not None:
        return quick
    with database.transaction() as tx:
        desk = _Act(tx, request.organization_id, now=now)
        answer = idempotency.once(
            tx,
            request.organization_id,
            route="authorize",
            key=key,
            content=request.__dict__,
            now=now,
            act=lambda: _authorize(desk, request),
        )
        desk.finish()
        return answer


def _authorize_at_once(
    database: Database, request: AuthorizeRequest, key: str | None, now: datetime
) -> Answer | None:
    """Take the store's express lane where it is offered; None where the case is not plain."""
    if not express.offered(database):
        return None
    book = express.price_books(database).in_force(now)
    action = book.actions.get(request.action)
    if action is None:
        return None
    hold = _hold_for(request, action.price_micro, book.version, request.team, now)
    print_ = idempotency.fingerprint(request.__dict__)
    body = express.authorize(
        database,
        request.organization_id,
        hold,
        lasts_seconds=request.expires_in_seconds,
        key=key,
        print_=print_,
    )
    return None if body is None else Answer(201, body)


def _hold_for(
    request: AuthorizeRequest, price_micro: int, book_version: int, team: str, now: datetime
) -> Hold:
    """Return the hold that a request asks for. Raises InvalidRequest where it is too large."""
    return Hold(
        hold_id=new_id("auth"),
        status="authorized",
        action=request.action,
        quantity_micro=request.quantity_micro,
        credits_micro=_credits_for(request.quantity_micro, price_micro),
        price_micro=price_micro,
        price_book_version=book_version,
        overage_price_micro_minor=0,
        overage_since=None,
        member=request.member,
        team=team,
        project=request.project,
        run=request.run,
        authorized_at=now,
        expires_at=now + timedelta(seconds=request.expires_in_seconds),
        outcome=None,
    )


def _credits_for(quantity_micro: int, price_micro: int) -> int:
    credits_micro = rate(quantity_micro=quantity_micro, price_micro=price_micro)
    if credits_micro > LARGEST_HOLD_MICRO:
        raise InvalidRequest.at("/quantity", "is too large for the action's price")
    return credits_micro


def _authorize(desk: _Act, request: AuthorizeRequest) -> tuple[int, dict[str, Any]]:
    tx, now = desk.tx, desk.now
    book = catalog.in_force(tx, at=now)
    action = catalog.action_of(book, request.action)
    credits_micro = _credits_for(request.quantity_micro, action.price_micro)
    known = desk.recognize(request.member, request.team)
    spender = Spender(request.member, known.team, request.project, request.action)
    counters = desk.counters(spender)
    receipt, beyond = desk.plan(credits_micro, counters)
    desk.admit(known)
    hold = _hold_for(request, action.price_micro, book.version, known.team, now)
    if beyond is not None:
        hold = _counting_beyond(hold, beyond)
    holds.place(tx, desk.wallet, hold, receipt)
    _count_beyond(desk, beyond, receipt)
    caps.reserve(tx, request.organization_id, counters, credits_micro)
    caps.link(tx, request.organization_id, hold.hold_id, counters)
    return 201, {**describe(hold), "balance": desk.figures()}


def _counting_beyond(hold: Hold, beyond: Standing) -> Hold:
    """Return the hold with where it counts beyond all grants."""
    return replace(
        hold,
        overage_price_micro_minor=beyond.price_micro_minor or 0,
        overage_since=beyond.period.start,
    )


def _count_beyond(desk: _Act, beyond: Standing | None, receipt: Sequence[Take]) -> None:
    if beyond is not None:
        overage.count(
            desk.tx,
            desk.organization_id,
            beyond,
            held_micro=beyond_grants(receipt),
            spent_micro=0,
        )


def describe(hold: Hold) -> dict[str, Any]:
    """Return an open hold as an answer shows it."""
    return {
        "id": hold.hold_id,
        "status": hold.status,
        "action": hold.action,
        "credits": format_micro(hold.credits_micro),
        "quantity": format_micro(hold.quantity_micro),
        "expires_at": hold.expires_at.isoformat(),
    }


def state_of(
    database: Database, hold_id: str, *, only: str | None, now: datetime
) -> dict[str, Any]:
    """Return an authorization as it stands at ``now``. Raises NotFound."""
    with database.reading() as tx:
        organization_id = holds.organization_of(tx, hold_id, only=only)
        hold = holds.find(tx, organization_id, hold_id)
    if hold.lapsed(now):
        hold = replace(hold, status="expired")
    answer = describe(hold)
    if hold.outcome and "answer" in hold.outcome:
        answer |= hold.outcome["answer"]
    return answer


def _on_hold(database: Database, hold_id: str, only: str | None) -> str:
    with database.reading() as tx:
        return holds.organization_of(tx, hold_id, only=only)


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
    organization_id = _on_hold(database, hold_id, only)
    with database.transaction() as tx:
        desk = _Act(tx, organization_id, now=now)
        answer = idempotency.once(
            tx,
            organization_id,
            route=f"capture/{hold_id}",
            key=key,
            content=repr(request),
            now=now,
            act=lambda: _capture(desk, holds.find(tx, organization_id, hold_id), request),
        )
        desk.finish()
        return answer


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


def _settled(hold: Hold) -> AuthorizationSettled:
    original = (hold.outcome or {}).get("answer", {"id": hold.hold_id, "status": hold.status})
    how = (
        "ended at its deadline"
        if hold.status == "expired"
        else f"was {hold.status} by another call"
    )
    return AuthorizationSettled(f"This authorization {how}.", original=original)


def _capture(desk: _Act, hold: Hold, request: CaptureRequest) -> tuple[int, dict[str, Any]]:
    if hold.status in {"captured", "released"}:
        raise _settled(hold)
    late = hold.status == "expired"
    quantity = hold.quantity_micro if request.quantity_micro is None else request.quantity_micro
    if quantity == 0:
        return _release(desk, hold, late=late)
    due = _credits_for(quantity, hold.price_micro)
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


def _use_pinned(desk: _Act, hold: Hold, due: int) -> tuple[list[Take], int]:
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
    desk: _Act, hold: Hold, missing: int, *, late: bool
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
    desk: _Act,
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


def increment(
    database: Database,
    hold_id: str,
    quantity_micro: int,
    *,
    key: str | None,
    now: datetime,
    only: str | None = None,
) -> Answer:
    """Extend an open hold by the same rule as authorize. Raises NotFound, AuthorizationSettled."""
    organization_id = _on_hold(database, hold_id, only)
    with database.transaction() as tx:
        desk = _Act(tx, organization_id, now=now)
        answer = idempotency.once(
            tx,
            organization_id,
            route=f"increment/{hold_id}",
            key=key,
            content=quantity_micro,
            now=now,
            act=lambda: _increment(desk, holds.find(tx, organization_id, hold_id), quantity_micro),
        )
        desk.finish()
        return answer


def _increment(desk: _Act, hold: Hold, quantity_micro: int) -> tuple[int, dict[str, Any]]:
    if hold.status != "authorized":
        raise _settled(hold)
    organization_id = desk.organization.organization_id
    grown = hold.quantity_micro + quantity_micro
    total = _credits_for(grown, hold.price_micro)
    more = total - hold.credits_micro
    counters = (
        []
        if desk.organization.shadow
        else caps.counters_of_hold(desk.tx, desk.organization, hold.hold_id)
    )
    receipt, beyond = desk.plan(more, counters, hold)
    desk.admit(desk.recognize(hold.member, hold.team))
    pinned = holds.receipt_of(desk.tx, organization_id, hold.hold_id)
    larger = replace(hold, quantity_micro=grown, credits_micro=total)
    if beyond is not None:
        larger = _counting_beyond(larger, beyond)
    if receipt:
        holds.place(desk.tx, desk.wallet, larger, receipt, positions_from=max(1, len(pinned)))
    _count_beyond(desk, beyond, receipt)
    holds.grow(desk.tx, organization_id, larger)
    caps.extend(desk.tx, organization_id, hold.hold_id, more)
    return 200, {**describe(larger), "balance": desk.figures()}


def release(
    database: Database,
    hold_id: str,
    *,
    key: str | None,
    now: datetime,
    only: str | None = None,
) -> Answer:
    """Return all that was set aside. Raises NotFound, AuthorizationSettled."""
    organization_id = _on_hold(database, hold_id, only)
    with database.transaction() as tx:
        desk = _Act(tx, organization_id, now=now)

        def act() -> tuple[int, dict[str, Any]]:
            hold = holds.find(tx, organization_id, hold_id)
            if hold.status != "authorized":
                raise _settled(hold)
            return _release(desk, hold)

        answer = idempotency.once(
            tx,
            organization_id,
            route=f"release/{hold_id}",
            key=key,
            content=None,
            now=now,
            act=act,
        )
        desk.finish()
        return answer


def _release(desk: _Act, hold: Hold, *, late: bool = False) -> tuple[int, dict[str, Any]]:
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
