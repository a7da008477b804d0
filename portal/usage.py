"""What was used, for pages and answers: sums of the daily rollup, and the events themselves.

Invariant: every total is a sum of stored integers, the same for every grouping and filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select, tuple_

from portal.core.errors import InvalidRequest, NotFound
from portal.tables import (
    cost_daily,
    cost_reviews,
    event_costs,
    event_debits,
    events,
    grants,
    usage_daily,
)

#: What usage can be grouped and filtered by, and the rollup's column for it.
GROUPS = {
    "day": "day",
    "action": "action",
    "member": "member_id",
    "team": "team_id",
    "project": "project_id",
    "model": "model",
}
#: Only the operator may see which model did the work.
OPERATOR_ONLY = frozenset({"model"})
FILTERS = tuple(name for name in GROUPS if name != "day")


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


_SUMS = (
    func.coalesce(func.sum(usage_daily.c.credits_micro), 0).label("credits_micro"),
    func.coalesce(func.sum(usage_daily.c.quantity_micro), 0).label("quantity_micro"),
    func.coalesce(func.sum(usage_daily.c.uncollected_micro), 0).label("uncollected_micro"),
    func.coalesce(func.sum(usage_daily.c.events), 0).label("events"),
)


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
    conditions = [
        usage_daily.c.organization_id == organization_id,
        usage_daily.c.day >= start,
        usage_daily.c.day < end,
    ]
    if not with_costs:
        conditions.append(usage_daily.c.action != "")
    for name, value in (filters or {}).items():
        if name not in FILTERS:
            raise InvalidRequest.at(f"/{name}", f"is not one of {', '.join(FILTERS)}")
        conditions.append(usage_daily.c[GROUPS[name]] == value)
    for name in group_by:
        if name not in GROUPS:
            raise InvalidRequest.at("/group_by", f"{name!r} is not one of {', '.join(GROUPS)}")
    columns = [usage_daily.c[GROUPS[name]].label(f"by_{name}") for name in group_by]
    query = select(*columns, *_SUMS).where(*conditions)
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


def total(parts: Any) -> Totals:
    """Add totals up."""
    sums = [0, 0, 0, 0]
    for part in parts:
        sums[0] += part.credits_micro
        sums[1] += part.quantity_micro
        sums[2] += part.uncollected_micro
        sums[3] += part.events
    return Totals(*sums)


@dataclass(frozen=True)
class CostTotals:
    """What usage cost the operator, in billionths of a US dollar, and how much is unknown.

    Suspect lines wait for the operator's decision; what was stated for them is not in the cost.
    """

    cost_nano_usd: int = 0
    by_layer: Mapping[str, int] = field(default_factory=dict)
    unknown_lines: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    suspect_lines: int = 0
    suspect_stated_nano_usd: int = 0

    def with_suspects(self, row: Any) -> CostTotals:
        """Return these totals with the suspect lines of one group."""
        return replace(
            self,
            suspect_lines=self.suspect_lines + int(row.suspect_lines),
            suspect_stated_nano_usd=self.suspect_stated_nano_usd + int(row.stated_nano_usd),
        )

    def plus(self, row: Any) -> CostTotals:
        """Return these totals with one more sum of a layer and a quality."""
        layers = dict(self.by_layer)
        layers[row.layer] = layers.get(row.layer, 0) + int(row.cost_nano_usd)
        return replace(
            self,
            cost_nano_usd=self.cost_nano_usd + int(row.cost_nano_usd),
            by_layer=layers,
            unknown_lines=self.unknown_lines + (int(row.lines) if row.quality == "unknown" else 0),
            input_tokens=self.input_tokens + int(row.input_tokens),
            output_tokens=self.output_tokens + int(row.output_tokens),
        )


#: What costs can be grouped and filtered by; a cost's team and project are its event's to know.
COST_GROUPS = ("day", "action", "member", "model")


def cost(
    tx: Connection,
    organization_id: str,
    *,
    start: date,
    end: date,
    group_by: Sequence[str] = (),
    filters: Mapping[str, str] | None = None,
) -> tuple[CostTotals, dict[tuple[Any, ...], CostTotals]]:
    """Return the cost of the local days ``[start, end)``, in all and by group. Operator only.

    Raises InvalidRequest for a grouping or a filter that costs do not have.
    """
    conditions = [
        cost_daily.c.organization_id == organization_id,
        cost_daily.c.day >= start,
        cost_daily.c.day < end,
    ]
    for name in (*group_by, *(filters or {})):
        if name not in COST_GROUPS:
            raise InvalidRequest.at("/include", f"cost cannot be told by {name}")
    conditions += [cost_daily.c[GROUPS[name]] == value for name, value in (filters or {}).items()]
    columns = [cost_daily.c[GROUPS[name]].label(f"by_{name}") for name in group_by]
    sums = ("cost_nano_usd", "lines", "input_tokens", "output_tokens")
    rows = tx.execute(
        select(
            *columns,
            cost_daily.c.layer,
            cost_daily.c.quality,
            *(func.sum(cost_daily.c[name]).label(name) for name in sums),
        )
        .where(*conditions)
        .group_by(*columns, cost_daily.c.layer, cost_daily.c.quality)
    )
    whole = CostTotals()
    by_group: dict[tuple[Any, ...], CostTotals] = {}
    for row in rows:
        whole = whole.plus(row)
        key = tuple(getattr(row, f"by_{name}") for name in group_by)
        by_group[key] = by_group.get(key, CostTotals()).plus(row)
    suspects = _suspects(organization_id, start, end, group_by, filters or {})
    for row in tx.execute(suspects):
        whole = whole.with_suspects(row)
        key = tuple(getattr(row, f"by_{name}") for name in group_by)
        by_group[key] = by_group.get(key, CostTotals()).with_suspects(row)
    return whole, by_group


def _suspects(
    organization_id: str,
    start: date,
    end: date,
    group_by: Sequence[str],
    filters: Mapping[str, str],
) -> Select[Any]:
    """Return the query of the few cost lines that wait for a decision."""
    same_line = ("organization_id", "source", "event_id", "line")
    columns = {
        name: (event_costs if name == "model" else events).c[GROUPS[name]] for name in COST_GROUPS
    }
    labels = [columns[name].label(f"by_{name}") for name in group_by]
    return (
        select(
            *labels,
            func.count().label("suspect_lines"),
            func.coalesce(func.sum(event_costs.c.stated_nano_usd), 0).label("stated_nano_usd"),
        )
        .select_from(cost_reviews)
        .join(event_costs, and_(*(cost_reviews.c[n] == event_costs.c[n] for n in same_line)))
        .join(events, and_(*(cost_reviews.c[n] == events.c[n] for n in same_line[:3])))
        .where(
            cost_reviews.c.organization_id == organization_id,
            cost_reviews.c.decision.is_(None),
            events.c.day >= start,
            events.c.day < end,
            *(columns[name] == value for name, value in filters.items()),
        )
        .group_by(*labels)
    )


@dataclass(frozen=True)
class EventRow:
    """One event, as a customer may see it; ``credits_micro`` is what was charged."""

    source: str
    event_id: str
    type: str
    action: str
    occurred_at: datetime
    member: str
    team: str
    project: str
    run: str
    quantity_micro: int
    credits_micro: int
    uncollected_micro: int
    price_micro: int
    price_book_version: int


@dataclass(frozen=True)
class Receipt:
    """One event with the grants that paid for it, in millionths by grant."""

    event: EventRow
    paid_by: Sequence[tuple[str, str, int]]


def _event(row: Any) -> EventRow:
    return EventRow(
        row.source,
        row.event_id,
        row.type,
        row.action,
        row.occurred_at,
        row.member_id,
        row.team_id,
        row.project_id,
        row.run_id,
        row.quantity_micro,
        row.credits_micro - row.uncollected_micro,
        row.uncollected_micro,
        row.price_micro,
        row.price_book_version,
    )


def list_events(
    tx: Connection,
    organization_id: str,
    *,
    filters: Mapping[str, str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    before: tuple[datetime, str, str] | None = None,
    limit: int = 50,
    with_costs: bool = False,
) -> list[EventRow]:
    """Return events, newest first, those after the cursor ``before``.

    Events that only cost the operator are left out unless ``with_costs``.
    """
    conditions: list[ColumnElement[bool]] = [events.c.organization_id == organization_id]
    for name, value in (filters or {}).items():
        column = "run_id" if name == "run" else GROUPS[name]
        conditions.append(events.c[column] == value)
    if start is not None:
        conditions.append(events.c.occurred_at >= start)
    if end is not None:
        conditions.append(events.c.occurred_at < end)
    if not with_costs:
        conditions.append(events.c.action != "")
    if before is not None:
        at, source, event_id = before
        conditions.append(
            or_(
                events.c.occurred_at < at,
                and_(
                    events.c.occurred_at == at,
                    tuple_(events.c.source, events.c.event_id) < tuple_(source, event_id),
                ),
            )
        )
    query = (
        select(events)
        .where(*conditions)
        .order_by(events.c.occurred_at.desc(), events.c.source.desc(), events.c.event_id.desc())
        .limit(limit)
    )
    return [_event(row) for row in tx.execute(query)]


def receipt(
    tx: Connection,
    organization_id: str,
    event_id: str,
    *,
    source: str | None,
    with_costs: bool = False,
) -> Receipt:
    """Return one event with the grants that paid. Raises NotFound.

    An event that only costs the operator is not there unless ``with_costs``.
    """
    conditions = [events.c.organization_id == organization_id, events.c.event_id == event_id]
    if not with_costs:
        conditions.append(events.c.action != "")
    if source is not None:
        conditions.append(events.c.source == source)
    row = tx.execute(select(events).where(*conditions).limit(1)).first()
    if row is None:
        raise NotFound("event", event_id)
    paid = tx.execute(
        select(grants.c.grant_id, grants.c.source, event_debits.c.amount_micro)
        .join(
            grants,
            and_(
                grants.c.organization_id == event_debits.c.organization_id,
                grants.c.grant_id == event_debits.c.account,
            ),
        )
        .where(
            event_debits.c.organization_id == organization_id,
            event_debits.c.source == row.source,
            event_debits.c.event_id == event_id,
        )
    )
    return Receipt(_event(row), [(one.grant_id, one.source, one.amount_micro) for one in paid])


def cost_of_event(
    tx: Connection, organization_id: str, source: str, event_id: str
) -> list[dict[str, Any]]:
    """Return an event's cost lines. For the operator only."""
    rows = tx.execute(
        select(event_costs, cost_reviews.c.decision)
        .outerjoin(
            cost_reviews,
            and_(
                *(
                    cost_reviews.c[name] == event_costs.c[name]
                    for name in ("organization_id", "source", "event_id", "line")
                )
            ),
        )
        .where(
            event_costs.c.organization_id == organization_id,
            event_costs.c.source == source,
            event_costs.c.event_id == event_id,
        )
        .order_by(event_costs.c.line)
    ).mappings()
    return [dict(row) for row in rows]
