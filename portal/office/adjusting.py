"""What the operator sets right with an event, with a reason: a correction, and its line on record.

Invariant: the correction and the line are in one transaction; the same key again changes nothing.
"""

from __future__ import annotations

from datetime import datetime

from portal import audit, metering, usage
from portal.core.errors import InvalidRequest, NotAllowed
from portal.core.events import OWN_SOURCES, UsageEvent
from portal.core.units import format_micro
from portal.db import Database
from portal.desk import open_desk
from portal.metering import Sent
from portal.usage import EventRow

#: Where corrections made in the console say they come from.
SOURCE = f"{OWN_SOURCES}console"


def event_of(database: Database, organization_id: str, source: str, event_id: str) -> EventRow:
    """Return the event that is to be corrected. Raises NotFound."""
    with database.reading() as tx:
        return usage.receipt(tx, organization_id, event_id, source=source).event


def correction(
    organization_id: str, event: EventRow, *, quantity_micro: int, key: str
) -> UsageEvent:
    """Return the event that says what another should have been."""
    return UsageEvent(
        source=SOURCE,
        event_id=key,
        organization_id=organization_id,
        type=event.type,
        quantity_micro=quantity_micro,
        corrects=(event.source, event.event_id),
    )


def adjust(
    database: Database, event: UsageEvent, *, reason: str, actor: str, now: datetime
) -> bool:
    """Take a correction and put it on record; False where the same was taken before.

    Raises NotFound, InvalidRequest where the event cannot be corrected so, or without a reason.
    """
    if not reason.strip():
        raise InvalidRequest.at("/reason", "is needed: it goes on record")
    if event.corrects is None or event.source != SOURCE:
        raise NotAllowed("Only corrections are made here.")
    with database.transaction() as tx:
        desk = open_desk(tx, event.organization_id, now=now)
        answer = metering.take(desk, [Sent(0, None, event=event)])
        if answer.rejected:
            raise InvalidRequest(answer.rejected[0].detail)
        desk.wallet.write()
        if answer.accepted:
            source, event_id = event.corrects
            audit.note(
                tx,
                event.organization_id,
                actor=actor,
                act="event.corrected",
                target=event_id,
                detail={
                    "source": source,
                    "quantity": format_micro(event.quantity_micro),
                    "correction": event.event_id,
                    "reason": reason.strip(),
                },
                now=now,
            )
    return answer.accepted > 0
