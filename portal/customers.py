"""The operator's table of customers: use, cost and what is left, for each one's current period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection

from portal import accounts, balances, usage
from portal.accounts import Organization
from portal.breakdown import DAY, days_of
from portal.spending import book_at

PAGE = 100


@dataclass(frozen=True)
class CustomerLine:
    """One organization; credits in millionths, cost in billionths of a US dollar."""

    organization: Organization
    tier: str
    first_day: date
    last_day: date
    used_micro: int
    uncollected_micro: int
    cost_nano_usd: int
    unknown_lines: int
    left_micro: int


@dataclass(frozen=True)
class Customers:
    """A page of the table with its sums, and where the next page begins."""

    as_of: datetime
    lines: Sequence[CustomerLine]
    after: str
    continued: bool

    @property
    def used_micro(self) -> int:
        """Credits used by those shown."""
        return sum(line.used_micro for line in self.lines)

    @property
    def uncollected_micro(self) -> int:
        """Credits of work that could not be charged."""
        return sum(line.uncollected_micro for line in self.lines)

    @property
    def cost_nano_usd(self) -> int:
        """What those shown cost."""
        return sum(line.cost_nano_usd for line in self.lines)

    @property
    def unknown_lines(self) -> int:
        """Cost lines without a known price."""
        return sum(line.unknown_lines for line in self.lines)

    @property
    def left_micro(self) -> int:
        """Credits left with those shown."""
        return sum(line.left_micro for line in self.lines)


def customers(tx: Connection, *, after: str = "", now: datetime) -> Customers:
    """Return a page of organizations in order of their id. For the operator only."""
    found = accounts.list_organizations(tx, after=after, limit=PAGE + 1)
    book = book_at(tx, now)
    tiers = {key: tier.name for key, tier in book.tiers.items()} if book else {}
    lines = [_line(tx, one, tiers.get(one.tier or "", one.tier or ""), now) for one in found[:PAGE]]
    following = found[PAGE - 1].organization_id if len(found) > PAGE else ""
    return Customers(now, lines, following, bool(after))


def _line(tx: Connection, organization: Organization, tier: str, now: datetime) -> CustomerLine:
    key = organization.organization_id
    start, end = days_of(organization.period_at(now), organization)
    used = usage.report(tx, key, start=start, end=end).totals
    cost, _ = usage.cost(tx, key, start=start, end=end)
    return CustomerLine(
        organization=organization,
        tier=tier,
        first_day=start,
        last_day=end - DAY,
        used_micro=used.credits_micro,
        uncollected_micro=used.uncollected_micro,
        cost_nano_usd=cost.cost_nano_usd,
        unknown_lines=cost.unknown_lines,
        left_micro=balances.balance(tx, key, now=now).available_micro,
    )
