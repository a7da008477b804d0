"""Stripe is away, slow, or cut off in the middle: work goes on, and nothing is paid twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import stripe

from portal.billing import refunds
from portal.billing.gateway import Gateway, caller, circuit
from portal.billing.gateway.circuit import FAILURES, RESTS_SECONDS, Circuit
from portal.core.errors import Unavailable
from tests.cast import ok
from tests.clock import Clock
from tests.readers import Reader, enter
from tests.shop import KEY, SandboxClock, Shop, selling, session_of, stand_in

PATIENCE_SECONDS = 0.3
#: What can be the matter with Stripe, each for every call there is.
TROUBLES: dict[str, dict[str, Any]] = {
    "down": {"kind": "reset"},
    "429": {"kind": "status", "status": 429},
    "500": {"kind": "status", "status": 500},
    "503": {"kind": "status", "status": 503},
    "slow": {"kind": "latency", "seconds": 3 * PATIENCE_SECONDS},
    "silent after the work": {"kind": "timeout_after", "seconds": 3 * PATIENCE_SECONDS},
    "cut off in the middle": {"kind": "reset_after"},
}


@pytest.fixture
def shop(sqlite_store: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    # Neither the library nor we need wait as long as in life.
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0)
    monkeypatch.setattr(stripe.HTTPClient, "MAX_DELAY", 0)
    monkeypatch.setattr(caller, "TIMEOUT_SECONDS", (PATIENCE_SECONDS, PATIENCE_SECONDS))
    monkeypatch.setattr(circuit, "RESTS_SECONDS", 0.0)
    stripe_clock = SandboxClock()
    with (
        stand_in(stripe_clock) as address,
        selling(sqlite_store, clock, address, stripe_clock) as made,
    ):
        yield made


@pytest.fixture
def ana(shop: Shop, clock: Clock) -> Reader:
    return enter(shop.application, shop.database, clock, "ana")


def trouble(shop: Shop, what: str, **more: Any) -> None:
    body = {"times": None} | TROUBLES[what] | more
    assert requests.post(f"{shop.address}/_sandbox/faults", json=body, timeout=10).ok


def met(shop: Shop) -> int:
    """Return how many calls met the trouble."""
    told = requests.get(f"{shop.address}/_sandbox/faults", timeout=10).json()["faults"]
    return sum(int(one["met"]) for one in told)


def over(shop: Shop) -> None:
    assert requests.delete(f"{shop.address}/_sandbox/faults", timeout=10).ok


def press_buy(ana: Reader) -> tuple[str, str]:
    """Press the button; returns where that leads, and what the page of plans says then."""
    answer = ana.send("/plans/packs/small", "/plans")
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"], ana.client.get("/plans").text


@pytest.mark.parametrize("what", TROUBLES)
def test_work_goes_on_without_a_word_to_stripe_and_buying_says_plainly_to_try_again(
    shop: Shop, ana: Reader, what: str
) -> None:
    trouble(shop, what)
    ok(shop.customer.capture(shop.customer.hold("document", 2)))
    ok(shop.customer.send(shop.customer.event("image")))
    assert shop.customer.standing == ("88", "0")
    for page in ("/", "/plans", "/usage", "/spending"):
        assert ana.client.get(page).status_code == 200
    assert met(shop) == 0

    page, said = press_buy(ana)
    assert page == "/plans"
    assert "nothing is paid twice. Nothing was charged. Try it again" in said
    assert met(shop) > 0
    over(shop)
    page, _ = press_buy(ana)
    while what == "slow" and page == "/plans":
        time.sleep(PATIENCE_SECONDS)  # it still works on what nobody waits for any more
        page, _ = press_buy(ana)
    shop.pay(page)
    shop.tell("checkout.session.", of=session_of(page))
    assert (shop.packs, shop.charged_minor()) == (["500"], [3900])
    assert (shop.mend(), shop.differences()) == ([], [])


@pytest.mark.parametrize("what", ["silent after the work", "cut off in the middle"])
def test_a_call_whose_answer_was_lost_is_made_again_with_the_same_key(
    shop: Shop, what: str
) -> None:
    trouble(shop, what, method="POST", path="/v1/checkout/sessions", times=2)
    shop.pay(shop.open())
    assert len(shop.stripe.v1.checkout.sessions.list().data) == 1
    shop.mend()
    trouble(shop, what, method="POST", path="/v1/refunds", times=3)
    (payment,) = [one.payment_intent for one in shop.stripe.v1.charges.list().data]
    refund = asked_for_a_refund(shop, str(payment))
    with pytest.raises(Unavailable):
        refund()
    refund()
    assert [one.amount for one in shop.stripe.v1.refunds.list().data] == [3900]
    assert (shop.packs, shop.differences()) == ([], [])


def asked_for_a_refund(shop: Shop, payment: str) -> Callable[[], object]:
    return lambda: refunds.give_back(
        shop.database, shop.payments, organization_id="acme", payment_id=payment, amount="39.00",
        reason="", actor="olga", now=shop.clock(),
    )  # fmt: skip


@pytest.mark.parametrize("what", ["down", "503", "429"])
def test_news_that_cannot_be_looked_into_are_to_be_sent_again_and_lost_nowhere(
    shop: Shop, what: str
) -> None:
    session = shop.buy()
    (event,) = shop.events()
    trouble(shop, what)
    answer = shop.deliver(event)
    assert (answer.status_code, shop.packs) == (503, [])
    over(shop)
    assert shop.deliver(event).status_code == 200
    assert (shop.packs, shop.returned(session)) == (["500"], "fulfilled")


def test_stripe_is_never_called_while_a_transaction_is_open(shop: Shop) -> None:
    payments = shop.payments
    calls: tuple[Callable[[], object], ...] = (
        lambda: payments.create_customer("acme", name="Acme", email=""),
        lambda: payments.checkout_session("cs_1"),
        lambda: payments.top_up_intent("pi_1"),
        lambda: payments.invoice("in_1"),
        lambda: payments.overage_invoice("in_1"),
        lambda: payments.payment("pi_1"),
        lambda: payments.subscription("sub_1"),
    )
    trouble(shop, "down")
    for opened in (shop.database.transaction, shop.database.reading):
        for call in calls:
            with opened(), pytest.raises(AssertionError, match="while a transaction is open"):
                call()
    assert met(shop) == 0


# --- the circuit ----------------------------------------------------------------------------------


def test_after_five_tries_without_an_answer_nobody_waits_any_more(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit, "RESTS_SECONDS", 60.0)
    trouble(shop, "slow")
    payments = Gateway(KEY, shop.address)
    for _ in range(2):
        with pytest.raises(Unavailable):
            payments.checkout_session("cs_1")
    assert met(shop) == FAILURES
    begun = time.monotonic()
    for _ in range(100):
        with pytest.raises(Unavailable):
            payments.checkout_session("cs_1")
    assert time.monotonic() - begun < 100 * PATIENCE_SECONDS / 10
    assert met(shop) == FAILURES


def test_a_refusal_is_an_answer_and_so_is_an_old_failure_told_again() -> None:
    found = Circuit()
    for _ in range(FAILURES - 1):
        found.failed()
    found.answered()
    for _ in range(FAILURES - 1):
        found.failed()
    assert found.admits()


def test_after_a_rest_one_is_let_through_and_decides_for_all() -> None:
    now = [0.0]
    found = Circuit(lambda: now[0])
    for _ in range(FAILURES):
        found.failed()
    assert not found.admits()
    now[0] = RESTS_SECONDS
    assert [found.admits() for _ in range(3)] == [True, False, False]
    found.failed()
    now[0] += RESTS_SECONDS - 1
    assert not found.admits()
    now[0] += 1
    assert found.admits()
    found.answered()
    assert [found.admits() for _ in range(3)] == [True, True, True]
