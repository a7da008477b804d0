"""What one customer would have been billed for what really happened, under any price book.

Pure: happenings in the order of time go in, the bills of the periods come out. The rules are the
ledger's own: burn-down order, expiry at its instant, overage priced once for each period and price.
Invariant: what was used = taken from grants + beyond them + not collected, in every period.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from portal.core.catalog import PriceBook, Tier
from portal.core.ledger import DEFAULT_PRIORITY, Lot, in_burn_down_order, take
from portal.core.overage import Rate, room
from portal.core.periods import Period
from portal.core.rating import rate
from portal.core.units import MICRO, divide_half_even, money_for
from portal.core.upgrades import Earlier, Included, Step, beginning, credits_of

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Begun:
    """A cycle of a tier: its price is due, and its allowance is given at ``given_at``.

    Of one that was ``due_before`` the days that are replayed, only the allowance counts.
    """

    at: datetime
    end: datetime
    tier: str
    seats: int
    given_at: datetime
    due_before: bool = False


@dataclass(frozen=True)
class Stepped:
    """The tier was changed within a cycle, which began and ends with ``cycle``."""

    at: datetime
    cycle: Period
    from_tier: str
    to_tier: str
    seats: int


@dataclass(frozen=True)
class Ended:
    """The plan ended: no tier any more."""

    at: datetime


@dataclass(frozen=True)
class Given:
    """Credits beside any allowance: bought, where ``pack`` or ``paid_minor`` says so."""

    at: datetime
    lot: Lot
    pack: str = ""
    paid_minor: int = 0


@dataclass(frozen=True)
class TakenBack:
    """Credits taken from a grant, or owed where there is none; in millionths.

    Of an allowance ``grant_id`` is ``allowance_id`` of when that began.
    """

    at: datetime
    grant_id: str | None
    credits_micro: int


@dataclass(frozen=True)
class Chose:
    """The customer chose whether to go on beyond all grants, and up to how much money."""

    at: datetime
    goes_on: bool
    limit_minor: int | None


@dataclass(frozen=True)
class Used:
    """Work that was done: ``times`` events of ``quantity_micro`` each, all of one action.

    Of the ``rated_micro`` credits that it came to then, ``spared_micro`` were never charged.
    """

    at: datetime
    action: str
    quantity_micro: int
    times: int = 1
    rated_micro: int = 0
    spared_micro: int = 0


Happening = Begun | Stepped | Ended | Given | TakenBack | Chose | Used


@dataclass(frozen=True)
class TokenPrices:
    """A price for every million tokens, in millionths of the minor unit."""

    input_micro_minor: int
    output_micro_minor: int

    def amount_minor(self, input_tokens: int, output_tokens: int) -> int:
        """Return what tokens come to, in minor units, rounded once, half to even."""
        exact = input_tokens * self.input_micro_minor + output_tokens * self.output_micro_minor
        return divide_half_even(exact, MICRO * MICRO)


@dataclass(frozen=True)
class Terms:
    """How the replay is priced: the book of each instant, and which tier stands for which.

    ``plan`` puts everybody on one tier, whatever they had; ``tiers`` names what replaces a tier.
    ``goes_on``: everybody pays for use beyond all grants, whatever they chose. ``spares``: what was
    not charged then, past a cap or past zero, is not charged now.
    """

    book_at: Callable[[datetime], PriceBook]
    tiers: dict[str, str] = field(default_factory=dict)
    plan: str = ""
    goes_on: bool = False
    spares: bool = False
    tokens: TokenPrices | None = None

    def tier(self, key: str, at: datetime) -> Tier | None:
        """Return the tier that stands for one a customer had. None where the book has none."""
        return self.book_at(at).plan_of(self.plan or self.tiers.get(key, key))


@dataclass
class Bill:
    """What one period comes to: amounts in minor units, credits in millionths."""

    start: date
    fee_minor: int = 0
    packs_minor: int = 0
    overage_minor: int = 0
    tokens_minor: int = 0
    used_micro: int = 0
    beyond_micro: int = 0
    uncollected_micro: int = 0

    @property
    def total_minor(self) -> int:
        """All that the period is billed."""
        return self.fee_minor + self.packs_minor + self.overage_minor + self.tokens_minor


@dataclass
class Replayed:
    """The bills of a customer, and what could not be priced.

    ``begins_cut``: the first bill is of a period that began before the days that are replayed.
    """

    bills: list[Bill]
    begins_cut: bool = False
    unpriced_actions: set[str] = field(default_factory=set)
    unpriced_tiers: set[str] = field(default_factory=set)

    @property
    def begun_bills(self) -> Sequence[Bill]:
        """The bills of the periods that begin in the days: those with their price in them."""
        return self.bills[1:] if self.begins_cut else self.bills

    @property
    def total_minor(self) -> int:
        """All that was billed, in minor units."""
        return sum(bill.total_minor for bill in self.bills)


@dataclass(frozen=True)
class Opening:
    """What a replay begins with: what grants have left, what is owed in millionths, the tier."""

    lots: Sequence[Lot] = ()
    owed_micro: int = 0
    tier: str = ""


def allowance_id(began: datetime) -> str:
    """Return the name of an allowance in a replay: when it began is all that is the same of it."""
    return f"allowance:{began.isoformat()}"


def replay(
    happenings: Iterable[Happening],
    periods: Sequence[tuple[Period, date]],
    terms: Terms,
    *,
    opening: Opening | None = None,
    metered: bool = True,
    begins_cut: bool = False,
) -> Replayed:
    """Return the bills of ``periods``, each with its first local day, for what happened in them.

    ``happenings`` are in the order of time. Where nothing is ``metered`` use costs nothing.
    """
    replaying = _Replay(
        periods, terms, opening or Opening(), metered=metered, begins_cut=begins_cut
    )
    for one in happenings:
        replaying.happen(one)
    replaying.close()
    return replaying.found


class _Replay:
    """The state of one customer on the way through the happenings."""

    def __init__(
        self,
        periods: Sequence[tuple[Period, date]],
        terms: Terms,
        opening: Opening,
        *,
        metered: bool,
        begins_cut: bool,
    ) -> None:
        self.terms = terms
        self.periods = periods
        self.metered = metered
        self.found = Replayed([Bill(day) for _, day in periods], begins_cut)
        self.lots = {lot.grant_id: lot for lot in opening.lots}
        self.owed_micro = opening.owed_micro
        self.tier_key = opening.tier
        self.goes_on, self.limit_minor = terms.goes_on, None if terms.goes_on else 0
        self._largest_micro = 0
        self._place = 0
        self._beyond: dict[int, int] = {}

    @property
    def bill(self) -> Bill:
        return self.found.bills[self._place]

    def happen(self, one: Happening) -> None:
        while one.at >= self.periods[self._place][0].end and self._place + 1 < len(self.periods):
            self._turn()
        if isinstance(one, Used):
            self._use(one)
        elif isinstance(one, Begun):
            self._begin(one)
        elif isinstance(one, Stepped):
            self._step(one)
        elif isinstance(one, Given):
            self._give(one)
        elif isinstance(one, TakenBack):
            self._take_back(one)
        elif isinstance(one, Ended):
            self.tier_key = ""
        elif not self.terms.goes_on:
            self.goes_on, self.limit_minor = one.goes_on, one.limit_minor

    def close(self) -> None:
        """Price what the last period used beyond all grants."""
        for price, beyond in self._beyond.items():
            self.bill.overage_minor += money_for(beyond, price)
        self._beyond = {}

    def _turn(self) -> None:
        self.close()
        self._place += 1

    def _included(self, key: str, seats: int, at: datetime) -> Included:
        tier = self.terms.tier(key, at)
        if tier is None or tier.price_minor is None:
            self.found.unpriced_tiers.add(key)
            return Included(0, tier.allowance_micro if tier else 0)
        price = tier.price_minor * seats if tier.kind == "per_seat" else tier.price_minor
        return Included(price, tier.allowance_micro)

    def _begin(self, one: Begun) -> None:
        before = self.terms.tier(self.tier_key, one.at) if self.tier_key else None
        if before is not None and before.rollover:
            self._roll_over(one)
        self.tier_key = one.tier
        included = self._included(one.tier, one.seats, one.at)
        if not one.due_before:
            self.bill.fee_minor += included.price_minor
        self._largest_micro = included.allowance_micro
        cycle = Period(one.at, one.end)
        earlier = [
            Earlier(Period(lot.effective_at, lot.expires_at), lot.granted_micro)
            for lot in self.lots.values()
            if lot.source == "allowance" and lot.expires_at and lot.effective_at < one.at
            if lot.expires_at > one.at
        ]
        credits_micro = beginning(included.allowance_micro, cycle=cycle, earlier=earlier)
        self._allow(one.at, one.given_at, one.end, credits_micro)

    def _roll_over(self, one: Begun) -> None:
        left = [
            lot
            for lot in self.lots.values()
            if lot.source == "allowance" and lot.expires_at == one.at
        ]
        carried = sum(lot.remaining_micro for lot in left)
        for lot in left:
            del self.lots[lot.grant_id]
        if carried:
            self._add(_lot(f"rollover:{one.at.isoformat()}", "rollover", one.at, one.end, carried))

    def _allow(self, began: datetime, at: datetime, end: datetime, credits_micro: int) -> None:
        if credits_micro > 0 and at < end:
            self._add(_lot(allowance_id(began), "allowance", at, end, credits_micro))

    def _step(self, one: Stepped) -> None:
        origin, target = (
            self._included(key, one.seats, one.at) for key in (one.from_tier, one.to_tier)
        )
        whole = (one.cycle.end - one.cycle.start) // _SECOND
        left = (one.cycle.end - one.at) // _SECOND
        charge = divide_half_even(target.price_minor * left, whole) - divide_half_even(
            origin.price_minor * left, whole
        )
        self.bill.fee_minor += charge
        more = credits_of(
            Step(one.at, origin, target, charge), cycle=one.cycle, largest_micro=self._largest_micro
        )
        self._largest_micro = max(
            self._largest_micro, origin.allowance_micro, target.allowance_micro
        )
        self.tier_key = one.to_tier
        self._allow(one.at, one.at, one.cycle.end, more)

    def _give(self, one: Given) -> None:
        pack = self.terms.book_at(one.at).packs.get(one.pack)
        lot = one.lot
        if pack is not None:
            self.bill.packs_minor += pack.price_minor
            lot = replace(lot, remaining_micro=pack.credits_micro, granted_micro=pack.credits_micro)
        else:
            self.bill.packs_minor += one.paid_minor
        self._add(lot)

    def _add(self, lot: Lot) -> None:
        settled = min(self.owed_micro, lot.remaining_micro)
        self.owed_micro -= settled
        self.lots[lot.grant_id] = lot.plus(-settled)

    def _take_back(self, one: TakenBack) -> None:
        if one.grant_id is None:
            self.owed_micro += one.credits_micro
        elif one.grant_id in self.lots:
            lot = self.lots[one.grant_id]
            self.lots[one.grant_id] = lot.plus(-min(lot.remaining_micro, one.credits_micro))

    def _use(self, one: Used) -> None:
        book = self.terms.book_at(one.at)
        action = book.actions.get(one.action)
        if action is None:
            self.found.unpriced_actions.add(one.action)
            return
        credits_micro = (
            rate(quantity_micro=one.quantity_micro, price_micro=action.price_micro) * one.times
        )
        self.bill.used_micro += credits_micro
        tier = self.terms.tier(self.tier_key, one.at) if self.tier_key else None
        paid_anyway = tier is not None and tier.paid_anyway
        if paid_anyway or self.terms.tokens is not None or not self.metered:
            return
        if credits_micro < 0:
            self._give_back(-credits_micro)
            return
        if self.terms.spares and one.spared_micro > 0:
            spared = min(credits_micro, credits_micro * one.spared_micro // one.rated_micro)
            self.bill.uncollected_micro += spared
            credits_micro -= spared
        receipt, missing = take(in_burn_down_order(self.lots.values(), now=one.at), credits_micro)
        for line in receipt:
            self.lots[line.account] = self.lots[line.account].plus(-line.amount_micro)
        self._go_beyond(missing, tier)

    def _go_beyond(self, missing_micro: int, tier: Tier | None) -> None:
        price = (tier.overage_price_micro_minor if tier else None) or 0
        charged = 0
        if missing_micro and self.goes_on and price:
            charged = missing_micro
            if self.limit_minor is not None:
                rates = [Rate(at, spent, 0) for at, spent in self._beyond.items()]
                charged = min(charged, room(rates, price, self.limit_minor))
            self._beyond[price] = self._beyond.get(price, 0) + charged
        self.bill.beyond_micro += charged
        self.bill.uncollected_micro += missing_micro - charged

    def _give_back(self, credits_micro: int) -> None:
        """Return what a correction took back: first what was beyond, then what grants had paid."""
        for price, spent in self._beyond.items():
            part = min(spent, credits_micro)
            self._beyond[price] = spent - part
            self.bill.beyond_micro -= part
            credits_micro -= part
        part = min(self.bill.uncollected_micro, credits_micro)
        self.bill.uncollected_micro -= part
        credits_micro -= part
        for lot in reversed(list(self.lots.values())):
            part = min(lot.granted_micro - lot.remaining_micro, credits_micro)
            self.lots[lot.grant_id] = lot.plus(part)
            credits_micro -= part


def _lot(
    grant_id: str, source: str, at: datetime, until: datetime | None, credits_micro: int
) -> Lot:
    return Lot(
        grant_id, source, DEFAULT_PRIORITY[source], at, until, credits_micro, credits_micro, False
    )
