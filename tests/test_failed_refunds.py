"""A refund that fails at the bank was none: its credits and its revenue are back, once."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from portal.billing import payments as book
from portal.billing import reconcile, refunds
from portal.billing.gateway import Gateway, PaymentState
from portal.billing.payments import Settled
from portal.margin import revenue
from portal.tables import audit_log, grants, payment_movements, revenue_daily
from portal.tables import refunds as orders
from tests.cast import Customer, ok
from tests.faults import soak
from tests.shop import KEY, Shop, session_of

NEWS = ("charge.refund", "charge.dispute.", "refund.")
FAILS_LATER = "4000000000005126"


def bought(shop: Shop, name: str = "buyer", pack: str = "small", number: str = "") -> str:
    """Have somebody buy a pack of 500 for 39.00; returns the payment."""
    url = shop.open(pack, of=name)
    assert (shop.pay(url, number) if number else shop.pay(url)).status_code == 303
    shop.tell("checkout.session.", of=session_of(url))
    return shop.payment_of(session_of(url))


@pytest.fixture
def buyer(shop: Shop) -> Customer:
    return shop.found("buyer")


def refunded(shop: Shop, payment: str, amount_minor: int | None = None) -> str:
    refund = shop.refund(payment, amount_minor)
    shop.tell(*NEWS, of=payment)
    return refund


def fails(shop: Shop, payment: str, refund: str, to: str = "failed") -> None:
    shop.control(f"refunds/{refund}", to=to)
    shop.tell(*NEWS, of=payment)


def settled(shop: Shop, payment: str, name: str = "buyer") -> Settled:
    with shop.database.reading() as tx:
        found = book.of(tx, name, payment)
    assert found is not None
    return found


def stands(customer: Customer) -> tuple[str, str, str]:
    balance = customer.balance()
    return balance["available"], balance["debt"], balance["frozen"]


def spend(customer: Customer, quantity: int = 10) -> None:
    ok(customer.capture(customer.hold("analysis", quantity)))


def of_pack(customer: Customer) -> list[str]:
    return [one["remaining"] for one in customer.balance()["grants"] if one["source"] == "pack"]


def in_order(shop: Shop) -> None:
    assert (shop.mend(), shop.differences()) == ([], [])


def recognised(shop: Shop) -> dict[str, int]:
    """Return what is recognised of the buyer's money, by what it comes of."""
    revenue.recognise(shop.database, "buyer", now=shop.clock())
    with shop.database.reading() as tx:
        rows = tx.execute(
            select(revenue_daily.c.part, func.sum(revenue_daily.c.amount_minor))
            .where(revenue_daily.c.organization_id == "buyer")
            .group_by(revenue_daily.c.part)
        )
        return {part: int(amount) for part, amount in rows.all() if amount}


@pytest.mark.parametrize("to", ["failed", "canceled"])
def test_its_credits_stand_on_the_very_grant_again_and_its_revenue_is_as_before(
    shop: Shop, buyer: Customer, to: str
) -> None:
    payment = bought(shop)
    spend(buyer)
    before = recognised(shop)
    refund = refunded(shop, payment)
    assert (stands(buyer), recognised(shop)["refunds"]) == (("0", "100", "0"), -3900)
    fails(shop, payment, refund, to)
    assert (stands(buyer), of_pack(buyer)) == (("400", "0", "0"), ["400"])
    shop.tell(*NEWS, of=payment)
    shop.clock.forward(timedelta(days=1))
    assert (stands(buyer), recognised(shop)) == (("400", "0", "0"), before)
    assert settled(shop, payment).reversal.refunded_minor == 0
    with shop.database.reading() as tx:
        moved = select(func.sum(payment_movements.c.amount_minor))
        assert tx.execute(moved.where(payment_movements.c.kind == "refund")).scalar() in (None, 0)
        noted = select(func.count()).where(audit_log.c.act == "refund.failed")
        assert tx.execute(noted).scalar() == 1
    in_order(shop)


def test_a_card_whose_refunds_fail_later_fails_them_by_itself_and_the_operator_is_told(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop, number=FAILS_LATER)
    done = refunds.give_back(
        shop.database, shop.payments, organization_id="buyer", payment_id=payment, amount=None,
        reason="", actor="operator:olga", now=shop.clock(),
    )  # fmt: skip
    assert (done.status, stands(buyer)) == ("succeeded", ("0", "0", "0"))
    shop.control("settle")
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("500", "0", "0")
    with shop.database.reading() as tx:
        (order,) = tx.execute(select(orders)).all()
    assert (order.status, order.stripe_refund_id) == ("failed", done.refund_id)
    assert "yours again" in order.answer
    in_order(shop)


def test_one_of_two_that_fails_leaves_what_the_other_took(shop: Shop, buyer: Customer) -> None:
    payment = bought(shop)
    spend(buyer, 40)
    first = refunded(shop, payment, 1950)
    assert stands(buyer) == ("0", "150", "0")
    refunded(shop, payment, 780)
    assert stands(buyer) == ("0", "250", "0")
    fails(shop, payment, first)
    assert stands(buyer) == ("0", "0", "0")
    in_order(shop)


def test_what_other_credits_paid_of_its_debt_meanwhile_comes_back_too(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop)
    spend(buyer)
    refund = refunded(shop, payment)
    buyer.grant(300)
    assert stands(buyer) == ("200", "0", "0")
    fails(shop, payment, refund)
    assert (stands(buyer), of_pack(buyer)) == (("700", "0", "0"), ["500"])
    in_order(shop)


def test_of_a_grant_that_ended_only_what_others_paid_comes_back_and_without_an_end(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop)
    spend(buyer)
    refund = refunded(shop, payment)
    buyer.grant(300)
    shop.clock.forward(timedelta(days=400))
    fails(shop, payment, refund)
    assert stands(buyer) == ("300", "0", "0")
    with shop.database.reading() as tx:
        found = tx.execute(select(grants).where(grants.c.source == "restoration")).one()
    assert (found.granted_micro, found.expires_at, found.paid_minor) == (100_000_000, None, 780)
    again = refunded(shop, payment)
    assert stands(buyer) == ("200", "0", "0")
    fails(shop, payment, again)
    assert stands(buyer) == ("300", "0", "0")
    in_order(shop)


def test_what_had_ended_before_the_refund_does_not_come_back_with_it(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop)
    spend(buyer)
    shop.clock.forward(timedelta(days=400))
    refund = refunded(shop, payment)
    assert settled(shop, payment).reversal.refund_missed_micro == 400_000_000
    assert stands(buyer) == ("0", "100", "0")
    fails(shop, payment, refund)
    assert stands(buyer) == ("0", "0", "0")
    assert settled(shop, payment).reversal.refund_missed_micro == 0
    in_order(shop)


def test_what_work_in_flight_pinned_is_the_customers_again(shop: Shop, buyer: Customer) -> None:
    payment = bought(shop)
    hold = buyer.hold("analysis", 10)
    refund = refunded(shop, payment)
    fails(shop, payment, refund)
    assert stands(buyer) == ("400", "0", "0")
    ok(buyer.release(hold))
    assert stands(buyer) == ("500", "0", "0")
    in_order(shop)


@pytest.mark.parametrize(
    ("verdict", "end"), [("won", ("500", "0", "0")), ("lost", ("0", "0", "0"))]
)
def test_a_dispute_meanwhile_has_what_the_refund_gives_up(
    shop: Shop, buyer: Customer, verdict: str, end: tuple[str, str, str]
) -> None:
    payment = bought(shop)
    refund = refunded(shop, payment, 1950)
    dispute = shop.dispute(payment)
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("0", "0", "250")
    fails(shop, payment, refund)
    assert stands(buyer) == ("0", "0", "500")
    shop.control(f"disputes/{dispute}", to="funds_withdrawn")
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("0", "0", "0")
    shop.control(f"disputes/{dispute}", to=verdict)
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == end
    in_order(shop)


def test_a_dispute_that_took_the_rest_takes_what_the_refund_gives_up(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop)
    refund = refunded(shop, payment, 1950)
    shop.dispute(payment, "funds_withdrawn", amount=3900)
    shop.tell(*NEWS, of=payment)
    fails(shop, payment, refund)
    reversal = settled(shop, payment).reversal
    assert (reversal.refund_revoked_micro, reversal.dispute_revoked_micro) == (0, 500_000_000)
    assert stands(buyer) == ("0", "0", "0")
    in_order(shop)


def test_a_failure_weeks_later_that_nobody_told_of_is_found(shop: Shop, buyer: Customer) -> None:
    payment = bought(shop)
    refund = refunded(shop, payment)
    shop.control(f"refunds/{refund}", to="failed")
    later = datetime.now(UTC) + timedelta(days=20)
    for lines in (1, 0):
        mended = reconcile.reconcile(shop.database, shop.payments, since=later, now=later)
        assert len(mended) == lines
    assert stands(buyer) == ("500", "0", "0")


class Behind(Gateway):
    """Stripe, whose answer about a payment comes after something else has happened there."""

    then: Callable[[], None] | None = None
    wait = 1

    def payment(self, object_id: str) -> PaymentState:
        found = super().payment(object_id)
        self.wait -= 1
        if self.then is not None and self.wait < 0:
            self.then, then = None, self.then
            then()
        return found


def test_an_answer_from_before_it_failed_does_not_take_the_credits_for_good(
    shop: Shop, buyer: Customer
) -> None:
    """It failed, and that was heard of, while somebody still held the older answer."""
    payment = bought(shop)
    refund = shop.refund(payment)
    late = Behind(KEY, shop.address)
    late.then = lambda: fails(shop, payment, refund)
    refunds.payment_news.sync(shop.database, late, refund, now=shop.clock())
    assert late.then is None
    assert stands(buyer) == ("500", "0", "0")
    in_order(shop)


def a_life(shop: Shop, name: str, heard: Sequence[bool]) -> tuple[str, str, str]:
    """Two refunds of a buyer's, of which one fails, and a lost dispute: some steps are heard of."""
    customer = shop.found(name)
    payment = bought(shop, name)
    spend(customer)
    made: list[str] = []
    steps: list[Callable[[], Any]] = [
        lambda: made.append(shop.refund(payment, 1950)),
        lambda: made.append(shop.refund(payment, 700)),
        lambda: shop.control(f"refunds/{made[0]}", to="failed"),
        lambda: shop.dispute(payment, "funds_withdrawn", amount=1000),
    ]
    for step, now in zip(steps, heard, strict=True):
        step()
        if now:
            shop.tell(*NEWS, of=payment)
    shop.tell(*NEWS, of=payment)
    return stands(customer)


def test_whatever_was_heard_of_on_the_way_the_end_is_the_same(shop: Shop) -> None:
    ways = [tuple(bool(mask >> bit & 1) for bit in range(4)) for mask in range(16)]
    tried = [ways[0], ways[15], *random.Random(8).sample(ways[1:15], soak.rounds(3, 14))]
    ends = {a_life(shop, f"buyer-{number}", steps) for number, steps in enumerate(tried)}
    assert ends == {("182.051282", "0", "0")}
    in_order(shop)
