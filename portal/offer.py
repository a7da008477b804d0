"""Plans and credits: the tiers side by side, what is coming, and which of them would cost least.

Reads only, from one snapshot. The advice is in the customer's favour: it counts the cheaper way for
what a tier does not include, and a tie stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from portal import balances, catalog, usage
from portal.accounts import Member, Organization
from portal.balances import Balance
from portal.billing import checkout, plan
from portal.billing.checkout import Checkout
from portal.billing.plan import Pending
from portal.breakdown import days_of
from portal.core.catalog import Action, PriceBook, Tier, tier_called
from portal.core.periods import Period
from portal.core.recommendation import Cost, Recommendation, recommend
from portal.recommendation import recommended
from portal.spending import book_at

_MOMENT = timedelta(microseconds=1)
_EXAMPLES = 2


@dataclass(frozen=True)
class Choice:
    """A tier, and what the reader may do: ``subscribe``, ``change``, ``ask`` or nothing."""

    tier: Tier
    mine: bool
    act: str


@dataclass(frozen=True)
class Comparison:
    """What the tiers cost for some credits; the days are those that used them, or are going to."""

    projected: bool
    first_day: date
    last_day: date
    found: Recommendation

    @property
    def cheapest(self) -> Cost:
        """The tier to have: the one that costs least, or the present one where it is as good."""
        return self.found.best or self.found.current or self.found.costs[0]

    @property
    def runner_up(self) -> Cost | None:
        """The cheapest of the others."""
        others = [one for one in self.found.costs if one.tier != self.cheapest.tier]
        return others[0] if others else None

    @property
    def month(self) -> str:
        """The month's name, where the days are a calendar month."""
        following = self.last_day + timedelta(days=1)
        whole = self.first_day.day == following.day == 1
        return f"{self.first_day:%B}" if whole and following - self.first_day < _LONGEST else ""


_LONGEST = timedelta(days=32)


@dataclass(frozen=True)
class Offer:
    """Everything on the page."""

    as_of: datetime
    book: PriceBook | None
    balance: Balance
    choices: Sequence[Choice]
    pending: Pending
    renews_at: datetime | None
    on_its_way: Sequence[Checkout]
    comparisons: Sequence[Comparison]
    #: Whether the prices are in the currency that the reader is billed in; nothing is sold else.
    own_currency: bool
    #: The actions the reader has used this period, by what they took: as on the overview.
    favourites: Sequence[str]
    #: What the reader's plan is called, also where it is sold no longer; "" without one.
    tier_name: str = ""

    @property
    def enough_for(self) -> Sequence[tuple[int, Action]]:
        """What the credits left would buy, each if spent on it alone."""
        available = self.balance.available_micro
        if self.book is None:
            return []
        return self.book.examples(available, first=self.favourites, most=_EXAMPLES)

    @property
    def cancellable(self) -> bool:
        """Whether the plan can be ended here."""
        return any(one.act == "change" for one in self.choices) and not self.pending.cancels_at


def offer(tx: Connection, organization: Organization, member: Member, *, now: datetime) -> Offer:
    """Put the page together, as ``member`` may see it."""
    book = book_at(tx, now)
    pending = plan.pending(tx, organization)
    may = member.may_buy and pending.awaited_tier is None
    listed = list(book.tiers.values()) if book else []
    kept = book.retired.get(organization.tier or "") if book else None
    own_currency = book is None or book.currency == organization.currency
    return Offer(
        as_of=now,
        book=book,
        balance=balances.balance(tx, organization.organization_id, now=now),
        choices=[
            _choice(organization, book, tier, may=may) for tier in [kept, *listed] if book and tier
        ],
        pending=pending,
        renews_at=organization.cycle_end,
        on_its_way=checkout.on_its_way(tx, organization.organization_id),
        comparisons=_comparisons(tx, organization, book, now=now)
        if book and own_currency and member.sees_all_use and not organization.shadow
        else [],
        own_currency=own_currency,
        favourites=_favourites(tx, organization, member, now=now),
        tier_name=tier_called(organization.tier or "", catalog.tier_names(tx, at=now)),
    )


def _favourites(
    tx: Connection, organization: Organization, member: Member, *, now: datetime
) -> list[str]:
    """Return the actions of this period, those that took most credits first."""
    first, end = days_of(organization.period_at(now), organization)
    found = usage.report(
        tx,
        organization.organization_id,
        start=first,
        end=end,
        group_by=["action"],
        filters={} if member.sees_all_use else {"member": member.member_id},
    )
    ordered = sorted(found.rows, key=lambda row: (-row.totals.credits_micro, row.labels["action"]))
    return [row.labels["action"] for row in ordered]


def _choice(organization: Organization, book: PriceBook, tier: Tier, *, may: bool) -> Choice:
    mine = tier.key == organization.tier
    if mine or not may:
        return Choice(tier, mine, "")
    billed = organization.cycle_end is not None
    if organization.tier is not None and not billed:
        # Arranged with the operator: what is arranged is not changed here.
        return Choice(tier, mine, "")
    sold = tier.kind != "custom" and bool(tier.price_minor)
    if not sold or book.currency != organization.currency:
        return Choice(tier, mine, "ask")
    if billed:
        return Choice(tier, mine, "" if organization.stops_at else "change")
    return Choice(tier, mine, "subscribe")


def _comparisons(
    tx: Connection, organization: Organization, book: PriceBook, *, now: datetime
) -> list[Comparison]:
    """Compare for what this period is going to use, and for what the last one used."""
    running = organization.period_at(now)
    last = organization.period_at(running.start - _MOMENT)
    start, end = days_of(last, organization)
    used = usage.report(tx, organization.organization_id, start=start, end=end).totals
    wanted = used.credits_micro + used.uncollected_micro
    compared = [
        (True, running, recommended(tx, organization, now=now)),
        (False, last, recommend(book, current=organization.tier, projected_micro=wanted)),
    ]
    return [
        _comparison(organization, period, found, projected=projected)
        for projected, period, found in compared
        if found is not None and found.projected_micro and found.costs
        if organization.tier is None or found.current is not None
    ]


def _comparison(
    organization: Organization, period: Period, found: Recommendation, *, projected: bool
) -> Comparison:
    first, end = days_of(period, organization)
    return Comparison(projected, first, end - timedelta(days=1), found)
