"""Events in batches of 1,000, rated, charged and rolled up, against a bare insert of their rows."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, MetaData, Table, bindparam, func, select
from sqlalchemy.dialects import postgresql

from bench.machine import Machine
from bench.report import Found, at_least, in_turns, median
from portal import catalog, metering, onboarding
from portal.core.costs import ModelUsage
from portal.core.events import StatedCost, UsageEvent
from portal.core.units import MICRO
from portal.db import Database
from portal.metering import Sent
from portal.onboarding import GrantRequest, OrganizationRequest
from portal.tables import events

BATCH = 1_000
BATCHES = 5


def in_process(machine: Machine) -> Iterator[Found]:
    """Measure each store against the plainest way to insert the rows of the same events."""
    yield _compared("postgresql", machine.postgresql(), "unnest insert")
    yield _compared("sqlite", machine.sqlite("events"), "executemany insert or ignore")


def _compared(store: str, url: str, peer: str) -> Found:
    database = Database(url)
    prepare(database)
    _peer.metadata.create_all(database.engine)
    numbers = itertools.count()
    ours, theirs = in_turns(
        lambda: _rate(lambda: ingest(database, numbers)),
        lambda: _rate(lambda: _insert(database, numbers)),
    )
    database.close()
    what = f"events in batches of {BATCH:,}, in process, {store}"
    return at_least(what, median(ours), median(theirs), peer, 0.4)


def _rate(batch: Callable[[], None]) -> float:
    """Return rows per second over several batches, after one that fills caches."""
    batch()
    started = time.perf_counter()
    for _ in range(BATCHES):
        batch()
    return BATCH * BATCHES / (time.perf_counter() - started)


def prepare_books(database: Database) -> None:
    """Load the price book that ships."""
    with database.transaction() as tx:
        book = catalog.DEFAULT_FILE.read_text(encoding="utf-8")
        catalog.load(tx, book, now=datetime.now(UTC))


def prepare(database: Database) -> None:
    """Make an organization with prices and credits."""
    now = datetime.now(UTC)
    prepare_books(database)
    onboarding.put_organization(database, "bench", OrganizationRequest(name="Bench"), now=now)
    lots = GrantRequest(100_000_000 * MICRO, "adjustment", "bench")
    onboarding.grant(database, "bench", lots, actor="bench", now=now)


def ingest(database: Database, numbers: Iterator[int]) -> None:
    """Send one batch of events that nobody has sent before."""
    now = datetime.now(UTC)
    batch = [
        Sent(index, None, event=_event(next(numbers), now - timedelta(seconds=index)))
        for index in range(BATCH)
    ]
    answer = metering.ingest(database, batch, now=now)
    if answer.accepted != BATCH or answer.uncollected:
        raise RuntimeError(f"only {answer.accepted} of {BATCH} events were taken and charged")


def _insert(database: Database, numbers: Iterator[int]) -> None:
    now = datetime.now(UTC)
    rows = [_row(next(numbers), now - timedelta(seconds=index)) for index in range(BATCH)]
    if database.dialect == "postgresql":
        with database.transaction() as tx:
            tx.execute(_UNNEST, {name: [row[name] for row in rows] for name in rows[0]})
    else:
        with database.transaction() as tx:
            tx.execute(_OR_IGNORE, rows)


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


def _row(number: int, at: datetime) -> dict[str, Any]:
    return {
        "organization_id": "bench",
        "source": "bench",
        "event_id": f"event-{number}",
        "fingerprint": f"{number:064x}",
        "type": "document",
        "occurred_at": at,
        "received_at": at,
        "day": at.date(),
        "action": "document",
        "member_id": f"member-{number % 20}",
        "team_id": "",
        "project_id": "",
        "run_id": "",
        "request_type": "",
        "model": "gpt-4o-mini",
        "hold_id": "",
        "quantity_micro": MICRO,
        "credits_micro": 5 * MICRO,
        "uncollected_micro": 0,
        "price_micro": 5 * MICRO,
        "price_book_version": 1,
        "charged": True,
        "properties": None,
    }


#: A table of the columns that every event fills, and of the same primary key: no other index, and
#: no reference.
_peer = Table(
    "bench_events",
    MetaData(),
    *(
        Column(name, events.c[name].type, primary_key=events.c[name].primary_key)
        for name in _row(0, datetime.now(UTC))
    ),
)
_OR_IGNORE = _peer.insert().prefix_with("OR IGNORE")
_UNNEST = (
    postgresql.insert(_peer)
    .from_select(
        list(_peer.c.keys()),
        select(
            *(func.unnest(bindparam(one.name, type_=postgresql.ARRAY(one.type))) for one in _peer.c)
        ),
    )
    .on_conflict_do_nothing()
)
