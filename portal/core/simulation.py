"""A simulation: another way to charge for what really happened, told against today's.

Pure: what each customer would have been billed and what they cost goes in, what it means for the
business and for each buyer comes out. Amounts are exact; shares and swings are in thousandths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from portal.core.catalog import Action, PriceBook, Tier
from portal.core.errors import InvalidRequest
from portal.core.replay import Bill, Terms, TokenPrices
from portal.core.units import divide_half_even

#: The one tier of a scenario that puts everybody on the same.
PLAN = "simulated"
#: Who would pay more by this part, in thousandths, is proposed to keep their price.
GRANDFATHER_PERMILLE = 100


class Kind(StrEnum):
    """The ways to charge that can be simulated."""

    TODAY = "today"
    BOOK = "book"
    CREDITS = "credits"
    PER_SEAT = "per_seat"
    PER_TOKEN = "per_token"  # noqa: S105 # tokens of a model
    FLAT = "flat"


@dataclass(frozen=True)
class Scenario:
    """One way to charge; amounts in minor units of ``book``'s currency.

    ``book`` is an edited price book, or the one in force with one plan in it. ``as_it_was``: the
    cycles, tiers, packs and grants of each customer stay what they were; else everybody is on the
    plan, month by month, with nothing beside it.
    """

    kind: Kind
    book: PriceBook | None = None
    tiers: tuple[tuple[str, str], ...] = ()
    goes_on: bool = False
    tokens: TokenPrices | None = None

    @property
    def as_it_was(self) -> bool:
        """Whether customers keep their tiers, by name, and what they bought."""
        return self.kind in {Kind.TODAY, Kind.BOOK}


def plan_book(
    today: PriceBook,
    *,
    kind: Kind,
    price_minor: int,
    allowance_micro: int = 0,
    overage_price_micro_minor: int | None = None,
    action_prices_micro: dict[str, int] | None = None,
) -> PriceBook:
    """Return a book of one plan, priced by the month, with today's actions or other prices of them.

    Raises InvalidRequest for the price of an action that today's book does not have.
    """
    actions = dict(today.actions)
    for key, price_micro in (action_prices_micro or {}).items():
        if key not in actions:
            raise InvalidRequest.at(f"/actions/{key}", f"is not one of {', '.join(actions)}")
        old = actions[key]
        actions[key] = Action(key, old.name, old.plural, price_micro)
    tier_kind = {Kind.PER_SEAT: "per_seat", Kind.FLAT: "flat"}.get(kind, "credits")
    tier = Tier(
        PLAN, "Simulated", tier_kind, price_minor, allowance_micro, overage_price_micro_minor,
        False, "", "month",
    )  # fmt: skip
    return PriceBook(today.currency, actions, {PLAN: tier}, {})


def terms_of(scenario: Scenario) -> Terms:
    """Return how a scenario prices a replay. Raises AssertionError for today's, which is dated."""
    book = scenario.book
    if book is None:
        raise AssertionError("today's prices are dated: they come from the books in force")
    goes_on = scenario.goes_on or scenario.kind is Kind.CREDITS
    return Terms(
        lambda _: book,
        dict(scenario.tiers),
        "" if scenario.as_it_was else PLAN,
        goes_on,
        scenario.as_it_was and not goes_on,
        scenario.tokens,
    )


@dataclass(frozen=True)
class Outcome:
    """What one customer would be billed and is billed today, and costs; over the whole range.

    Amounts in minor units of ``currency``, each worth ``rate_nano_usd`` of a billionth of a dollar,
    None where nobody stated it; cost in billionths of a dollar. The swing is how much a
    bill differs from the one before it, as a part of the mean bill, in thousandths.
    """

    customer: str
    currency: str
    rate_nano_usd: int | None
    revenue_minor: int
    today_minor: int
    cost_nano_usd: int
    swing_permille: int
    today_swing_permille: int
    uncollected_micro: int = 0

    def margin_nano_usd(self, *, today: bool = False) -> int | None:
        """Return revenue less cost, in billionths of a dollar. None without a rate."""
        if self.rate_nano_usd is None:
            return None
        revenue = self.today_minor if today else self.revenue_minor
        return revenue * self.rate_nano_usd - self.cost_nano_usd

    @property
    def more_minor(self) -> int:
        """What they would pay more; below zero less."""
        return self.revenue_minor - self.today_minor

    @property
    def grandfathered(self) -> bool:
        """Whether to let them keep today's price: they would pay much more and earn today."""
        margin = self.margin_nano_usd(today=True)
        much = self.more_minor * 1000 > GRANDFATHER_PERMILLE * self.today_minor
        return self.today_minor > 0 and much and (margin is None or margin > 0)


def swing_permille(bills: Sequence[Bill]) -> int:
    """Return how much bills differ from one to the next, on average, in thousandths of the mean."""
    totals = [bill.total_minor for bill in bills]
    whole = sum(totals)
    if len(totals) <= 1 or whole <= 0:
        return 0
    steps = sum(abs(after - before) for before, after in pairwise(totals))
    return divide_half_even(1000 * steps * len(totals), (len(totals) - 1) * whole)


@dataclass(frozen=True)
class Spread:
    """The values below which a tenth, half and nine tenths of customers lie."""

    p10: int
    p50: int
    p90: int


@dataclass(frozen=True)
class Side:
    """What a way to charge comes to: revenue by currency, and the margin in the dollar.

    ``margins_permille``: each customer's margin as a part of what they pay, in thousandths; of
    those who pay. ``under_water``: who costs more than they pay.
    """

    revenue_minor: dict[str, int]
    margin_nano_usd: int
    margins_nano_usd: Spread | None
    margins_permille: Spread | None
    under_water: int
    swings_permille: Spread | None


@dataclass(frozen=True)
class Summary:
    """A scenario beside today's prices."""

    customers: int
    cost_nano_usd: int
    simulated: Side
    today: Side
    pays_more: int
    pays_less: int
    grandfathered: int
    without_margin: int


def summarize(outcomes: Iterable[Outcome]) -> Summary:
    """Return what the outcomes of all customers come to."""
    found = list(outcomes)
    return Summary(
        customers=len(found),
        cost_nano_usd=sum(one.cost_nano_usd for one in found),
        simulated=_side(found, today=False),
        today=_side(found, today=True),
        pays_more=sum(one.more_minor > 0 for one in found),
        pays_less=sum(one.more_minor < 0 for one in found),
        grandfathered=sum(one.grandfathered for one in found),
        without_margin=sum(one.margin_nano_usd() is None for one in found),
    )


def _side(found: Sequence[Outcome], *, today: bool) -> Side:
    revenue: dict[str, int] = {}
    margins, shares = [], []
    for one in found:
        paid = one.today_minor if today else one.revenue_minor
        revenue[one.currency] = revenue.get(one.currency, 0) + paid
        margin = one.margin_nano_usd(today=today)
        if margin is not None:
            margins.append(margin)
            if paid > 0 and one.rate_nano_usd:
                shares.append(divide_half_even(1000 * margin, paid * one.rate_nano_usd))
    swings = [one.today_swing_permille if today else one.swing_permille for one in found]
    return Side(
        revenue_minor=revenue,
        margin_nano_usd=sum(margins),
        margins_nano_usd=_spread(margins),
        margins_permille=_spread(shares),
        under_water=sum(one < 0 for one in margins),
        swings_permille=_spread(swings),
    )


def _spread(values: list[int]) -> Spread | None:
    """Return a spread by the nearest rank: each is a value that somebody has."""
    if not values:
        return None
    ordered = sorted(values)
    low, middle, high = (ordered[((len(ordered) - 1) * tenths + 5) // 10] for tenths in (1, 5, 9))
    return Spread(low, middle, high)


#: What every simulation takes for granted, to be said beside its figures.
ASSUMPTIONS = (
    "Everybody would have done the same work, whatever it cost them.",
    "A price for a cycle counts in full in the period in which that cycle begins.",
    "Cost is what events say; bills that were shared out among customers are left out.",
    "Revenue is what would have been billed, before tax, refunds, disputes and payment fees.",
    "Swing is from one period to the next of those that begin in the days.",
)
ASSUMPTIONS_AS_IT_WAS = (
    "Customers bought the packs they bought; a pack the book has is bought at the book's price.",
    "Grants keep what was left of them when the range begins.",
    "What was not charged then, past a cap or past zero, is not charged, unless everybody goes on.",
    "Imported history that was never charged is replayed as if it were.",
)
ASSUMPTIONS_OF_A_PLAN = (
    "All work counts, also what a cap or an empty balance kept from being charged.",
    "Everybody is on the one plan from the month they came, and packs and grants are left out.",
    "Of a month that began before the first day the credits count whole, and the price does not.",
    "Seats are those an organization has, or else the people it has today.",
)


def assumptions_of(kind: Kind) -> tuple[str, ...]:
    """Return the sentences that say what a way to charge takes for granted."""
    more = ASSUMPTIONS_AS_IT_WAS if Scenario(kind).as_it_was else ASSUMPTIONS_OF_A_PLAN
    return (*ASSUMPTIONS, *more)
