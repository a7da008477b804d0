"""Auto top-up where an answer does not come, a process stops or many come at once: one charge."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest

from portal.billing import top_up
from tests.clock import Clock
from tests.shop import KEY, Shop, Stopped, Stopping
from tests.topping_up import (
    PACK_MINOR,
    attempts,
    later,
    organization,
    spend,
    suspended,
    topping_up,
    turn_off,
    turn_on,
    work,
)


@pytest.fixture
def shop(store: str, clock: Clock) -> Iterator[Shop]:
    with topping_up(store, clock) as made:
        yield made


@pytest.mark.parametrize("kind", ["timeout_after", "reset_after"])
def test_a_charge_whose_answer_is_lost_is_found_and_not_repeated(shop: Shop, kind: str) -> None:
    shop.save_card()
    shop.fail_calls(kind)
    turn_on(shop)
    assert (attempts(shop), shop.charged_minor()) == (["unknown"], [PACK_MINOR])
    assert work(shop) == 0
    later(shop, timedelta(seconds=10))
    work(shop)
    assert (attempts(shop), shop.charged_minor()) == (["succeeded"], [PACK_MINOR])
    assert shop.customer.balance()["available"] == "600"


def test_a_call_that_never_arrived_is_made_again_with_the_same_key(shop: Shop) -> None:
    shop.save_card()
    shop.fail_calls("reset")
    turn_on(shop)
    assert (attempts(shop), shop.charged_minor()) == (["unknown"], [])
    later(shop, timedelta(seconds=10))
    work(shop)
    assert (attempts(shop), shop.charged_minor()) == (["succeeded"], [PACK_MINOR])


def test_a_failure_of_stripes_own_is_looked_into_for_an_hour(shop: Shop) -> None:
    shop.save_card()
    shop.fail_calls("status")
    turn_on(shop)
    for _ in range(5):
        # Stripe remembers its failure with the key: asking again brings nothing else.
        later(shop, timedelta(minutes=11))
        work(shop)
        assert (attempts(shop), shop.charged_minor()) == (["unknown"], [])
    later(shop, timedelta(minutes=11))
    work(shop)
    assert work(shop) == 1
    assert (attempts(shop), shop.charged_minor()) == (["failed", "succeeded"], [PACK_MINOR])


def test_what_is_not_known_is_not_asked_for_again_once_nobody_wants_it(shop: Shop) -> None:
    shop.save_card()
    shop.fail_calls("reset")
    turn_on(shop)
    turn_off(shop)
    for _ in range(4):
        later(shop, timedelta(minutes=20))
        work(shop)
    assert (attempts(shop), shop.charged_minor()) == (["failed"], [])


def test_after_a_day_it_is_looked_up_and_never_asked_for_again(shop: Shop) -> None:
    shop.save_card()
    shop.fail_calls("reset_after")
    turn_on(shop)
    later(shop, timedelta(hours=30))
    work(shop)
    assert (attempts(shop), shop.charged_minor()) == (["succeeded"], [PACK_MINOR])


def test_a_crash_between_row_and_call_ends_in_one_charge(shop: Shop) -> None:
    shop.save_card()
    turn_on(shop, threshold="50")
    spend(shop, 100)
    method = shop.payments.saved_method(str(organization(shop).stripe_customer_id))
    begun = top_up._begin(shop.database, "acme", method, now=shop.clock())
    assert begun is not None
    assert (work(shop), attempts(shop)) == (0, ["pending"])
    later(shop, timedelta(seconds=90))
    assert work(shop) == 1
    assert (attempts(shop), shop.charged_minor()) == (["succeeded"], [PACK_MINOR])


#: Each of the calls that an attempt makes: stopped before it, and before its answer.
STOPS = [(call, after) for call in (1, 2, 3) for after in (False, True)]


def stop(shop: Shop, at: tuple[int, bool]) -> None:
    """Have a worker's process stop at a call to Stripe, and others come round after it."""
    stopping = Stopping(KEY, shop.payments.checkout_origin)
    stopping.stops = at
    with suppress(Stopped):
        top_up.run(shop.database, stopping, "acme", now=shop.clock())
    for _ in range(3):
        later(shop, timedelta(minutes=2))
        work(shop)


def test_a_process_that_stops_at_any_call_leaves_one_charge(shop: Shop) -> None:
    shop.save_card()
    turn_on(shop, threshold="50", monthly_limit="1000")
    spend(shop, 100)
    for number, at in enumerate(STOPS, 1):
        stop(shop, at)
        assert attempts(shop) == ["succeeded"] * number
        assert shop.charged_minor() == [PACK_MINOR] * number
        assert shop.customer.balance()["available"] == "500"
        spend(shop, 500)


def test_a_process_that_stops_at_any_call_leaves_one_decline(shop: Shop) -> None:
    turn_on(shop, threshold="50")
    spend(shop, 100)
    for number, at in enumerate(STOPS, 1):
        shop.save_card("pm_card_chargeCustomerFail")
        top_up.method_changed(shop.database, shop.payments, "acme", now=shop.clock())
        stop(shop, at)
        assert (attempts(shop), suspended(shop)) == (["failed"] * number, "declined")


def test_many_at_once_buy_one_pack(shop: Shop) -> None:
    shop.save_card()
    turn_on(shop, threshold="50")
    spend(shop, 100)
    together = threading.Barrier(6)

    def buy(_: int) -> None:
        together.wait(30)
        top_up.run(shop.database, shop.payments, "acme", now=shop.clock())

    with ThreadPoolExecutor(6) as crowd:
        list(crowd.map(buy, range(6)))
    assert (attempts(shop), shop.charged_minor()) == (["succeeded"], [PACK_MINOR])
    assert shop.customer.balance()["available"] == "500"
