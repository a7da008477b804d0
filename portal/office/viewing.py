"""Looking on as a member of a customer: who did, as whom, why, from when to when.

Invariant: a view shows one organization's pages as one member of it sees them, for half an hour at
most, and both its ends are on record with that organization. What may be done meanwhile is the web
guard's to say: looking.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from portal import access, accounts, audit
from portal.core.errors import InvalidRequest
from portal.db import Database

LONGEST_REASON = 500


def look_on(
    database: Database,
    organization_id: str,
    member_id: str,
    *,
    reason: str,
    operator: str,
    now: datetime,
) -> dict[str, str]:
    """Put a view on record and return what the operator's session is to carry.

    Raises NotFound for somebody who is no member there, InvalidRequest without a reason.
    """
    if not reason.strip():
        raise InvalidRequest.at("/reason", "is needed: it goes on record")
    until = now + access.VIEW_LIFETIME
    with database.transaction() as tx:
        member = accounts.find_member(tx, organization_id, member_id)
        audit.note(
            tx,
            organization_id,
            actor=f"operator:{operator}",
            act="view.began",
            target=member.member_id,
            detail={"reason": reason.strip()[:LONGEST_REASON], "until": until.isoformat()},
            now=now,
        )
    return {"organization": organization_id, "member": member_id, "until": until.isoformat()}


def end(tx: Connection, view: Mapping[str, str], *, operator: str, now: datetime) -> None:
    """Put the end of a view on record: now, or when its time was over."""
    at = min(now, datetime.fromisoformat(view["until"]))
    audit.note(
        tx,
        view["organization"],
        actor=f"operator:{operator}",
        act="view.ended",
        target=view["member"],
        now=at,
    )


def end_lapsed(tx: Connection, *, now: datetime) -> None:
    """Put the end of every view on record whose time is over and that nobody ended."""
    for session_hash, operator, carried in access.lapsed_views(tx, now=now):
        end(tx, carried[access.VIEW], operator=operator, now=now)
        access.forget_view(tx, session_hash, carried)
