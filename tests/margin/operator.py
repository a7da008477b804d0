"""What Olga the operator sets up and looks at: seats and a model of her own, and the margin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from sqlalchemy import select

from portal import catalog, cost_books
from portal.core.margin.figures import NO_COST, Cost, Figures, Revenue, Span
from portal.db import Database
from portal.margin import margins, revenue, slices, whole
from portal.tables import recognitions, revenue_daily, tier_fees
from tests.cast import Api, Customer, ok
from tests.clock import Clock

NANO = 10**9
NOVEMBER = Span(date(2026, 11, 1), date(2026, 12, 1))
#: Longer than any test's customers live.
EVER = Span(date(2026, 11, 1), date(2027, 2, 1))
PRICES = (
    catalog.DEFAULT_FILE.read_text(encoding="utf-8")
    + """
[tiers.seat]
name = "Seat"
kind = "per_seat"
price = 49.00

[tiers.flat]
name = "Flat"
kind = "flat"
price = 300.00
"""
)
#: 4.6875 dollars for a million tokens: 8,000 of them cost 3.75 cents.
COSTS = """
effective_at = 2026-01-01T00:00:00Z

[models.house]
input = 4.6875
output = 4.6875

[resources.page]
layer = "processing"
price = 0.01

[rates]
eur = 1.1
"""


def open_business(database: Database, clock: Clock) -> None:
    """Load prices that also sell seats, and the operator's own costs."""
    with database.transaction() as tx:
        catalog.load(tx, PRICES, now=clock())
        cost_books.load(tx, COSTS, now=clock())


def customer(api: Api, name: str, **more: Any) -> Customer:
    """Make a customer with nothing to spend."""
    ok(api.put(f"/v1/organizations/{name}", {"name": name.title()} | more), 201)
    return Customer(api, name)


def used(one: Customer, number: int, tokens: int, action: str = "document", **more: Any) -> None:
    """Have a customer make requests with so many tokens of context each."""
    made = [
        one.event(action, model="house", usage={"input_tokens": tokens}, **more)
        for _ in range(number)
    ]
    assert ok(one.send(*made))["rejected"] == []


def bought(one: Customer, credits_: Any, amount: str, **more: Any) -> str:
    """Have a customer buy credits; returns the grant's id."""
    currency = more.pop("currency", "usd")
    paid = {"amount": amount, "currency": currency}
    return one.grant(credits_, source="pack", paid=paid, **more)


def figures(database: Database, clock: Clock, of: str, span: Span = NOVEMBER) -> Figures:
    """Return a customer's figures, with all that happened so far."""
    revenue.bring_up_to_date(database, now=clock())
    with database.reading() as tx:
        return margins.of_organization(tx, of, span).figures


def recognised(database: Database, clock: Clock, of: str, span: Span = NOVEMBER) -> dict[str, int]:
    """Return what is recognised of a customer's money, the parts that are not nothing."""
    parts = figures(database, clock, of, span).revenue.parts()
    return {name: amount for name, amount in parts if amount}


def written(database: Database, of: str) -> list[Any]:
    """Return all that is written down as recognised of a customer."""
    with database.reading() as tx:
        return [
            sorted(map(repr, tx.execute(select(table).where(table.c.organization_id == of)).all()))
            for table in (revenue_daily, tier_fees, recognitions)
        ]


def agree(
    database: Database, clock: Clock, span: Span = EVER, named: Sequence[str] | None = None
) -> None:
    """Prove that figures add up however they are cut, and that nothing was missed on the way.

    What is proven of one customer is proven of those that are named, or of all.
    """
    revenue.bring_up_to_date(database, now=clock())
    with database.reading() as tx:
        every = list(margins.each(tx, span))
        total = whole.totals(tx, span)
        assert whole.totals_of(tx, span, every) == total
        before = whole.cost_by_layer(tx, span.before)
        assert sum(before.values()) == total.before_cost_nano_usd
        actions = slices.by_action(tx, span)
        chosen = [one for one in every if named is None or one.organization_id in named]
        for one in chosen:
            mine = one.figures
            cuts = [slices.by_action(tx, span, one.organization_id)]
            cuts.append(slices.by_team(tx, span, one.organization_id))
            for cut in cuts:
                assert _money(cut_.figures for cut_ in cut) == _money([mine])
            months = [found for _, found in margins.by_month(tx, one.organization_id, span)]
            assert _all(months) == _all([mine])
            assert _all([one.figures for one in cuts[0]]) == _all([mine])
    tiers = [found for group in total.by_tier.values() for found in group]
    listed = [*total.figures, *total.apart]
    for cut in ([one.figures for one in every], tiers, [one.figures for one in actions]):
        assert _all(cut) == _all(listed)
    assert total.organizations == len(every)
    assert total.cost_nano_usd == sum(total.cost.by_layer.values()) + total.unattributed_nano_usd
    assert sum(total.cost.by_quality.values()) == total.cost.total_nano_usd
    for one in chosen:
        before = written(database, one.organization_id)
        revenue.rebuild(database, one.organization_id, now=clock())
        assert written(database, one.organization_id)[:2] == before[:2]


def _money(found: Iterable[Figures]) -> tuple[Any, ...]:
    """Return revenue and cost of some figures, currency by currency, where there is any."""
    sums: dict[str, tuple[Revenue, Cost]] = {}
    for one in found:
        revenue_, cost = sums.get(one.currency, (Revenue(), NO_COST))
        sums[one.currency] = (revenue_ + one.revenue, cost + one.cost)
    return tuple(
        (currency, *both) for currency, both in sorted(sums.items()) if both != (Revenue(), NO_COST)
    )


def _all(found: list[Figures]) -> tuple[Any, ...]:
    """Return all sums of some figures."""
    return (
        *_money(found),
        sum(one.credits_micro for one in found),
        sum(one.uncollected_micro for one in found),
        sum(one.leaked_nano_usd for one in found),
        sum(one.events for one in found),
    )
