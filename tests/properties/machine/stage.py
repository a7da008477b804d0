"""What the machine stands on: the product, the model beside it, and what was sent and shown."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from datetime import datetime
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from portal import accounts, desk, tiers
from portal.authorization import AuthorizeRequest
from portal.balances import Balance
from portal.core.events import UsageEvent
from portal.db import Database
from portal.idempotency import Answer
from tests.clock import START, Clock
from tests.properties.journal import Journal
from tests.properties.model import PRICE_MICRO, Hold, Model, Spender
from tests.properties.witness import Posted

TEAMS = {"ben": "", "cleo": "research", "dan": "design"}

quantities = st.sampled_from([1, 250_000, 1_000_000, 1_500_000, 7_000_000, 45_000_000])
actions = st.sampled_from(sorted(PRICE_MICRO))
members = st.sampled_from(["", *TEAMS])


def credits_of(action: str, quantity: int) -> int:
    return quantity * PRICE_MICRO[action] // 1_000_000


class Stage(RuleBasedStateMachine):
    """An organization in the product and in the model; rules are what the machine adds to it."""

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

    def pick(self, data: st.DataObject) -> Hold:
        """Choose an authorization, mostly one that is still open."""
        known = list(self.model.holds.values())
        wanted = self.model.open if data.draw(st.integers(0, 4), label="which") else known
        return data.draw(st.sampled_from(wanted or known), label="hold")

    def spender(self, one: UsageEvent) -> Spender:
        return Spender(one.member, self.model.teams.get(one.member, ""), "", one.type)

    def begin_due(self) -> None:
        """Begin the period that is due, as whoever reads does first."""
        if self.looked_at == self.clock():
            return
        self.looked_at = self.clock()
        with self.database.reading() as tx:
            organization = accounts.find_organization(tx, "acme")
        if tiers.is_due(organization, now=self.clock()):
            desk.begin_due(self.database, "acme", now=self.clock())
