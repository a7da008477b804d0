"""Refunds: in whole, in parts, never too much, and some that fail after all."""

from __future__ import annotations

import pytest
import stripe
from conftest import Shop


def test_a_charge_is_refunded_in_parts_and_never_by_more_than_it_was(shop: Shop) -> None:
    charge = shop.charge()
    refunds = shop.stripe.v1.refunds
    first = refunds.create(
        {
            "charge": charge.id,
            "amount": 1000,
            "metadata": {"by": "ana"},
            "expand": ["balance_transaction"],
        }
    )
    assert (first.status, first.amount, first.payment_intent) == (
        "succeeded",
        1000,
        charge.payment_intent,
    )
    booked = first.balance_transaction
    assert (booked.type, booked.amount, booked.fee, booked.net) == ("refund", -1000, 0, -1000)
    partly = shop.stripe.v1.charges.retrieve(charge.id)
    assert (partly.amount_refunded, partly.refunded) == (1000, False)
    with pytest.raises(
        stripe.InvalidRequestError, match=r"\$15.01.*greater than unrefunded.*\$15.00"
    ):
        refunds.create({"charge": charge.id, "amount": 1501})
    second = refunds.create(
        {"payment_intent": str(charge.payment_intent), "reason": "requested_by_customer"}
    )
    assert (second.amount, second.reason) == (1500, "requested_by_customer")
    wholly = shop.stripe.v1.charges.retrieve(charge.id, {"expand": ["refunds"]})
    assert (wholly.amount_refunded, wholly.refunded) == (2500, True)
    assert [one.id for one in wholly.refunds.data] == [second.id, first.id]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        refunds.create({"charge": charge.id})
    assert refused.value.code == "charge_already_refunded"
    assert [one.id for one in refunds.list({"charge": charge.id})] == [second.id, first.id]
    by_intent = refunds.list({"payment_intent": str(charge.payment_intent), "limit": 1})
    assert ([one.id for one in by_intent.data], by_intent.has_more) == ([second.id], True)


def test_refunds_are_told_with_what_was_before_and_no_list_of_refunds(shop: Shop) -> None:
    charge = shop.charge()
    refund = shop.stripe.v1.refunds.create({"charge": charge.id, "amount": 700})
    created, refunded = shop.told()[-2:]
    assert (created.type, created.data.object.id) == ("refund.created", refund.id)
    assert (refunded.type, refunded.data.object.amount_refunded) == ("charge.refunded", 700)
    assert refunded.data.previous_attributes.to_dict() == {"amount_refunded": 0}
    assert "refunds" not in refunded.data.object.to_dict()
    assert "refunds" not in shop.stripe.v1.charges.retrieve(charge.id).to_dict()


@pytest.mark.parametrize("by", ["time", "demand"])
def test_a_refund_may_fail_after_it_succeeded(shop: Shop, by: str) -> None:
    charge = shop.charge("pm_card_refundFail")
    refund = shop.stripe.v1.refunds.create({"charge": charge.id})
    assert refund.status == "succeeded"
    if by == "time":
        shop.clock.offset_seconds = 181
    else:
        assert shop.control("settle")["refunds"] == 1
    failed = shop.stripe.v1.refunds.retrieve(refund.id, {"expand": ["failure_balance_transaction"]})
    assert (failed.status, failed.failure_reason) == ("failed", "unknown")
    assert failed.failure_balance_transaction.net == 2500
    assert shop.stripe.v1.charges.retrieve(charge.id).amount_refunded == 0
    told = shop.told()[-3:]
    assert [event.type for event in told] == [
        "refund.failed",
        "refund.updated",
        "charge.refund.updated",
    ]
    assert told[2].data.previous_attributes.to_dict() == {"status": "succeeded"}


def test_a_refund_may_wait_before_it_succeeds(shop: Shop) -> None:
    charge = shop.charge("pm_card_pendingRefund")
    refund = shop.stripe.v1.refunds.create({"charge": charge.id})
    assert refund.status == "pending"
    shop.clock.offset_seconds = 181
    assert shop.stripe.v1.refunds.retrieve(refund.id).status == "succeeded"
    assert [event.type for event in shop.told()[-2:]] == ["refund.updated", "charge.refund.updated"]


def test_any_refund_can_be_made_to_fail(shop: Shop) -> None:
    refund = shop.stripe.v1.refunds.create({"charge": shop.charge().id})
    assert shop.control(f"refunds/{refund.id}", to="failed")["status"] == "failed"
    assert shop.stripe.v1.refunds.retrieve(refund.id).status == "failed"


def test_a_refund_keeps_metadata(shop: Shop) -> None:
    refund = shop.stripe.v1.refunds.create({"charge": shop.charge().id})
    changed = shop.stripe.v1.refunds.update(refund.id, {"metadata": {"case": "7"}})
    assert changed.metadata.to_dict() == {"case": "7"}


def test_what_was_not_paid_cannot_be_refunded(shop: Shop) -> None:
    customer, method = shop.saved("pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError) as declined:
        shop.off_session(customer, method)
    error = declined.value.json_body["error"]
    with pytest.raises(stripe.InvalidRequestError, match="was not successful"):
        shop.stripe.v1.refunds.create({"charge": error["charge"]})
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        shop.stripe.v1.refunds.create({"payment_intent": error["payment_intent"]["id"]})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.stripe.v1.refunds.create({})
    assert refused.value.param == "payment_intent"


def test_the_balance_adds_up_and_becomes_available(shop: Shop) -> None:
    charge = shop.charge()
    shop.stripe.v1.refunds.create({"charge": charge.id, "amount": 500})
    listed = shop.stripe.v1.balance_transactions.list()
    assert [(one.type, one.net, one.status) for one in listed.data] == [
        ("refund", -500, "pending"),
        ("charge", 2397, "pending"),
    ]
    shop.clock.offset_seconds = 3 * 24 * 3600
    charges = shop.stripe.v1.balance_transactions.list({"type": "charge", "source": charge.id})
    assert [one.status for one in charges.data] == ["available"]
