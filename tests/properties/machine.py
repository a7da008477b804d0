"""Whatever is done to an organization, in whatever order: the product agrees with the model.

The machine of rules; test_ledger_on_sqlite.py and test_ledger_on_postgresql.py run it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, MutableMapping, Sequence
from datetime import datetime, timedelta
from typing import Any

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
from structlog.testing import capture_logs

from portal import (
    accounts,
    audit,
    authorization,
    balances,
    catalog,
    desk,
    jobs,
    limits,
    metering,
    onboarding,
    overage,
    proof,
    raises,
    reversals,
    statements,
    tiers,
    usage,
)
from portal.authorization import AuthorizeRequest, CaptureRequest
from portal.balances import Balance
from portal.billing.gateway import Gateway
from portal.caps import CapChange, CapRequest
from portal.core.errors import AuthorizationSettled, IdempotencyConflict, InvalidRequest
from portal.core.events import UsageEvent
from portal.core.units import format_micro
from portal.db import Database
from portal.idempotency import Answer
from portal.jobs import Workshop
from portal.limits import SpendingRequest
from portal.metering import BatchAnswer, Sent
from portal.onboarding import GrantRequest, OrganizationRequest
from portal.wallet import Paid, Wallet
from tests.clock import START, Clock
from tests.properties.journal import Journal
from tests.properties.model import OVERAGE_PRICE, PRICE_MICRO, Cap, Hold, Lot, Model, Spender
from tests.properties.witness import Bystander, Posted, prove_silence

#: A tier whose leftovers roll over, beside those that ship.
BOOK = catalog.DEFAULT_FILE.read_text(encoding="utf-8") + (
    '\n[tiers.carry]\nname = "Carry"\nprice = 9.00\ncredits = 60\noverage = 0.075\n'
    "rollover = true\n"
)
TEAMS = {"ben": "", "cleo": "research", "dan": "design"}

STEPS_OF_ONE = 100

quantities = st.sampled_from([1, 250_000, 1_000_000, 1_500_000, 7_000_000, 45_000_000])
actions = st.sampled_from(sorted(PRICE_MICRO))
members = st.sampled_from(["", *TEAMS])
projects = st.sampled_from(["", "", "atlas"])
limits_micro = st.sampled_from([0, 5_000_000, 12_500_001, 40_000_000, 100_000_000])
minutes = st.sampled_from(
    [timedelta(microseconds=1), timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=5)]
)
days = st.sampled_from([timedelta(days=1), timedelta(days=6), timedelta(days=17)])
scopes = st.sampled_from(
    [
        ("organization", ""),
        ("member", "cleo"),
        ("member", "dan"),
        ("team", "research"),
        ("team", "design"),
        ("project", "atlas"),
    ]
)


def credits_of(action: str, quantity: int) -> int:
    return quantity * PRICE_MICRO[action] // 1_000_000


class LedgerMachine(RuleBasedStateMachine):
    def __init__(
        self, emptied: Callable[[], Sequence[Database]], said: Sequence[MutableMapping[str, Any]]
    ) -> None:
        super().__init__()
        self.said = said
        #: What serves now, and the others that would take over.
        self.database, *self.others = emptied()
        self.clock = Clock()
        self.model = Model(START, dict(TEAMS))
        self.journal = Journal("acme")
        self.posted = Posted("acme")
        self.numbers = iter(range(10**6))
        self.sent: list[UsageEvent] = []
        self.answered: list[tuple[AuthorizeRequest, str, Answer]] = []
        self.events = 0
        self.begun = False
        self.looked_at = START
        self.shown: list[Balance] = []
        self.closed: dict[datetime, object] = {}

    @initialize()
    def begin(self) -> None:
        with self.database.transaction() as tx:
            catalog.load(tx, BOOK, now=START)
        onboarding.put_organization(self.database, "acme", OrganizationRequest("Acme"), now=START)
        with self.database.transaction() as tx:
            for team in ("research", "design"):
                accounts.put_team(tx, "acme", team, name=team)
            accounts.put_project(tx, "acme", "atlas", name="Atlas")
        for member, team in TEAMS.items():
            self.put_member(member, team)
            self.posted.add("audit_log")
        self.bystander = Bystander(self.database, now=START)
        self.begun = True
        # Enough to begin with, so that most of what follows meets a limit and not an empty purse.
        self.grant(60_000_000, None, None, None, paid=True)
        self.set_cap(("organization", ""), "", 100_000_000, "period", True)

    def put_member(self, member: str, team: str) -> None:
        onboarding.put_member(
            self.database, "acme", member, email=f"{member}@acme.example", name=member, team=team,
            now=self.clock(),
        )  # fmt: skip

    def teardown(self) -> None:
        try:
            if self.begun:
                self.prove_everything()
                with self.database.reading() as tx:
                    self.bystander.prove_complete(tx)
                    assert list(audit.verify(tx)) == []
        finally:
            for database in (self.database, *self.others):
                database.close()

    # --- credits in, and taken back ---

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
        key = f"grant-{next(self.numbers)}"
        grant_once = lambda: onboarding.grant_once(  # noqa: E731
            self.database, "acme", request, key=key, actor="tests", now=now
        )
        first = grant_once()
        assert grant_once() == first, "the same key and body: the same answer, and one grant"
        self.posted.add("grants", "audit_log", "idempotency_keys")
        id_ = json.loads(first.body)["id"]
        rank = (50 if paid else 30) if priority is None else priority
        source, starts = request.source, request.effective_at or now
        self.model.add_lot(id_, source, rank, starts, request.expires_at, credits_, paid=paid)
        self.model._settle(now)

    @precondition(lambda self: self.known_lots())
    @rule(data=st.data())
    def void_a_grant(self, data: st.DataObject) -> None:
        lot = self.pick_lot(data)
        taken = onboarding.void_grant(
            self.database, "acme", lot.id, reason="", actor="tests", now=self.clock()
        )
        assert taken == self.model.void(lot)
        self.posted.add("audit_log")

    @precondition(lambda self: self.known_lots())
    @rule(data=st.data())
    def open_a_dispute(self, data: st.DataObject) -> None:
        lot = self.pick_lot(data)
        self.on_wallet(lambda purse: reversals.freeze(purse, lot.id))
        self.model.freeze(lot)

    @precondition(lambda self: any(lot.frozen for lot in self.model.lots))
    @rule(data=st.data())
    def win_a_dispute(self, data: st.DataObject) -> None:
        lot = data.draw(st.sampled_from([lot for lot in self.model.lots if lot.frozen]))
        self.on_wallet(lambda purse: reversals.unfreeze(purse, lot.id))
        self.model.unfreeze(lot)

    @precondition(lambda self: any(lot.frozen for lot in self.model.lots))
    @rule(data=st.data())
    def lose_a_dispute(self, data: st.DataObject) -> None:
        lot = data.draw(st.sampled_from([lot for lot in self.model.lots if lot.frozen]))
        self.on_wallet(lambda purse: reversals.revoke(purse, lot.id, lot.granted))
        self.model.revoke(lot, lot.granted)

    @precondition(lambda self: self.known_lots())
    @rule(data=st.data(), credits_=st.sampled_from([1, 3_000_000, 40_000_000, 10**12]))
    def refund(self, data: st.DataObject, credits_: int) -> None:
        lot = self.pick_lot(data)
        self.on_wallet(lambda purse: reversals.revoke(purse, lot.id, credits_))
        self.model.revoke(lot, credits_)

    def known_lots(self) -> list[Lot]:
        return [lot for lot in self.model.lots if not lot.id.startswith("~")]

    def pick_lot(self, data: st.DataObject) -> Lot:
        """Choose a grant, mostly one that something is left of or that a hold pins."""
        known = self.known_lots()
        live = [lot for lot in known if lot.left or self.model.pinned(lot)]
        wanted = live if data.draw(st.integers(0, 3), label="which") else known
        return data.draw(st.sampled_from(wanted or known), label="grant")

    def on_wallet(self, act: Callable[[Wallet], object]) -> None:
        with self.database.transaction() as tx:
            purse = desk.open_desk(tx, "acme", now=self.clock()).wallet
            act(purse)
            purse.write()

    # --- work ---

    @rule(
        action=actions, member=members, project=projects, quantity=quantities,
        lasts=st.sampled_from([60, 7200, 86_400]),
    )  # fmt: skip
    def authorize(self, action: str, member: str, project: str, quantity: int, lasts: int) -> None:
        who = Spender(member, self.model.teams.get(member, ""), project, action)
        needed, now = credits_of(action, quantity), self.clock()
        caps = self.model.binding(who)
        beyond = self.model.beyond_room(*self.model.overage_now())
        refusal = self.model.refusal(needed, caps, now, beyond)
        request = AuthorizeRequest(
            "acme", action, quantity, member, project=project, expires_in_seconds=lasts
        )
        key = f"authorize-{next(self.numbers)}"
        answer = authorization.authorize(self.database, request, key=key, now=now)
        self.answered.append((request, key, answer))
        self.posted.add("idempotency_keys")
        self.expect(answer, 201, refusal)
        if refusal is None:
            id_ = json.loads(answer.body)["id"]
            self.model.authorize(id_, who, quantity, timedelta(seconds=lasts))
            self.posted.add("holds")
            for cap in caps:
                used = sum(self.model.counted(cap, now))
                assert not cap.hard or used <= self.model.limit(cap, now)

    def expect(self, answer: Answer, status: int, refusal: str | None) -> None:
        body = json.loads(answer.body)
        assert answer.status == (402 if refusal else status), body
        if refusal:
            assert body["type"] == f"/problems/{refusal}"
            assert body["options"]

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        """The same key and body give the same bytes; the same key and another body nothing."""
        request, key, first = data.draw(st.sampled_from(self.answered[-5:]))
        again = authorization.authorize(self.database, request, key=key, now=self.clock())
        assert again == first
        other = AuthorizeRequest("acme", request.action, request.quantity_micro + 1)
        with pytest.raises(IdempotencyConflict):
            authorization.authorize(self.database, other, key=key, now=self.clock())

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
        more = credits_of(hold.who.action, quantity)
        beyond = self.model.beyond_room(*self.model.beyond_of(hold))
        refusal = self.model.refusal(more, self.model.linked(hold), hold.at, beyond)
        self.expect(act(), 200, refusal)
        if refusal is None:
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
        key = f"capture-{next(self.numbers)}"
        act = lambda: authorization.capture(  # noqa: E731
            self.database, hold.id, request, key=key, now=self.clock()
        )
        if hold.status in {"captured", "released"}:
            with pytest.raises(AuthorizationSettled):
                act()
            return
        late, first = hold.status == "expired", act()
        body = json.loads(first.body)
        assert act() == first
        self.posted.add("idempotency_keys")
        if quantity == 0:
            assert body["late"] is late
            assert body["released"] == format_micro(self.model.release(hold))
            return
        uncollected, released = self.model.capture(hold, quantity)
        self.events += 1
        self.posted.add("events")
        due = credits_of(hold.who.action, quantity)
        assert body["late"] is late
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
        ago=st.sampled_from([timedelta(), timedelta(hours=3)]),
    )
    def work_that_happened(self, batch: list[tuple[str, str, int]], ago: timedelta) -> None:
        start, end = self.model.period_at(self.clock())
        at = self.clock() - ago if start <= self.clock() - ago < end else self.clock()
        fresh = [
            UsageEvent("tests", f"e{next(self.numbers)}", "acme", action, at, quantity, member)
            for action, member, quantity in batch
        ]
        answer = self.send([*fresh, *fresh[:1]])
        short = [
            self.model.happen(one.event_id, self.spender(one), one.quantity_micro, at)
            for one in fresh
        ]
        assert (answer.accepted, answer.duplicates) == (len(fresh), 1)
        assert (answer.uncollected, answer.rejected) == (sum(1 for s in short if s), [])
        self.sent += fresh
        self.events += len(fresh)
        self.posted.add("events", times=len(fresh))

    def spender(self, one: UsageEvent) -> Spender:
        return Spender(one.member, self.model.teams.get(one.member, ""), "", one.type)

    @rule(
        action=actions, member=members, quantity=quantities,
        ago=st.sampled_from([timedelta(days=days) for days in (1, 2, 3, 5, 9, 20, 34)]),
    )  # fmt: skip
    def work_that_is_told_late(
        self, action: str, member: str, quantity: int, ago: timedelta
    ) -> None:
        """Within three days of its period's end it counts when it happened; after that, now."""
        at, id_ = self.clock() - ago, f"e{next(self.numbers)}"
        late = UsageEvent("tests", id_, "acme", action, at, quantity, member)
        answer = self.send([late])
        counted_at = self.model.counted_at(at)
        short = self.model.happen(id_, self.spender(late), quantity, counted_at)
        assert (answer.accepted, answer.uncollected) == (1, 1 if short else 0)
        self.sent.append(late)
        self.events += 1
        self.posted.add("events")

    @precondition(lambda self: self.model.facts)
    @rule(data=st.data(), share=st.sampled_from(["as it was", "less", "a bit less", "nothing"]))
    def correct(self, data: st.DataObject, share: str) -> None:
        known = list(self.model.facts)
        id_ = data.draw(st.sampled_from(known[-8:] if data.draw(st.booleans()) else known))
        fact = self.model.facts[id_]
        quantity = {
            "as it was": fact.quantity, "less": fact.quantity // 3,
            "a bit less": max(0, fact.quantity - 1), "nothing": 0,
        }[share]  # fmt: skip
        source = "clearmeter/authorizations" if id_ in self.model.holds else "tests"
        correction = UsageEvent(
            "tests", f"c{next(self.numbers)}", "acme", fact.who.action, None, quantity,
            corrects=(source, id_),
        )  # fmt: skip
        answer = self.send([correction, correction])
        assert (answer.accepted, answer.duplicates, answer.rejected) == (1, 1, [])
        self.model.correct(fact, quantity)
        self.posted.add("events")
        more = UsageEvent(
            "tests", f"c{next(self.numbers)}", "acme", fact.who.action, None, quantity + 1,
            corrects=(source, id_),
        )  # fmt: skip
        assert [one.code for one in self.send([more]).rejected] == ["invalid-event"]

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def the_same_again(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.sent))
        answer = self.send([one, one])
        assert (answer.accepted, answer.duplicates, answer.rejected) == (0, 2, [])

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def another_with_a_known_id(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.sent))
        other = UsageEvent("tests", one.event_id, "acme", "image", one.time, 77, one.member)
        (rejection,) = self.send([other]).rejected
        assert rejection.code == "event-conflict"

    def send(self, events: list[UsageEvent]) -> BatchAnswer:
        sent = [Sent(number, {}, event=one) for number, one in enumerate(events)]
        return metering.ingest(self.database, sent, now=self.clock())

    # --- limits, tiers, people ---

    @rule(
        scope=scopes, action=st.sampled_from(["", "document"]), limit=limits_micro,
        window=st.sampled_from(["period", "day", "week"]), hard=st.booleans(),
    )  # fmt: skip
    def set_cap(
        self, scope: tuple[str, str], action: str, limit: int, window: str, hard: bool
    ) -> None:
        self.make_cap(Cap("", *scope, action, window, limit, hard))

    @rule(scope=scopes, cents=st.sampled_from([0, 99, 1_200]), hard=st.booleans())
    def set_cap_in_money(self, scope: tuple[str, str], cents: int, hard: bool) -> None:
        limit = cents * 10**12 // self.model.credit_value()
        self.make_cap(Cap("", *scope, "", "period", limit, hard, cents))

    def make_cap(self, cap: Cap) -> None:
        if cap.kind in {one.kind for one in self.model.caps.values()}:
            return
        request = CapRequest(
            cap.scope, cap.target, cap.action, cap.window,
            None if cap.cents is not None else cap.limit, "hard" if cap.hard else "soft", cap.cents,
        )  # fmt: skip
        made = limits.set_cap(self.database, "acme", request, actor="tests", now=self.clock())
        cap.id = made.state.cap.cap_id
        assert made.state.cap.limit_micro == cap.limit
        self.model.set_cap(cap)
        self.posted.add("audit_log")

    @precondition(lambda self: self.model.caps)
    @rule(data=st.data(), limit=limits_micro)
    def change_cap(self, data: st.DataObject, limit: int) -> None:
        cap = data.draw(st.sampled_from(list(self.model.caps.values())), label="cap")
        limits.change_cap(
            self.database, "acme", cap.id, CapChange(limit), actor="tests", now=self.clock()
        )
        cap.limit, cap.cents = limit, None
        self.posted.add("audit_log")

    @precondition(lambda self: self.asking())
    @rule(data=st.data(), credits_=st.sampled_from([1, 5_000_000, 60_000_000]), allow=st.booleans())
    def ask_for_more(self, data: st.DataObject, credits_: int, allow: bool) -> None:
        """Whoever a cap limits asks; what is allowed is there until the window ends."""
        cap, member = data.draw(st.sampled_from(self.asking()), label="who")
        asked = raises.ask(self.database, "acme", cap.id, member, 7, now=self.clock())
        again = raises.ask(self.database, "acme", cap.id, member, credits_, now=self.clock())
        assert (again.request_id, again.asked_micro) == (asked.request_id, credits_)
        answer = lambda: raises.answer(  # noqa: E731
            self.database, "acme", asked.request_id, granted_micro=credits_ if allow else None,
            actor="tests", now=self.clock(),
        )  # fmt: skip
        assert answer().status == ("allowed" if allow else "declined")
        with pytest.raises(InvalidRequest):
            answer()
        if allow:
            self.model.raise_cap(cap, credits_)
        self.posted.add("audit_log", times=3)

    def asking(self) -> list[tuple[Cap, str]]:
        """Return every cap that is in somebody's way, with somebody who may ask for more of it."""
        found = []
        for cap in self.model.caps.values():
            if cap.scope == "member":
                found.append((cap, cap.target))
            elif cap.hard:
                mine = [
                    one for one, team in sorted(self.model.teams.items())
                    if cap.scope != "team" or team == cap.target
                ]  # fmt: skip
                found += [(cap, mine[0])] if mine else []
        return found

    @precondition(lambda self: self.model.caps)
    @rule(data=st.data())
    def remove_cap(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(list(self.model.caps)), label="cap")
        limits.remove_cap(self.database, "acme", id_, actor="tests", now=self.clock())
        del self.model.caps[id_]
        self.posted.add("audit_log")

    @precondition(lambda self: self.model.tier)
    @rule(cents=st.sampled_from([None, 0, 50, 1_000, 100_000]))
    def choose_what_happens_when_empty(self, cents: int | None) -> None:
        request = SpendingRequest("stop" if cents is None else "overage", cents)
        limits.set_spending(self.database, "acme", request, actor="tests", now=self.clock())
        self.model.overage_limit = cents
        self.posted.add("audit_log")

    @rule(tier=st.sampled_from(["starter", "pro", "carry"]))
    def change_tier(self, tier: str) -> None:
        request = OrganizationRequest("acme", tier=tier)
        onboarding.put_organization(self.database, "acme", request, now=self.clock())
        self.model.subscribe(tier)

    @rule(member=st.sampled_from(sorted(TEAMS)), team=st.sampled_from(["", "research", "design"]))
    def move_to_another_team(self, member: str, team: str) -> None:
        self.put_member(member, team)
        self.posted.add("audit_log", times=int(self.model.teams[member] != team))
        self.model.teams[member] = team

    @rule(member=st.sampled_from(sorted(TEAMS)))
    def remove_and_invite_again(self, member: str) -> None:
        """What somebody had in flight goes on without them, and ends as it would have."""
        with self.database.transaction() as tx:
            accounts.remove_member(tx, "acme", member, now=self.clock())
        self.put_member(member, self.model.teams[member])
        self.posted.add("audit_log")

    # --- time, jobs, processes ---

    @rule(step=minutes)
    def let_time_pass(self, step: timedelta) -> None:
        self.remember()
        self.model.pass_to(self.clock.forward(step))

    @rule(step=days)
    def let_days_pass(self, step: timedelta) -> None:
        self.remember()
        self.model.pass_to(self.clock.forward(step))

    def remember(self) -> None:
        """Keep the balance as it is shown at this instant, to be asked for again at the end."""
        self.begin_due()
        with self.database.reading() as tx:
            self.shown.append(balances.balance(tx, "acme", now=self.clock()))

    @rule()
    def tidy_up(self) -> None:
        shop = Workshop(self.database, Gateway(""), self.clock)
        for job in (jobs.end_lapsed_holds, jobs.begin_periods, jobs.expire_grants):
            job(shop)

    @rule()
    def go_on_elsewhere(self) -> None:
        """What serves goes away; another goes on, which has seen nothing of what happened."""
        self.database.close()
        self.database, self.others = self.others[0], [*self.others[1:], self.database]

    # --- what is read ---

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data())
    def look_at_an_authorization(self, data: st.DataObject) -> None:
        hold = self.pick(data)
        found = authorization.state_of(self.database, hold.id, only="acme", now=self.clock())
        assert found["status"] == hold.status

    @rule()
    def look_at_the_caps(self) -> None:
        self.begin_due()
        found = limits.list_caps(self.database, "acme", now=self.clock())
        states = {one.state.cap.cap_id: one for one in found}
        assert set(states) == set(self.model.caps)
        for cap in self.model.caps.values():
            state = states[cap.id].state
            assert state.cap.limit_micro == cap.limit
            assert state.limit_micro == self.model.limit(cap, self.clock())
            counted = self.model.counted(cap, self.clock())
            assert (state.spent_micro, state.held_micro) == counted, cap
            standing = [one.threshold for one in states[cap.id].alerts if one.ended_at is None]
            assert sorted(standing) == sorted(self.model.alerts(cap)), cap

    @rule()
    def look_at_what_was_used(self) -> None:
        first, last = START.date() - timedelta(days=40), self.clock().date() + timedelta(days=2)
        with self.database.reading() as tx:
            found = usage.report(tx, "acme", start=first, end=last, group_by=("action", "member"))
        assert found.totals.credits_micro == self.model.charged
        assert found.totals.uncollected_micro == self.model.uncollected
        assert found.totals.events == self.events
        by_action: dict[str, int] = {}
        for row in found.rows:
            name = row.labels["action"]
            by_action[name] = by_action.get(name, 0) + row.totals.credits_micro
        for name, credits_ in by_action.items():
            assert credits_ == sum(s.credits for s in self.model.spends if s.who.action == name)

    @precondition(lambda self: self.model.facts)
    @rule(data=st.data())
    def look_at_a_receipt(self, data: st.DataObject) -> None:
        """What paid for an event is what the model took, lot by lot, before any correction."""
        id_ = data.draw(st.sampled_from(list(self.model.facts)), label="event")
        fact = self.model.facts[id_]
        with self.database.reading() as tx:
            found = usage.receipt(tx, "acme", id_, source=None)
        paid: dict[str, int] = {}
        for lot, part in fact.paid:
            if part:
                paid[lot.id] = paid.get(lot.id, 0) + part
        told = {grant_id: amount for grant_id, _, amount in found.paid_by if grant_id}
        if not fact.corrected:
            own = {name: amount for name, amount in paid.items() if not name.startswith("~")}
            assert {name: told.get(name) for name in own} == own
            assert sum(told.values()) == sum(paid.values())
            assert sum(one[2] for one in found.paid_by) == sum(paid.values()) + fact.over
            assert (found.event.credits_micro, found.event.uncollected_micro) == (
                fact.credits - fact.short, fact.short,
            )  # fmt: skip
        assert found.event.member == fact.who.member

    @rule()
    def look_at_all_events(self) -> None:
        """Page after page, each event is listed once, and they add up to what was charged."""
        listed: list[usage.EventRow] = []
        cursor = None
        with self.database.reading() as tx:
            while page := usage.list_events(tx, "acme", before=cursor, limit=7):
                listed += page
                last = page[-1]
                cursor = (last.occurred_at, last.source, last.event_id)
        assert len({(one.source, one.event_id) for one in listed}) == len(listed)
        assert len(listed) == self.posted.counts["events"]
        assert sum(one.credits_micro for one in listed) == self.model.charged
        assert sum(one.uncollected_micro for one in listed) == self.model.uncollected

    @rule()
    def look_at_the_overage(self) -> None:
        self.begin_due()
        with self.database.reading() as tx:
            organization = accounts.find_organization(tx, "acme")
            book = catalog.in_force(tx, at=self.clock())
            found = overage.standing(tx, organization, book, at=self.clock())
        since, price = self.model.overage_now()
        spent = {rate: c for (start, rate), c in self.model.beyond.items() if start == since and c}
        assert {
            one.price_micro_minor: one.spent_micro for one in found.rates if one.spent_micro
        } == spent
        if self.model.overage_limit is not None and price == OVERAGE_PRICE[self.model.tier]:
            limit = self.model.overage_limit * 10**12
            assert found.room_micro * price <= max(0, limit)

    @rule()
    def look_at_the_statements(self) -> None:
        now = self.clock()
        desk.book_due(self.database, "acme", now=now)
        with self.database.reading() as tx:
            organization = accounts.find_organization(tx, "acme")
            current = organization.period_at(now)
            before = organization.period_at(current.start - timedelta(microseconds=1))
            found = statements.statement(tx, organization, current, now=now)
            last = statements.statement(tx, organization, before, now=now)
        alive = sum(lot.left for lot in self.model.lots if not lot.expired(now))
        whole = alive + self.model.held + self.model.frozen - self.model.debt
        assert found.closing_micro == whole
        assert last.closing_micro == found.opening_micro
        assert sum(one.credits_micro for one in found.movements) == whole - found.opening_micro
        assert self.closed.setdefault(before.start, last.lines) == last.lines

    @rule()
    def look_back(self) -> None:
        """Every balance that was shown is the balance as it was."""
        with self.database.reading() as tx:
            for shown in self.shown[-4:]:
                assert balances.balance_at(tx, "acme", at=shown.as_of) == shown

    @rule()
    def prove_everything(self) -> None:
        with self.database.reading() as tx:
            found = proof.ledger_faults(tx, "acme")
            assert found == [], found

    def begin_due(self) -> None:
        """Begin the period that is due, as whoever reads does first."""
        if self.looked_at == self.clock():
            return
        self.looked_at = self.clock()
        with self.database.reading() as tx:
            organization = accounts.find_organization(tx, "acme")
        if tiers.is_due(organization, now=self.clock()):
            desk.begin_due(self.database, "acme", now=self.clock())

    @invariant()
    def it_agrees_with_the_model(self) -> None:
        if not self.begun:
            return
        self.begin_due()
        with self.database.reading() as tx:
            found = balances.balance(tx, "acme", now=self.clock())
            standing = self.journal.follow(tx)
            self.posted.prove(tx)
            self.bystander.prove(tx)
        prove_silence(self.said)
        lots = [
            (lot.grant_id, lot.remaining_micro)
            for lot in found.lots
            if lot.source not in {"allowance", "rollover"}
        ]
        expected = [one for one in self.model.spendable() if not one.id.startswith("~")]
        assert lots == [(lot.id, lot.left) for lot in expected]
        assert (found.available_micro, found.held_micro) == (self.model.available, self.model.held)
        assert (found.debt_micro, found.frozen_micro) == (self.model.debt, self.model.frozen)
        assert found.available_micro >= 0
        assert not (found.available_micro and found.debt_micro)
        assert found.uncollected_micro == self.model.uncollected
        assert standing["captured"] == self.model.charged
        assert standing["captured"] + found.uncollected_micro == self.model.rated


def open_store(url: str) -> list[Database]:
    """Open a store twice, as two that serve it; nobody pulls the plug, so nothing waits for it."""
    databases = [Database(url), Database(url)]
    for database in databases:
        if database.dialect == "sqlite":
            sqlalchemy_event.listen(database.engine, "connect", _hurry)
    return databases


def _hurry(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")


def run(emptied: Callable[[], Sequence[Database]], *, steps: int) -> None:
    """Let the machine take that many steps in all, a hundred to an empty store.

    It is given all that serve the store, the same each time: they keep the statements that they
    have compiled.
    """
    with capture_logs() as said:
        run_state_machine_as_test(
            lambda: LedgerMachine(emptied, said),
            settings=settings(
                max_examples=max(1, steps // STEPS_OF_ONE),
                stateful_step_count=STEPS_OF_ONE,
                deadline=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
