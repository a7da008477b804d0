"""Work that happened: told in time, late, twice, otherwise, and corrected."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from portal import metering
from portal.core.events import UsageEvent
from portal.metering import BatchAnswer, Sent
from tests.properties.machine.stage import Stage, actions, members, quantities


class Events(Stage):
    """Rules that send events without a hold."""

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
