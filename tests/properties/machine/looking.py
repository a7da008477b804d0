"""What is read, at any instant: it is what the model says."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from portal import (
    accounts,
    authorization,
    balances,
    catalog,
    desk,
    limits,
    overage,
    proof,
    statements,
    usage,
)
from tests.clock import START
from tests.properties.machine.stage import Stage
from tests.properties.model import OVERAGE_PRICE


class Looking(Stage):
    """Rules that look, each at one thing a reader is shown."""

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
