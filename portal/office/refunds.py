"""Refunds that one operator asks for and another approves: what waits, and what became of others.

Reads only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from portal import access, accounts
from portal.billing import approvals
from portal.billing import refund_record as record
from portal.billing.refund_record import RefundOrder
from portal.core.errors import NotFound

#: So many that wait for nobody any more are shown.
LATEST = 30
_OPERATOR = "operator:"


@dataclass(frozen=True)
class RefundLine:
    """A refund, whose payment it is of, and whether who reads it asked for it."""

    order: RefundOrder
    name: str
    mine: bool

    @property
    def asked_by(self) -> str:
        """Who asked for it: the address."""
        return self.order.asked_by.removeprefix(_OPERATOR)

    @property
    def decided_by(self) -> str:
        """Who decided, or nothing."""
        return (self.order.decided_by or "").removeprefix(_OPERATOR)


@dataclass(frozen=True)
class RefundLines:
    """What waits for another operator, the oldest first, and what was decided, the latest first."""

    as_of: datetime
    waiting: Sequence[RefundLine]
    over: Sequence[RefundLine]


def refund_lines(tx: Connection, *, operator: str, now: datetime) -> RefundLines:
    """Return what waits and what was decided, as one operator reads it."""
    waiting = record.waiting(tx, now=now)
    over = record.latest(tx, now=now, limit=LATEST)
    return RefundLines(now, _lines(tx, waiting, operator), _lines(tx, over, operator))


def _lines(tx: Connection, orders: Iterable[RefundOrder], operator: str) -> list[RefundLine]:
    return [_line(tx, order, operator) for order in orders]


def _line(tx: Connection, order: RefundOrder, operator: str) -> RefundLine:
    name = accounts.find_organization(tx, order.organization_id).name
    return RefundLine(order, name, approvals.same_person(order.asked_by, _OPERATOR + operator))


def refund_line(
    tx: Connection, organization_id: str, refund_id: str, *, operator: str
) -> RefundLine:
    """Return one refund. Raises NotFound."""
    order = record.find(tx, organization_id, refund_id)
    if order is None:
        raise NotFound("refund", refund_id)
    return _line(tx, order, operator)


def open_of(tx: Connection, organization_id: str, payment_id: str, *, now: datetime) -> str:
    """Return the id of the refund of a payment that waits or is on its way, or nothing."""
    order = record.open_of(tx, organization_id, payment_id)
    return order.refund_id if order and (order.status != record.WAITING or order.waits(now)) else ""


def waiting(tx: Connection, *, now: datetime) -> int:
    """Return how many wait for another operator."""
    return len(record.waiting(tx, now=now))


def others(tx: Connection, line: RefundLine) -> list[str]:
    """Return the operators who may approve a refund: everybody but who asked for it."""
    asked_by = line.order.asked_by
    return [
        one
        for one in access.operators_of(tx)
        if not approvals.same_person(asked_by, _OPERATOR + one)
    ]
