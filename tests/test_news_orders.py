"""Whatever Stripe tells, in any order and any number of times: the same news come to the same end.

Proven by induction, not by sampling. What the portal holds after some of the news is one state,
whichever way it came there: from the state of each set of news, each event is told once more, as
another event with another id. One that belongs to the set must change nothing; one that does not
must lead to the state of the larger set. So every sequence, of any length and with any number of
copies, ends where its set of news says. From every state reconciliation leads to one and the same
end, which all the news lead to as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from portal.billing import inbox, reconcile
from portal.billing.gateway import Gateway, StripeEvent
from portal.db import Database
from tests import digest
from tests.cast import ok
from tests.clock import Clock
from tests.faults import soak
from tests.rewind import rewinding
from tests.shop import KEY, LONG_AGO, SandboxClock, Shop, selling, stand_in
from tests.subscribers import HOUR, subscriber, utc
from tests.test_payment_orders import (
    BUYER,
    at_once,
    later,
    refunded_and_failed,
    refunded_and_lost,
    refunded_and_won,
)

pytestmark = pytest.mark.soak

#: So many events of a family are told; a soak tells all of them, six at most.
MOST = soak.size(4, 6)
#: So many sequences are told whole besides, which checks that the induction holds.
SEQUENCES = soak.rounds(3, 1_000)
#: Not a set of news: where reconciliation leads.
END = frozenset({-1})
READS = (
    "payment", "checkout_session", "subscription", "subscription_of_schedule", "invoice",
    "invoices_of", "invoices_since", "subscriptions_since", "checkout_sessions_since",
    "payments_since", "charges_with_failed_refunds", "top_up_intent", "top_up_intents_since",
    "find_top_up", "saved_method", "owner_of_method", "overage_invoice", "overage_items",
)  # fmt: skip


class Remembering(Gateway):
    """The real door; what it was told once it need not ask again, for nothing changes behind it."""

    def __init__(self, address: str) -> None:
        super().__init__(KEY, address)
        for name in READS:
            setattr(self, name, lru_cache(maxsize=None)(getattr(self, name)))


@dataclass
class Scene:
    """A store that heard nothing yet, Stripe with all that happened there, and its news."""

    database: Database
    gateway: Gateway
    organization_id: str
    now: datetime
    news: Sequence[StripeEvent]
    told: int = field(default=0)

    def tell(self, number: int) -> None:
        """Tell of one of the events, as another one that says the same."""
        one = self.news[number]
        self.told += 1
        again = StripeEvent(f"{one.event_id}-{self.told}", one.type, one.object_id, one.livemode)
        outcome = inbox.receive(self.database, self.gateway, again, now=self.now)
        assert outcome in {"done", "ignored"}, (one.type, outcome)

    def reconcile(self) -> None:
        reconcile.reconcile(self.database, self.gateway, since=LONG_AGO, now=self.now)

    def state(self) -> dict[str, list[str]]:
        return digest.standing(self.database, self.organization_id)


# --- the families ---------------------------------------------------------------------------------


def told(events: Sequence[Any]) -> list[StripeEvent]:
    return [
        StripeEvent(one["id"], one["type"], one["data"]["object"]["id"], one["livemode"])
        for one in events
    ]


@contextmanager
def shopping(store: str, clock: Clock) -> Iterator[Shop]:
    stripe_clock = SandboxClock()
    with stand_in(stripe_clock) as address, selling(store, clock, address, stripe_clock) as shop:
        yield shop


def bought(life: Callable[[Shop], list[Any]]) -> Callable[..., Any]:
    """A pack that is bought, and what goes back of it."""

    @contextmanager
    def scene(store: str, clock: Clock) -> Iterator[Scene]:
        with shopping(store, clock) as shop:
            shop.found(BUYER)
            events = life(shop)
            yield Scene(shop.database, Remembering(shop.address), BUYER, clock(), told(events[:6]))

    return scene


@contextmanager
def subscribed(store: str, clock: Clock) -> Iterator[Scene]:
    """A plan that begins, grows and is renewed while nobody is told."""
    with subscriber(store, clock) as acme:
        acme.pay(acme.open("starter"))
        clock.set(utc(2026, 11, 24, 12))
        subscription = acme.stripe.v1.subscriptions.list().data[0]
        item = {"id": subscription["items"].data[0].id, "price": acme.price("pro")}
        acme.stripe.v1.subscriptions.update(
            subscription.id, {"items": [item], "proration_behavior": "always_invoice"}
        )
        clock.set(utc(2026, 12, 9, 12) + 2 * HOUR)
        wanted = ("checkout.session.completed", "customer.subscription.", "invoice.paid")
        news = [one for one in acme.untold() if one.type.startswith(wanted)]
        assert len(news) >= 6
        yield Scene(acme.database, Remembering(acme.address), "acme", clock(), news[-6:])


@contextmanager
def topped_up(store: str, clock: Clock) -> Iterator[Scene]:
    """A card that is declined, another one, and a charge whose answer was lost."""
    with shopping(store, clock) as shop:
        shop.save_card("pm_card_chargeCustomerFail")
        terms = {"threshold": "150", "pack": "small", "monthly_limit": "100.00"}
        body = {"on_empty": "top_up", "auto_top_up": terms}
        ok(shop.customer.api.patch(f"{shop.customer.path}/spending", body))
        shop.save_card()
        clock.forward(HOUR)
        shop.fail_calls("reset_after")
        ok(shop.customer.api.patch(f"{shop.customer.path}/spending", body))
        assert len(shop.charged_minor()) == 1
        wanted = ("payment_intent.", "payment_method.attached", "customer.updated")
        events = [one for one in shop.news("", of="") if one["type"].startswith(wanted)]
        yield Scene(shop.database, Remembering(shop.address), "acme", clock(), told(events[-6:]))


FAMILIES: dict[str, Callable[..., Any]] = {
    "a pack paid at once": bought(at_once),
    "a pack paid later": bought(later),
    "two refunds and a lost dispute": bought(refunded_and_lost),
    "two refunds and a won dispute": bought(refunded_and_won),
    "two refunds of which one fails": bought(refunded_and_failed),
    "a plan": subscribed,
    "auto top-up": topped_up,
}


# --- the proof ------------------------------------------------------------------------------------


class Kept:
    """A store's file as it was at some states, to go back to."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._file = Path(str(database.engine.url.database))

    def read(self) -> bytes:
        self._database.engine.dispose()
        return self._file.read_bytes()

    def back(self, contents: bytes) -> None:
        self._database.engine.dispose()
        self._file.write_bytes(contents)


State = dict[str, list[str]]


def every_state(scene: Scene, store: Kept, events: Sequence[int]) -> dict[frozenset[int], State]:
    """Return the state that each set of events leads to, from wherever the last of it was told."""
    nothing: frozenset[int] = frozenset()
    states, files = {nothing: scene.state()}, {nothing: store.read()}
    waiting = [nothing]
    while waiting:
        heard = waiting.pop(0)
        for event in events:
            store.back(files[heard])
            scene.tell(event)
            after, state = heard | {event}, scene.state()
            if after not in states:
                states[after], files[after] = state, store.read()
                waiting.append(after)
            assert state == states[after], (named(scene, heard), scene.news[event].type)
        store.back(files[heard])
        scene.reconcile()
        states.setdefault(END, scene.state())
        assert scene.state() == states[END], named(scene, heard)
    store.back(files[nothing])
    return states


def sequence(chance: random.Random, events: Sequence[int]) -> list[int]:
    """Return each event none to five times, in any order."""
    found = [one for one in events for _ in range(chance.randrange(6))]
    chance.shuffle(found)
    return found


def named(scene: Scene, heard: Iterable[int]) -> list[str]:
    return [scene.news[one].type for one in heard]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_news_come_to_the_same_end_in_every_order_and_however_often(
    sqlite_store: str, clock: Clock, family: str
) -> None:
    with FAMILIES[family](sqlite_store, clock) as scene:
        store, chance = Kept(scene.database), random.Random(6)
        events = sorted(chance.sample(range(len(scene.news)), min(MOST, len(scene.news))))
        states = every_state(scene, store, events)
        assert len(states) == 2 ** len(events) + 1
        begin = store.read()
        for _ in range(SEQUENCES):
            order = sequence(chance, events)
            store.back(begin)
            for event in order:
                scene.tell(event)
            assert scene.state() == states[frozenset(order)], named(scene, order)
        print(f"\n{family}: {len(states)} states, {scene.told} tellings")


@pytest.mark.parametrize("family", FAMILIES)
def test_on_postgresql_two_orders_of_the_same_news_come_to_the_same_end(
    postgresql_store: str, clock: Clock, family: str
) -> None:
    with (
        FAMILIES[family](postgresql_store, clock) as scene,
        rewinding(scene.database) as back,
    ):
        chance, ends = random.Random(7), []
        for _ in range(soak.rounds(1, 40)):
            some = chance.sample(range(len(scene.news)), chance.randint(2, len(scene.news)))
            states = []
            for _ in range(2):
                order = [*some, *chance.choices(some, k=3)]
                chance.shuffle(order)
                for event in order:
                    scene.tell(event)
                states.append(scene.state())
                scene.reconcile()
                ends.append(scene.state())
                back()
            assert states[0] == states[1], named(scene, some)
        scene.reconcile()
        assert ends == [scene.state()] * len(ends)
