"""Asking for more: a member whose cap is in the way asks, an admin allows or declines.

Owns ``raise_requests``. Invariant: a request is answered once, and only while its window runs;
what is allowed is added to the cap in that window alone, so that it ends by the instant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, select, update

from portal import accounts, alerts, audit, caps, notices
from portal.accounts import Member
from portal.core.caps import Cap, CapState
from portal.core.errors import InvalidRequest, NotAllowed, NotFound
from portal.core.units import format_micro
from portal.db import Database
from portal.desk import Desk, open_desk
from portal.ids import new_id
from portal.notices import outbox
from portal.rows import insert_or_ignore
from portal.tables import raise_requests

ASKED, ANSWERED = "raise-asked", "raise-answered"
LONGEST_REASON = 500


@dataclass(frozen=True)
class RaiseRequest:
    """More that somebody asks for, in millionths, until the cap's window ends."""

    request_id: str
    cap_id: str
    window_start: datetime
    window_end: datetime
    member_id: str
    asked_micro: int
    reason: str
    asked_at: datetime
    status: str
    granted_micro: int | None
    answered_by: str
    answered_at: datetime | None

    def open_at(self, now: datetime) -> bool:
        """Whether it still waits for an answer: past its window there is nothing to raise."""
        return self.status == "open" and now < self.window_end


def may_ask(cap: Cap, member: Member) -> bool:
    """Tell whether a cap is in this member's way: their own, their team's, or a shared one."""
    if member.role == "viewer":
        return False
    if cap.scope == "member":
        return cap.target == member.member_id
    return cap.hard and (cap.scope != "team" or cap.target == member.team_id)


def _request(row: RowMapping) -> RaiseRequest:
    return RaiseRequest(
        row["request_id"],
        row["cap_id"],
        row["window_start"],
        row["window_end"],
        row["member_id"],
        row["asked_micro"],
        row["reason"],
        row["asked_at"],
        row["status"],
        row["granted_micro"],
        row["answered_by"] or "",
        row["answered_at"],
    )


def ask(
    database: Database,
    organization_id: str,
    cap_id: str,
    member_id: str,
    amount_micro: int,
    *,
    reason: str = "",
    now: datetime,
) -> RaiseRequest:
    """Ask for more of a cap until its window ends; asking again changes what is asked for.

    Raises NotFound, NotAllowed for a cap that is not in the member's way, InvalidRequest.
    """
    if not 0 < amount_micro <= caps.LARGEST_LIMIT_MICRO:
        raise InvalidRequest.at("/credits", "must be more than nothing")
    if len(reason) > LONGEST_REASON or "\x00" in reason:
        raise InvalidRequest.at("/reason", f"must be text of at most {LONGEST_REASON} characters")
    with database.transaction() as tx:
        desk = open_desk(tx, organization_id, now=now)
        member = accounts.find_member(tx, organization_id, member_id)
        cap = caps.find(tx, organization_id, cap_id)
        if not may_ask(cap, member):
            raise NotAllowed("This cap does not limit that member's work.")
        state = caps.open_windows(tx, desk.organization, [cap], at=desk.now)[0]
        found = _store(desk, state, member_id, amount_micro, reason)
        desk.wallet.write()
    return found


def _store(
    desk: Desk, state: CapState, member_id: str, amount_micro: int, reason: str
) -> RaiseRequest:
    tx, organization_id = desk.tx, desk.organization.organization_id
    values = {
        "organization_id": organization_id,
        "request_id": new_id("raise"),
        "cap_id": state.cap.cap_id,
        "window_start": state.window.start,
        "window_end": state.window.end,
        "member_id": member_id,
        "asked_micro": amount_micro,
        "reason": reason,
        "asked_at": desk.now,
        "status": "open",
    }
    asked = {"asked_micro": amount_micro, "reason": reason}
    open_already = [
        raise_requests.c[name] == values[name]
        for name in ("organization_id", "cap_id", "window_start", "member_id", "status")
    ]
    news = insert_or_ignore(tx, raise_requests, values)
    if not news:
        tx.execute(update(raise_requests).where(*open_already).values(**asked))
    row = tx.execute(select(raise_requests).where(*open_already)).mappings().one()
    found = _request(row)
    _on_record(desk, found, actor=member_id, act="raise.asked", amount_micro=amount_micro)
    if news:
        _tell(desk, ASKED, found, state)
    return found


def answer(
    database: Database,
    organization_id: str,
    request_id: str,
    *,
    granted_micro: int | None,
    actor: str,
    now: datetime,
) -> RaiseRequest:
    """Allow so much more until the window ends, or with None decline.

    Raises NotFound, and InvalidRequest where it was answered already or its window has ended.
    """
    if granted_micro is not None and granted_micro <= 0:
        raise InvalidRequest.at("/credits", "must be more than nothing; decline it instead")
    with database.transaction() as tx:
        desk = open_desk(tx, organization_id, now=now)
        found = find(tx, organization_id, request_id)
        if found.status != "open":
            raise InvalidRequest("This request was answered already.")
        cap = caps.find(tx, organization_id, found.cap_id)
        state = caps.open_windows(tx, desk.organization, [cap], at=desk.now)[0]
        if state.window.start != found.window_start:
            raise InvalidRequest("The time it was asked for is over; the cap has started again.")
        if granted_micro is not None:
            state = caps.raise_for_window(
                tx, desk.organization, found.cap_id, granted_micro, now=desk.now
            )
            # It was said of the limit before; the next look says it anew where it still holds.
            notices.end(
                tx,
                organization_id,
                alerts.PROJECTED,
                subject=alerts.foretold(state),
                quietly=True,
                now=desk.now,
            )
        answered = _settle(desk, found, granted_micro, actor)
        _tell(desk, ANSWERED, answered, state)
        desk.wallet.write()
    return answered


def _settle(desk: Desk, found: RaiseRequest, granted_micro: int | None, actor: str) -> RaiseRequest:
    tx, organization_id = desk.tx, desk.organization.organization_id
    status = "declined" if granted_micro is None else "allowed"
    tx.execute(
        update(raise_requests)
        .where(
            raise_requests.c.organization_id == organization_id,
            raise_requests.c.request_id == found.request_id,
            raise_requests.c.status == "open",
        )
        .values(status=status, granted_micro=granted_micro, answered_by=actor, answered_at=desk.now)
    )
    answered = find(tx, organization_id, found.request_id)
    _on_record(desk, answered, actor=actor, act=f"raise.{status}", amount_micro=granted_micro or 0)
    return answered


def _on_record(desk: Desk, found: RaiseRequest, *, actor: str, act: str, amount_micro: int) -> None:
    audit.note(
        desk.tx,
        desk.organization.organization_id,
        actor=actor,
        act=act,
        target=found.cap_id,
        detail={
            "request": found.request_id,
            "member": found.member_id,
            "credits": format_micro(amount_micro),
            "until": found.window_end.isoformat(),
        },
        now=desk.now,
    )


def _tell(desk: Desk, kind: str, found: RaiseRequest, state: CapState) -> None:
    cap = state.cap
    facts: dict[str, Any] = {
        "cap": cap.cap_id,
        "scope": cap.scope,
        "target": cap.target,
        "action": cap.action,
        "window": cap.window,
        "member": found.member_id,
        "asked_micro": found.asked_micro,
        "granted_micro": found.granted_micro,
        "reason": found.reason,
        "answered_by": found.answered_by,
        "limit_micro": state.limit_micro,
        "spent_micro": state.spent_micro,
        "remaining_micro": state.remaining_micro,
        "until": state.window.end.isoformat(),
    }
    organization_id = desk.organization.organization_id
    outbox.tell(desk.tx, organization_id, kind, subject=found.request_id, facts=facts, now=desk.now)


def find(tx: Connection, organization_id: str, request_id: str) -> RaiseRequest:
    """Return a request, answered or not. Raises NotFound."""
    row = (
        tx.execute(
            select(raise_requests).where(
                raise_requests.c.organization_id == organization_id,
                raise_requests.c.request_id == request_id,
            )
        )
        .mappings()
        .first()
    )
    if row is None:
        raise NotFound("request", request_id)
    return _request(row)


def waiting(tx: Connection, organization_id: str, *, at: datetime) -> list[RaiseRequest]:
    """Return the requests that wait for an answer at an instant, the oldest first."""
    rows = tx.execute(
        select(raise_requests)
        .where(
            raise_requests.c.organization_id == organization_id,
            raise_requests.c.status == "open",
            raise_requests.c.window_end > at,
        )
        .order_by(raise_requests.c.asked_at, raise_requests.c.request_id)
    ).mappings()
    in_force = {cap.cap_id for cap in caps.in_force(tx, organization_id)}
    return [_request(row) for row in rows if row["cap_id"] in in_force]


def of_windows(
    tx: Connection, organization_id: str, member_id: str, states: Iterable[tuple[str, datetime]]
) -> dict[str, RaiseRequest]:
    """Return by cap what a member last asked for in these windows, each a cap and its end."""
    wanted = set(states)
    rows = tx.execute(
        select(raise_requests)
        .where(
            raise_requests.c.organization_id == organization_id,
            raise_requests.c.member_id == member_id,
            raise_requests.c.cap_id.in_({cap_id for cap_id, _ in wanted}),
        )
        .order_by(raise_requests.c.asked_at)
    ).mappings()
    return {
        row["cap_id"]: _request(row) for row in rows if (row["cap_id"], row["window_end"]) in wanted
    }
