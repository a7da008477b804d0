"""What calls were routed to, by class and model, from the cost lines of all organizations.

Reads only; the store adds up by day, so that what is held here is days, classes and models.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, func, select

from portal.core.cost_book import Route
from portal.core.costs import ModelUsage
from portal.core.events import StatedCost
from portal.core.margin.figures import Span
from portal.core.routing import (
    DEFAULT_ROUTES,
    FORMATTING,
    MOST_IN_OF_FORMATTING,
    MOST_OUT_OF_FORMATTING,
    REASONING,
    STANDARD,
    Calls,
    Routing,
    routed,
)
from portal.cost_books import CostBooks, cost_books_of
from portal.costs import cost_line
from portal.tables import cost_daily, event_costs, events, organizations

_SAME_EVENT = ("organization_id", "source", "event_id")
_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
#: No zone's day begins or ends further than this from UTC's.
_ZONES = timedelta(days=1)
_NOON = time(12, tzinfo=UTC)


def request_class() -> ColumnElement[str]:
    """Return the class of a cost line, as ``core.routing.classify`` has it."""
    line = event_costs.c
    return case(
        (events.c.request_type != "", events.c.request_type),
        (line.reasoning_tokens > 0, REASONING),
        (
            and_(
                line.input_tokens <= MOST_IN_OF_FORMATTING,
                line.output_tokens <= MOST_OUT_OF_FORMATTING,
            ),
            FORMATTING,
        ),
        else_=STANDARD,
    )


def report(tx: Connection, span: Span) -> Routing:
    """Return what was routed where in a span, what fitting models would have cost, and saved."""
    calls = _calls(tx, span)
    books = cost_books_of(tx)
    pricing = _Pricing(books)
    rows = routed(calls, pricing.routes, pricing.price)
    summed = tx.execute(
        select(func.coalesce(func.sum(cost_daily.c.lines), 0)).where(
            cost_daily.c.day >= span.start, cost_daily.c.day < span.end, cost_daily.c.model != ""
        )
    ).scalar_one()
    return Routing(span, rows, max(0, int(summed) - sum(one.number for one in calls)))


def calls_of(span: Span) -> Select[Any]:
    """Return the query of all calls of a span, added up by class, model and day."""
    line = event_costs.c
    label = request_class().label("request_class")
    known = line.amount_nano_usd.is_not(None).label("known")
    return (
        select(
            label,
            line.provider,
            line.model,
            events.c.day,
            known,
            func.count().label("number"),
            func.coalesce(func.sum(line.amount_nano_usd), 0).label("cost"),
            *(func.sum(line[name]).label(name) for name in _TOKENS),
        )
        .select_from(events)
        .join(event_costs, and_(*(events.c[name] == line[name] for name in _SAME_EVENT)))
        .where(_within(span), events.c.day >= span.start, events.c.day < span.end, line.model != "")
        .group_by(label, line.provider, line.model, events.c.day, known)
        .order_by(events.c.day, label, line.provider, line.model)
    )


def _calls(tx: Connection, span: Span) -> list[Calls]:
    rows = tx.execute(calls_of(span))
    return [
        Calls(
            row.request_class,
            row.provider,
            row.model,
            row.day,
            row.number,
            _usage(row),
            int(row.cost) if row.known else None,
        )
        for row in rows
    ]


def _within(span: Span) -> ColumnElement[bool]:
    """Return which events can be of a span: found by their instants.

    Local days begin and end less than a day from UTC's, and the store keeps each organization's
    events by instant: what lies outside is not read, however much there is of it.
    """
    start, end = (datetime.combine(day, time(), UTC) for day in (span.start, span.end))
    return and_(
        events.c.organization_id.in_(select(organizations.c.organization_id)),
        events.c.occurred_at >= start - _ZONES,
        events.c.occurred_at < end + _ZONES,
    )


def _usage(row: Row[Any]) -> ModelUsage:
    """Return the tokens of a sum; stored counts have every input token in them once."""
    counts: dict[str, Any] = {name: int(getattr(row, name)) for name in _TOKENS}
    return ModelUsage(**counts, input_counts_cached=True)


class _Pricing:
    """What models cost and which fit, by day: of the book in force at noon of it, in UTC."""

    def __init__(self, books: CostBooks) -> None:
        self._books = books

    def routes(self, day: date) -> Mapping[str, Route]:
        """Return which model fits which class: the operator's word first."""
        book = self._books.in_force(datetime.combine(day, _NOON))
        return {**DEFAULT_ROUTES, **(book.routing if book else {})}

    def price(self, provider: str, model: str, usage: ModelUsage, day: date) -> int | None:
        """Return what a use costs with a model, in billionths of a dollar."""
        at = datetime.combine(day, _NOON)
        stated = StatedCost("inference", provider=provider, model=model, usage=usage)
        return cost_line(stated, at=at, book=self._books.in_force(at)).amount_nano_usd
