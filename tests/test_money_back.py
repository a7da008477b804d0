"""Refunds and disputes: what goes back with the money comes off that very grant, and no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from portal import notices
from portal.billing import payments as book
from portal.billing import reconcile, refunds
from portal.billing.payments import Settled
from portal.core.errors import InvalidRequest, NotFound, Unavailable
from portal.tables import audit_log, auto_top_ups, grants, stripe_inbox
from tests.cast import Customer, ok, refused
from tests.shop import Shop

NEWS = ("charge.refund", "charge.dispute.", "refund.")


@pytest.fixture
def buyer(shop: Shop) -> Customer:
    """Whoever bought a pack of 500 for 39.00, and has nothing else."""
    return shop.found("buyer")


def bought(shop: Shop, pack: str = "small") -> str:
    session = shop.buy(pack, of="buyer")
    shop.tell("checkout.session.", of=session)
    return shop.payment_of(session)


def settled(shop: Shop, payment_id: str) -> Settled:
    with shop.database.reading() as tx:
        found = book.of(tx, "buyer", payment_id)
    assert found is not None
    return found


def told(shop: Shop) -> list[str]:
    with shop.database.reading() as tx:
        return [one.sentence for one in notices.standing(tx, "buyer")]


def spend_100(customer: Customer) -> None:
    ok(customer.capture(customer.hold("analysis", 10)))


def stands(customer: Customer) -> tuple[str, str, str]:
    balance = customer.balance()
    return balance["available"], balance["debt"], balance["frozen"]


def test_a_refund_takes_back_its_share_of_what_is_left(shop: Shop, buyer: Customer) -> None:
    payment = bought(shop)
    buyer.grant(40)
    refund = shop.refund(payment, 1300)
    shop.tell(*NEWS, of=refund)
    taken = 166_666_667
    assert stands(buyer) == ("373.333333", "0", "0")
    assert settled(shop, payment).reversal.refund_revoked_micro == taken
    again = shop.refund(payment, 2600)
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("40", "0", "0")
    assert again != refund


def test_what_was_spent_of_it_is_owed_and_nothing_else_is_touched_before(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop)
    spend_100(buyer)
    shop.refund(payment)
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("0", "100", "0")
    refused(buyer.authorize("document"), 402, "debt")


def test_a_debt_that_a_pack_paid_is_owed_again_when_that_pack_is_refunded(
    shop: Shop, buyer: Customer
) -> None:
    first = bought(shop)
    spend_100(buyer)
    shop.refund(first)
    shop.tell(*NEWS, of=first)
    second = bought(shop)
    assert stands(buyer) == ("400", "0", "0")
    shop.refund(second)
    shop.tell(*NEWS, of=second)
    assert stands(buyer) == ("0", "100", "0")


def test_a_dispute_sets_aside_takes_and_gives_back_when_it_is_won(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop)
    spend_100(buyer)
    dispute = shop.dispute(payment)
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("0", "0", "400")
    assert "$39.00 is disputed" in told(shop)[0]
    shop.control(f"disputes/{dispute}", to="funds_withdrawn")
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("0", "100", "0")
    assert "took back" in told(shop)[0]
    shop.control(f"disputes/{dispute}", to="won")
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("400", "0", "0")
    assert told(shop) == []
    (restored,) = restorations(shop)
    assert (restored.granted_micro, restored.paid_minor) == (500_000_000, 3900)
    shop.refund(payment)
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("0", "100", "0")


def restorations(shop: Shop) -> list[Any]:
    with shop.database.reading() as tx:
        found = tx.execute(
            select(grants).where(
                grants.c.organization_id == "buyer", grants.c.source == "restoration"
            )
        )
        return list(found.all())


def test_a_dispute_won_after_the_credits_ended_gives_back_only_what_was_owed(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop)
    spend_100(buyer)
    dispute = shop.dispute(payment, "funds_withdrawn")
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("0", "100", "0")
    shop.clock.forward(timedelta(days=400))
    shop.control(f"disputes/{dispute}", to="won")
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("0", "0", "0")


def test_a_dispute_that_is_lost_stays_and_an_inquiry_takes_nothing(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop)
    inquiry = shop.dispute(payment, status="warning_needs_response")
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("500", "0", "0")
    assert "asks what the payment was for" in told(shop)[0]
    shop.control(f"disputes/{inquiry}", to="funds_withdrawn")
    shop.control(f"disputes/{inquiry}", to="lost")
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("0", "0", "0")
    assert settled(shop, payment).reversal.dispute == "lost"
    assert told(shop) == []


def test_an_inquiry_that_is_closed_leaves_nothing_behind(shop: Shop, buyer: Customer) -> None:
    payment = bought(shop)
    shop.dispute(payment, "warning_closed", status="warning_needs_response")
    shop.tell(*NEWS, of=payment)
    assert (stands(buyer), told(shop)) == (("500", "0", "0"), [])


def test_refunds_and_a_dispute_take_no_more_than_all_of_it(shop: Shop, buyer: Customer) -> None:
    payment = bought(shop)
    shop.refund(payment, 1000)
    shop.tell(*NEWS, of=payment)
    shop.dispute(payment, "funds_withdrawn", "lost")
    shop.tell(*NEWS, of=payment)
    reversal = settled(shop, payment).reversal
    assert reversal.refund_revoked_micro + reversal.dispute_revoked_micro == 500_000_000
    assert stands(buyer) == ("0", "0", "0")


def test_what_a_hold_pins_of_a_refunded_pack_goes_back_when_the_hold_ends(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop)
    hold = buyer.hold("analysis", 10)
    shop.refund(payment)
    shop.tell(*NEWS, of=payment)
    assert stands(buyer) == ("0", "0", "0")
    ok(buyer.release(hold))
    assert stands(buyer) == ("0", "0", "0")


def test_news_of_money_back_may_come_before_the_purchase(shop: Shop, buyer: Customer) -> None:
    session = shop.buy(of="buyer")
    payment = shop.payment_of(session)
    shop.refund(payment, 1300)
    shop.dispute(payment, "funds_withdrawn", "lost")
    shop.tell(*NEWS, of=payment)
    assert settled(shop, payment).payment.kind == "unknown"
    shop.tell("checkout.session.", of=session)
    assert stands(buyer) == ("0", "0", "0")
    assert settled(shop, payment).payment.kind == "pack"


def test_a_refund_that_failed_gives_back_what_it_took_and_leaves_no_difference(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop)
    refund = shop.refund(payment, 1300)
    shop.tell(*NEWS, of=payment)
    shop.control(f"refunds/{refund}", to="failed")
    (line,) = shop.differences()
    assert (payment in line, "refunded is 1300 here, 0 at Stripe" in line) == (True, True)
    shop.tell(*NEWS, of=payment)
    assert (stands(buyer), shop.mend(), shop.differences()) == (("500", "0", "0"), [], [])


def test_a_dispute_turns_auto_top_up_off_for_good(shop: Shop, buyer: Customer) -> None:
    payment = bought(shop)
    with shop.database.transaction() as tx:
        tx.execute(
            insert(auto_top_ups).values(
                organization_id="buyer", pack="small", threshold_micro=1, monthly_limit_minor=1,
                set_by="ana", set_at=shop.clock(),
            )
        )  # fmt: skip
    shop.dispute(payment, "won")
    shop.tell(*NEWS, of=payment)
    with shop.database.reading() as tx:
        assert tx.execute(select(auto_top_ups.c.suspended)).scalar_one() == "disputed"


def test_news_of_a_payment_of_nobody_here_are_set_aside(shop: Shop) -> None:
    customer = shop.stripe.v1.customers.create({"email": "eve@elsewhere.example"})
    method = shop.stripe.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    payment = shop.stripe.v1.payment_intents.create(
        {
            "amount": 500, "currency": "usd", "customer": customer.id, "off_session": True,
            "payment_method": method.id, "confirm": True,
        }
    ).id  # fmt: skip
    shop.refund(payment)
    for event in shop.news("charge.refunded", of=payment):
        assert shop.deliver(event).json["outcome"] == "quarantined"
    with shop.database.reading() as tx:
        assert "nobody here" in tx.execute(select(stripe_inbox.c.detail)).scalar_one()
    assert (shop.mend(), shop.differences()) == ([], [])


def give_back(shop: Shop, payment: str, amount: str | None = None, reason: str = "") -> str:
    return refunds.give_back(
        shop.database, shop.payments, organization_id="buyer", payment_id=payment, amount=amount,
        reason=reason, actor="olga", now=shop.clock(),
    ).amount  # fmt: skip


def test_the_operator_gives_back_what_is_unspent_and_more_for_no_reason(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop)
    spend_100(buyer)
    with pytest.raises(InvalidRequest, match="unspent"):
        give_back(shop, payment, "39.00", reason="goodwill")
    for bad in ("0", "39.01", "1.005", "x"):
        with pytest.raises(InvalidRequest):
            give_back(shop, payment, bad)
    assert give_back(shop, payment) == "$31.20"
    assert stands(buyer) == ("0", "0", "0")
    with pytest.raises(NotFound):
        give_back(shop, "pi_nobody")
    with shop.database.reading() as tx:
        acts = tx.execute(select(audit_log.c.actor).where(audit_log.c.act == "refund.started"))
        assert [row.actor for row in acts] == ["olga"]
    assert (shop.mend(), shop.differences()) == ([], [])


LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("decision", ["won", "lost"])
def test_the_end_of_an_old_dispute_is_found_though_nobody_told_of_it(
    shop: Shop, buyer: Customer, decision: str
) -> None:
    payment = bought(shop)
    dispute = shop.dispute(payment, "funds_withdrawn")
    shop.tell(*NEWS, of=payment)
    shop.control(f"disputes/{dispute}", to=decision)
    for mended in (1, 0):
        lines = reconcile.reconcile(shop.database, shop.payments, since=LATER, now=shop.clock())
        assert len(lines) == mended
    assert settled(shop, payment).reversal.dispute == decision
    assert buyer.balance()["available"] == ("500" if decision == "won" else "0")
    assert (told(shop), shop.differences()) == ([], [])


def test_a_refund_asked_for_again_with_another_reason_is_the_same(
    shop: Shop, buyer: Customer
) -> None:
    payment = bought(shop)
    shop.control("faults", kind="reset_after", method="POST", path="/v1/refunds", times=3)
    with pytest.raises(Unavailable):
        give_back(shop, payment, "10.00", reason="goodwill")
    give_back(shop, payment, "10.00", reason="they asked twice")
    assert len(shop.stripe.v1.refunds.list({"payment_intent": payment}).data) == 1


def test_a_refund_whose_answer_was_lost_is_not_made_twice(shop: Shop, buyer: Customer) -> None:
    payment = bought(shop)
    shop.control("faults", kind="reset_after", method="POST", path="/v1/refunds", times=3)
    with pytest.raises(Unavailable):
        give_back(shop, payment, "10.00")
    assert give_back(shop, payment, "10.00") == "$10.00"
    assert len(shop.stripe.v1.refunds.list({"payment_intent": payment}).data) == 1
    assert settled(shop, payment).reversal.refunded_minor == 1000
