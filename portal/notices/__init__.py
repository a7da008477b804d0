"""What an organization's people should know and act on: raised once, standing until it is over.

Owns ``notices``. Invariant: of one kind about one subject at most one stands at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from portal.db import insert_or_ignore
from portal.ids import new_id
from portal.tables import notices

#: A payment for the plan failed: its address is where to pay.
PAYMENT_FAILED = "payment-failed"


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
    now: datetime,
) -> bool:
    """Tell of something unless it stands already; returns whether it is new."""
    return insert_or_ignore(
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
    tx.execute(
        update(notices)
        .where(
            notices.c.organization_id == organization_id,
            notices.c.kind == kind,
            notices.c.ended_at.is_(None),
        )
        .values(ended_at=now)
    )


def end(
    tx: Connection, organization_id: str, kind: str, *, subject: str = "", now: datetime
) -> bool:
    """Say that something is over; returns whether it stood."""
    ended = tx.execute(
        update(notices)
        .where(
            notices.c.organization_id == organization_id,
            notices.c.kind == kind,
            notices.c.subject == subject,
            notices.c.ended_at.is_(None),
        )
        .values(ended_at=now)
    )
    return ended.rowcount > 0


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
