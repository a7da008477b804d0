"""Work in flight: asked for, extended, captured, released."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from portal import authorization
from portal.authorization import AuthorizeRequest, CaptureRequest
from portal.core.errors import AuthorizationSettled, IdempotencyConflict
from portal.core.units import format_micro
from portal.idempotency import Answer
from tests.properties.machine.stage import Stage, actions, credits_of, members, quantities
from tests.properties.model import Spender

projects = st.sampled_from(["", "", "atlas"])


class Work(Stage):
    """Rules that authorize work and end it, and ask again."""

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
