"""Limits, tiers and people, and every change of them."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from portal import accounts, limits, onboarding, raises
from portal.caps import CapChange, CapRequest
from portal.core.errors import InvalidRequest
from portal.limits import SpendingRequest
from portal.onboarding import OrganizationRequest
from tests.properties.machine.stage import TEAMS, Stage
from tests.properties.model import Cap

limits_micro = st.sampled_from([0, 5_000_000, 12_500_001, 40_000_000, 100_000_000])
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


class Limits(Stage):
    """Rules that set caps and raise them, choose tiers, and move people about."""

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
        request = OrganizationRequest("Acme", tier=tier)
        onboarding.put_organization(self.database, "acme", request, now=self.clock())
        self.posted.add("audit_log", times=int(self.model.tier != tier))
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

    def put_member(self, member: str, team: str) -> None:
        onboarding.put_member(
            self.database, "acme", member, email=f"{member}@acme.example", name=member, team=team,
            now=self.clock(),
        )  # fmt: skip
