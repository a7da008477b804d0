"""Authorize before work starts, and extend what was authorized: all limits are met, or none.

Where the store has an express lane, the plain case takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from portal import caps, catalog, express, holds, idempotency, overage
from portal.authorization.act import Act, once
from portal.authorization.requests import AuthorizeRequest
from portal.authorization.terms import credits_for, describe, on_hold, settled
from portal.core.caps import Spender
from portal.core.ledger import Take, beyond_grants
from portal.db import Database
from portal.holds import Hold
from portal.idempotency import Answer
from portal.ids import new_id
from portal.overage import Standing


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
    return once(
        database,
        request.organization_id,
        route="authorize",
        key=key,
        content=request.__dict__,
        now=now,
        act=lambda desk: _authorize(desk, request),
    )


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
        credits_micro=credits_for(request.quantity_micro, price_micro),
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


def _authorize(desk: Act, request: AuthorizeRequest) -> tuple[int, dict[str, Any]]:
    tx, now = desk.tx, desk.now
    book = catalog.in_force(tx, at=now)
    action = catalog.action_of(book, request.action)
    credits_micro = credits_for(request.quantity_micro, action.price_micro)
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


def _count_beyond(desk: Act, beyond: Standing | None, receipt: Sequence[Take]) -> None:
    if beyond is not None:
        overage.count(
            desk.tx,
            desk.organization_id,
            beyond,
            held_micro=beyond_grants(receipt),
            spent_micro=0,
        )


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
    return once(
        database,
        on_hold(database, hold_id, only),
        route=f"increment/{hold_id}",
        key=key,
        content=quantity_micro,
        now=now,
        act=lambda desk: _increment(desk, desk.hold(hold_id), quantity_micro),
    )


def _increment(desk: Act, hold: Hold, quantity_micro: int) -> tuple[int, dict[str, Any]]:
    if hold.status != "authorized":
        raise settled(hold)
    organization_id = desk.organization.organization_id
    grown = hold.quantity_micro + quantity_micro
    total = credits_for(grown, hold.price_micro)
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
