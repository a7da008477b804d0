"""Auto top-up against its model, through the real library and a Stripe whose calls get lost.

Whatever comes in whatever order: never two charges for one need, never more in a month than its
limit, never a charge while it is suspended, and credits for every charge that settled.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests
import stripe
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from portal import accounts, balances, limits, metering, onboarding
from portal.billing import top_up, top_up_news
from portal.billing.customers import ensure_customer
from portal.billing.effects import no_mark
from portal.billing.gateway import Gateway, circuit
from portal.core.events import UsageEvent
from portal.db import Database
from portal.limits import SpendingRequest
from portal.metering import Sent
from portal.onboarding import GrantRequest, OrganizationRequest
from portal.tables import payments, top_ups
from portal.top_ups import standing
from portal.top_ups.terms import TopUpRequest
from tests.clock import START, Clock
from tests.properties.top_up_model import PACK_MINOR, Model
from tests.shop import KEY, SandboxClock, stand_in

MICRO = 1_000_000
CARDS = {
    "good": "pm_card_visa",
    "bad": "pm_card_chargeCustomerFail",
    "asks": "pm_card_authenticationRequired",
}
#: What may happen to the call that buys; in most cases it arrives.
faults = st.sampled_from(["", "", "reset", "reset_after", "reset_after", "status"])
mostly = st.sampled_from([True, True, False])
EXAMPLES, STEPS = 10, 30
names = (f"org{number}" for number in itertools.count(1))


class TopUpMachine(RuleBasedStateMachine):
    def __init__(self, database: Database, address: str, there: SandboxClock) -> None:
        super().__init__()
        self.database, self.payments = database, Gateway(KEY, address)
        self.address, self.there = address, there
        self.stripe = stripe.StripeClient(KEY, base_addresses={"api": address})
        self.id, self.clock, self.model = next(names), Clock(START), Model()
        self.numbers = itertools.count()
        there.show(START)
        onboarding.put_organization(
            database, self.id, OrganizationRequest(self.id), actor="tests", now=START
        )
        self.give(100)
        with database.reading() as tx:
            organization = accounts.find_organization(tx, self.id)
        self.customer = ensure_customer(database, self.payments, organization)
        self.save_card("good")
        self.turn_on(150, 9)

    def give(self, credits_: int) -> None:
        gift = GrantRequest(credits_ * MICRO, "promotion", "a gift")
        onboarding.grant(self.database, self.id, gift, actor="tests", now=self.clock())

    # --- what people do ---

    @rule(threshold=st.sampled_from([50, 150, 700]), packs=st.sampled_from([1, 3, 9]))
    def turn_on(self, threshold: int, packs: int) -> None:
        asked = TopUpRequest(threshold * MICRO, "small", packs * PACK_MINOR + 99)
        request = SpendingRequest("top_up", auto_top_up=asked)
        limits.set_spending(self.database, self.id, request, actor="tests", now=self.clock())
        top_up.run_now(self.database, self.payments, self.id, now=self.clock())
        self.model.turn_on(threshold, packs * PACK_MINOR + 99)
        self.follow()

    @rule(what=st.sampled_from(["turn_off", "pay_by_hand", "dispute"]))
    def act(self, what: str) -> None:
        getattr(self, what)()

    def turn_off(self) -> None:
        request = SpendingRequest("stop")
        limits.set_spending(self.database, self.id, request, actor="tests", now=self.clock())
        self.model.on = False

    def spend(self) -> None:
        credits_ = self.model.available
        if credits_:
            event = UsageEvent(
                "tests", f"e{next(self.numbers)}", self.id, "image", self.clock(),
                credits_ * MICRO // 2,
            )  # fmt: skip
            metering.ingest(self.database, [Sent(0, {}, event=event)], now=self.clock())
            self.model.available -= credits_

    @rule(fault=faults, comes_round=mostly)
    def run_out_of_credits(self, fault: str, comes_round: bool) -> None:
        """With whatever the network does to the call that follows."""
        self.spend()
        if fault and not self.model.fault:
            self.lose_the_next_call(fault)
        if comes_round:
            self.come_round()

    @rule(fault=faults, step=st.sampled_from([10, 420, 3_660]))
    def run_out_and_wait(self, fault: str, step: int) -> None:
        self.run_out_of_credits(fault, True)
        self.wait(step, True)

    @rule(kind=st.sampled_from(["good", "good", "bad", "asks"]), told=mostly)
    def save_another_card(self, kind: str, told: bool) -> None:
        self.save_card(kind)
        if told:
            self.hear_of_cards()

    def save_card(self, kind: str) -> None:
        saved = self.stripe.v1.payment_methods.attach(CARDS[kind], {"customer": self.customer})
        self.stripe.v1.customers.update(
            self.customer, {"invoice_settings": {"default_payment_method": saved.id}}
        )
        self.model.card, self.model.card_number = kind, self.model.card_number + 1

    def pay_by_hand(self) -> None:
        self.give(40)
        with self.database.transaction() as tx:
            standing.settled(tx, self.id, now=self.clock())
        self.model.available += 40
        self.model.settled()

    def dispute(self) -> None:
        with self.database.transaction() as tx:
            standing.suspend(tx, self.id, "disputed")
        self.model.suspended = "disputed"

    # --- what the network does ---

    def lose_the_next_call(self, kind: str) -> None:
        """The library tries more than once: all of its tries are lost."""
        fault = {"kind": kind, "method": "POST", "path": "/v1/payment_intents", "times": None}
        assert requests.post(f"{self.address}/_sandbox/faults", json=fault, timeout=10).ok
        self.model.fault = kind

    def follow(self) -> None:
        """Have the model come round, and the network get better once a call was lost."""
        lost = self.model.fault
        self.model.come_round(self.clock())
        if lost and not self.model.fault:
            self.find_the_next_call()

    def find_the_next_call(self) -> None:
        requests.delete(f"{self.address}/_sandbox/faults", timeout=10)

    @rule(step=st.sampled_from([10, 10, 420, 3_660, 777_600]), comes_round=mostly)
    def wait(self, step: int, comes_round: bool) -> None:
        """Seconds, a few minutes, an hour, or nine days pass."""
        self.clock.forward(timedelta(seconds=step))
        self.there.show(self.clock())
        if comes_round:
            self.come_round()

    # --- what the product does ---

    def come_round(self) -> None:
        top_up.run(self.database, self.payments, self.id, now=self.clock())
        self.follow()

    @rule(copies=st.integers(1, 3))
    def hear_of_payments(self, copies: int) -> None:
        for intent in list(self.stripe.v1.payment_intents.list({"customer": self.customer})):
            for _ in range(copies):
                top_up_news.payment(
                    self.database, self.payments, intent.id, now=self.clock(), mark=no_mark
                )
        self.model.hear(self.clock())

    def hear_of_cards(self) -> None:
        top_up_news.method(
            self.database, self.payments, self.customer, now=self.clock(), mark=no_mark
        )
        self.model.another_card()

    # --- what must hold ---

    @invariant()
    def it_agrees_with_the_model(self) -> None:
        with self.database.reading() as tx:
            found = tx.execute(
                select(top_ups)
                .where(top_ups.c.organization_id == self.id)
                .order_by(top_ups.c.started_at, top_ups.c.top_up_id)
            ).all()
            mine = standing.settings(tx, self.id)
            available = balances.balance(tx, self.id, now=self.clock()).available_micro
            paid = tx.execute(
                select(payments.c.payment_id).where(payments.c.organization_id == self.id)
            ).all()
        assert Counter(row.status for row in found) == Counter(
            one.status for one in self.model.attempts
        )
        assert available == self.model.available * MICRO
        if mine is not None:
            assert (mine.suspended, mine.declines) == (self.model.suspended, self.model.declines)
        charges = self.stripe.v1.charges.list({"customer": self.customer, "limit": 100}).data
        charged = [one.payment_intent for one in charges if one.status == "succeeded"]
        assert len(charged) == sum(one.did == "charged" for one in self.model.attempts)
        assert len(paid) == sum(row.status == "succeeded" for row in found)
        assert len(set(charged)) == len(charged)

    def teardown(self) -> None:
        """In the end, once Stripe is asked for everything, credits are what was charged."""
        self.find_the_next_call()
        self.clock.forward(timedelta(hours=30))
        self.there.show(self.clock())
        top_up_news.mend(
            self.database, self.payments, since=START - timedelta(days=2), now=self.clock()
        )
        with self.database.reading() as tx:
            statuses = tx.execute(
                select(top_ups.c.status).where(top_ups.c.organization_id == self.id)
            ).scalars()
            bought = list(statuses).count("succeeded")
        charges = self.stripe.v1.charges.list({"customer": self.customer, "limit": 100}).data
        assert bought == sum(one.status == "succeeded" for one in charges)


@pytest.fixture
def site(
    store: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Database, str, SandboxClock]]:
    del store
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0)
    monkeypatch.setattr(stripe.HTTPClient, "MAX_DELAY", 0)
    # Nobody waits here for Stripe to be back: each lost call is followed by one that may arrive.
    monkeypatch.setattr(circuit, "RESTS_SECONDS", 0.0)
    clock = SandboxClock()
    with stand_in(clock) as address:
        yield database, address, clock


def test_auto_top_up_agrees_with_its_model(site: tuple[Database, str, SandboxClock]) -> None:
    run_state_machine_as_test(
        lambda: TopUpMachine(*site),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
