"""More than is unspent goes back only once another operator has approved it, and then once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from portal import jobs
from portal.billing import approvals, refunds
from portal.billing.gateway import RefundRefused
from portal.billing.refund_record import RefundOrder
from portal.core.errors import InvalidRequest, NotFound, Unavailable
from portal.jobs import Workshop
from portal.tables import audit_log
from portal.tables import refunds as table
from tests.cast import Customer, ok
from tests.shop import KEY, Shop, Stopped, Stopping

OLGA, OTTO, THIRD = (f"operator:{one}@operator.example" for one in ("olga", "otto", "third"))
FOREVER = timedelta(days=30)


@pytest.fixture
def buyer(shop: Shop) -> Customer:
    """Whoever bought a pack of 500 for 39.00 and spent 100 of it."""
    return shop.found("buyer")


@pytest.fixture
def payment(shop: Shop, buyer: Customer) -> str:
    session = shop.buy(of="buyer")
    shop.tell("checkout.session.", of=session)
    ok(buyer.capture(buyer.hold("analysis", 10)))
    return shop.payment_of(session)


def ask(shop: Shop, payment: str, amount: str = "39.00", by: str = OLGA, **more: Any) -> str:
    return approvals.ask(
        shop.database, organization_id="buyer", payment_id=payment, amount=amount,
        reason="they never used it", actor=by, now=shop.clock(), **more,
    )  # fmt: skip


def approve(shop: Shop, refund: str, by: str = OTTO, shown: int = 3120, **more: Any) -> str:
    done = approvals.approve(
        shop.database, more.get("payments", shop.payments), organization_id="buyer",
        refund_id=refund, shown_minor=shown, actor=by, now=shop.clock(),
    )  # fmt: skip
    return done.amount


def decline(shop: Shop, refund: str, by: str = OTTO, reason: str = "they did") -> str:
    return approvals.decline(
        shop.database, organization_id="buyer", refund_id=refund, reason=reason, actor=by,
        now=shop.clock(),
    ).status  # fmt: skip


def give_back(shop: Shop, payment: str, amount: str | None = None, **more: Any) -> str:
    return refunds.give_back(
        shop.database, shop.payments, organization_id="buyer", payment_id=payment, amount=amount,
        reason="", actor=OLGA, now=shop.clock(), **more,
    ).amount  # fmt: skip


def orders(shop: Shop) -> list[RefundOrder]:
    with shop.database.reading() as tx:
        rows = tx.execute(select(table).order_by(table.c.asked_at, table.c.refund_id)).mappings()
        return [RefundOrder(**row) for row in rows]


def at_stripe(shop: Shop) -> list[int]:
    return [one.amount for one in shop.stripe.v1.refunds.list({"limit": 100}).data]


def acts(shop: Shop) -> list[tuple[str, str]]:
    with shop.database.reading() as tx:
        rows = tx.execute(
            select(audit_log.c.act, audit_log.c.actor)
            .where(audit_log.c.act.contains("refund"))
            .order_by(audit_log.c.sequence)
        )
        return [(row.act, row.actor) for row in rows]


def stands(customer: Customer) -> tuple[str, str]:
    balance = customer.balance()
    return balance["available"], balance["debt"]


def worker(shop: Shop, after: timedelta = timedelta(minutes=5)) -> None:
    """Some time later the worker comes round."""
    shop.clock.forward(after)
    shop.stripe_clock.ahead_seconds += int(after.total_seconds())
    jobs.finish_refunds(Workshop(shop.database, shop.payments, shop.clock))


def test_it_waits_for_another_operator_and_then_goes_back_once(
    shop: Shop, buyer: Customer, payment: str
) -> None:
    refund = ask(shop, payment)
    assert (at_stripe(shop), stands(buyer)) == ([], ("400", "0"))
    worker(shop)
    assert (at_stripe(shop), orders(shop)[0].status) == ([], "waiting")
    assert [approve(shop, refund) for _ in range(2)] == ["$39.00", "$39.00"]
    worker(shop)
    assert (at_stripe(shop), stands(buyer)) == ([3900], ("0", "100"))
    assert orders(shop)[0].status == "done"
    assert acts(shop) == [("operator.refund_asked", OLGA), ("refund.started", OTTO)]
    assert (shop.mend(), shop.differences()) == ([], [])


def test_who_asked_never_approves_however_they_spell_their_address(
    shop: Shop, payment: str
) -> None:
    refund = ask(shop, payment)
    for again in (OLGA, "operator:OLGA@Operator.Example", f"{OLGA} "):
        with pytest.raises(InvalidRequest, match="somebody else has to approve"):
            approve(shop, refund, by=again)
    assert (at_stripe(shop), orders(shop)[0].status) == ([], "waiting")


def test_whoever_has_no_name_of_an_operator_neither_asks_nor_decides(
    shop: Shop, payment: str
) -> None:
    refund = ask(shop, payment)
    for nobody in ("operator", "operator:", "operator: ", "ana", ""):
        for act in (approve, decline):
            with pytest.raises(InvalidRequest, match="signed in"):
                act(shop, refund, by=nobody)
        with pytest.raises(InvalidRequest, match="signed in"):
            ask(shop, payment, by=nobody)


def test_the_store_itself_refuses_that_who_asked_approves(shop: Shop, payment: str) -> None:
    ask(shop, payment)
    values = {"status": "started", "decided_by": OLGA.upper(), "decided_at": shop.clock()}
    with pytest.raises(IntegrityError), shop.database.transaction() as tx:
        tx.execute(update(table).values(values))


def test_one_word_is_enough_for_what_is_unspent_and_never_for_more(
    shop: Shop, payment: str
) -> None:
    with pytest.raises(InvalidRequest, match="unspent"):
        give_back(shop, payment, "31.21")
    with pytest.raises(InvalidRequest, match="nobody else has to approve"):
        ask(shop, payment, "31.20")
    assert give_back(shop, payment) == "$31.20"
    with pytest.raises(InvalidRequest, match=r"at most \$7\.80"):
        ask(shop, payment, "7.81")
    assert approve(shop, ask(shop, payment, "7.80"), shown=0) == "$7.80"


def test_a_payment_has_one_open_refund_until_that_is_decided(
    shop: Shop, buyer: Customer, payment: str
) -> None:
    first = ask(shop, payment)
    for act in (ask, give_back):
        with pytest.raises(InvalidRequest, match="waits for another operator"):
            act(shop, payment, "35.00" if act is ask else "1.00")
    with pytest.raises(InvalidRequest, match="reason"):
        decline(shop, first, reason=" ")
    assert decline(shop, first) == "declined"
    with pytest.raises(InvalidRequest, match="declined"):
        decline(shop, first)
    with pytest.raises(RefundRefused, match="they did"):
        approve(shop, first)
    with pytest.raises(InvalidRequest, match="decided already"):
        approve(shop, first, by=THIRD)
    assert decline(shop, ask(shop, payment), by=OLGA, reason="") == "withdrawn"
    assert give_back(shop, payment, "1.00") == "$1.00"
    assert (at_stripe(shop), stands(buyer)[1]) == ([100], "0")


def test_what_nobody_approves_in_time_comes_to_nothing(shop: Shop, payment: str) -> None:
    refund = ask(shop, payment)
    shop.clock.forward(approvals.APPROVED_WITHIN)
    with pytest.raises(InvalidRequest, match="too late"):
        approve(shop, refund)
    again = ask(shop, payment)
    assert [one.status for one in orders(shop)] == ["lapsed", "waiting"]
    worker(shop, approvals.APPROVED_WITHIN)
    assert [one.status for one in orders(shop)] == ["lapsed", "lapsed"]
    with pytest.raises(InvalidRequest, match="lapsed"):
        approve(shop, again)
    assert at_stripe(shop) == []


def test_who_approves_looks_again_where_more_was_spent_than_they_saw(
    shop: Shop, buyer: Customer, payment: str
) -> None:
    refund = ask(shop, payment)
    ok(buyer.capture(buyer.hold("analysis", 10)))
    with pytest.raises(InvalidRequest, match="Look again"):
        approve(shop, refund)
    assert approve(shop, refund, shown=2340) == "$39.00"
    assert stands(buyer) == ("0", "200")


def test_what_the_payment_no_longer_has_comes_to_nothing(shop: Shop, payment: str) -> None:
    refund = ask(shop, payment)
    shop.refund(payment, 100)
    shop.tell("charge.refund", of=payment)
    with pytest.raises(InvalidRequest, match=r"Only \$38\.00"):
        approve(shop, refund, shown=0)
    assert (orders(shop)[0].status, at_stripe(shop)) == ("refused", [100])
    assert approve(shop, ask(shop, payment, "38.00"), shown=0) == "$38.00"


def test_nothing_of_a_disputed_payment_goes_back(shop: Shop, payment: str) -> None:
    refund = ask(shop, payment)
    shop.dispute(payment)
    shop.tell("charge.dispute.", of=payment)
    with pytest.raises(InvalidRequest, match="disputed"):
        approve(shop, refund, shown=0)
    with pytest.raises(InvalidRequest, match="disputed"):
        ask(shop, payment)
    assert at_stripe(shop) == []


def test_what_stripe_refuses_comes_to_nothing_and_says_why(shop: Shop, payment: str) -> None:
    refund = ask(shop, payment)
    shop.refund(payment, 3900)
    with pytest.raises(RefundRefused, match="already been refunded"):
        approve(shop, refund)
    (order,) = orders(shop)
    assert (order.status, "already been refunded" in order.answer) == ("refused", True)
    worker(shop)
    assert at_stripe(shop) == [3900]


@pytest.mark.parametrize("lost", ["reset", "reset_after"])
def test_an_answer_that_was_lost_is_found_out_by_the_worker(
    shop: Shop, buyer: Customer, payment: str, lost: str
) -> None:
    refund = ask(shop, payment)
    shop.fail_calls(lost, "/v1/refunds")
    with pytest.raises(Unavailable):
        approve(shop, refund)
    assert orders(shop)[0].status == "started"
    with pytest.raises(InvalidRequest, match="on its way"):
        give_back(shop, payment, "1.00")
    worker(shop, timedelta(seconds=1))
    assert orders(shop)[0].status == "started"
    worker(shop)
    assert (at_stripe(shop), orders(shop)[0].status) == ([3900], "done")
    assert stands(buyer) == ("0", "100")


@pytest.mark.parametrize("made", [True, False])
def test_after_a_day_it_is_looked_up_and_never_made_a_second_time(
    shop: Shop, payment: str, made: bool
) -> None:
    refund = ask(shop, payment)
    shop.fail_calls("reset_after" if made else "reset", "/v1/refunds")
    with pytest.raises(Unavailable):
        approve(shop, refund)
    worker(shop, timedelta(days=2))
    (order,) = orders(shop)
    assert (order.status, at_stripe(shop)) == (("done", [3900]) if made else ("refused", []))
    assert order.answer == ("" if made else refunds.NEVER_MADE)


def test_a_process_that_stops_at_any_call_leaves_one_refund(
    shop: Shop, buyer: Customer, payment: str
) -> None:
    give_back(shop, payment)
    stops = [(call, after) for call in (1, 2, 3) for after in (False, True)]
    for number, stop in enumerate(stops, 1):
        refund = ask(shop, payment, "0.39")
        stopping = Stopping(KEY, shop.address)
        stopping.stops = stop
        with pytest.raises(Stopped):
            approve(shop, refund, shown=0, payments=stopping)
        worker(shop)
        assert at_stripe(shop) == [39] * number + [3120]
        assert {one.status for one in orders(shop)} == {"done"}
        assert stands(buyer) == ("0", str(5 * number))
    assert (shop.mend(), shop.differences()) == ([], [])


def test_a_form_sent_again_days_later_gives_nothing_back_twice(shop: Shop, payment: str) -> None:
    key = "form_" + "7" * 20
    assert give_back(shop, payment, "10.00", key=key) == "$10.00"
    worker(shop, FOREVER)
    assert give_back(shop, payment, "10.00", key=key) == "$10.00"
    assert at_stripe(shop) == [1000]


def test_a_refund_is_found_by_its_own_organization_alone(shop: Shop, payment: str) -> None:
    refund = ask(shop, payment)
    with pytest.raises(NotFound):
        approvals.approve(
            shop.database, shop.payments, organization_id="acme", refund_id=refund,
            shown_minor=0, actor=OTTO, now=shop.clock(),
        )  # fmt: skip
    assert orders(shop)[0].status == "waiting"
