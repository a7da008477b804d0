"""Servers whose clocks differ, and requests that waited their turn: nobody sees half of what was.

A request reads the clock before it may read the store, and another server's clock may be behind.
So what the ledger has written can be later than a request's own now.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.cast import Api, Customer, ok
from tests.clock import Clock

BEHIND = timedelta(seconds=2)


@pytest.fixture
def behind(acme: Customer, clock: Clock) -> Customer:
    """Acme with a grant and a hold of an instant that the clock has not reached."""
    clock.forward(BEHIND)
    acme.grant(50)
    acme.hold("document")
    clock.forward(-BEHIND)
    return acme


def test_a_look_sees_a_grant_with_the_hold_that_came_after_it(behind: Customer) -> None:
    assert behind.standing == ("145", "5")
    assert ok(behind.api.get(f"{behind.path}/balance"))["grants"][-1]["remaining"] == "50"


def test_credits_granted_a_moment_ago_can_be_spent(behind: Customer) -> None:
    behind.hold("analysis", 14)
    assert behind.standing == ("5", "145")


def test_an_answer_tells_what_a_look_then_sees(behind: Customer, api: Api) -> None:
    told = ok(behind.authorize(), 201)["balance"]
    assert (told["available"], told["held"]) == behind.standing == ("140", "10")
