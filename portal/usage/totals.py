"""What was used, in sums: of the daily rollup, or of the events where it has not enough.

Invariant: every total is a sum of stored integers, the same for every grouping and filter. Runs are
too many for a rollup of their own: by run, the events are added up as the rollup added them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, case, func, select

from portal.core.errors import InvalidRequest
from portal.tables import events, usage_daily
from portal.usage.groups import FILTERS, GROUPS, on_days


@dataclass(frozen=True)
class Totals:
    """Sums over some usage; millionths of a credit and of a quantity.

    ``credits_micro`` is what was charged, the same figure as the ledger's; what was not covered
    stands beside it.
    """

    credits_micro: int = 0
    quantity_micro: int = 0
    uncollected_micro: int = 0
    events: int = 0


@dataclass(frozen=True)
class UsageRow:
    """One group: its labels by name, and its sums."""

    labels: Mapping[str, Any]
    totals: Totals


@dataclass(frozen=True)
class UsageReport:
    """Usage of the local days ``[start, end)``."""

    start: date
    end: date
    totals: Totals
    rows: Sequence[UsageRow]


_PARTS = ("credits_micro", "quantity_micro", "uncollected_micro")


def sums_of(table: Table) -> list[ColumnElement[int]]:
    """Return the sums over the rollup, or the same ones over the events."""
    parts: dict[str, ColumnElement[int]] = {name: table.c[name] for name in _PARTS}
    if table is events:
        # What is stored with an event is what it was rated at, and an event of our own cost has
        # made nothing; a correction changes what was counted, not how often.
        parts["credits_micro"] = events.c.credits_micro - events.c.uncollected_micro
        parts["quantity_micro"] = case((events.c.action == "", 0), else_=events.c.quantity_micro)
        parts["events"] = case((events.c.corrects_id == "", 1), else_=0)
    else:
        parts["events"] = usage_daily.c.events
    return [func.coalesce(func.sum(part), 0).label(name) for name, part in parts.items()]


def report(
    tx: Connection,
    organization_id: str,
    *,
    start: date,
    end: date,
    group_by: Sequence[str] = (),
    filters: Mapping[str, str] | None = None,
    with_costs: bool = False,
) -> UsageReport:
    """Return usage of the local days ``[start, end)``, grouped and filtered.

    Events that only cost the operator are left out unless ``with_costs``.

    Raises InvalidRequest for a grouping or a filter that does not exist.
    """
    table = events if "run" in {*group_by, *(filters or {})} else usage_daily
    conditions = [table.c.organization_id == organization_id, *on_days(table, start, end)]
    if not with_costs:
        conditions.append(table.c.action != "")
    for name, value in (filters or {}).items():
        if name not in FILTERS:
            raise InvalidRequest.at(f"/{name}", f"is not one of {', '.join(FILTERS)}")
        conditions.append(table.c[GROUPS[name]] == value)
    for name in group_by:
        if name not in GROUPS:
            raise InvalidRequest.at("/group_by", f"{name!r} is not one of {', '.join(GROUPS)}")
    columns = [table.c[GROUPS[name]].label(f"by_{name}") for name in group_by]
    query = select(*columns, *sums_of(table)).where(*conditions)
    if columns:
        query = query.group_by(*columns).order_by(*columns)
    rows = [
        UsageRow(
            {name: getattr(row, f"by_{name}") for name in group_by},
            Totals(
                int(row.credits_micro),
                int(row.quantity_micro),
                int(row.uncollected_micro),
                int(row.events),
            ),
        )
        for row in tx.execute(query)
    ]
    return UsageReport(start, end, total(row.totals for row in rows), rows if columns else [])


def of_day_until(
    tx: Connection, organization_id: str, day: date, *, until: datetime
) -> dict[str, Totals]:
    """Return what a local day had used by an instant within it, by action; from its events."""
    rows = tx.execute(
        select(events.c.action, *sums_of(events))
        .where(
            events.c.organization_id == organization_id,
            *on_days(events, day, day + timedelta(days=1)),
            events.c.occurred_at <= until,
            events.c.action != "",
        )
        .group_by(events.c.action)
    )
    return {row.action: Totals(*(int(amount) for amount in row[1:])) for row in rows}


def total(parts: Any) -> Totals:
    """Add totals up."""
    sums = [0, 0, 0, 0]
    for part in parts:
        sums[0] += part.credits_micro
        sums[1] += part.quantity_micro
        sums[2] += part.uncollected_micro
        sums[3] += part.events
    return Totals(*sums)
