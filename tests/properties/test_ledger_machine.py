"""Whatever is done to an organization, in whatever order: the product agrees with the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event as sqlalchemy_event

from portal import audit, authorization, catalog, jobs, limits, metering, onboarding, wallet
from portal.authorization import AuthorizeRequest, CaptureRequest
from portal.billing.gateway import Gateway
from portal.caps import CapChange, CapRequest
from portal.core.errors import AuthorizationSettled
from portal.core.events import UsageEvent
from portal.core.units import format_micro
from portal.db import Database
from portal.jobs import Workshop
from portal.metering import Sent
from portal.onboarding import GrantRequest, OrganizationRequest
from portal.wallet import Paid
from tests import digest, postgresql
from tests.clock import START, Clock
from tests.properties.model import PRICE_MICRO, Cap, Hold, Lot, Model

quantities = st.sampled_from([1, 250_000, 1_000_000, 1_500_000, 3_000_000, 7_000_000])
actions = st.sampled_from(sorted(PRICE_MICRO))
members = st.sampled_from(["", "ben", "cleo"])
limits_micro = st.sampled_from([0, 5_000_000, 12_500_001, 40_000_000, 100_000_000])
steps = st.sampled_from(
    [timedelta(microseconds=1), timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=5)]
)
scopes = st.sampled_from([("organization", ""), ("member", "cleo"), ("team", "research")])
#: Everything happens within one month, so that the period is the same throughout.
LONGEST = timedelta(days=18)


def credits_of(action: str, quantity: int) -> int:
    return quantity * PRICE_MICRO[action] // 1_000_000


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self, make_store: Callable[[], Database]) -> None:
        super().__init__()
        self.database = make_store()
        self.clock = Clock()
        self.model = Model(START)
        self.numbers = iter(range(10**6))
        self.sent: list[UsageEvent] = []

    @initialize()
    def begin(self) -> None:
        document = catalog.DEFAULT_FILE.read_text(encoding="utf-8")
        with self.database.transaction() as tx:
            catalog.load(tx, document, now=START)
        for name in ("acme", "bystander"):
            onboarding.put_organization(self.database, name, OrganizationRequest(name), now=START)
        with self.database.transaction() as tx:
            onboarding.accounts.put_team(tx, "acme", "research", name="Research")
        onboarding.put_member(
            self.database, "acme", "cleo", email="cleo@acme.example", name="Cleo", role="member",
            team="research", now=START,
        )  # fmt: skip
        gift = GrantRequest(9_000_000, "promotion", "a gift")
        onboarding.grant(self.database, "bystander", gift, actor="tests", now=START)
        self.bystander = digest.of_organization(self.database, "bystander")
        # Enough to begin with, so that most of what follows meets a limit and not an empty purse.
        self.grant(200_000_000, None, None, None, paid=False)
        self.set_cap(("organization", ""), "", 100_000_000, "period", True)

    def teardown(self) -> None:
        try:
            if hasattr(self, "bystander"):
                assert digest.of_organization(self.database, "bystander") == self.bystander
        finally:
            self.database.close()

    @rule(
        credits_=st.sampled_from([1, 2_000_001, 10_000_000, 60_000_000]),
        priority=st.sampled_from([None, 0, 30]),
        begins=st.sampled_from([None, timedelta(hours=1)]),
        lasts=st.sampled_from([None, timedelta(hours=2), timedelta(days=2)]),
        paid=st.booleans(),
    )
    def grant(
        self, credits_: int, priority: int | None, begins: timedelta | None,
        lasts: timedelta | None, paid: bool,
    ) -> None:  # fmt: skip
        now = self.clock()
        request = GrantRequest(
            credits_, "pack" if paid else "promotion", "",
            expires_at=now + lasts if lasts else None,
            effective_at=now + begins if begins else None,
            priority=priority, paid=Paid(100, "usd") if paid else None,
        )  # fmt: skip
        id_ = onboarding.grant(self.database, "acme", request, actor="tests", now=now)
        rank = (50 if paid else 30) if priority is None else priority
        starts = request.effective_at or now
        self.model.lots.append(Lot(id_, rank, starts, request.expires_at, paid, credits_))

    @rule(action=actions, member=members, quantity=quantities, lasts=st.sampled_from([60, 7200]))
    def authorize(self, action: str, member: str, quantity: int, lasts: int) -> None:
        needed = credits_of(action, quantity)
        caps = self.model.binding(member, action)
        expected = self.model.fits(needed, caps, self.clock())
        request = AuthorizeRequest("acme", action, quantity, member, expires_in_seconds=lasts)
        answer = authorization.authorize(self.database, request, key=None, now=self.clock())
        assert answer.status == (201 if expected else 402), answer.body
        if expected:
            id_ = json.loads(answer.body)["id"]
            self.model.authorize(id_, action, member, quantity, timedelta(seconds=lasts))
            for cap in caps:
                used = sum(self.model.counted(cap, self.clock()))
                assert not cap.hard or used <= cap.limit

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data(), quantity=quantities)
    def increment(self, data: st.DataObject, quantity: int) -> None:
        hold = self.pick(data)
        act = lambda: authorization.increment(  # noqa: E731
            self.database, hold.id, quantity, key=None, now=self.clock()
        )
        if hold.status != "authorized":
            with pytest.raises(AuthorizationSettled):
                act()
            return
        more = credits_of(hold.action, quantity)
        expected = self.model.fits(more, self.model.linked(hold), hold.at)
        assert act().status == (200 if expected else 402)
        if expected:
            self.model.increment(hold, quantity)

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data(), share=st.sampled_from(["all", "part", "over", "far over", "nothing"]))
    def capture(self, data: st.DataObject, share: str) -> None:
        hold = self.pick(data)
        part = hold.quantity - hold.quantity // 3
        quantity = {
            "all": hold.quantity, "part": part, "over": hold.quantity + 1_000_000,
            "far over": hold.quantity + 50_000_000, "nothing": 0,
        }[share]  # fmt: skip
        request = CaptureRequest(None if share == "all" else quantity)
        act = lambda: authorization.capture(  # noqa: E731
            self.database, hold.id, request, key=None, now=self.clock()
        )
        if hold.status in {"captured", "released"}:
            with pytest.raises(AuthorizationSettled):
                act()
            return
        late, body = hold.status == "expired", json.loads(act().body)
        if quantity == 0:
            assert body["late"] is late
            assert body["released"] == format_micro(self.model.release(hold))
            return
        uncollected, released = self.model.capture(hold, quantity)
        assert body["late"] is late
        due = credits_of(hold.action, quantity)
        assert body["credits"] == format_micro(due - uncollected)
        assert body["uncollected"] == format_micro(uncollected)
        assert body["released"] == format_micro(released)

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        hold = self.pick(data)
        act = lambda: authorization.release(  # noqa: E731
            self.database, hold.id, key=None, now=self.clock()
        )
        if hold.status != "authorized":
            with pytest.raises(AuthorizationSettled):
                act()
            return
        assert json.loads(act().body)["released"] == format_micro(self.model.release(hold))

    def pick(self, data: st.DataObject) -> Hold:
        """Choose an authorization, mostly one that is still open."""
        known = list(self.model.holds.values())
        wanted = self.model.open if data.draw(st.integers(0, 4), label="which") else known
        return data.draw(st.sampled_from(wanted or known), label="hold")

    @rule(
        batch=st.lists(st.tuples(actions, members, quantities), min_size=1, max_size=4),
        ago=st.sampled_from([timedelta(), timedelta(hours=20)]),
        again=st.booleans(),
    )
    def ingest(self, batch: list[tuple[str, str, int]], ago: timedelta, again: bool) -> None:
        at = self.clock() - ago
        fresh = [
            UsageEvent("tests", f"e{next(self.numbers)}", "acme", action, at, quantity, member)
            for action, member, quantity in batch
        ]
        known = self.sent[-2:] if again else []
        events = [*fresh, *known, *fresh[:1]]
        sent = [Sent(number, {}, event=one) for number, one in enumerate(events)]
        answer = metering.ingest(self.database, sent, now=self.clock())
        short = [self.model.happen(*one, at) for one in batch]
        assert (answer.accepted, answer.duplicates) == (len(fresh), len(known) + 1)
        assert (answer.uncollected, answer.rejected) == (sum(1 for s in short if s), [])
        self.sent += fresh

    @rule(
        scope=scopes, action=st.sampled_from(["", "document"]), limit=limits_micro,
        window=st.sampled_from(["period", "day"]), hard=st.booleans(),
    )  # fmt: skip
    def set_cap(
        self, scope: tuple[str, str], action: str, limit: int, window: str, hard: bool
    ) -> None:
        cap = Cap("", *scope, action, window, limit, hard)
        if cap.kind in {one.kind for one in self.model.caps.values()}:
            return
        mode = "hard" if hard else "soft"
        request = CapRequest(*scope, action, window, limit, mode)
        state = limits.set_cap(self.database, "acme", request, actor="tests", now=self.clock())
        cap.id = state.state.cap.cap_id
        self.model.set_cap(cap)

    @precondition(lambda self: self.model.caps)
    @rule(data=st.data(), limit=limits_micro)
    def change_cap(self, data: st.DataObject, limit: int) -> None:
        cap = data.draw(st.sampled_from(list(self.model.caps.values())), label="cap")
        limits.change_cap(
            self.database, "acme", cap.id, CapChange(limit), actor="tests", now=self.clock()
        )
        cap.limit = limit

    @precondition(lambda self: self.model.caps)
    @rule(data=st.data())
    def remove_cap(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(list(self.model.caps)), label="cap")
        limits.remove_cap(self.database, "acme", id_, actor="tests", now=self.clock())
        del self.model.caps[id_]

    @precondition(lambda self: self.clock() < START + LONGEST)
    @rule(step=steps)
    def let_time_pass(self, step: timedelta) -> None:
        self.model.now = self.clock.forward(step)
        self.model.tidy()

    @rule()
    def tidy_up(self) -> None:
        shop = Workshop(self.database, Gateway(""), self.clock)
        for job in (jobs.end_lapsed_holds, jobs.expire_grants, jobs.begin_periods):
            job(shop)

    @invariant()
    def it_agrees_with_the_model(self) -> None:
        if not hasattr(self, "bystander"):
            return
        with self.database.reading() as tx:
            found = wallet.balance(tx, "acme", now=self.clock())
            assert audit.ledger_faults(tx, "acme") == []
        lots = [(lot.grant_id, lot.remaining_micro) for lot in found.lots]
        assert lots == [(lot.id, lot.left) for lot in self.model.spendable()]
        assert (found.available_micro, found.held_micro) == (self.model.available, self.model.held)
        assert found.available_micro >= 0
        assert (found.uncollected_micro, found.debt_micro) == (self.model.uncollected, 0)
        captured = digest.balances(self.database)["acme", "captured"]
        assert captured == self.model.charged
        assert captured + found.uncollected_micro == self.model.rated
        states = [one.state for one in limits.list_caps(self.database, "acme", now=self.clock())]
        assert {one.cap.cap_id: (one.spent_micro, one.held_micro) for one in states} == {
            cap.id: self.model.counted(cap, self.clock()) for cap in self.model.caps.values()
        }


def _run(make_store: Callable[[], Database], *, examples: int, steps_: int) -> None:
    run_state_machine_as_test(
        lambda: LedgerMachine(make_store),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps_,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_ledger_agrees_with_the_model_on_sqlite(sqlite_template: Path, tmp_path: Path) -> None:
    def make() -> Database:
        database = Database(f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'store.db')}")
        sqlalchemy_event.listen(
            database.engine, "connect", lambda one, _: one.execute("PRAGMA synchronous = OFF")
        )
        return database

    _run(make, examples=45, steps_=40)


@pytest.mark.postgresql
def test_the_ledger_agrees_with_the_model_on_postgresql(
    postgresql_server: postgresql.Server, migrated_postgresql: str
) -> None:
    def make() -> Database:
        postgresql_server.empty(migrated_postgresql)
        return Database(postgresql_server.url(migrated_postgresql))

    _run(make, examples=10, steps_=30)
