"""What happened with a customer, the latest first: acts on record, money, and what was told.

Reads only. Invariant: one line for each row of the books it is read from, so that nothing is told
twice; a page ends at an instant, and the next begins before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from portal import audit, papers
from portal.audit import Act
from portal.office import places
from portal.tables import grants, invoices, notices, payments

PAGE = 40


@dataclass(frozen=True)
class Moment:
    """One thing that happened.

    ``book`` is where it is read from: act, payment, invoice, grant, told or over. ``what`` is the
    kind within it; amounts are in minor units of ``currency`` or in millionths of a credit.
    """

    at: datetime
    key: str
    book: str
    what: str
    target: str = ""
    words: str = ""
    amount_minor: int = 0
    currency: str = ""
    credits_micro: int = 0
    #: The act itself, where it is one.
    act: Act | None = None


@dataclass(frozen=True)
class Timeline:
    """A page of moments, and where the one before it begins; empty at the beginning."""

    moments: Sequence[Moment]
    following: str


def timeline(tx: Connection, organization_id: str, *, after: str = "") -> Timeline:
    """Return a page of what happened. Raises InvalidRequest for a place that is none."""
    before = places.read(after)
    found = [
        moment
        for book in (_acts, _payments, _invoices, _grants, _told)
        for moment in book(tx, organization_id, before)
        if before is None or (moment.at, moment.key) < before
    ]
    found.sort(key=lambda one: (one.at, one.key), reverse=True)
    page = found[:PAGE]
    more = len(found) > PAGE
    return Timeline(page, places.written(page[-1].at, page[-1].key) if more else "")


def _acts(
    tx: Connection, organization_id: str, before: tuple[datetime, str] | None
) -> Iterator[Moment]:
    # Keys of other books sort elsewhere: an act of that very instant is looked at again.
    place = None if before is None else (before[0], "~")
    found = audit.listed(tx, organization_id=organization_id, before=place, limit=PAGE + 1)
    for one in found:
        yield Moment(one.at, one.audit_id, "act", one.act, act=one)


def _rows(
    tx: Connection,
    columns: Any,
    at: Any,
    organization_id: str,
    before: tuple[datetime, str] | None,
) -> Sequence[Any]:
    query = select(*columns).where(columns[0].table.c.organization_id == organization_id)
    query = query.where(at.is_not(None)) if before is None else query.where(at <= before[0])
    return tx.execute(query.order_by(at.desc()).limit(PAGE + 1)).all()


def _payments(
    tx: Connection, organization_id: str, before: tuple[datetime, str] | None
) -> Iterator[Moment]:
    c = payments.c
    columns = (c.payment_id, c.settled_at, c.kind, c.amount_minor, c.currency)
    for row in _rows(tx, columns, c.settled_at, organization_id, before):
        yield Moment(
            row.settled_at,
            row.payment_id,
            "payment",
            row.kind,
            target=row.payment_id,
            words=papers.KINDS.get(row.kind, "A payment"),
            amount_minor=row.amount_minor,
            currency=row.currency,
        )


def _invoices(
    tx: Connection, organization_id: str, before: tuple[datetime, str] | None
) -> Iterator[Moment]:
    c = invoices.c
    columns = (c.invoice_id, c.issued_at, c.number, c.status, c.total_minor, c.currency)
    for row in _rows(tx, columns, c.issued_at, organization_id, before):
        yield Moment(
            row.issued_at,
            row.invoice_id,
            "invoice",
            row.status,
            target=row.number or "",
            amount_minor=row.total_minor,
            currency=row.currency,
        )


def _grants(
    tx: Connection, organization_id: str, before: tuple[datetime, str] | None
) -> Iterator[Moment]:
    c = grants.c
    columns = (c.grant_id, c.created_at, c.source, c.granted_micro, c.reason)
    for row in _rows(tx, columns, c.created_at, organization_id, before):
        yield Moment(
            row.created_at,
            row.grant_id,
            "grant",
            row.source,
            words=row.reason,
            credits_micro=row.granted_micro,
        )


def _told(
    tx: Connection, organization_id: str, before: tuple[datetime, str] | None
) -> Iterator[Moment]:
    c = notices.c
    columns = (c.notice_id, c.raised_at, c.ended_at, c.kind, c.sentence)
    for row in _rows(tx, columns, c.raised_at, organization_id, before):
        yield Moment(row.raised_at, row.notice_id, "told", row.kind, words=row.sentence)
    for row in _rows(tx, columns, c.ended_at, organization_id, before):
        yield Moment(row.ended_at, f"{row.notice_id} over", "over", row.kind, words=row.sentence)
