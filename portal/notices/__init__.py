"""What an organization's people should know and act on: raised once, standing until it is over.

Owns ``notices``. Invariant: of one kind about one subject at most one stands at a time, and its
beginning and its end are each written to the outbox once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from portal.ids import new_id
from portal.notices import outbox
from portal.rows import insert_or_ignore
from portal.tables import notices

#: A payment for the plan failed: its address is where to pay.
PAYMENT_FAILED = "payment-failed"
#: A pack was not paid in the end by a method that takes its time; its subject is the checkout.
PACK_FAILED = "pack-failed"


@dataclass(frozen=True)
class Notice:
    """One thing to know, in a sentence, and where to act on it."""

    kind: str
    subject: str
    sentence: str
    url: str
    raised_at: datetime


def raise_notice(
    tx: Connection,
    organization_id: str,
    kind: str,
    sentence: str,
    *,
    subject: str = "",
    url: str = "",
    facts: dict[str, Any] | None = None,
    now: datetime,
) -> bool:
    """Tell of something unless it stands already; returns whether it is new."""
    outbox.wait_turn(tx, organization_id)
    news = insert_or_ignore(
        tx,
        notices,
        {
            "organization_id": organization_id,
            "notice_id": new_id("no"),
            "kind": kind,
            "subject": subject,
            "sentence": sentence,
            "url": url,
            "raised_at": now,
        },
    )
    if news:
        told = {"sentence": sentence, "url": url} | (facts or {})
        outbox.tell(
            tx, organization_id, kind, state=outbox.BEGUN, subject=subject, facts=told, now=now
        )
    return news


def was_raised(tx: Connection, organization_id: str, kind: str, *, subject: str) -> bool:
    """Tell whether something was told, be it over or not."""
    found = tx.execute(
        select(notices.c.notice_id)
        .where(
            notices.c.organization_id == organization_id,
            notices.c.kind == kind,
            notices.c.subject == subject,
        )
        .limit(1)
    )
    return found.first() is not None


def end_all(tx: Connection, organization_id: str, kind: str, *, now: datetime) -> None:
    """Say that whatever was told of a kind is over, about any subject."""
    _end(tx, organization_id, kind, [], now)


def end(
    tx: Connection,
    organization_id: str,
    kind: str,
    *,
    subject: str = "",
    facts: dict[str, Any] | None = None,
    quietly: bool = False,
    now: datetime,
) -> bool:
    """Say that something is over; returns whether it stood.

    ``quietly`` where nobody need be told, as of what is told of by what takes its place.
    """
    which = [notices.c.subject == subject]
    return _end(tx, organization_id, kind, which, now, facts=facts, quietly=quietly) > 0


def _end(
    tx: Connection,
    organization_id: str,
    kind: str,
    which: Sequence[ColumnElement[bool]],
    now: datetime,
    *,
    facts: dict[str, Any] | None = None,
    quietly: bool = False,
) -> int:
    """End what stands, and tell of each that it is over."""
    outbox.wait_turn(tx, organization_id)
    ended = tx.execute(
        update(notices)
        .where(
            notices.c.organization_id == organization_id,
            notices.c.kind == kind,
            notices.c.ended_at.is_(None),
            *which,
        )
        .values(ended_at=now)
        .returning(notices.c.subject, notices.c.sentence)
    ).all()
    for row in [] if quietly else sorted(ended):
        outbox.tell(
            tx,
            organization_id,
            kind,
            state=outbox.OVER,
            subject=row.subject,
            facts={"was": row.sentence} | (facts or {}),
            now=now,
        )
    return len(ended)


def standing(tx: Connection, organization_id: str) -> Sequence[Notice]:
    """Return what stands, the latest first."""
    rows = tx.execute(
        select(notices)
        .where(notices.c.organization_id == organization_id, notices.c.ended_at.is_(None))
        .order_by(notices.c.raised_at.desc(), notices.c.notice_id)
    )
    return [
        Notice(row.kind, row.subject, row.sentence, row.url, row.raised_at) for row in rows.all()
    ]


def url_of(tx: Connection, organization_id: str, kind: str) -> str:
    """Return where to act on what stands of a kind, or nothing where nothing does."""
    found = tx.execute(
        select(notices.c.url)
        .where(
            notices.c.organization_id == organization_id,
            notices.c.kind == kind,
            notices.c.ended_at.is_(None),
        )
        .limit(1)
    ).scalar()
    return str(found or "")
