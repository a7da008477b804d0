"""What usage cost the operator: by group, and of single events. For the operator only.

Invariant: grouped as usage is; by what the rollup does not have, the cost lines are added up as the
rollup added them. What nobody can price is counted, never a cost of zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select

from portal.tables import cost_daily, cost_reviews, event_costs, events
from portal.usage.events import EventRow
from portal.usage.groups import GROUPS, on_days


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


#: What the rollup of costs has; a cost's team, project and run are its event's to know.
_ROLLED_UP = frozenset({"day", "action", "member", "model"})


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

    The names are those that ``report`` takes.
    """
    asked = filters or {}
    rolled_up = _ROLLED_UP.issuperset({*group_by, *asked})
    rows = tx.execute(
        (_rolled_up_costs if rolled_up else _costs_of_events)(
            organization_id, start, end, group_by, asked
        )
    )
    whole = CostTotals()
    by_group: dict[tuple[Any, ...], CostTotals] = {}
    for row in rows:
        whole = whole.plus(row)
        key = tuple(getattr(row, f"by_{name}") for name in group_by)
        by_group[key] = by_group.get(key, CostTotals()).plus(row)
    suspects = _suspects(organization_id, start, end, group_by, asked)
    for row in tx.execute(suspects):
        whole = whole.with_suspects(row)
        key = tuple(getattr(row, f"by_{name}") for name in group_by)
        by_group[key] = by_group.get(key, CostTotals()).with_suspects(row)
    return whole, by_group


def _rolled_up_costs(
    organization_id: str,
    start: date,
    end: date,
    group_by: Sequence[str],
    filters: Mapping[str, str],
) -> Select[Any]:
    """Return the query of the rollup's costs, by group, layer and quality."""
    columns = [cost_daily.c[GROUPS[name]].label(f"by_{name}") for name in group_by]
    sums = ("cost_nano_usd", "lines", "input_tokens", "output_tokens")
    return (
        select(
            *columns,
            cost_daily.c.layer,
            cost_daily.c.quality,
            *(func.sum(cost_daily.c[name]).label(name) for name in sums),
        )
        .where(
            cost_daily.c.organization_id == organization_id,
            cost_daily.c.day >= start,
            cost_daily.c.day < end,
            *(cost_daily.c[GROUPS[name]] == value for name, value in filters.items()),
        )
        .group_by(*columns, cost_daily.c.layer, cost_daily.c.quality)
    )


#: Where a cost line's labels stand: the model is the line's own, all else its event's.
_OF_LINES = {
    name: (event_costs if name == "model" else events).c[column] for name, column in GROUPS.items()
}
_SAME_EVENT = ("organization_id", "source", "event_id")
_SAME_LINE = (*_SAME_EVENT, "line")


def _costs_of_events(
    organization_id: str,
    start: date,
    end: date,
    group_by: Sequence[str],
    filters: Mapping[str, str],
) -> Select[Any]:
    """Return the same query over the cost lines themselves, which the rollup adds up."""
    columns = [_OF_LINES[name].label(f"by_{name}") for name in group_by]
    line = event_costs.c
    return (
        select(
            *columns,
            line.layer,
            line.quality,
            func.coalesce(func.sum(line.amount_nano_usd), 0).label("cost_nano_usd"),
            func.count().label("lines"),
            func.sum(line.input_tokens).label("input_tokens"),
            func.sum(line.output_tokens).label("output_tokens"),
        )
        .select_from(events)
        .join(event_costs, and_(*(events.c[name] == line[name] for name in _SAME_EVENT)))
        .where(
            events.c.organization_id == organization_id,
            *on_days(events, start, end),
            *(_OF_LINES[name] == value for name, value in filters.items()),
        )
        .group_by(*columns, line.layer, line.quality)
    )


def _suspects(
    organization_id: str,
    start: date,
    end: date,
    group_by: Sequence[str],
    filters: Mapping[str, str],
) -> Select[Any]:
    """Return the query of the few cost lines that wait for a decision."""
    labels = [_OF_LINES[name].label(f"by_{name}") for name in group_by]
    return (
        select(
            *labels,
            func.count().label("suspect_lines"),
            func.coalesce(func.sum(event_costs.c.stated_nano_usd), 0).label("stated_nano_usd"),
        )
        .select_from(cost_reviews)
        .join(event_costs, and_(*(cost_reviews.c[n] == event_costs.c[n] for n in _SAME_LINE)))
        .join(events, and_(*(cost_reviews.c[n] == events.c[n] for n in _SAME_EVENT)))
        .where(
            cost_reviews.c.organization_id == organization_id,
            cost_reviews.c.decision.is_(None),
            events.c.day >= start,
            events.c.day < end,
            *(_OF_LINES[name] == value for name, value in filters.items()),
        )
        .group_by(*labels)
    )


def cost_of_event(
    tx: Connection, organization_id: str, source: str, event_id: str
) -> list[dict[str, Any]]:
    """Return an event's cost lines. For the operator only."""
    rows = tx.execute(
        select(event_costs, cost_reviews.c.decision)
        .outerjoin(
            cost_reviews,
            and_(*(cost_reviews.c[name] == event_costs.c[name] for name in _SAME_LINE)),
        )
        .where(
            event_costs.c.organization_id == organization_id,
            event_costs.c.source == source,
            event_costs.c.event_id == event_id,
        )
        .order_by(event_costs.c.line)
    ).mappings()
    return [dict(row) for row in rows]


def costs_of_events(
    tx: Connection, organization_id: str, lines: Sequence[EventRow]
) -> dict[tuple[str, str], int]:
    """Return what events cost, in billionths of a dollar, by source and id. Operator only.

    A line that nobody can price is not in it.
    """
    if not lines:
        return {}
    rows = tx.execute(
        select(
            event_costs.c.source,
            event_costs.c.event_id,
            func.coalesce(func.sum(event_costs.c.amount_nano_usd), 0).label("cost_nano_usd"),
        )
        .where(
            event_costs.c.organization_id == organization_id,
            event_costs.c.event_id.in_([one.event_id for one in lines]),
        )
        .group_by(event_costs.c.source, event_costs.c.event_id)
    )
    return {(row.source, row.event_id): int(row.cost_nano_usd) for row in rows}
