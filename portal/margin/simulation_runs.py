"""One simulation at work: what each organization would be billed, beside what it is billed today.

Reads only. Invariant: today's side is replayed by the same rules as the other, at the prices that
were in force, so that the two differ by the prices alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from portal import catalog
from portal.accounts import Organization
from portal.core.catalog import PriceBook, parse
from portal.core.margin.figures import Span
from portal.core.replay import Replayed, Terms, TokenPrices, replay
from portal.core.simulation import Kind, Outcome, Scenario, plan_book, swing_permille, terms_of
from portal.core.units import MICRO
from portal.margin import history, workload
from portal.margin.statement import rates_of


@dataclass(frozen=True)
class SimulationRequest:
    """What to simulate over the local days ``[start, end)``.

    ``document`` is an edited price book, in which ``tiers`` says what stands for a tier it does not
    have. Prices in minor units of today's currency, by the month; of tokens by the million.
    """

    name: str
    kind: Kind
    start: date
    end: date
    document: str = ""
    tiers: Mapping[str, str] = field(default_factory=dict)
    goes_on: bool = False
    price_minor: int = 0
    allowance_micro: int = 0
    overage_price_micro_minor: int | None = None
    action_prices_micro: Mapping[str, int] = field(default_factory=dict)
    tokens: TokenPrices | None = None

    @property
    def days(self) -> tuple[date, date]:
        """The first local day and the one after the last."""
        return self.start, self.end

    @property
    def last_day(self) -> date:
        """The last local day that is simulated."""
        return self.end - timedelta(days=1)


@dataclass(frozen=True)
class Notes:
    """What could not be priced, and how many are left out for another currency than the book's."""

    left_out: int = 0
    unpriced_actions: Sequence[str] = ()
    unpriced_tiers: Sequence[str] = ()


def scenario_of(tx: Connection, request: SimulationRequest, *, at: datetime) -> Scenario:
    """Return the way to charge that is asked for, with the actions of the book in force ``at``.

    Raises CatalogError for a bad price book, and InvalidRequest.
    """
    kind = request.kind
    tiers = tuple(sorted(request.tiers.items()))
    if kind is Kind.TODAY:
        return Scenario(kind)
    if kind is Kind.BOOK:
        return Scenario(kind, parse(request.document), tiers, request.goes_on)
    book = plan_book(
        catalog.in_force(tx, at=at),
        kind=kind,
        price_minor=request.price_minor,
        allowance_micro=request.allowance_micro,
        overage_price_micro_minor=request.overage_price_micro_minor,
        action_prices_micro=dict(request.action_prices_micro),
    )
    return Scenario(kind, book, (), request.goes_on, request.tokens)


class Run:
    """One batch of a simulation: what is the same for all its organizations, and its notes."""

    def __init__(
        self, tx: Connection, request: SimulationRequest, scenario: Scenario, notes: Notes
    ) -> None:
        self.tx = tx
        self.request = request
        self.scenario = scenario
        self.notes = notes
        books = catalog.price_books_of(tx)
        self._versions = [one.effective_at for one in books.versions if one.effective_at]
        every_book = [*books.versions, *([scenario.book] if scenario.book else [])]
        self._whole = all(map(_whole_prices, every_book))
        self._currency = (scenario.book or books.versions[-1]).currency
        self._rates = rates_of(tx, Span(*request.days))
        self._today = Terms(books.in_force, spares=True)
        self._terms = terms_of(scenario) if scenario.book else self._today

    def outcome(self, organization: Organization) -> Outcome | None:
        """Return what one organization comes to. None where nothing is to be told of it."""
        if organization.currency != self._currency:
            self.notes = Notes(
                self.notes.left_out + 1, self.notes.unpriced_actions, self.notes.unpriced_tiers
            )
            return None
        today, then, cost_nano_usd = self._replayed(organization)
        self._note(then)
        if not (today.total_minor or then.total_minor or cost_nano_usd):
            return None
        return Outcome(
            organization.organization_id,
            organization.currency,
            self._rates.of(organization.currency),
            then.total_minor,
            today.total_minor,
            cost_nano_usd,
            swing_permille(then.begun_bills),
            swing_permille(today.begun_bills),
            sum(bill.uncollected_micro for bill in then.bills),
        )

    def _replayed(self, organization: Organization) -> tuple[Replayed, Replayed, int]:
        tx, days = self.tx, self.request.days
        was = history.as_it_was(tx, organization, days)
        changes = workload.changes_of(was, self._versions)
        work = workload.work(tx, organization, days, changes, sums_rate_alike=self._whole)
        happenings = history.in_order([*was.happenings, *work])
        begins = was.opening
        cut = was.begins_cut
        today = replay(
            happenings, was.periods, self._today,
            metered=not organization.shadow, opening=begins, begins_cut=cut,
        )  # fmt: skip
        cost, tokens = workload.cost_of(tx, organization, was.periods, days[1])
        if self.scenario.kind is Kind.TODAY:
            return today, today, cost
        if self.scenario.as_it_was:
            then = replay(happenings, was.periods, self._terms, opening=begins, begins_cut=cut)
            return today, then, cost
        months = history.on_a_plan(tx, organization, days, self._terms.plan)
        planned = history.in_order([*months.happenings, *work])
        then = replay(planned, months.periods, self._terms, begins_cut=months.begins_cut)
        if self.scenario.tokens is not None:
            _, tokens = workload.cost_of(tx, organization, months.periods, days[1])
            for bill, (tokens_in, tokens_out) in zip(then.bills, tokens, strict=True):
                bill.tokens_minor = self.scenario.tokens.amount_minor(tokens_in, tokens_out)
        return today, then, cost

    def _note(self, replayed: Replayed) -> None:
        self.notes = Notes(
            self.notes.left_out,
            sorted({*self.notes.unpriced_actions, *replayed.unpriced_actions}),
            sorted({*self.notes.unpriced_tiers, *replayed.unpriced_tiers}),
        )


def _whole_prices(book: PriceBook) -> bool:
    """Tell whether every action costs a whole number of credits, so that no event rounds."""
    return all(action.price_micro % MICRO == 0 for action in book.actions.values())
