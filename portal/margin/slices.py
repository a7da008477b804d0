"""A span's figures cut by action or by team: of one customer, or by action of all of them.

Invariant: the slices add up to the whole. What no action or team explains has the label "": credits
that ended or went back, refunds, Stripe's fees, what was shared out of bills. A tier's fee goes to
what was used of credits; a cost without an action goes to its run's, where the run has one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select

from portal.core.costs import LAYERS
from portal.core.margin.figures import QUALITIES, Cost, Figures, Revenue, Span
from portal.core.units import apportion, divide_half_even
from portal.margin import costs, sums
from portal.margin.margins import Slice
from portal.margin.statement import lost_by_action, rates_of
from portal.rows import among
from portal.tables import (
    cost_daily,
    event_costs,
    events,
    organizations,
    revenue_daily,
    usage_daily,
)
from portal.usage import on_days

#: How long before and after its span a run may have its action.
_NEAR = timedelta(days=7)
_PARTS = ("tier_fees", *sums.PARTS.values())
_SAME_EVENT = ("organization_id", "source", "event_id")


@dataclass
class _Sums:
    """One slice while it is added up."""

    parts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_PARTS, 0))
    layers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LAYERS, 0))
    qualities: dict[str, int] = field(default_factory=lambda: dict.fromkeys(QUALITIES, 0))
    unknown_lines: int = 0
    credits_micro: int = 0
    uncollected_micro: int = 0
    leaked_nano_usd: int = 0
    events: int = 0

    def add_cost(self, layer: str, quality: str, amount_nano_usd: int, lines: int) -> None:
        self.layers[layer] += amount_nano_usd
        if quality == "unknown":
            self.unknown_lines += lines
        else:
            self.qualities[quality] += amount_nano_usd

    def figures(self, currency: str, rate: int | None) -> Figures:
        return Figures(
            currency,
            rate,
            Revenue(*(self.parts[name] for name in _PARTS)),
            Cost(self.layers, self.qualities, self.unknown_lines),
            self.credits_micro,
            self.uncollected_micro,
            self.leaked_nano_usd,
            self.events,
        )


_Slices = dict[tuple[str, str], _Sums]


def by_action(tx: Connection, span: Span, organization_id: str | None = None) -> list[Slice]:
    """Return the figures of a span by action, of one customer or of all; by currency where many."""
    named = None if organization_id is None else [organization_id]
    found = _paid_and_used(tx, span, organization_id, "action")
    _roll(tx, found, _costs_by_action(span, organization_id))
    for row in tx.execute(_by_run(span, organization_id, "action")):
        amount, lines = int(row.cost_nano_usd), int(row.lines)
        found[row.currency, ""].add_cost(row.layer, row.quality, -amount, -lines)
        found[row.currency, row.label].add_cost(row.layer, row.quality, amount, lines)
    currency_of = _currencies(tx, organization_id)
    for (owner, action), lost in lost_by_action(tx, span, named).items():
        found[currency_of[owner], action].leaked_nano_usd += lost
    return _told(tx, span, found)


def by_team(tx: Connection, span: Span, organization_id: str) -> list[Slice]:
    """Return one customer's figures of a span by team, from the events themselves.

    What may not be charged is told in credits alone: ``leaked_nano_usd`` stays zero.
    """
    found = _paid_and_used(tx, span, organization_id, "team_id")
    _roll(tx, found, _costs_by_team(span, organization_id))
    for row in tx.execute(_by_run(span, organization_id, "team_id")):
        amount, lines = int(row.cost_nano_usd), int(row.lines)
        found[row.currency, ""].add_cost(row.layer, row.quality, -amount, -lines)
        found[row.currency, row.label].add_cost(row.layer, row.quality, amount, lines)
    return _told(tx, span, found)


@dataclass(frozen=True)
class Driver:
    """The action that makes most of what a customer's work costs, and its share in percent."""

    action: str
    percent: int


def drivers(tx: Connection, span: Span, named: Sequence[str]) -> dict[str, Driver]:
    """Return what makes most of the cost of some customers; nobody whose work cost nothing."""
    cost = cost_daily.c
    rows = tx.execute(
        select(
            cost.organization_id, cost.action, func.sum(cost.cost_nano_usd).label("cost_nano_usd")
        )
        .where(*on_days(cost_daily, span.start, span.end), among(tx, cost.organization_id, named))
        .group_by(cost.organization_id, cost.action)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows:
        found[row.organization_id][row.action] = int(row.cost_nano_usd)
    most = {}
    for owner, by_action_ in found.items():
        whole = sum(by_action_.values())
        action = max(by_action_, key=lambda one: (by_action_[one], one))
        if action and whole > 0:
            most[owner] = Driver(action, divide_half_even(100 * by_action_[action], whole))
    return most


def _told(tx: Connection, span: Span, found: _Slices) -> list[Slice]:
    rates = rates_of(tx, span)
    order = sorted(found, key=lambda key: (key[1] == "", key))
    return [
        Slice(label, found[currency, label].figures(currency, rates.of(currency)))
        for currency, label in order
        if found[currency, label] != _Sums()
    ]


def _paid_and_used(tx: Connection, span: Span, organization_id: str | None, label: str) -> _Slices:
    """Return what was used and recognised by label; shared bills and what nobody explains at ""."""
    found: _Slices = defaultdict(_Sums)
    by_owner: dict[str, dict[str, int]] = defaultdict(dict)
    currency_of = _currencies(tx, organization_id)
    for row in tx.execute(_uses(span, organization_id, label)):
        one = found[currency_of[row.organization_id], row.label]
        one.credits_micro += int(row.credits_micro)
        one.uncollected_micro += int(row.uncollected_micro)
        one.events += int(row.events)
        by_owner[row.organization_id][row.label] = int(row.credits_micro + row.uncollected_micro)
    for row in tx.execute(_revenues(span, organization_id, label)):
        name = sums.PARTS[row.part]
        found[currency_of[row.organization_id], row.label].parts[name] += int(row.amount_minor)
    for row in tx.execute(sums.of(sums.fees(span), organization_id)):
        _share_fee(found, currency_of[row.organization_id], row, by_owner[row.organization_id])
    bills = costs.overlapping(tx, Span(span.before.start, span.end))
    shares = sums.shares(bills, span)
    for row in tx.execute(sums.of(select(shares), organization_id)) if shares is not None else ():
        for layer in LAYERS:
            one = found[currency_of[row.organization_id], ""]
            one.add_cost(layer, "allocated", int(getattr(row, layer)), 0)
    return found


def _share_fee(found: _Slices, currency: str, row: Any, used_micro: dict[str, int]) -> None:
    """Share a customer's tier fee by what was used of credits; unused it is of no label."""
    labels = sorted(used_micro)
    fee = int(row.tier_fees)
    parts = apportion(fee, [max(0, used_micro[label]) for label in labels])
    for label, part in zip(labels, parts, strict=True):
        found[currency, label].parts["tier_fees"] += part
    found[currency, ""].parts["tier_fees"] += fee - sum(parts)


def _currencies(tx: Connection, organization_id: str | None) -> dict[str, str]:
    known = select(organizations.c.organization_id, organizations.c.currency)
    if organization_id is not None:
        known = known.where(organizations.c.organization_id == organization_id)
    return {row.organization_id: row.currency for row in tx.execute(known)}


def _uses(span: Span, organization_id: str | None, label: str) -> Select[Any]:
    labels = (usage_daily.c.organization_id, usage_daily.c[label])
    return sums.of(
        select(
            labels[0],
            labels[1].label("label"),
            *(
                func.sum(usage_daily.c[name]).label(name)
                for name in ("credits_micro", "uncollected_micro", "events")
            ),
        )
        .where(*on_days(usage_daily, span.start, span.end), usage_daily.c.action != "")
        .group_by(*labels),
        organization_id,
    )


def _revenues(span: Span, organization_id: str | None, label: str) -> Select[Any]:
    labels = (revenue_daily.c.organization_id, revenue_daily.c[label], revenue_daily.c.part)
    return sums.of(
        select(
            labels[0],
            labels[1].label("label"),
            labels[2],
            func.sum(revenue_daily.c.amount_minor).label("amount_minor"),
        )
        .where(*on_days(revenue_daily, span.start, span.end))
        .group_by(*labels),
        organization_id,
    )


def _mine(column: ColumnElement[str], organization_id: str | None) -> list[ColumnElement[bool]]:
    return [] if organization_id is None else [column == organization_id]


def _costs_by_action(span: Span, organization_id: str | None) -> Select[Any]:
    cost = cost_daily.c
    labels = (organizations.c.currency, cost.action.label("label"), cost.layer, cost.quality)
    return (
        select(
            *labels,
            func.sum(cost.cost_nano_usd).label("cost_nano_usd"),
            func.sum(cost.lines).label("lines"),
        )
        .join(organizations, organizations.c.organization_id == cost.organization_id)
        .where(
            *on_days(cost_daily, span.start, span.end),
            *_mine(cost.organization_id, organization_id),
        )
        .group_by(*labels)
    )


def _costs_by_team(span: Span, organization_id: str) -> Select[Any]:
    return _lines(events.c.team_id.label("label")).where(
        *on_days(events, span.start, span.end), events.c.organization_id == organization_id
    )


def _lines(label: ColumnElement[Any]) -> Select[Any]:
    """Return the query of events' cost lines by a label, layer and quality."""
    line = event_costs.c
    labels = (organizations.c.currency, label, line.layer, line.quality)
    return (
        select(
            *labels,
            func.coalesce(func.sum(line.amount_nano_usd), 0).label("cost_nano_usd"),
            func.count().label("lines"),
        )
        .select_from(events)
        .join(event_costs, and_(*(events.c[name] == line[name] for name in _SAME_EVENT)))
        .join(organizations, organizations.c.organization_id == events.c.organization_id)
        .group_by(*labels)
    )


def _by_run(span: Span, organization_id: str | None, label: str) -> Select[Any]:
    """Return the query of costs without a label that are their run's, where that has one alone."""
    near = on_days(events, span.start - _NEAR, span.end + _NEAR)
    labelled = events.c[label]
    run = (
        select(
            events.c.organization_id,
            events.c.run_id,
            func.min(labelled).label("label"),
        )
        .where(
            *near,
            *_mine(events.c.organization_id, organization_id),
            events.c.run_id != "",
            events.c.action != "",
        )
        .group_by(events.c.organization_id, events.c.run_id)
        .having(and_(func.min(labelled) == func.max(labelled), func.min(labelled) != ""))
        .subquery()
    )
    same = and_(run.c.organization_id == events.c.organization_id, run.c.run_id == events.c.run_id)
    return (
        _lines(run.c.label)
        .join(run, same)
        .where(
            *on_days(events, span.start, span.end),
            *_mine(events.c.organization_id, organization_id),
            events.c.run_id != "",
            labelled == "",
        )
    )


def _roll(tx: Connection, found: _Slices, query: Select[Any]) -> None:
    for row in tx.execute(query):
        found[row.currency, row.label].add_cost(
            row.layer, row.quality, int(row.cost_nano_usd), int(row.lines)
        )
