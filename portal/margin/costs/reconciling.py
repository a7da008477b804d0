"""Bills beside what customers' work explains of the same days, layer by layer.

Invariant: layers and what is unattributed are the total. A bill counts by time, day by day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, Select, func, select

from portal.core.costs import LAYERS
from portal.core.margin.figures import Span
from portal.core.margin.recognition import share
from portal.margin import sums
from portal.margin.costs.bills import Bill, overlapping
from portal.tables import cost_daily, cost_shares

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Reconciled:
    """What bills say of a layer (of one provider, or of all that no other bill is for).

    ``attributed`` is what events of customers explain, ``shared`` what was shared out beside that.
    """

    layer: str
    provider: str
    billed_nano_usd: int
    attributed_nano_usd: int
    shared_nano_usd: int

    @property
    def unattributed_nano_usd(self) -> int:
        """What no customer explains; below zero where customers explain more than was billed."""
        return self.billed_nano_usd - self.attributed_nano_usd - self.shared_nano_usd


def reconcile(tx: Connection, span: Span) -> list[Reconciled]:
    """Compare what bills say of a span with what customers explain of the same days.

    A bill of a provider stands beside that provider's cost, one without beside all of the layer
    that no bill of a provider is for. Days without a bill are left out.
    """
    found = overlapping(tx, span)
    scopes: dict[tuple[str, str], list[Bill]] = defaultdict(list)
    for bill in found:
        scopes[bill.layer, bill.provider].append(bill)
    covered = {scope: _days(mine, span) for scope, mine in scopes.items()}
    attributed: dict[tuple[str, str], int] = defaultdict(int)
    for row in tx.execute(_explained(span, {bill.layer for bill in found})):
        for provider in (row.provider, ""):
            if row.day in covered.get((row.layer, provider), ()):
                attributed[row.layer, provider] += int(row.cost_nano_usd)
                break
    return [
        Reconciled(
            layer,
            provider,
            sum(of_span(bill, span) for bill in mine),
            attributed[layer, provider],
            sum(_shared(tx, bill, span) for bill in mine if bill.rule),
        )
        for (layer, provider), mine in sorted(scopes.items(), key=lambda one: _place(one[0]))
    ]


def _place(scope: tuple[str, str]) -> tuple[int, str]:
    return LAYERS.index(scope[0]), scope[1]


def _days(found: Sequence[Bill], span: Span) -> set[date]:
    """Return the days of a span that bills are for."""
    days: set[date] = set()
    for bill in found:
        start, end = max(bill.span.start, span.start), min(bill.span.end, span.end)
        days.update(start + number * DAY for number in range((end - start).days))
    return days


def _explained(span: Span, layers: set[str]) -> Select[Any]:
    return (
        select(
            cost_daily.c.layer,
            cost_daily.c.provider,
            cost_daily.c.day,
            func.sum(cost_daily.c.cost_nano_usd).label("cost_nano_usd"),
        )
        .where(
            cost_daily.c.day >= span.start,
            cost_daily.c.day < span.end,
            cost_daily.c.layer.in_(sorted(layers)),
        )
        .group_by(cost_daily.c.layer, cost_daily.c.provider, cost_daily.c.day)
    )


def of_span(bill: Bill, span: Span) -> int:
    """Return what of a bill is for the days of a span: by time, rounded as fees are."""
    first = bill.span.start.toordinal()
    until = [
        share(bill.amount_nano_usd, day.toordinal() - first, bill.span.days)
        for day in (span.start, span.end)
    ]
    return until[1] - until[0]


def _shared(tx: Connection, bill: Bill, span: Span) -> int:
    start, end = (sums.bill_until(bill, day) for day in (span.start, span.end))
    query = select(func.coalesce(func.sum(end - start), 0)).where(
        cost_shares.c.bill_id == bill.bill_id
    )
    return int(tx.execute(query).scalar_one())
