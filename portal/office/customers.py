"""The operator's table of customers: found, narrowed, put in order, a page at a time.

Invariant: the figures of a line are those of the customer's own current period, from the same
rollups and the same ledger as the customer's pages; the order is over all who were found, not over
one page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from portal import balances, everybody
from portal.accounts import Organization
from portal.breakdown import DAY, days_of
from portal.core.margin.figures import Span
from portal.core.periods import local_day
from portal.everybody import Booked, Cost
from portal.margin import margins
from portal.spending import book_at
from portal.usage import Totals, total

PAGE = 50
#: What growth compares: this many days against as many before them.
GROWTH_DAYS = 30
#: The least use that growth is told of; of less, a percentage says nothing.
LEAST_USE_MICRO = 10_000_000
STATES = ("past_due", "frozen", "debt")
CHARGING = ("on", "shadow")


@dataclass(frozen=True)
class CustomerLine:
    """One organization; credits in millionths, cost in billionths of a US dollar.

    The margin is of the last days that growth is of, None where their currency has no rate;
    ``growth_percent`` is None where there was too little before to compare with.
    """

    organization: Organization
    tier: str
    first_day: date
    last_day: date
    used_micro: int
    uncollected_micro: int
    cost_nano_usd: int
    unknown_lines: int
    margin_nano_usd: int | None
    growth_percent: int | None
    left_micro: int
    states: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """What of the table is asked for; each is empty where nothing is."""

    search: str = ""
    charging: str = ""
    tier: str = ""
    state: str = ""
    sort: str = "cost"
    falling: bool = True
    after: str = ""

    def address(self, **changes: str) -> dict[str, str]:
        """Return the words of an address that asks for the same, with changes."""
        words = {
            "q": self.search,
            "charging": self.charging,
            "tier": self.tier,
            "state": self.state,
            "sort": self.sort,
            "order": "falling" if self.falling else "rising",
        } | changes
        return {name: word for name, word in words.items() if word}

    def sorted_by(self, column: str) -> dict[str, str]:
        """Return the address of the table by another column, or by the same the other way."""
        falling = not self.falling if column == self.sort else column != "name"
        return self.address(sort=column, order="falling" if falling else "rising")


@dataclass(frozen=True)
class Customers:
    """A page of the table, what there is in all, and where the next page begins."""

    as_of: datetime
    asked: Asked
    lines: Sequence[CustomerLine]
    found: int
    used_micro: int
    uncollected_micro: int
    cost_nano_usd: int
    unknown_lines: int
    tiers: Mapping[str, str]
    following: str

    @property
    def left_micro(self) -> int:
        """Credits left with those shown."""
        return sum(line.left_micro for line in self.lines)


_KEYS: Mapping[str, Callable[[CustomerLine], tuple[int, int | str]]] = {
    "name": lambda line: (1, line.organization.name.casefold()),
    "use": lambda line: (1, line.used_micro),
    "cost": lambda line: (1, line.cost_nano_usd),
    "margin": lambda line: (line.margin_nano_usd is not None, line.margin_nano_usd or 0),
    "growth": lambda line: (line.growth_percent is not None, line.growth_percent or 0),
    "balance": lambda line: (1, line.left_micro),
}
SORTS = tuple(_KEYS)


def asked(given: Mapping[str, str]) -> Asked:
    """Read what is asked for; what is not known is as if it were not there."""

    def one_of(name: str, known: Iterable[str]) -> str:
        return given.get(name, "") if given.get(name, "") in known else ""

    sort = one_of("sort", SORTS) or "cost"
    return Asked(
        search=given.get("q", "").strip()[:100],
        charging=one_of("charging", CHARGING),
        tier=given.get("tier", "")[:64],
        state=one_of("state", STATES),
        sort=sort,
        falling=given.get("order", "rising" if sort == "name" else "falling") != "rising",
        after=given.get("after", "")[:128],
    )


def customers(tx: Connection, wanted: Asked, *, now: datetime, whole: bool = False) -> Customers:
    """Return a page of the table, or with ``whole`` all of it."""
    every = everybody.organizations(tx)
    book = book_at(tx, now)
    tiers = {key: tier.name for key, tier in book.tiers.items()} if book else {}
    for one in every:
        if one.tier:
            kept = book.plan_of(one.tier) if book else None
            tiers.setdefault(one.tier, kept.name if kept else one.tier)
    standing = everybody.booked(tx, now=now)
    chosen = [one for one in every if _fits(one, wanted, standing.get(one.organization_id))]
    lines = _lines(tx, chosen, standing, tiers, now=now)
    lines.sort(key=lambda line: line.organization.organization_id)
    lines.sort(key=_KEYS[wanted.sort], reverse=wanted.falling)
    page, following = _page(lines, wanted.after, len(lines) if whole else PAGE)
    return Customers(
        as_of=now,
        asked=wanted,
        lines=[_exactly(tx, line, now=now) for line in page],
        found=len(lines),
        used_micro=sum(line.used_micro for line in lines),
        uncollected_micro=sum(line.uncollected_micro for line in lines),
        cost_nano_usd=sum(line.cost_nano_usd for line in lines),
        unknown_lines=sum(line.unknown_lines for line in lines),
        tiers=tiers,
        following=following,
    )


def states_of(organization: Organization, booked: Booked | None) -> tuple[str, ...]:
    """Return what is wrong with how an organization stands."""
    found = booked or Booked()
    flags = {
        "past_due": organization.stops_at is not None,
        "frozen": found.frozen_micro > 0,
        "debt": found.debt_micro > 0,
    }
    return tuple(name for name in STATES if flags[name])


def _fits(organization: Organization, wanted: Asked, booked: Booked | None) -> bool:
    texts = (organization.name, organization.organization_id, organization.email)
    return (
        (not wanted.search or any(wanted.search.casefold() in one.casefold() for one in texts))
        and (not wanted.charging or organization.charging == wanted.charging)
        and (not wanted.tier or (organization.tier or "none") == wanted.tier)
        and (not wanted.state or wanted.state in states_of(organization, booked))
    )


def _lines(
    tx: Connection,
    chosen: Sequence[Organization],
    standing: Mapping[str, Booked],
    tiers: Mapping[str, str],
    *,
    now: datetime,
) -> list[CustomerLine]:
    growth, margin = _growth(tx, chosen, now=now), _margins(tx, now=now)
    lines = []
    for (start, end), group in _by_days(chosen, now=now).items():
        ids = [one.organization_id for one in group]
        used = everybody.used(tx, ids, start=start, end=end)
        cost = everybody.costs(tx, ids, start=start, end=end)
        for one in group:
            key = one.organization_id
            lines.append(
                CustomerLine(
                    organization=one,
                    tier=tiers.get(one.tier or "", ""),
                    first_day=start,
                    last_day=end - DAY,
                    used_micro=used.get(key, Totals()).credits_micro,
                    uncollected_micro=used.get(key, Totals()).uncollected_micro,
                    cost_nano_usd=cost.get(key, Cost()).cost_nano_usd,
                    unknown_lines=cost.get(key, Cost()).unknown_lines,
                    margin_nano_usd=margin.get(key),
                    growth_percent=growth.get(key),
                    left_micro=standing.get(key, Booked()).left_micro,
                    states=states_of(one, standing.get(key)),
                )
            )
    return lines


def _by_days(
    chosen: Sequence[Organization], *, now: datetime
) -> Mapping[tuple[date, date], list[Organization]]:
    """Return organizations by the local days of their current period: few periods, many of them."""
    groups: dict[tuple[date, date], list[Organization]] = defaultdict(list)
    for one in chosen:
        groups[days_of(one.period_at(now), one)].append(one)
    return groups


def _growth(tx: Connection, chosen: Sequence[Organization], *, now: datetime) -> dict[str, int]:
    """Return by how many percent each used more in the last days than in as many before."""
    groups: dict[date, list[str]] = defaultdict(list)
    for one in chosen:
        groups[local_day(now, one.zone)].append(one.organization_id)
    found = {}
    for today, ids in groups.items():
        since = today - timedelta(days=GROWTH_DAYS)
        before = everybody.used(tx, ids, start=since - timedelta(days=GROWTH_DAYS), end=since)
        lately = everybody.used(tx, ids, start=since, end=today)
        for key, earlier in before.items():
            was = _worked(earlier)
            if was >= LEAST_USE_MICRO:
                found[key] = (_worked(lately.get(key, Totals())) - was) * 100 // was
    return found


def _margins(tx: Connection, *, now: datetime) -> dict[str, int | None]:
    """Return what is left of each one's revenue of the last days."""
    today = now.date() + DAY
    span = Span(today - timedelta(days=GROWTH_DAYS), today)
    return {one.organization_id: one.figures.margin_nano_usd for one in margins.each(tx, span)}


def _worked(used: Totals) -> int:
    return total([used]).credits_micro + used.uncollected_micro


def _page(
    lines: Sequence[CustomerLine], after: str, size: int
) -> tuple[Sequence[CustomerLine], str]:
    """Return the lines after a customer, and whom the page after them begins behind."""
    ids = [line.organization.organization_id for line in lines]
    first = ids.index(after) + 1 if after in ids else 0
    page = lines[first : first + size]
    more = first + size < len(lines)
    return page, page[-1].organization.organization_id if page and more else ""


def _exactly(tx: Connection, line: CustomerLine, *, now: datetime) -> CustomerLine:
    """Return a line with what the ledger says is left, to the last hold that lapsed."""
    found = balances.balance(tx, line.organization.organization_id, now=now)
    return replace(line, left_micro=found.available_micro)
