"""Faults on demand, and idempotency keys that outlive them."""

from __future__ import annotations

import threading
import time

import pytest
import requests
import stripe
from conftest import KEY, Shop

CUSTOMERS = {"method": "POST", "path": "/v1/customers"}


def _impatient(shop: Shop, retries: int = 0) -> stripe.StripeClient:
    """Return a client that waits a third of a second for an answer."""
    patience = stripe.RequestsClient(timeout=0.3)
    return stripe.StripeClient(
        KEY, base_addresses={"api": shop.url}, http_client=patience, max_network_retries=retries
    )


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, stripe.InvalidRequestError),
        (429, stripe.RateLimitError),
        (500, stripe.APIError),
        (503, stripe.APIError),
    ],
)
def test_a_status_comes_in_place_of_the_work(
    shop: Shop, status: int, error: type[stripe.StripeError]
) -> None:
    shop.control("faults", kind="status", status=status, **CUSTOMERS)
    with pytest.raises(error) as refused:
        shop.stripe.v1.customers.create({"name": "Ana"})
    assert refused.value.http_status == status
    assert shop.stripe.v1.customers.list().data == []
    assert shop.stripe.v1.customers.create({"name": "Ana"}).name == "Ana"


@pytest.mark.parametrize(("status", "stays"), [(429, False), (503, False), (500, True)])
def test_only_a_failure_is_remembered_under_its_key(shop: Shop, status: int, stays: bool) -> None:
    shop.control("faults", kind="status", status=status, **CUSTOMERS)
    options = {"idempotency_key": "first"}
    with pytest.raises(stripe.StripeError):
        shop.stripe.v1.customers.create({"name": "Ana"}, options)
    if stays:
        with pytest.raises(stripe.APIError):
            shop.stripe.v1.customers.create({"name": "Ana"}, options)
    else:
        assert shop.stripe.v1.customers.create({"name": "Ana"}, options).name == "Ana"


@pytest.mark.parametrize("kind", ["timeout_after", "reset_after"])
def test_work_done_without_an_answer_is_answered_when_asked_again_with_its_key(
    shop: Shop, kind: str
) -> None:
    customer, method = shop.saved()
    shop.control("faults", kind=kind, method="POST", path="/v1/payment_intents")
    params = {
        "amount": 900,
        "currency": "usd",
        "customer": customer,
        "payment_method": method,
        "off_session": True,
        "confirm": True,
    }
    options = {"idempotency_key": "attempt-1"}
    with pytest.raises(stripe.APIConnectionError):
        _impatient(shop).v1.payment_intents.create(params, options)
    assert len(shop.stripe.v1.charges.list({"customer": customer}).data) == 1
    again = shop.stripe.v1.payment_intents.create(params, options)
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert len(shop.stripe.v1.charges.list({"customer": customer}).data) == 1
    other = {"idempotency_key": "attempt-2"}
    assert shop.stripe.v1.payment_intents.create(params, other).id != again.id


def test_a_connection_may_be_reset_before_the_work(shop: Shop) -> None:
    shop.control("faults", kind="reset", **CUSTOMERS)
    options = {"idempotency_key": "first"}
    with pytest.raises(stripe.APIConnectionError):
        shop.stripe.v1.customers.create({"name": "Ana"}, options)
    assert shop.stripe.v1.customers.list().data == []
    assert shop.stripe.v1.customers.create({"name": "Ana"}, options).name == "Ana"


def test_the_library_retries_by_itself_and_charges_once(shop: Shop) -> None:
    shop.control("faults", kind="timeout_after", **CUSTOMERS)
    assert _impatient(shop, retries=2).v1.customers.create({"name": "Ana"}).name == "Ana"
    assert len(shop.stripe.v1.customers.list().data) == 1


def test_a_held_connection_is_let_go_in_the_end(shop: Shop) -> None:
    shop.control("faults", kind="timeout_after", seconds=0.1, **CUSTOMERS)
    started = time.monotonic()
    with pytest.raises(stripe.APIConnectionError):
        shop.stripe.v1.customers.create({"name": "Ana"})
    assert time.monotonic() - started < 2


def test_a_slow_call_holds_up_its_key_and_nobody_else(shop: Shop) -> None:
    shop.control("faults", kind="latency", seconds=0.4, **CUSTOMERS)
    options = {"idempotency_key": "first"}
    slow = threading.Thread(target=shop.stripe.v1.customers.create, args=({"name": "Ana"}, options))
    slow.start()
    deadline = time.monotonic() + 5
    while "first" not in shop.app.extensions["sandbox"].memory._entries:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert shop.stripe.v1.customers.list().data == []
    with pytest.raises(stripe.StripeError) as refused:
        shop.stripe.v1.customers.create({"name": "Ana"}, options)
    assert refused.value.http_status == 409
    slow.join(5)
    assert len(shop.stripe.v1.customers.list().data) == 1


def test_faults_are_for_so_many_calls_of_one_path_and_can_be_cleared(shop: Shop) -> None:
    shop.control("faults", kind="status", status=503, path="/v1/prices*", times=2)
    shop.control("faults", kind="status", status=429, method="GET", times=None)
    for expected in (503, 503, 429):
        with pytest.raises(stripe.StripeError) as refused:
            shop.stripe.v1.prices.list()
        assert refused.value.http_status == expected
    told = requests.get(f"{shop.url}/_sandbox/faults", timeout=5).json()["faults"]
    assert [(one["times"], one["met"]) for one in told] == [(0, 2), (None, 1)]
    assert requests.delete(f"{shop.url}/_sandbox/faults", timeout=5).json() == {"faults": []}
    assert shop.stripe.v1.prices.list().data == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "kind"),
        ({"kind": "flood"}, "kind"),
        ({"kind": "reset", "times": 0}, "times"),
        ({"kind": "latency", "seconds": 121}, "seconds"),
        ({"kind": "status", "status": 200}, "status"),
        ({"kind": "reset", "method": "BREW"}, "method"),
        ({"kind": "reset", "colour": "red"}, "colour"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(shop: Shop, body: dict[str, object], param: str) -> None:
    response = requests.post(f"{shop.url}/_sandbox/faults", json=body, timeout=5)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_a_refusal_after_the_work_began_is_remembered_under_its_key(shop: Shop) -> None:
    charge = shop.charge()
    options = {"idempotency_key": "refund-1"}
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            shop.stripe.v1.refunds.create({"charge": charge.id, "amount": 9999}, options)
    assert refused.value.headers["Idempotent-Replayed"] == "true"
