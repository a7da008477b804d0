"""Rejected events of all customers, chosen and tried again, and each customer's line on record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal import audit, metering, rejections
from portal.core.errors import NotFound
from portal.core.events import UsageEvent
from portal.db import Database
from portal.rejections import RejectedEvent

MOST = 200


@dataclass(frozen=True)
class Replayed:
    """What became of events that were tried again."""

    accepted: int
    duplicates: int
    uncollected: int
    still_rejected: int


def replay(
    database: Database,
    ids: Sequence[str],
    parse: Callable[[Any], UsageEvent],
    *,
    actor: str,
    now: datetime,
) -> Replayed:
    """Try chosen events again; what landed before or is unknown is left out."""
    with database.reading() as tx:
        chosen = rejections.chosen_of(tx, ids[:MOST])
    by_owner: dict[str, list[str]] = defaultdict(list)
    for one in chosen:
        by_owner[owner_of(one)].append(one.rejection_id)
    accepted = duplicates = uncollected = 0
    for owner, mine in sorted(by_owner.items()):
        try:
            answer = metering.replay(
                database, owner, parse, chosen=mine, limit=MOST, now=now, backfill=True
            )
        except NotFound:
            continue
        accepted += answer.accepted
        duplicates += answer.duplicates
        uncollected += answer.uncollected
        with database.transaction() as tx:
            detail = {"tried": len(mine), "accepted": answer.accepted}
            audit.note(tx, owner, actor=actor, act="events.replayed", detail=detail, now=now)
    left = len(chosen) - accepted - duplicates
    return Replayed(accepted, duplicates, uncollected, left)


def owner_of(rejected: RejectedEvent) -> str:
    """Return whose an event is, or says it is where nobody of that name was there."""
    content = rejected.content
    claimed = content.get("subject") if isinstance(content, dict) else None
    return rejected.organization_id or (claimed if isinstance(claimed, str) else "")
