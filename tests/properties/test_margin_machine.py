"""The operator's figures in every state that customers and bills can bring about.

Whatever happens in whatever order: layers and what nobody explains are the total, figures add up by
every cut, what was recognised bit by bit is what is recognised at once, and a bought grant that is
gone was recognised at what was paid for it.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select

from portal import metering, onboarding, reversals
from portal.core.costs import ModelUsage
from portal.core.errors import InvalidRequest
from portal.core.events import StatedCost, UsageEvent
from portal.core.margin.figures import Span
from portal.core.margin.focus import Charge
from portal.db import Database
from portal.desk import open_desk
from portal.limits import SpendingRequest, set_spending
from portal.margin import costs, revenue, whole
from portal.metering import Sent
from portal.onboarding import GrantRequest, OrganizationRequest
from portal.tables import cost_daily, events, grants, revenue_daily
from portal.wallet import Paid
from tests.clock import START, Clock
from tests.margin.operator import agree, open_business

MICRO = 10**6
DAY = timedelta(days=1)
#: All that can be paid for credits here, in minor units; some of it does not divide.
PRICES = (1, 99, 1000, 1001, 3333)
EXAMPLES, STEPS = 5, 12
names = (f"org{number}" for number in itertools.count(1))
which = st.integers(0, 2)
layers = st.sampled_from(["inference", "processing", "storage"])


class MarginMachine(RuleBasedStateMachine):
    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database, self.clock = database, Clock(START)
        self.numbers = itertools.count()
        self.events: list[tuple[str, str, int]] = []
        self.mine: list[str] = []
        for currency, tier, charging in (
            ("usd", "seat", "shadow"), ("usd", "starter", "on"), ("jpy", None, "on"),
        ):  # fmt: skip
            request = OrganizationRequest(
                "Somebody",
                currency=currency,
                tier=tier,
                seats=3 if tier else None,
                charging=charging,
            )
            self.mine.append(next(names))
            onboarding.put_organization(database, self.mine[-1], request, now=START)
        self.set_overage(1)

    def set_overage(self, of: int) -> None:
        request = SpendingRequest("overage", overage_limit_minor=1500)
        set_spending(self.database, self.mine[of], request, actor="tests", now=self.clock())

    # --- what customers do ---

    @rule(of=which, credits_=st.sampled_from([1, 7, 30, 333]), paid=st.sampled_from(PRICES),
          days=st.sampled_from([None, 1, 9]))  # fmt: skip
    def buy(self, of: int, credits_: int, paid: int, days: int | None) -> None:
        currency = "jpy" if of == 2 else "usd"
        request = GrantRequest(
            credits_ * MICRO, "pack", "a test", paid=Paid(paid, currency),
            expires_at=None if days is None else self.clock() + days * DAY,
        )  # fmt: skip
        onboarding.grant(self.database, self.mine[of], request, actor="tests", now=self.clock())

    @rule(of=which, action=st.sampled_from(["document", "image", "cost.inference"]),
          quantity=st.sampled_from([1, 3, 40]), run=st.sampled_from(["", "a", "b"]),
          cost=st.sampled_from([None, "model", "stated", "unknown"]),
          team=st.sampled_from(["", "red"]))  # fmt: skip
    def use(
        self, of: int, action: str, quantity: int, run: str, cost: str | None, team: str
    ) -> None:
        stated = {
            None: (),
            "model": (StatedCost("inference", model="house", usage=ModelUsage(input_tokens=777)),),
            "stated": (StatedCost("retrieval", amount_nano_usd=12_345_679),),
            "unknown": (StatedCost("external", resource="nobody-knows", quantity_micro=MICRO),),
        }[cost]
        name = f"e{next(self.numbers)}"
        event = UsageEvent(
            "tests", name, self.mine[of], action, self.clock(), quantity * MICRO,
            team=team, run=run, costs=stated,
        )  # fmt: skip
        if action.startswith("cost.") and not stated:
            return
        answer = metering.ingest(self.database, [Sent(0, {}, event=event)], now=self.clock())
        assert answer.accepted == 1
        if not action.startswith("cost."):
            self.events.append((self.mine[of], name, quantity))

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def correct(self, data: Any) -> None:
        organization_id, name, quantity = data.draw(st.sampled_from(self.events))
        self.events.remove((organization_id, name, quantity))
        again = UsageEvent(
            "tests", f"{name}-again", organization_id, self._type(organization_id, name),
            self.clock(), data.draw(st.integers(0, quantity)) * MICRO, corrects=("tests", name),
        )  # fmt: skip
        answer = metering.ingest(self.database, [Sent(0, {}, event=again)], now=self.clock())
        assert answer.accepted == 1

    def _type(self, organization_id: str, name: str) -> str:
        with self.database.reading() as tx:
            mine = (events.c.organization_id == organization_id, events.c.event_id == name)
            return str(tx.execute(select(events.c.type).where(*mine)).scalar_one())

    @rule(of=which, part=st.sampled_from([1, 2, 3]), void=st.booleans())
    def take_back(self, of: int, part: int, void: bool) -> None:
        """A bought grant is voided, or a part of it taken because its payment was."""
        with self.database.transaction() as tx:
            purse = open_desk(tx, self.mine[of], now=self.clock()).wallet
            found = tx.execute(
                select(grants.c.grant_id, grants.c.granted_micro)
                .where(grants.c.organization_id == self.mine[of], grants.c.source == "pack")
                .order_by(grants.c.grant_id)
                .limit(1)
            ).first()
            if found is not None and void:
                reversals.void(purse, found.grant_id)
            elif found is not None:
                reversals.revoke(purse, found.grant_id, found.granted_micro // part)
            # Opening the books may have begun a period: that is to be written in any case.
            purse.write()

    @rule(seats=st.integers(1, 5), tier=st.sampled_from(["seat", "flat"]))
    def change_tier(self, seats: int, tier: str) -> None:
        request = OrganizationRequest("Somebody", tier=tier, seats=seats)
        onboarding.put_organization(self.database, self.mine[0], request, now=self.clock())

    # --- what the operator does ---

    @rule(layer=layers, amount=st.sampled_from([-7, 1, 10**9 + 1]),
          days=st.sampled_from([1, 3, 40]), share=st.sampled_from(["", *costs.RULES]))  # fmt: skip
    def bill(self, layer: str, amount: int, days: int, share: str) -> None:
        start = self.clock().date() - 2 * DAY
        charge = Charge(layer, "", start, start + days * DAY, amount)
        # One store sees many machines, and imports a document once: each has documents of its own.
        content = f"{self.mine[0]} {next(self.numbers)}".encode()
        done = costs.import_invoice(
            self.database, content, name="a bill", charge=charge, actor="tests", now=self.clock()
        )
        if share:
            weights = {name: number for number, name in enumerate(self.mine, start=1)}
            # Where nobody has any part by the rule, the bill stays as it was.
            with suppress(InvalidRequest):
                costs.share_out(
                    self.database, done.bills[0].bill_id, share, weights=weights, actor="tests",
                    now=self.clock(),
                )  # fmt: skip

    @rule(hours=st.sampled_from([1, 30, 24 * 9, 24 * 31]))
    def pass_time(self, hours: int) -> None:
        self.clock.forward(timedelta(hours=hours))

    @rule()
    def look(self) -> None:
        revenue.bring_up_to_date(self.database, now=self.clock())

    # --- what always holds ---

    @invariant()
    def layers_and_what_nobody_explains_are_the_total(self) -> None:
        now = self.clock().date()
        span = Span(now - 5 * DAY, now + DAY)
        with self.database.reading() as tx:
            found = whole.totals(tx, span)
            bills = costs.overlapping(tx, span)
            explained = tx.execute(_cost_by_day(span)).all()
        covered = {
            (bill.layer, day)
            for bill in bills
            for day in _days(bill.span)
            if span.start <= day < span.end
        }
        outside = sum(int(cost) for layer, day, cost in explained if (layer, day) not in covered)
        billed = sum(costs.of_span(bill, span) for bill in bills)
        assert found.cost_nano_usd == outside + billed
        layers_ = sum(found.cost.by_layer.values())
        assert found.cost_nano_usd == layers_ + found.unattributed_nano_usd

    def teardown(self) -> None:
        self.clock.forward(timedelta(hours=2))
        first = START.date() - 40 * DAY
        agree(self.database, self.clock, Span(first, self.clock().date() + DAY), self.mine)
        with self.database.reading() as tx:
            self.gone_grants_were_recognised_whole(tx)

    def gone_grants_were_recognised_whole(self, tx: Any) -> None:
        found = tx.execute(
            select(
                grants.c.grant_id,
                grants.c.granted_micro,
                grants.c.paid_minor,
                func.sum(revenue_daily.c.credits_micro),
                func.sum(revenue_daily.c.amount_minor),
            )
            .join(
                revenue_daily,
                (revenue_daily.c.organization_id == grants.c.organization_id)
                & (revenue_daily.c.origin == grants.c.grant_id),
            )
            .where(grants.c.organization_id.in_(self.mine))
            .group_by(grants.c.grant_id, grants.c.granted_micro, grants.c.paid_minor)
        )
        for _, granted, paid, consumed, recognised in found:
            assert 0 <= recognised <= paid
            assert consumed <= granted
            assert (consumed != granted) or recognised == paid


def _days(span: Span) -> list[date]:
    return [span.start + number * DAY for number in range(span.days)]


def _cost_by_day(span: Span) -> Any:
    cost = cost_daily.c
    return (
        select(cost.layer, cost.day, func.sum(cost.cost_nano_usd))
        .where(cost.day >= span.start, cost.day < span.end)
        .group_by(cost.layer, cost.day)
    )


def test_the_margin_adds_up_in_every_state(
    application: Any, database: Database, clock: Clock
) -> None:
    del application
    open_business(database, clock)
    run_state_machine_as_test(
        lambda: MarginMachine(database),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
