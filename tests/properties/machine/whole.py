"""The machine as a whole: how it begins, how time passes, what holds at every instant."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from random import Random
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import event as sqlalchemy_event
from structlog.testing import capture_logs

from portal import accounts, audit, balances, catalog, ids, jobs, onboarding
from portal.billing.gateway import Gateway
from portal.db import Database
from portal.jobs import Workshop
from portal.onboarding import OrganizationRequest
from tests.clock import START
from tests.properties.machine.credits import Credits
from tests.properties.machine.events import Events
from tests.properties.machine.limits import Limits
from tests.properties.machine.looking import Looking
from tests.properties.machine.stage import TEAMS
from tests.properties.machine.work import Work
from tests.properties.witness import Bystander, prove_silence

#: A tier whose leftovers roll over, beside those that ship.
BOOK = catalog.DEFAULT_FILE.read_text(encoding="utf-8") + (
    '\n[tiers.carry]\nname = "Carry"\nprice = 9.00\ncredits = 60\noverage = 0.075\n'
    "rollover = true\n"
)

STEPS_OF_ONE = 100
minutes = st.sampled_from(
    [timedelta(microseconds=1), timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=5)]
)
days = st.sampled_from([timedelta(days=1), timedelta(days=6), timedelta(days=17)])


class LedgerMachine(Credits, Work, Events, Limits, Looking):
    """All of it together, with time that passes and processes that come and go."""

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


class OrderedSecrets:
    """Random bytes for ids whose order is the same each time, and which no two stores share.

    Grants alike in all that the rules go by are spent in the order of their ids: were that another
    one each time, what a run of steps comes to could not be played again.
    """

    def begin(self) -> None:
        """Begin again with the first of them."""
        self._first = Random(0)

    def token_bytes(self, count: int) -> bytes:
        return self._first.randbytes(count - count // 2) + secrets.token_bytes(count // 2)

    def token_urlsafe(self) -> str:
        return secrets.token_urlsafe(32)


def run(emptied: Callable[[], Sequence[Database]], *, steps: int) -> None:
    """Let the machine take that many steps in all, a hundred to an empty store.

    It is given all that serve the store, the same each time: they keep the statements that they
    have compiled.
    """
    drawn = OrderedSecrets()

    def afresh() -> Sequence[Database]:
        drawn.begin()
        return emptied()

    with capture_logs() as said, patch.object(ids, "secrets", drawn):
        run_state_machine_as_test(
            lambda: LedgerMachine(afresh, said),
            settings=settings(
                max_examples=max(1, steps // STEPS_OF_ONE),
                stateful_step_count=STEPS_OF_ONE,
                deadline=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
