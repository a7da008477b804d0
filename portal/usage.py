"""What was used, for pages and answers: sums of the daily rollup, and the events themselves.

Invariant: every total is a sum of stored integers, the same for every grouping and filter. Runs are
too many for a rollup of their own: by run, the events are added up as the rollup added them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    case,
    func,
    or_,
    select,
    tuple_,
)

from portal.core.errors import InvalidRequest, NotFound
from portal.core.ledger import Account
from portal.tables import (
    COUNTS_ON_ANOTHER_DAY,
    cost_daily,
    cost_reviews,
    event_costs,
    event_debits,
    events,
    grants,
    usage_daily,
)

#: What usage can be grouped and filtered by, and its column; the rollup has all but the run.
GROUPS = {
    "day": "day",
    "action": "action",
    "member": "member_id",
    "team": "team_id",
    "project": "project_id",
    "model": "model",
    "run": "run_id",
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


_PARTS = ("credits_micro", "quantity_micro", "uncollected_micro")
#: A local day begins and ends within this of the same day in UTC, also where a zone changes.
_NEAR = timedelta(days=3)


def on_days(table: Table, start: date, end: date) -> list[ColumnElement[bool]]:
    """Return the condition for rows of a rollup, or events, that count on ``[start, end)``."""
    days: list[ColumnElement[bool]] = [table.c.day >= start, table.c.day < end]
    if table is events:
        # An index finds them by when they happened, another those that count on another day.
        first, last = (datetime.combine(day, time(), UTC) for day in (start, end))
        near = and_(events.c.occurred_at >= first - _NEAR, events.c.occurred_at < last + _NEAR)
        days.append(or_(near, and_(COUNTS_ON_ANOTHER_DAY, *days)))
    return days


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
    same_line = (*_SAME_EVENT, "line")
    labels = [_OF_LINES[name].label(f"by_{name}") for name in group_by]
    return (
        select(
            *labels,
            func.count().label("suspect_lines"),
            func.coalesce(func.sum(event_costs.c.stated_nano_usd), 0).label("stated_nano_usd"),
        )
        .select_from(cost_reviews)
        .join(event_costs, and_(*(cost_reviews.c[n] == event_costs.c[n] for n in same_line)))
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
    """One event with what paid for it: the grant, its source, and the millionths.

    What was used beyond all grants has no grant, and ``overage`` for its source. ``granted`` says
    of each grant what it was granted for, and when it began.
    """

    event: EventRow
    paid_by: Sequence[tuple[str | None, str, int]]
    granted: Mapping[str, tuple[str, datetime]] = field(default_factory=dict)


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


def fitting(
    organization_id: str,
    filters: Mapping[str, str],
    start: datetime | None,
    end: datetime | None,
    *,
    with_costs: bool = False,
) -> list[ColumnElement[bool]]:
    """Return the condition for the events of a span that fit the filters."""
    found: list[ColumnElement[bool]] = [events.c.organization_id == organization_id]
    found += [events.c[GROUPS[name]] == value for name, value in filters.items()]
    if start is not None:
        found.append(events.c.occurred_at >= start)
    if end is not None:
        found.append(events.c.occurred_at < end)
    if not with_costs:
        found.append(events.c.action != "")
    return found


def after_place(place: tuple[datetime, str, str]) -> ColumnElement[bool]:
    """Return the condition for the events that a list, newest first, has after a place.

    That is an event's instant, source and id.
    """
    at, source, event_id = place
    further = tuple_(events.c.source, events.c.event_id) < tuple_(source, event_id)
    # The first condition alone tells the stores where in the index to begin.
    return and_(events.c.occurred_at <= at, or_(events.c.occurred_at < at, further))


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
    conditions = fitting(organization_id, filters or {}, start, end, with_costs=with_costs)
    if before is not None:
        conditions.append(after_place(before))
    query = (
        select(events)
        .where(*conditions)
        .order_by(events.c.occurred_at.desc(), events.c.source.desc(), events.c.event_id.desc())
        .limit(limit)
    )
    return [_event(row) for row in tx.execute(query)]


#: How many sources are named where several events share an id.
_MOST_SOURCES = 20


def receipt(
    tx: Connection,
    organization_id: str,
    event_id: str,
    *,
    source: str | None,
    member: str | None = None,
    with_costs: bool = False,
) -> Receipt:
    """Return one event with what paid. Raises NotFound.

    An event that only costs the operator is not there unless ``with_costs``; with ``member`` only
    that member's events are. Raises InvalidRequest that names the sources where several events
    share the id and ``source`` does not say which.
    """
    conditions = [events.c.organization_id == organization_id, events.c.event_id == event_id]
    if not with_costs:
        conditions.append(events.c.action != "")
    if source is not None:
        conditions.append(events.c.source == source)
    if member is not None:
        conditions.append(events.c.member_id == member)
    rows = tx.execute(
        select(events).where(*conditions).order_by(events.c.source).limit(_MOST_SOURCES)
    ).all()
    if not rows:
        raise NotFound("event", event_id)
    if len(rows) > 1:
        sources = ", ".join(repr(one.source) for one in rows)
        raise InvalidRequest.at("/source", f"must say which event is meant: one of {sources}")
    row = rows[0]
    paid = tx.execute(
        select(
            grants.c.grant_id,
            grants.c.source,
            event_debits.c.amount_micro,
            grants.c.reason,
            grants.c.effective_at,
        )
        .select_from(event_debits)
        .outerjoin(
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
        .order_by(grants.c.grant_id.is_(None), grants.c.priority, grants.c.grant_id)
    ).all()
    return Receipt(
        _event(row),
        [(one.grant_id, one.source or Account.OVERAGE.value, one.amount_micro) for one in paid],
        {one.grant_id: (one.reason, one.effective_at) for one in paid if one.grant_id},
    )


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
