"""A renewal with overage on it: what goes back counts for the part that it is of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Row

from portal.billing import refunds
from portal.core.errors import InvalidRequest
from portal.core.refunds import Refunded, of_plan
from portal.tables import payments
from tests.approvals import approved
from tests.cast import ok
from tests.clock import Clock
from tests.readers import enter
from tests.subscribers import HOUR, Subscriber, subscriber, utc

END = utc(2026, 12, 9, 12)
#: Starter, and thirty credits beyond it at eight cents.
PLAN, OVERAGE = 2_900, 240


@pytest.fixture
def acme(store: str, clock: Clock) -> Iterator[Subscriber]:
    """Acme after a renewal: one payment for the plan and for what went beyond the last cycle."""
    with subscriber(store, clock) as made:
        made.subscribe("starter")
        choice = {"on_empty": "overage", "overage_limit": "10.00"}
        ok(made.acme.api.patch(f"{made.acme.path}/spending", choice))
        ok(made.acme.send(made.acme.event("document", quantity=106)))
        made.to(END)
        made.to(END + HOUR / 60)
        assert renewal(made).amount_minor == PLAN + OVERAGE
        yield made


def renewal(acme: Subscriber) -> Row[Any]:
    return max(acme.rows(payments), key=lambda row: row.settled_at)


def refund(acme: Subscriber, amount_minor: int, **metadata: str) -> None:
    """Give a part back at Stripe, where it may say what it is of."""
    intent = renewal(acme).payment_id
    acme.stripe.v1.refunds.create(
        {"payment_intent": intent, "amount": amount_minor, "metadata": metadata}
    )
    acme.tell()


def give_back(acme: Subscriber, **more: str) -> str:
    asked = {"amount": None, "reason": "", "of": ""} | more
    done = refunds.give_back(
        acme.database, acme.payments, organization_id="acme", payment_id=renewal(acme).payment_id,
        actor="olga", now=acme.clock(), **asked,
    )  # fmt: skip
    return done.amount


def test_overage_that_is_given_back_takes_no_credits_and_the_rest_takes_all(
    acme: Subscriber,
) -> None:
    assert renewal(acme).grant_part_minor == PLAN
    refund(acme, 140, part="overage")
    assert (acme.available, renewal(acme).refunded_minor) == ("500", 140)
    ana = enter(acme.application, acme.database, acme.clock, "ana")
    assert "$1.40 was given back." in ana.client.get("/billing").text
    payment, now = renewal(acme).payment_id, acme.clock()
    with pytest.raises(InvalidRequest, match="another operator"):
        give_back(acme, of="overage", reason="goodwill")
    with pytest.raises(InvalidRequest, match=r"at most \$1\.00"):
        approved(
            acme.database, acme.payments, "acme", payment, amount="1.01", of="overage", now=now
        )
    done = approved(acme.database, acme.payments, "acme", payment, of="overage", now=now)
    assert done.amount == "$1.00"
    assert (acme.available, acme.differences()) == ("500", [])
    opened = acme.control("disputes", payment_intent=renewal(acme).payment_id)["id"]
    acme.control(f"disputes/{opened}", to="funds_withdrawn")
    acme.tell()
    assert (acme.available, acme.differences()) == ("0", [])


def test_what_is_unspent_is_of_the_plan_alone(acme: Subscriber) -> None:
    ok(acme.acme.capture(acme.acme.hold("document", 20)))
    assert acme.available == "400"
    assert give_back(acme) == "$23.20"
    assert (acme.available, acme.acme.balance()["debt"]) == ("0", "0")
    assert (renewal(acme).refunded_minor, acme.differences()) == (2_320, [])


def test_a_refund_that_says_nothing_counts_for_both_in_proportion(acme: Subscriber) -> None:
    refund(acme, (PLAN + OVERAGE) // 2)
    assert (acme.available, acme.differences()) == ("250", [])
    ana = enter(acme.application, acme.database, acme.clock, "ana")
    said = "$15.70 was given back, and that part of the credits."
    assert said in ana.client.get("/billing").text
    refund(acme, (PLAN + OVERAGE) // 2)
    assert (acme.available, acme.acme.balance()["debt"]) == ("0", "0")
    assert acme.differences() == []


@pytest.mark.parametrize(
    ("refunded", "disputed", "expected"),
    [
        (Refunded(300), 0, (225, 0)),
        (Refunded(100, overage_minor=100), 0, (0, 0)),
        (Refunded(300, overage_minor=100), 0, (150, 0)),
        # More than there was of it is of the other part.
        (Refunded(150, overage_minor=150), 0, (38, 0)),
        (Refunded(400, plan_minor=400), 0, (300, 0)),
        (Refunded(100, plan_minor=100), 0, (100, 0)),
        (Refunded(100, overage_minor=100), 300, (0, 300)),
        (Refunded(0), 200, (0, 150)),
        (Refunded(200), 400, (150, 150)),
    ],
)
def test_of_400_of_which_300_were_for_the_plan(
    refunded: Refunded, disputed: int, expected: tuple[int, int]
) -> None:
    assert of_plan(400, 300, refunded=refunded, disputed_minor=disputed) == expected
