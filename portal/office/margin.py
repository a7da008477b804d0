"""The margin page: what was recognised, what it cost, who is under water, whom to talk to.

Reads only, from one snapshot, after revenue was brought up to date. Invariant: the figures of
customers shown add up to the totals shown, and both are those of ``portal.margin``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from portal import catalog, everybody
from portal.core.catalog import PriceBook
from portal.core.conversations import Conversation, Known, choose
from portal.core.costs import LAYERS
from portal.core.errors import InvalidRequest
from portal.core.margin.figures import Figures, Span
from portal.margin import margins, signals, slices, whole
from portal.margin.margins import OrganizationMargin
from portal.margin.signals import Report
from portal.margin.whole import Totals
from portal.spending import book_at

DAY = timedelta(days=1)
SPANS = {
    "30-days": "Last 30 days",
    "90-days": "Last 90 days",
    "month": "This month so far",
    "last-month": "Last month",
}
#: So many customers are drawn and listed; of more, those who cost or bring the most.
MOST_DRAWN = 400
#: Whom to talk to this week.
MOST_CONVERSATIONS = 5
#: How much revenue is brought up to date while somebody waits for the page.
AT_ONCE = 40


@dataclass(frozen=True)
class LayerLine:
    """What a layer cost, now and before, and what of it no customer explains; in nano USD."""

    layer: str
    cost_nano_usd: int
    before_nano_usd: int
    unattributed_nano_usd: int


@dataclass(frozen=True)
class TierLine:
    """What customers of a tier bring and cost, in nano USD.

    ``name`` is what the price book in force calls the tier, else its key; ``apart`` says that some
    are left out because their currency does not convert.
    """

    tier: str
    name: str
    revenue_nano_usd: int
    cost_nano_usd: int
    margin_nano_usd: int
    apart: bool


@dataclass(frozen=True)
class Talk:
    """A customer to talk to, with their name and figures, and the work that costs most."""

    about: Conversation
    customer: OrganizationMargin
    work: str = ""
    work_percent: int = 0


@dataclass(frozen=True)
class MarginPage:
    """Everything on the page; ``late`` customers have revenue that is not recognised yet.

    ``known`` of them brought or cost anything, and of ``told`` the margin can be said.
    """

    as_of: datetime
    key: str
    span: Span
    totals: Totals
    layers: Sequence[LayerLine]
    tiers: Sequence[TierLine]
    customers: Sequence[OrganizationMargin]
    known: int
    told: int
    under_water: Sequence[OrganizationMargin]
    lost_nano_usd: int
    talks: Sequence[Talk]
    names: Mapping[str, str]
    report: Report
    late: int

    @property
    def last_day(self) -> date:
        """The last day that is in the figures."""
        return self.span.end - DAY

    @property
    def before_last_day(self) -> date:
        """The last day of the days they are held against."""
        return self.span.before.end - DAY


def span_of(key: str, *, today: date) -> Span:
    """Return the days that a key names. Raises InvalidRequest."""
    first = today.replace(day=1)
    if key == "30-days":
        return Span(today - 29 * DAY, today + DAY)
    if key == "90-days":
        return Span(today - 89 * DAY, today + DAY)
    if key == "month":
        return Span(first, today + DAY)
    if key == "last-month":
        return Span((first - DAY).replace(day=1), first)
    raise InvalidRequest.at("/span", f"is not one of {', '.join(SPANS)}")


def margin_page(tx: Connection, key: str, *, late: int, now: datetime) -> MarginPage:
    """Put the page together. Raises InvalidRequest for a span that is none."""
    span = span_of(key, today=now.date())
    every = list(margins.each(tx, span))
    totals = whole.totals_of(tx, span, every)
    under = sorted(
        (one for one in every if (one.figures.margin_nano_usd or 0) < 0),
        key=lambda one: one.figures.margin_nano_usd or 0,
    )
    busy = [one for one in every if one.figures.cost.total_nano_usd or _brings(one)]
    busy.sort(key=lambda one: (-max(one.figures.cost.total_nano_usd, _brings(one)), one.name))
    return MarginPage(
        as_of=now,
        key=key,
        span=span,
        totals=totals,
        layers=_layers(totals, whole.cost_by_layer(tx, span.before)),
        tiers=_tiers(totals, book_at(tx, now)),
        customers=busy[:MOST_DRAWN],
        known=len(busy),
        told=sum(one.figures.margin_nano_usd is not None for one in busy),
        under_water=under,
        lost_nano_usd=-sum(one.figures.margin_nano_usd or 0 for one in under),
        talks=_talks(tx, span, every, now=now),
        names={one.organization_id: one.name for one in every},
        report=signals.report_of(tx, every, totals, now=now),
        late=late,
    )


def _brings(one: OrganizationMargin) -> int:
    return one.figures.revenue_nano_usd or 0


def _layers(totals: Totals, before: Mapping[str, int]) -> list[LayerLine]:
    rest = totals.unattributed_by_layer
    return [
        LayerLine(
            layer,
            totals.cost.by_layer.get(layer, 0) + rest[layer],
            before[layer],
            rest[layer],
        )
        for layer in LAYERS
    ]


def _tiers(totals: Totals, book: PriceBook | None) -> list[TierLine]:
    lines = []
    for tier, found in totals.by_tier.items():
        counted = [one for one in found if one.rate_nano_usd is not None]
        revenue = sum(one.revenue_nano_usd or 0 for one in counted)
        cost = sum(one.cost.total_nano_usd for one in counted)
        left, apart = revenue - cost, len(counted) < len(found)
        known = book.plan_of(tier) if book else None
        name = known.name if known else tier
        lines.append(TierLine(tier, name, revenue, cost, left, apart))
    return sorted(lines, key=lambda one: one.margin_nano_usd)


def _talks(
    tx: Connection, span: Span, every: Sequence[OrganizationMargin], *, now: datetime
) -> list[Talk]:
    """Return whom to talk to this week: who has the most at stake, and about what."""
    by_id = {one.organization_id: one for one in every}
    overdue = everybody.overdue(tx)
    chosen = choose((_known(one, overdue) for one in every), most=MOST_CONVERSATIONS)
    most = slices.drivers(tx, span, [one.customer for one in chosen])
    # Work of an action has a price, so that there is a book where anybody is found.
    actions = catalog.in_force(tx, at=now).actions if most else {}
    talks = []
    for one in chosen:
        work, percent = "", 0
        if one.customer in most:
            driver = most[one.customer]
            known = actions.get(driver.action)
            work, percent = known.plural if known else driver.action, driver.percent
        talks.append(Talk(one, by_id[one.customer], work, percent))
    return talks


def _known(one: OrganizationMargin, overdue: set[str]) -> Known:
    figures, rate = one.figures, one.figures.rate_nano_usd
    return Known(
        customer=one.organization_id,
        revenue_nano_usd=figures.revenue_nano_usd,
        cost_nano_usd=figures.cost.total_nano_usd,
        revenue_before_nano_usd=None if rate is None else one.before.revenue_minor * rate,
        cost_before_nano_usd=one.before.cost_nano_usd,
        used_micro=figures.credits_micro,
        used_before_micro=one.before.credits_micro,
        leaked_nano_usd=figures.leaked_nano_usd,
        overdue=one.organization_id in overdue,
    )


@dataclass(frozen=True)
class CustomerMargin:
    """One customer's margin in the last days, as a fall of steps, and month by month."""

    span: Span
    margin: OrganizationMargin
    months: Sequence[tuple[Span, Figures]]


def of_customer(tx: Connection, organization_id: str, *, now: datetime) -> CustomerMargin:
    """Return one customer's margin. Raises NotFound."""
    today = now.date()
    span = span_of("30-days", today=today)
    first = today.replace(day=1)
    for _ in range(5):
        first = (first - DAY).replace(day=1)
    return CustomerMargin(
        span,
        margins.of_organization(tx, organization_id, span),
        margins.by_month(tx, organization_id, Span(first, today + DAY)),
    )
