"""Stripe promises no order: whatever news come first, again or never, the end is the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import select

from portal.billing import inbox
from portal.billing.gateway import CheckoutSession, Gateway, PaymentState, StripeEvent
from portal.db import Database
from portal.tables import (
    accounts,
    auto_top_ups,
    checkouts,
    grants,
    invoices,
    notices,
    payments,
    transfers,
)
from tests.cast import Customer, ok
from tests.faults import soak
from tests.rewind import rewinding
from tests.shop import KEY, Shop, session_of

pytestmark = pytest.mark.soak

#: Orders of one family that every run tries; a soak tries each there is.
SAMPLE = 12
BUYER = "buyer"


class Remembering(Gateway):
    """The real door; what it was told once it need not ask again, for nothing changes behind it."""

    def __init__(self, address: str) -> None:
        super().__init__(KEY, address)
        self.payment = lru_cache(maxsize=None)(super().payment)  # type: ignore[method-assign]
        self.checkout_session = lru_cache(maxsize=None)(super().checkout_session)  # type: ignore[method-assign]

    def payments_since(self, since: Any) -> list[PaymentState]:
        return [self.payment(state.charge_id) for state in super().payments_since(since)]

    def checkout_sessions_since(self, since: Any) -> list[CheckoutSession]:
        return [
            self.checkout_session(one.session_id) for one in super().checkout_sessions_since(since)
        ]


def receipt(shop: Shop, session: str) -> list[Any]:
    """Return what is told of the receipt that a pack comes with."""
    invoice = shop.stripe.v1.checkout.sessions.retrieve(session).invoice
    return shop.news("invoice.paid", of=str(invoice))


def at_once(shop: Shop) -> list[Any]:
    """A pack paid by card."""
    session = shop.buy(of=BUYER)
    kinds = ("charge.", "checkout.session.", "payment_intent.")
    return [*shop.news(*kinds, of=shop.payment_of(session)), *receipt(shop, session)]


def later(shop: Shop) -> list[Any]:
    """A pack whose bank debit is paid some time after."""
    url = shop.open(of=BUYER)
    shop.pay_by_bank(url)
    shop.control("settle")
    session = session_of(url)
    kinds = ("charge.succeeded", "checkout.session.", "payment_intent.")
    told = shop.news(*kinds, of=shop.payment_of(session))
    return [*(one for one in told if "created" not in one["type"]), *receipt(shop, session)]


def given_back(shop: Shop, verdict: str) -> list[Any]:
    session = shop.buy(of=BUYER)
    payment = shop.payment_of(session)
    shop.refund(payment, 1300)
    shop.refund(payment, 1000)
    shop.dispute(payment, "funds_withdrawn", verdict)
    kinds = ("checkout.session.", "charge.refunded", "charge.dispute.")
    return [*shop.news(*kinds, of=payment)[:6], *receipt(shop, session)]


def refunded_and_lost(shop: Shop) -> list[Any]:
    """A pack, two refunds and a dispute that the seller loses."""
    return given_back(shop, "lost")


def refunded_and_won(shop: Shop) -> list[Any]:
    """A pack, two refunds and a dispute that the seller wins."""
    return given_back(shop, "won")


def refunded_and_failed(shop: Shop) -> list[Any]:
    """A pack and two refunds, of which the first fails at the bank."""
    session = shop.buy(of=BUYER)
    payment = shop.payment_of(session)
    first = shop.refund(payment, 1300)
    shop.refund(payment, 1000)
    shop.control(f"refunds/{first}", to="failed")
    kinds = ("checkout.session.completed", "charge.refunded", "refund.failed", "refund.created")
    return [*shop.news(*kinds, of=payment)[:6], *receipt(shop, session)]


FAMILIES = (at_once, later, refunded_and_lost, refunded_and_won, refunded_and_failed)


def ordered_subsets(things: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Return every subset of things in each of its orders, the empty one as well."""
    for size in range(len(things) + 1):
        yield from permutations(things, size)


def some_of(orders: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return as many of the orders as this run tries, the same ones each time."""
    wanted = min(len(orders), soak.rounds(SAMPLE, len(orders)))
    return random.Random(6).sample(orders, wanted)


def end_of(database: Database) -> dict[str, Any]:
    """Return all that the buyer's money came to, without the names that chance gave."""
    with database.reading() as tx:

        def rows(table: Any, *but: str) -> list[str]:
            dull = {"organization_id", "external_key", *but}
            columns = [column for column in table.c if column.name not in dull]
            found = tx.execute(select(*columns).where(table.c.organization_id == BUYER))
            return sorted(repr(tuple(row)) for row in found)

        return {
            "grants": rows(grants, "grant_id"),
            "balances": rows(accounts, "account", "version", "standing"),
            "transfers": rows(transfers, "transfer_id", "reference", "from_account", "to_account"),
            "checkouts": rows(checkouts, "checkout_id", "grant_id"),
            "payments": rows(payments, "grant_id"),
            "invoices": rows(invoices),
            "notices": rows(notices, "notice_id", "raised_at"),
            "top-ups": rows(auto_top_ups),
        }


def receive(shop: Shop, gateway: Gateway, event: Any) -> str:
    told = StripeEvent(event["id"], event["type"], event["data"]["object"]["id"], event["livemode"])
    return inbox.receive(shop.database, gateway, told, now=shop.clock())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_order_of_every_part_of_the_news_comes_to_the_same_end(
    shop: Shop, family: Callable[[Shop], list[Any]]
) -> None:
    shop.found(BUYER)
    events = family(shop)
    assert 5 <= len(events) <= 7
    gateway = Remembering(shop.address)
    ends = []
    with rewinding(shop.database) as back:
        for order in some_of(list(ordered_subsets(events))):
            for event in (*order, *events):
                assert receive(shop, gateway, event) in {"done", "ignored"}
            ends.append(end_of(shop.database))
            assert ends[-1] == ends[0], [event["type"] for event in order]
            back()
        shop.mend()
        assert end_of(shop.database) == ends[0]
        assert shop.differences() == []


def standing_of(customer: Customer) -> tuple[str, str, str]:
    balance = customer.balance()
    return balance["available"], balance["debt"], balance["frozen"]


def told_while_it_happens(shop: Shop, name: str, verdict: str, heard: Sequence[bool]) -> Customer:
    """Play a payment's life with a buyer; after each step the news so far are told, or not yet."""
    customer = shop.found(name)
    session = shop.buy(of=name)
    shop.tell("checkout.session.", of=session)
    ok(customer.capture(customer.hold("analysis", 10)))
    payment = shop.payment_of(session)
    dispute = ""
    for step, now in zip(
        ("refund", "refund", "open", "funds_withdrawn", verdict), heard, strict=True
    ):
        if step == "refund":
            shop.refund(payment, 700)
        elif step == "open":
            dispute = shop.dispute(payment)
        else:
            shop.control(f"disputes/{dispute}", to=step)
        if now:
            shop.tell("charge.refunded", "charge.dispute.", of=payment)
    shop.tell("charge.refunded", "charge.dispute.", of=payment)
    return customer


@pytest.mark.parametrize(
    ("verdict", "end"), [("won", ("220.51282", "0", "0")), ("lost", ("0", "100", "0"))]
)
def test_whether_each_step_was_heard_of_or_only_the_last_the_customer_stands_the_same(
    shop: Shop, verdict: str, end: tuple[str, str, str]
) -> None:
    heard = [tuple(bool(mask >> bit & 1) for bit in range(5)) for mask in range(32)]
    tried = [heard[0], heard[31], *random.Random(7).sample(heard[1:31], soak.rounds(2, 30))]
    for number, steps in enumerate(tried):
        customer = told_while_it_happens(shop, f"buyer-{number}", verdict, steps)
        assert standing_of(customer) == end, steps
