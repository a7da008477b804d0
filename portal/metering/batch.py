"""A batch as it came, and what became of it: an answer for each event, what was refused kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from portal import rejections
from portal.core.errors import ClearmeterError, FieldError
from portal.core.events import UsageEvent
from portal.core.json_values import plain
from portal.rejections import Reason, RejectedEvent


@dataclass(frozen=True)
class Sent:
    """One event of a batch as it arrived: its place, its content, and what was made of it."""

    index: int
    content: Any
    event: UsageEvent | None = None
    error: ClearmeterError | None = None
    #: The rejection it comes from, where it is tried again.
    again: RejectedEvent | None = None


@dataclass(frozen=True)
class Rejection:
    """Why one event of a batch was not taken."""

    index: int
    event_id: str
    code: str
    detail: str
    fields: Sequence[FieldError] = ()


@dataclass
class BatchAnswer:
    """What became of a batch."""

    accepted: int = 0
    duplicates: int = 0
    uncollected: int = 0
    rejected: list[Rejection] = field(default_factory=list)


def came_at(sent: Sent, now: datetime) -> datetime:
    """Return when an event first came: its reach back is judged by that."""
    return sent.again.received_at if sent.again else now


def _claimed(sent: Sent, name: str) -> str:
    """Return what a rejected event says its source or id is, as far as it can be read."""
    value = sent.content.get(name) if isinstance(sent.content, dict) else None
    return str(plain(value[:128])) if isinstance(value, str) else ""


def rejection_of(sent: Sent, error: ClearmeterError) -> Rejection:
    """Return why an event was not taken, its fields' faults in one sentence."""
    detail = error.detail
    fields = [FieldError(one["pointer"], one["detail"]) for one in error.fields.get("errors", [])]
    if fields:
        detail = "; ".join(f"{one.pointer or '/'} {one.detail}" for one in fields)
    return Rejection(sent.index, _claimed(sent, "id"), error.code, detail, fields)


def keep_rejected(
    tx: Connection,
    rejected: Sequence[tuple[Sent, ClearmeterError]],
    organization_id: str,
    now: datetime,
) -> None:
    """Keep what was not taken; what is tried again is kept already."""
    reasons = []
    for sent, error in rejected:
        why = rejection_of(sent, error)
        if sent.again is None:
            source = _claimed(sent, "source")
            kept = plain(sent.content)
            reason = Reason(source, why.event_id, why.code, why.detail, kept)
            reasons.append(reason)
        else:
            rejections.failed_again(tx, sent.again, code=why.code, detail=why.detail)
    rejections.keep(tx, organization_id, reasons, now=now)
