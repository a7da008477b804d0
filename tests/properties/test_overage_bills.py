"""What is billed beyond all grants is what the page shows, to the cent, whatever comes and stops.

Random work over actions, prices and periods, told late, corrected, held over a period's end; billed
with a renewal or alone, again and again, by a process that may stop at any call to Stripe.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import stripe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from portal import accounts, authorization, catalog, limits, metering, onboarding, overage
from portal.authorization import AuthorizeRequest, CaptureRequest
from portal.billing.customers import ensure_customer
from portal.billing.gateway import Gateway
from portal.billing.overage import bill_overage
from portal.core.events import UsageEvent
from portal.core.overage import Part, itemised, still_due
from portal.core.units import money_for
from portal.db import Database
from portal.limits import SpendingRequest
from portal.metering import Sent
from portal.onboarding import OrganizationRequest
from portal.tables import overage_bills, overage_periods
from tests.clock import START, Clock
from tests.shop import KEY, SandboxClock, Stopped, Stopping, stand_in

#: Two tiers that include nothing, at prices that never come to whole cents.
BOOK = """
currency = "usd"
effective_at = 2020-01-01T00:00:00Z
[actions.document]
name = "Document"
credits = 0.7
[actions.analysis]
name = "Analysis"
credits = 1.000003
[actions.image]
name = "Image"
credits = 0.05
[tiers.odd]
name = "Odd"
price = 9.00
credits = 0
overage = 0.0637
[tiers.even]
name = "Even"
price = 19.00
credits = 0
overage = 0.005
[packs.small]
name = "Small"
credits = 10
price = 1.00
"""
ACTIONS = ("document", "analysis", "image")
names = (f"org{number}" for number in itertools.count(1))

quantities = st.sampled_from([1, 333_333, 1_000_000, 2_500_000, 17_000_000])
work = st.tuples(st.just("work"), st.sampled_from(ACTIONS), quantities, st.sampled_from([0, 3]))
#: The call to Stripe at which the process stops, and whether that still had its effect.
stops = st.none() | st.tuples(st.integers(1, 6), st.booleans())
bill = st.tuples(st.just("bill"), st.booleans(), stops)
steps = st.one_of(
    work,
    st.tuples(st.just("correct"), st.integers(0, 20), st.sampled_from([0, 2, 3])),
    st.tuples(st.just("hold"), st.sampled_from(ACTIONS), quantities),
    st.tuples(st.just("capture"), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 31])),
    st.tuples(st.just("change"), st.sampled_from(["odd", "even"])),
    bill,
)
#: Work, then a period's end, a bill that may not get through, and whatever comes after it.
plans = st.tuples(
    st.lists(work, min_size=1, max_size=5),
    st.just([("hold", "document", 5_000_000), ("wait", 29.9)]),
    st.lists(steps, max_size=4),
    st.just([("wait", 0.5)]),
    st.lists(bill, min_size=1, max_size=3),
    st.lists(steps, min_size=2, max_size=12),
).map(lambda parts: [step for part in parts for step in part])


class Account:
    """An organization that works beyond its grants, and how it is billed."""

    def __init__(self, database: Database, address: str) -> None:
        self.database, self.id, self.clock = database, next(names), Clock(START)
        self.payments = Stopping(KEY, address)
        self.stripe = stripe.StripeClient(KEY, base_addresses={"api": address})
        self.known: list[UsageEvent] = []
        self.left: dict[str, int] = {}
        self.holds: list[str] = []
        self.numbers = itertools.count()
        self.change("odd")
        request = SpendingRequest("overage", 10**9)
        limits.set_spending(database, self.id, request, actor="tests", now=START)
        self.customer = ensure_customer(database, Gateway(KEY, address), self.organization)

    @property
    def organization(self) -> accounts.Organization:
        with self.database.reading() as tx:
            return accounts.find_organization(tx, self.id)

    def send(self, event: UsageEvent) -> None:
        answer = metering.ingest(self.database, [Sent(0, {}, event=event)], now=self.clock())
        assert (answer.accepted, answer.rejected) == (1, [])

    def work(self, action: str, quantity: int, days_ago: int) -> None:
        at = self.clock() - timedelta(days=days_ago)
        event = UsageEvent("tests", f"e{next(self.numbers)}", self.id, action, at, quantity, "")
        self.send(event)
        self.known.append(event)
        self.left[event.event_id] = quantity

    def correct(self, which: int, share: int) -> None:
        if not self.known:
            return
        event = self.known[which % len(self.known)]
        self.left[event.event_id] = self.left[event.event_id] * share // 4
        self.send(
            UsageEvent(
                "tests", f"e{next(self.numbers)}", self.id, event.type, None,
                self.left[event.event_id], corrects=("tests", event.event_id),
            )
        )  # fmt: skip

    def hold(self, action: str, quantity: int) -> None:
        request = AuthorizeRequest(self.id, action, quantity, "", expires_in_seconds=86_400)
        answer = authorization.authorize(self.database, request, key=None, now=self.clock())
        self.holds.append(json.loads(answer.body)["id"])

    def capture(self, which: int) -> None:
        if self.holds:
            hold = self.holds.pop(which % len(self.holds))
            authorization.capture(
                self.database, hold, CaptureRequest(None), key=None, now=self.clock()
            )

    def wait(self, days: float) -> None:
        self.clock.forward(timedelta(days=days))

    def change(self, tier: str) -> None:
        request = OrganizationRequest(self.id, tier=tier)
        onboarding.put_organization(
            self.database, self.id, request, actor="tests", now=self.clock()
        )

    def bill(self, renews: bool, stops: tuple[int, bool] | None) -> None:
        self.payments.calls, self.payments.stops = 0, stops
        draft = None
        if renews:
            made = self.stripe.v1.invoices.create(
                {"customer": self.customer, "auto_advance": False, "currency": "usd",
                 "pending_invoice_items_behavior": "exclude"}
            )  # fmt: skip
            draft = made.id
        try:
            bill_overage(self.database, self.payments, self.id, invoice_id=draft, now=self.clock())
        except Stopped:
            return
        finally:
            self.payments.stops = None
            if draft:
                self.stripe.v1.invoices.finalize_invoice(draft, {"auto_advance": False})
        self.check()

    def check(self) -> None:
        """Bills and Stripe's items come to what the page shows of each period that has ended."""
        shown = self.shown()
        written: dict[datetime, int] = defaultdict(int)
        with self.database.reading() as tx:
            mine = select(overage_bills).where(overage_bills.c.organization_id == self.id)
            for row in tx.execute(mine).all():
                written[row.period_start] += row.amount_minor
                assert row.done_at is not None
                assert (row.stripe_invoice_item_id is None) == (row.amount_minor == 0)
        items = list(
            self.stripe.v1.invoice_items.list(
                {"customer": self.customer, "limit": 100}
            ).auto_paging_iter()
        )
        keys = Counter(item.metadata["overage"] for item in items)
        assert set(keys.values()) <= {1}
        asked: dict[datetime, int] = defaultdict(int)
        for item in items:
            since = datetime.fromtimestamp(
                int(item.metadata["overage"].split("-")[0]), START.tzinfo
            )
            asked[since] += item.amount
        for period_start, amount in shown.items():
            assert written[period_start] == amount
            assert asked[period_start] == amount
        assert sum(asked.values()) == sum(written.values()) == sum(shown.values())

    def shown(self) -> dict[datetime, int]:
        """Return what the page shows of each period that has ended, in cents."""
        organization = self.organization
        with self.database.reading() as tx:
            book = catalog.in_force(tx, at=self.clock())
            starts = tx.execute(
                select(overage_periods.c.period_start).where(
                    overage_periods.c.organization_id == self.id,
                    overage_periods.c.period_start < organization.period_at(self.clock()).start,
                )
            ).scalars()
            return {
                start: overage.standing(tx, organization, book, at=start).amount_minor
                for start in set(starts)
            }


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans)
def test_every_period_is_billed_what_its_page_shows(
    overage_site: tuple[Database, str], plan: list[tuple[Any, ...]]
) -> None:
    account = Account(*overage_site)
    for name, *given_ in plan:
        getattr(account, name)(*given_)
    account.wait(40)
    account.bill(False, None)
    # Nothing is left to be billed, and nothing is billed twice.
    account.bill(False, None)
    account.bill(True, None)


@pytest.fixture
def overage_site(store: str, database: Database) -> Iterator[tuple[Database, str]]:
    del store
    with database.transaction() as tx:
        catalog.load(tx, BOOK.replace("2020-01-01", "2026-11-09"), now=START)
    with stand_in(SandboxClock()) as address:
        yield database, address


shares = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 10**12), max_size=8)


@given(credits_=shares, price=st.integers(1, 10**9))
def test_the_parts_of_a_period_add_up_to_it(credits_: dict[str, int], price: int) -> None:
    split = itemised(credits_, price)
    assert sum(one.amount_minor for one in split.values()) == money_for(
        sum(credits_.values()), price
    )
    assert {action: one.credits_micro for action, one in split.items()} == credits_


@given(before=shares, after=shares, price=st.integers(1, 10**9))
def test_what_is_still_due_brings_every_bill_to_what_it_should_be(
    before: dict[str, int], after: dict[str, int], price: int
) -> None:
    billed, whole = itemised(before, price), itemised(after, price)
    due = still_due(whole, billed)
    for action in before.keys() | after.keys():
        nothing = Part()
        was, more = billed.get(action, nothing), due.get(action, nothing)
        assert was.amount_minor + more.amount_minor == whole.get(action, nothing).amount_minor
        assert was.credits_micro + more.credits_micro == whole.get(action, nothing).credits_micro
