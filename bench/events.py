"""Events in batches of 1,000, rated, charged and rolled up, against a bare insert of their rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Column, MetaData, Table, Text

from portal import catalog, metering, onboarding
from portal.core.costs import ModelUsage
from portal.core.events import StatedCost, UsageEvent
from portal.core.units import MICRO
from portal.db import Database, insert_rows
from portal.metering import Sent
from portal.onboarding import GrantRequest, OrganizationRequest
from portal.tables import Instant, Whole

BATCH = 1_000
_peer = Table(
    "bench_events",
    MetaData(),
    Column("organization_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("fingerprint", Text),
    Column("type", Text),
    Column("occurred_at", Instant),
    Column("member_id", Text),
    Column("quantity_micro", Whole),
    Column("credits_micro", Whole),
)


def pairs(
    database: Database,
) -> Iterator[tuple[str, float, Callable[[], int], Callable[[], int]]]:
    """Yield (name, goal, ours, peer) of each benchmark."""
    now = datetime.now(UTC)
    with database.transaction() as tx:
        catalog.load(tx, catalog.DEFAULT_FILE.read_text(encoding="utf-8"), now=now)
    onboarding.put_organization(database, "bench", OrganizationRequest(name="Bench"), now=now)
    onboarding.grant(
        database,
        "bench",
        GrantRequest(100_000_000 * MICRO, "adjustment", "bench"),
        actor="bench",
        now=now,
    )
    _peer.metadata.create_all(database.engine)
    numbers = itertools.count()

    def ours() -> int:
        batch = [
            Sent(index, None, event=_event(next(numbers), now - timedelta(seconds=index)))
            for index in range(BATCH)
        ]
        return metering.ingest(database, batch, now=now).accepted

    def peer() -> int:
        rows = [_row(next(numbers), now) for _ in range(BATCH)]
        with database.transaction() as tx:
            insert_rows(tx, _peer, rows)
        return BATCH

    yield "events in batches of 1,000", 0.4, ours, peer


def _event(number: int, at: datetime) -> UsageEvent:
    usage = ModelUsage(1_000 + number % 997, 100 + number % 89)
    return UsageEvent(
        source="bench",
        event_id=f"event-{number}",
        organization_id="bench",
        type="document",
        time=at,
        member=f"member-{number % 20}",
        costs=(StatedCost("inference", provider="openai", model="gpt-4o-mini", usage=usage),),
    )


def _row(number: int, now: datetime) -> dict[str, object]:
    return {
        "organization_id": "bench",
        "source": "bench",
        "event_id": f"event-{number}",
        "fingerprint": f"{number:064x}",
        "type": "document",
        "occurred_at": now,
        "member_id": f"member-{number % 20}",
        "quantity_micro": MICRO,
        "credits_micro": 5 * MICRO,
    }
