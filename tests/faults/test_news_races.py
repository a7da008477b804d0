"""Stripe's news all at once, at several processes: one effect each, and nothing is given up on.

Two processes of the production server share a store. All news of one kind come to them at the same
moment, or the same event twenty times: every answer is that it is taken, or to be sent again, and
sent again it is taken. Neither a deadlock nor a quarantine is left behind.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import pytest
import requests
from sqlalchemy import select

from portal.tables import grants, payments, stripe_inbox
from sandbox.webhooks import signature
from tests import digest
from tests.clock import Clock
from tests.conftest import migrate
from tests.faults import soak
from tests.faults.conftest import EACH_STORE
from tests.faults.payer import SECRET
from tests.faults.site import now
from tests.faults.test_money_crash import start
from tests.postgresql import Server
from tests.servers import serving
from tests.shop import KEY
from tests.subscribers import MICRO, Subscriber, subscriber

pytestmark = pytest.mark.soak

ROUNDS = soak.rounds(1, 200)
MANY = 20


@dataclass
class Race:
    """Acme, whom nobody here tells of anything, and the servers that are told."""

    acme: Subscriber
    ports: Sequence[int]

    def news(self, *kinds: str) -> list[Any]:
        """Return Stripe's events of these kinds that nobody was told of, and count them as told.

        Each call tells of all there are, so that whatever is older than one that was told was too.
        """
        newest_first = self.acme.stripe.v1.events.list({"limit": 10}).auto_paging_iter()
        untold = list(takewhile(lambda one: one.id not in self.acme.delivered, newest_first))[::-1]
        self.acme.delivered |= {one.id for one in untold}
        return [one.to_dict(for_json=True) for one in untold if one.type.startswith(kinds)]

    def at_once(self, events: Sequence[Any]) -> None:
        """Deliver all of them at the same moment; what is to be sent again is, as Stripe does."""
        together = threading.Barrier(len(events))

        def bring(place: int) -> list[int]:
            together.wait(30)
            statuses = [self.deliver(events[place], self.ports[place % len(self.ports)])]
            while statuses[-1] == 503 and len(statuses) < 10:
                time.sleep(0.1)
                statuses.append(self.deliver(events[place], self.ports[place % len(self.ports)]))
            return statuses

        with ThreadPoolExecutor(len(events)) as crowd:
            told = list(crowd.map(bring, range(len(events))))
        assert {statuses[-1] for statuses in told} == {200}, told
        assert {status for statuses in told for status in statuses} <= {200, 503}, told

    def deliver(self, event: Any, port: int) -> int:
        body = json.dumps(event).encode()
        signed = {"Stripe-Signature": signature(body, SECRET, timestamp=int(time.time()))}
        url = f"http://127.0.0.1:{port}/webhooks/stripe"
        return requests.post(url, data=body, headers=signed, timeout=60).status_code

    def inbox(self) -> set[str]:
        with self.acme.database.reading() as tx:
            return set(tx.execute(select(stripe_inbox.c.status).distinct()).scalars())


@pytest.fixture
def waiting_sqlite(sqlite_store: str) -> str:
    return sqlite_store


@pytest.fixture
def waiting_postgresql(postgresql_server: Server) -> str:
    """A store that waits for the disk: the server does not serve one that does not."""
    url = postgresql_server.url(postgresql_server.create())
    migrate(url)
    return url


@pytest.fixture(params=EACH_STORE)
def race(request: pytest.FixtureRequest) -> Iterator[Race]:
    """One process on SQLite, two on PostgreSQL."""
    store = request.getfixturevalue(f"waiting_{request.param}")
    processes = 2 if request.param == "postgresql" else 1
    with subscriber(store, Clock(now())) as acme, ExitStack() as stack:
        settings = {
            "STRIPE_SECRET_KEY": KEY, "STRIPE_API_BASE": acme.address,
            "STRIPE_WEBHOOK_SECRET": SECRET,
        }  # fmt: skip
        ports = [stack.enter_context(serving(store, **settings)) for _ in range(processes)]
        yield Race(acme, ports)


def sold(acme: Subscriber) -> tuple[int, int]:
    """Return how many packs were granted and how many payments are written down."""
    packs = [one for one in acme.rows(grants) if one.source == "pack"]
    return len(packs), len(acme.rows(payments))


def test_news_that_come_all_at_once_have_one_effect_each(race: Race) -> None:
    acme = race.acme
    for number in range(ROUNDS):
        begun = now().replace(microsecond=0)
        acme.clock.set(begun)
        packs, paid = sold(acme)
        acme.pay(start(acme))
        (event,) = race.news("checkout.session.completed")
        race.at_once([event] * MANY)
        assert sold(acme) == (packs + 1, paid + 1), number
        before = digest.standing(acme.database, "acme")
        race.at_once([event | {"id": f"{event['id']}-{copy}"} for copy in range(6)])
        assert digest.standing(acme.database, "acme") == before

        acme.pay(start(acme))
        payment = str(acme.stripe.v1.payment_intents.list().data[0].id)
        acme.stripe.v1.refunds.create({"payment_intent": payment, "amount": 1300})
        dispute = acme.control("disputes", payment_intent=payment)["id"]
        for decision in ("funds_withdrawn", "lost"):
            acme.control(f"disputes/{dispute}", to=decision)
        six = race.news("checkout.session.completed", "charge.refunded", "charge.dispute.")
        assert len(six) >= 5
        race.at_once(six * 2)
        assert sold(acme) == (packs + 2, paid + 2), number
        assert acme.acme.balance()["debt"] == "0"

        acme.pay(acme.open("starter"))
        subscription = acme.stripe.v1.subscriptions.list().data[0]
        six = race.news("checkout.session.completed", "customer.subscription.", "invoice.")
        assert len(six) >= 5
        race.at_once(six * 2)
        assert acme.organization.tier == "starter"
        acme.stripe.v1.subscriptions.cancel(subscription.id)
        race.at_once(race.news("customer.subscription.") * MANY)
        assert acme.organization.tier is None
        tiers = [one.amount_minor for one in acme.rows(payments) if one.kind == "tier"]
        assert tiers == [2_900] * (number + 1)
        assert [micro for micro, _ in acme.granted_micro()][:1] == [500 * MICRO]
        assert acme.differences(since=begun) == []
    assert acme.differences() == []
    assert race.inbox() <= {"done", "ignored"}
