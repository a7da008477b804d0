"""Killed at any system call while money moves, and asked again: once charged, once given.

The store and the stand-in for Stripe are put back to where they were before each try, so that each
begins alike. What was killed is asked again as it would be in life: Stripe delivers its news once
more, the worker comes round, the buyer presses the button again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import requests

from portal.billing import checkout
from portal.core.errors import ClearmeterError
from tests import digest
from tests.cast import ok
from tests.clock import Clock
from tests.faults import payer, soak, tracing
from tests.faults.test_crash import Victim, whole
from tests.rewind import rewinding
from tests.shop import session_of
from tests.subscribers import Subscriber, subscriber, utc

pytestmark = pytest.mark.soak

#: How many of an act's calls are tried on each store: some, or all there are (some 250 at most).
POINTS = soak.rounds(3, 400)
HALF, END = utc(2026, 11, 24, 12), utc(2026, 12, 9, 12)
#: What the money came to, where asking again is another purchase.
MONEY = ("accounts", "grants", "payments")


@dataclass(frozen=True)
class Act:
    """What is done, by an order; ``again`` is how it is asked again, until it is done."""

    order: dict[str, Any]
    again: Callable[[Subscriber, dict[str, Any]], None]
    compared: tuple[str, ...] = ()


def asked_again(acme: Subscriber, order: dict[str, Any]) -> None:
    """Ask once more in this process, and where that is not to be yet, later."""
    for _ in range(3):
        try:
            status, _ = payer.act(acme.application, order)
        except ClearmeterError:
            status = 503
        if status == 200:
            return
    raise AssertionError("it never comes to an end")


# --- the acts -------------------------------------------------------------------------------------


def event(acme: Subscriber, kind: str) -> dict[str, Any]:
    """Return the newest of Stripe's events of a kind, to be delivered."""
    return {"event": acme.events(kind)[-1].to_dict(for_json=True)}


def start(acme: Subscriber) -> str:
    return checkout.start(
        acme.database, acme.payments, organization=acme.organization, member=acme.ana,
        pack="small", portal_base_url="http://127.0.0.1:8000", now=acme.clock(),
    )  # fmt: skip


def pack(acme: Subscriber) -> Act:
    acme.pay(start(acme))
    return Act(event(acme, "checkout.session.completed"), asked_again)


def pack_paid_later(acme: Subscriber) -> Act:
    url = start(acme)
    form = {"email": "ana@acme.example", "way": "bank_pays"}
    assert requests.post(url, form, allow_redirects=False, timeout=10).status_code == 303
    acme.tell()
    acme.control("settle")
    return Act(event(acme, "checkout.session.async_payment_succeeded"), asked_again)


def dispute(acme: Subscriber) -> Act:
    acme.pay(start(acme))
    acme.tell()
    ok(acme.acme.capture(acme.acme.hold("document", 30)))
    payment = str(acme.stripe.v1.payment_intents.list().data[0].id)
    acme.stripe.v1.refunds.create({"payment_intent": payment, "amount": 1300})
    opened = acme.control("disputes", payment_intent=payment)["id"]
    acme.control(f"disputes/{opened}", to="funds_withdrawn")
    return Act(event(acme, "charge.dispute.funds_withdrawn"), asked_again)


def overspent(acme: Subscriber) -> None:
    """A plan with overage, whose cycle has just ended."""
    acme.subscribe("starter")
    choice = {"on_empty": "overage", "overage_limit": "20.00"}
    ok(acme.acme.api.patch(f"{acme.acme.path}/spending", choice))
    ok(acme.acme.send(acme.acme.event("document", quantity=110)))
    ok(acme.acme.send(acme.acme.event("image", quantity=7)))
    acme.to(END, told=False)


def renewal(acme: Subscriber) -> Act:
    """The draft of a renewal is closed with its overage, and paid."""
    overspent(acme)
    return Act(event(acme, "invoice.created"), asked_again)


def reconciliation(acme: Subscriber) -> Act:
    overspent(acme)
    return Act({"job": "reconcile_payments"}, asked_again)


def plan_change(acme: Subscriber) -> Act:
    acme.subscribe("starter")
    acme.to(HALF)
    return Act({"change": acme.preview("pro").change_id}, asked_again)


def wants_top_up(acme: Subscriber) -> None:
    """A card that pays, and credits that have run low."""
    acme.subscribe("starter")
    customer = str(acme.organization.stripe_customer_id)
    card = acme.stripe.v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    default = {"invoice_settings": {"default_payment_method": card.id}}
    acme.stripe.v1.customers.update(customer, default)  # type: ignore[arg-type]
    terms = {"threshold": "200", "pack": "small", "monthly_limit": "50.00"}
    body = {"on_empty": "top_up", "auto_top_up": terms}
    ok(acme.acme.api.patch(f"{acme.acme.path}/spending", body))
    ok(acme.acme.send(acme.acme.event("document", quantity=90)))


def worker_again(acme: Subscriber, order: dict[str, Any]) -> None:
    """The worker comes round, now and when a call that was cut off is over for certain."""
    for later in (0, 100, 200):
        acme.clock.set(acme.clock() + timedelta(seconds=later))
        asked_again(acme, order)


def top_up(acme: Subscriber) -> Act:
    wants_top_up(acme)
    # What was cut off is found out later, and counts from then on: only the instants differ.
    return Act({"job": "top_up_credits"}, worker_again, ("accounts",))


def top_up_news(acme: Subscriber) -> Act:
    wants_top_up(acme)
    acme.fail("reset_after", "/v1/payment_intents", 3)
    payer.act(acme.application, {"job": "top_up_credits"})
    return Act(event(acme, "payment_intent.succeeded"), asked_again)


def bought_again(acme: Subscriber, order: dict[str, Any]) -> None:
    """The buyer presses the button again, and pays."""
    _, url = payer.act(acme.application, order)
    assert acme.pay(url).status_code == 303
    (paid,) = acme.events("checkout.session.completed")
    assert paid.data.object["id"] == session_of(url)
    asked_again(acme, event(acme, "checkout.session.completed"))


def checkout_created(acme: Subscriber) -> Act:
    return Act({"pack": "small"}, bought_again, MONEY)


ACTS: dict[str, Callable[[Subscriber], Act]] = {
    "news of a pack": pack,
    "news of a pack paid later": pack_paid_later,
    "news of a dispute": dispute,
    "news of a renewal with overage": renewal,
    "news of a top-up": top_up_news,
    "a checkout": checkout_created,
    "a top-up": top_up,
    "a change of plan": plan_change,
    "reconciliation": reconciliation,
}


# --- the proof ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    tracing.needed()
    victim = Victim(tmp_path_factory.mktemp("payer") / "calls", "tests.faults.payer")
    yield victim
    victim.close()


@contextmanager
def putting_back(acme: Subscriber) -> Iterator[Callable[[], None]]:
    """Keep what the store, Stripe and the clock are now; gives the way back to it."""
    stripe = acme.sandbox.extensions["sandbox"]
    kept = {
        (part, name): deepcopy(getattr(part, name))
        for part, name in (
            (stripe.store, "_objects"), (stripe.store, "_alarms"), (stripe.memory, "_entries"),
        )
    }  # fmt: skip
    now = acme.clock()
    with rewinding(acme.database) as rewind:

        def back() -> None:
            rewind()
            for (part, name), value in kept.items():
                setattr(part, name, deepcopy(value))
            acme.clock.set(now)

        yield back


def charged(acme: Subscriber) -> list[int]:
    """Return what Stripe took, payment by payment."""
    found = acme.stripe.v1.charges.list({"limit": 100}).auto_paging_iter()
    return sorted(one.amount for one in found if one.paid)


def end(acme: Subscriber, act: Act) -> tuple[dict[str, list[str]], list[int]]:
    rows = digest.standing(acme.database, "acme")
    return {name: rows[name] for name in act.compared or rows}, charged(acme)


@pytest.mark.parametrize("name", ACTS)
def test_an_act_of_money_that_is_killed_and_asked_again_has_happened_once(
    store: str, clock: Clock, victim: Victim, name: str
) -> None:
    with subscriber(store, clock) as acme:
        act = ACTS[name](acme)
        order = {"url": store, "stripe": acme.address, "now": clock().isoformat()} | act.order
        with putting_back(acme) as back:
            victim.rehearse(order)
            back()
            answered = victim.perform(order)
            assert answered is not None
            assert answered[0] == 200, answered
            act.again(acme, act.order)
            expected = end(acme, act)

            calls = tracing.made(victim.log)
            points = tracing.points(calls, most=100_000)
            chosen = random.Random(8).sample(points, min(POINTS, len(points)))
            killed = 0
            for point in chosen:
                back()
                killed += victim.perform(order, kill_at=point) is None
                assert whole(acme.database), point
                act.again(acme, act.order)
                assert end(acme, act) == expected, point
                assert acme.differences() == [], point
            assert killed >= len(chosen) * 0.6
            print(f"\n{acme.database.dialect}, {name}: {len(calls)} calls, killed at {killed}")
