"""Payments of all customers, the latest first: what was paid, for what, and what went back.

Reads only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from portal import everybody
from portal.billing import inbox
from portal.billing import payments as book
from portal.billing.payments import Settled
from portal.office import places, refunds

PAGE = 50
KINDS = ("pack", "top_up", "tier", "overage", "unknown")


@dataclass(frozen=True)
class PaymentLine:
    """A payment, and whose it is."""

    organization_id: str
    name: str
    settled: Settled


@dataclass(frozen=True)
class PaymentLines:
    """A page of payments, those only told of first; and where the next page begins."""

    as_of: datetime
    told: Sequence[PaymentLine]
    lines: Sequence[PaymentLine]
    following: str


def payment_lines(
    tx: Connection, *, kind: str = "", disputed: bool = False, after: str = "", now: datetime
) -> PaymentLines:
    """Return a page of payments. Raises InvalidRequest for a place that is none."""
    before = places.read(after)
    found = book.of_all(tx, kind=kind, disputed=disputed, before=before, limit=PAGE + 1)
    told = [] if before else book.only_told(tx, kind=kind, disputed=disputed, limit=PAGE)
    names = everybody.names(tx, {one for one, _ in [*found, *told]})
    page = [PaymentLine(one, names.get(one, one), settled) for one, settled in found[:PAGE]]
    last = page[-1].settled.payment if len(found) > PAGE else None
    more = places.written(last.settled_at, last.payment_id) if last and last.settled_at else ""
    return PaymentLines(
        now, [PaymentLine(one, names.get(one, one), two) for one, two in told], page, more
    )


def standing(tx: Connection, *, now: datetime) -> dict[str, Any]:
    """Return what waits for somebody: events by state, disputes, refunds for another operator."""
    return {
        "counts": inbox.by_status(tx),
        "disputes": book.open_disputes(tx),
        "asked": refunds.waiting(tx, now=now),
    }
