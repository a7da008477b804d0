"""Batches in, each organization's share in one transaction; and what was rejected, tried again.

Invariant: the good events of a batch land whatever the bad ones are, and no event lands for an
organization that the caller's key does not reach.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from portal import accounts, rejections
from portal.core.errors import ClearmeterError, InvalidEvent, NotFound
from portal.core.events import UsageEvent
from portal.db import Database
from portal.desk import Desk, open_desk
from portal.metering.batch import BatchAnswer, Sent, keep_rejected, rejection_of
from portal.metering.ingestion import Ingestion
from portal.rejections import RejectedEvent


def ingest(
    database: Database,
    batch: Sequence[Sent],
    *,
    now: datetime,
    backfill: bool = False,
    only: str | None = None,
) -> BatchAnswer:
    """Take a batch of events: the good ones land whatever the bad ones are.

    ``only`` is the organization of the caller's key; an event for any other is rejected as for an
    organization that does not exist. ``backfill`` lets times reach back three years.
    """
    answer = BatchAnswer()
    rejected: list[tuple[Sent, ClearmeterError]] = []
    by_organization: dict[str, list[Sent]] = defaultdict(list)
    for sent in batch:
        if sent.event is None:
            rejected.append((sent, sent.error or InvalidEvent("The event cannot be read.")))
        elif only is not None and sent.event.organization_id != only:
            rejected.append((sent, NotFound("organization", sent.event.organization_id)))
        else:
            by_organization[sent.event.organization_id].append(sent)
    for organization_id, group in sorted(by_organization.items()):
        try:
            with database.transaction() as tx:
                desk = open_desk(tx, organization_id, now=now)
                part = Ingestion(desk, backfill=backfill).take(group)
                keep_rejected(tx, part.rejected, organization_id, now)
        except NotFound as error:
            rejected.extend((sent, error) for sent in group)
            continue
        answer.accepted += part.accepted
        answer.duplicates += part.duplicates
        answer.uncollected += part.uncollected
        answer.rejected.extend(rejection_of(sent, error) for sent, error in part.rejected)
    if rejected:
        with database.transaction() as tx:
            keep_rejected(tx, rejected, only or "", now)
        answer.rejected.extend(rejection_of(sent, error) for sent, error in rejected)
    answer.rejected.sort(key=lambda rejection: rejection.index)
    return answer


def take(desk: Desk, batch: Sequence[Sent]) -> BatchAnswer:
    """Take events of one organization at books that are open, in their transaction.

    What is rejected is told and not kept: whoever acts decides what becomes of it.
    """
    part = Ingestion(desk, backfill=False).take(batch)
    answer = BatchAnswer(part.accepted, part.duplicates, part.uncollected)
    answer.rejected = [rejection_of(sent, error) for sent, error in part.rejected]
    return answer


def replay(
    database: Database,
    organization_id: str,
    parse: Callable[[Any], UsageEvent],
    *,
    code: str | None = None,
    chosen: Sequence[str] | None = None,
    limit: int,
    now: datetime,
    backfill: bool = False,
) -> BatchAnswer:
    """Try events again that were rejected, now that the cause may be mended.

    Also those that came before the organization existed. Their times are judged by when they first
    came. ``parse`` reads an event as it was sent and raises ClearmeterError; ``chosen`` are ids of
    rejections, where not all are tried. Raises NotFound.
    """
    with database.reading() as tx:
        accounts.find_organization(tx, organization_id)
        found = rejections.waiting(tx, organization_id, code=code, chosen=chosen, limit=limit)
        homeless = rejections.waiting(tx, "", code=code, chosen=chosen, limit=limit)
        found += [one for one in homeless if _subject(one.content) == organization_id]
    batch = [_again(index, one, parse) for index, one in enumerate(found[:limit])]
    return ingest(database, batch, now=now, backfill=backfill, only=organization_id)


def _subject(content: Any) -> Any:
    return content.get("subject") if isinstance(content, dict) else None


def _again(index: int, rejected: RejectedEvent, parse: Callable[[Any], UsageEvent]) -> Sent:
    try:
        return Sent(index, rejected.content, event=parse(rejected.content), again=rejected)
    except ClearmeterError as error:
        return Sent(index, rejected.content, error=error, again=rejected)
