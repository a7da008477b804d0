"""Idempotency keys: the same key and body have one effect and one answer, to the byte."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from werkzeug.test import TestResponse

from tests.cast import Customer, ok, refused
from tests.clock import Clock

Call = Callable[[Customer, str], TestResponse]

MANY = 20
#: Each call with a key, on a fresh authorization where it needs one.
CALLS: dict[str, tuple[Call, Call]] = {
    "authorize": (
        lambda acme, _: acme.authorize("document", 2, key="k"),
        lambda acme, _: acme.authorize("document", 3, key="k"),
    ),
    "capture": (
        lambda acme, hold: acme.capture(hold, key="k", quantity=1),
        lambda acme, hold: acme.capture(hold, key="k", quantity=2),
    ),
    "increment": (
        lambda acme, hold: acme.increment(hold, 1, key="k"),
        lambda acme, hold: acme.increment(hold, 2, key="k"),
    ),
    "grant": (
        lambda acme, _: acme.api.post(
            f"{acme.path}/grants", {"credits": "9", "source": "promotion", "reason": "x"}, key="k"
        ),
        lambda acme, _: acme.api.post(
            f"{acme.path}/grants", {"credits": "8", "source": "promotion", "reason": "x"}, key="k"
        ),
    ),
}
each_call = pytest.mark.parametrize("call", CALLS)


@each_call
def test_the_same_key_and_body_give_the_same_answer_to_the_byte_for_thirty_days(
    acme: Customer, bystander: Customer, clock: Clock, call: str
) -> None:
    act, _ = CALLS[call]
    hold = acme.hold("document", 5, expires_in=60)
    first = act(acme, hold)
    assert first.status_code in {200, 201}
    standing = acme.standing
    assert act(acme, hold).data == first.data
    clock.forward(timedelta(seconds=30))
    assert act(acme, hold).data == first.data
    assert acme.standing == standing
    clock.forward(timedelta(days=30))
    again = act(acme, hold)
    assert (again.status_code, again.data) == (first.status_code, first.data)


def test_a_released_authorization_stays_released(acme: Customer, clock: Clock) -> None:
    hold = acme.hold("document")
    first = acme.release(hold, key="k")
    clock.forward(timedelta(days=30))
    assert acme.release(hold, key="k").data == first.data
    refused(acme.release(hold, key="l"), 409, "authorization-settled")


@each_call
def test_the_same_key_with_another_body_is_a_conflict_and_does_nothing(
    acme: Customer, call: str
) -> None:
    act, other = CALLS[call]
    hold = acme.hold("document", 5)
    act(acme, hold)
    standing = acme.standing
    refused(other(acme, hold), 409, "idempotency-conflict")
    assert acme.standing == standing


def test_the_order_of_a_bodys_fields_does_not_matter(acme: Customer) -> None:
    body = {"organization": "acme", "action": "document", "quantity": "1", "run": "r"}
    first = acme.api.post("/v1/authorizations", body, key="k")
    turned = dict(reversed(body.items())) | {"quantity": 1}
    assert acme.api.post("/v1/authorizations", turned, key="k").data == first.data


def test_a_refusal_for_want_of_credits_is_an_answer_too(acme: Customer) -> None:
    first = acme.authorize("analysis", 11, key="k")
    refused(first, 402, "insufficient-credits")
    acme.grant(100)
    again = acme.authorize("analysis", 11, key="k")
    assert (again.status_code, again.data) == (402, first.data)
    acme.hold("analysis", 11, key="l")


def test_a_request_that_was_malformed_leaves_its_key_free(acme: Customer) -> None:
    refused(acme.authorize("video", key="k"), 422, "unknown-action")
    refused(acme.authorize("document", "-1", key="k"), 422, "invalid-request")
    acme.hold("document", key="k")


def test_a_key_belongs_to_its_organization_and_to_its_call(
    acme: Customer, bystander: Customer
) -> None:
    first = acme.hold("document", key="k")
    ok(acme.capture(first, key="k"))
    second = acme.hold("document", key="l")
    ok(acme.capture(second, key="k"))
    assert acme.standing == ("90", "0")


def test_twenty_at_once_with_one_key_have_one_effect(acme: Customer) -> None:
    together = threading.Barrier(MANY)

    def act(_: int) -> TestResponse:
        together.wait(30)
        return acme.authorize("document", 3, key="k")

    with ThreadPoolExecutor(MANY) as crowd:
        answers = list(crowd.map(act, range(MANY)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.data for answer in answers}) == 1
    assert acme.standing == ("85", "15")


def test_twenty_captures_at_once_charge_once(acme: Customer) -> None:
    hold = acme.hold("analysis", 5)
    together = threading.Barrier(MANY)

    def act(number: int) -> TestResponse:
        together.wait(30)
        return acme.capture(hold, key=f"k{number}", quantity=5)

    with ThreadPoolExecutor(MANY) as crowd:
        answers = list(crowd.map(act, range(MANY)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [409] * (MANY - 1)
    won = next(answer.json for answer in answers if answer.status_code == 200)
    assert all(one.json["original"] == won for one in answers if one.status_code == 409)
    assert acme.standing == ("50", "0")
