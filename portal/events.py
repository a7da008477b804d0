"""Usage events as stored: the only writer of events, their costs and the daily rollups.

Invariant: a rollup changes in the transaction that writes its events, so every total anywhere is a
sum of what was stored. Called by whoever makes an event: ingestion and capture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    Text,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from portal.accounts import Organization
from portal.core.costs import CostLine, Quality
from portal.core.events import RatedEvent
from portal.core.ledger import Account, Take
from portal.core.periods import local_day
from portal.ids import new_id
from portal.rows import add_to_rows, insert_rows
from portal.tables import (
    COST_LABELS,
    USAGE_LABELS,
    cost_daily,
    cost_reviews,
    event_costs,
    event_debits,
    events,
    usage_daily,
)


def fingerprints(
    tx: Connection, organization_id: str, source: str, event_ids: Sequence[str]
) -> dict[str, str]:
    """Return the fingerprints of those events of a source that are recorded, by their ids."""
    of = {"organization": organization_id, "source": source, "ids": list(event_ids)}
    query = _AMONG if tx.dialect.name == "sqlite" else _EACH_LOOKED_UP
    return {row.event_id: row.fingerprint for row in tx.execute(query, of)}


_OF_SOURCE = (
    events.c.organization_id == bindparam("organization"),
    events.c.source == bindparam("source"),
)
_AMONG = select(events.c.event_id, events.c.fingerprint).where(
    *_OF_SOURCE, events.c.event_id.in_(bindparam("ids", expanding=True))
)


def _each_looked_up() -> Select[tuple[str, str]]:
    """Return the same for PostgreSQL, id by id in the primary key.

    While the store has no statistics of the table yet, a list in the condition would be compared
    with every event of the organization.
    """
    sought = func.unnest(bindparam("ids", type_=ARRAY(Text))).column_valued("sought")
    recorded = (
        select(events.c.fingerprint)
        .where(*_OF_SOURCE, events.c.event_id == sought)
        .limit(literal_column("1"))
        .lateral("recorded")
    )
    return select(sought.label("event_id"), recorded.c.fingerprint).join(recorded, true())


_EACH_LOOKED_UP = _each_looked_up()


def record(
    tx: Connection, organization: Organization, rated: Sequence[RatedEvent], *, now: datetime
) -> None:
    """Write events, the grants that paid, their costs, and the rollups of their local days."""
    if not rated:
        return
    organization_id = organization.organization_id
    rows = [_event_row(organization, one, now) for one in rated]
    insert_rows(tx, events, rows)
    debits = [_debit_row(organization_id, one, line) for one in rated for line in one.receipt]
    insert_rows(tx, event_debits, debits)
    lines = [
        _cost_row(organization_id, one, number, line)
        for one in rated
        for number, line in enumerate(one.costs)
    ]
    insert_rows(tx, event_costs, lines)
    insert_rows(tx, cost_reviews, [_review_row(line, now) for line in lines if line["suspect"]])
    _roll_up(tx, organization_id, rated, rows)


def _day(organization: Organization, one: RatedEvent, now: datetime) -> date:
    """Return the local day an event is counted on: its own, or that of its arrival if too late."""
    if one.adjusts is not None:
        return local_day(now, organization.zone)
    if one.like is not None:
        counted: date = one.like["day"]
        return counted
    return local_day(one.occurred_at, organization.zone)


def _event_row(organization: Organization, one: RatedEvent, now: datetime) -> dict[str, Any]:
    event = one.event
    return {
        "organization_id": organization.organization_id,
        "source": event.source,
        "event_id": event.event_id,
        "fingerprint": one.content_print or event.fingerprint,
        "type": event.type,
        "occurred_at": one.occurred_at,
        "received_at": now,
        "day": _day(organization, one, now),
        "action": one.action,
        "member_id": one.labels[0],
        "team_id": one.team,
        "project_id": one.labels[1],
        "run_id": event.run,
        "request_type": event.request_type,
        "model": one.model,
        "hold_id": one.hold_id,
        "corrects_source": event.corrects[0] if event.corrects else "",
        "corrects_id": event.corrects[1] if event.corrects else "",
        "adjusts": one.adjusts,
        "quantity_micro": event.quantity_micro if one.like is None else one.counted_micro,
        "credits_micro": one.credits_micro,
        "uncollected_micro": one.uncollected_micro,
        "price_micro": one.price_micro,
        "price_book_version": one.price_book_version,
        "charged": one.charged,
        "properties": event.properties or None,
    }


def _debit_row(organization_id: str, one: RatedEvent, line: Take) -> dict[str, Any]:
    place = one.beyond if line.account == Account.OVERAGE else None
    return {
        "organization_id": organization_id,
        "source": one.event.source,
        "event_id": one.event.event_id,
        "account": line.account,
        "amount_micro": line.amount_micro,
        "overage_since": place.since if place else None,
        "overage_price_micro_minor": place.price_micro_minor if place else None,
    }


def _cost_row(organization_id: str, one: RatedEvent, number: int, line: CostLine) -> dict[str, Any]:
    return {
        "organization_id": organization_id,
        "source": one.event.source,
        "event_id": one.event.event_id,
        "line": number,
        "layer": line.layer,
        "quality": line.quality.value,
        "amount_nano_usd": line.amount_nano_usd,
        "provider": line.provider,
        "model": line.model,
        "resource": line.resource,
        "input_tokens": line.usage.input_tokens,
        "output_tokens": line.usage.output_tokens,
        "cached_input_tokens": line.usage.cached_input_tokens,
        "cache_write_tokens": line.usage.cache_write_tokens,
        "reasoning_tokens": line.usage.reasoning_tokens,
        "price_source": line.price_source,
        "stated_nano_usd": line.stated_nano_usd,
        "suspect": line.suspect,
    }


def _review_row(line: dict[str, Any], now: datetime) -> dict[str, Any]:
    return {
        **{name: line[name] for name in ("organization_id", "source", "event_id", "line")},
        "review_id": new_id("cost"),
        "raised_at": now,
        "decision": None,
        "decided_at": None,
    }


def add_cost(
    tx: Connection,
    organization_id: str,
    source: str,
    event_id: str,
    like: int,
    *,
    difference_nano_usd: int,
    price_source: str,
) -> None:
    """Add a measured line to an event that moves the cost of its line ``like`` by a difference.

    The difference may be negative; no count of tokens moves. The caller keeps others from adding
    lines to the same event meanwhile.
    """
    key = {"organization_id": organization_id, "source": source, "event_id": event_id}
    same_event = [event_costs.c[name] == value for name, value in key.items()]
    last = tx.execute(select(func.max(event_costs.c.line)).where(*same_event)).scalar_one()
    what = (event_costs.c[name] for name in ("layer", "provider", "model", "resource"))
    line = tx.execute(select(*what).where(*same_event, event_costs.c.line == like)).mappings().one()
    added = {
        **key,
        **line,
        "line": last + 1,
        "quality": Quality.MEASURED.value,
        "amount_nano_usd": difference_nano_usd,
        "price_source": price_source,
        "stated_nano_usd": None,
        "suspect": False,
    }
    tx.execute(insert(event_costs).values(added))
    _move_cost(tx, key, line, difference_nano_usd)


def _move_cost(
    tx: Connection, key: dict[str, str], line: RowMapping, difference_nano_usd: int
) -> None:
    """Roll one more line of an event up: on the event's day, beside the line it is like."""
    event = tx.execute(
        select(events.c.day, events.c.action, events.c.member_id).where(
            *(events.c[name] == value for name, value in key.items())
        )
    ).one()
    moved = {
        "organization_id": key["organization_id"],
        "day": event.day,
        "layer": line["layer"],
        "quality": Quality.MEASURED.value,
        "provider": line["provider"],
        "model": line["model"],
        "action": event.action,
        "member_id": event.member_id,
        **dict.fromkeys(COST_SUMS, 0),
        "cost_nano_usd": difference_nano_usd,
        "lines": 1,
    }
    add_to_rows(tx, cost_daily, [moved], sums=COST_SUMS)


USAGE_SUMS = ("quantity_micro", "credits_micro", "uncollected_micro", "events")
COST_SUMS = ("cost_nano_usd", "input_tokens", "output_tokens", "lines")


def _roll_up(
    tx: Connection,
    organization_id: str,
    rated: Sequence[RatedEvent],
    rows: Sequence[dict[str, Any]],
) -> None:
    """Add events to the rollups of the days that their rows bear."""
    usage: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(USAGE_SUMS))
    costs: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(COST_SUMS))
    labels_of = itemgetter(*USAGE_LABELS)
    for one, row in zip(rated, rows, strict=True):
        sums = usage[labels_of(row)]
        sums[0] += one.counted_micro
        sums[1] += one.credits_micro - one.uncollected_micro
        sums[2] += one.uncollected_micro
        # A correction is no work of its own: it changes what was counted, not how often.
        sums[3] += one.like is None
        for line in one.costs:
            model = (line.layer, line.quality.value, line.provider, line.model)
            sums = costs[(row["day"], *model, one.action, one.event.member)]
            sums[0] += line.amount_nano_usd or 0
            sums[1] += line.usage.input_tokens
            sums[2] += line.usage.output_tokens
            sums[3] += 1
    add_to_rows(
        tx, usage_daily, _rows(organization_id, USAGE_LABELS, USAGE_SUMS, usage), sums=USAGE_SUMS
    )
    add_to_rows(
        tx, cost_daily, _rows(organization_id, COST_LABELS, COST_SUMS, costs), sums=COST_SUMS
    )


def _rows(
    organization_id: str,
    labels: Sequence[str],
    sums: Sequence[str],
    totals: dict[tuple[Any, ...], list[int]],
) -> list[dict[str, Any]]:
    # In key order, so that two transactions never lock the same rows in opposite orders.
    return [
        {
            "organization_id": organization_id,
            **dict(zip(labels, key, strict=True)),
            **dict(zip(sums, totals[key], strict=True)),
        }
        for key in sorted(totals)
    ]
