"""Disputes: opened by control or a card, answered by the API, decided by control."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import stripe
from conftest import Shop


def _types(shop: Shop) -> list[str]:
    return [event.type for event in shop.told() if event.type.startswith("charge.dispute")]


def test_a_dispute_takes_the_money_and_its_fee_and_gives_the_money_back_when_won(
    shop: Shop,
) -> None:
    charge = shop.charge()
    opened = shop.control("disputes", charge=charge.id)
    assert (opened["status"], opened["amount"], opened["reason"]) == (
        "needs_response",
        2500,
        "fraudulent",
    )
    assert opened["balance_transactions"] == []
    assert shop.stripe.v1.charges.retrieve(charge.id).disputed is True
    shop.control(f"disputes/{opened['id']}", to="funds_withdrawn")
    taken = shop.stripe.v1.disputes.retrieve(opened["id"]).balance_transactions[0]
    assert (taken.amount, taken.fee, taken.net) == (-2500, 1500, -4000)
    assert taken.fee_details[0].description == "Dispute fee"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.stripe.v1.refunds.create({"charge": charge.id})
    assert refused.value.code == "charge_disputed"
    won = shop.control(f"disputes/{opened['id']}", to="won")
    assert won["status"] == "won"
    assert [one["net"] for one in won["balance_transactions"]] == [-4000, 2500]
    assert _types(shop) == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]
    closed = shop.told("charge.dispute.closed")[0]
    assert closed.data.previous_attributes.to_dict() == {"status": "needs_response"}
    booked = shop.stripe.v1.balance_transactions.list({"type": "adjustment"})
    assert [one.reporting_category for one in booked.data] == ["dispute_reversal", "dispute"]


def test_a_card_may_be_disputed_at_once_after_its_payment_is_told(shop: Shop) -> None:
    session = shop.session()
    shop.pay(str(session.url), "4000000000000259")
    types = [event.type for event in shop.told()[-5:]]
    assert types == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
    ]
    intent = shop.stripe.v1.payment_intents.list().data[0]
    found = shop.stripe.v1.disputes.list({"payment_intent": intent.id}).data
    assert [(one.reason, one.status, one.charge) for one in found] == [
        ("fraudulent", "needs_response", intent.latest_charge)
    ]


def test_an_inquiry_moves_no_money_and_may_be_closed_or_become_a_dispute(shop: Shop) -> None:
    first, second = shop.charge(), shop.charge()
    asked = shop.control("disputes", charge=first.id, status="warning_needs_response")
    assert asked["is_charge_refundable"] is True
    assert asked["payment_method_details"]["card"]["case_type"] == "inquiry"
    assert shop.stripe.v1.refunds.create({"charge": first.id, "amount": 100}).status == "succeeded"
    closed = shop.control(f"disputes/{asked['id']}", to="warning_closed")
    assert (closed["status"], closed["balance_transactions"]) == ("warning_closed", [])
    asked = shop.control(
        "disputes",
        payment_intent=str(second.payment_intent),
        status="warning_needs_response",
        amount=1000,
    )
    grown = shop.control(f"disputes/{asked['id']}", to="funds_withdrawn")
    assert (grown["status"], grown["is_charge_refundable"]) == ("needs_response", False)
    assert grown["payment_method_details"]["card"]["case_type"] == "chargeback"
    assert [one["net"] for one in grown["balance_transactions"]] == [-2500]


def test_evidence_is_kept_until_it_is_submitted(shop: Shop) -> None:
    opened = shop.control("disputes", charge=shop.charge().id)
    disputes = shop.stripe.v1.disputes
    kept = disputes.update(opened["id"], {"evidence": {"receipt": "file_1"}, "submit": False})
    assert (kept.status, kept.evidence_details.has_evidence) == ("needs_response", True)
    sent = disputes.update(opened["id"], {"evidence": {"customer_name": "Ana"}})
    assert (sent.status, sent.evidence_details.submission_count) == ("under_review", 1)
    assert (sent.evidence.receipt, sent.evidence.customer_name) == ("file_1", "Ana")
    assert _types(shop)[-2:] == ["charge.dispute.updated"] * 2
    with pytest.raises(stripe.InvalidRequestError, match="takes no evidence"):
        disputes.update(opened["id"], {"evidence": {"customer_name": "Ben"}})
    with pytest.raises(stripe.InvalidRequestError):
        disputes.update(opened["id"], {"evidence": {"mood": "bad"}})


def test_a_dispute_given_up_is_lost(shop: Shop) -> None:
    charge = shop.charge()
    opened = shop.control("disputes", charge=charge.id)
    lost = shop.stripe.v1.disputes.close(opened["id"])
    assert (lost.status, lost.balance_transactions[0].net) == ("lost", -4000)
    assert [one.id for one in shop.stripe.v1.disputes.list({"charge": charge.id})] == [lost.id]
    with pytest.raises(stripe.InvalidRequestError, match="cannot be closed"):
        shop.stripe.v1.disputes.close(opened["id"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"charge": "ch_nobody"}, "charge"),
        ({"status": "won"}, "status"),
        ({"amount": 2501}, "amount"),
        ({"amount": "1"}, "amount"),
        ({"reason": "bored"}, "reason"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_control_refuses_a_dispute_that_cannot_be(
    shop: Shop, body: dict[str, Any], param: str | None
) -> None:
    body = {"charge": shop.charge().id, **body} if body else body
    response = requests.post(f"{shop.url}/_sandbox/disputes", json=body, timeout=5)
    assert response.status_code == 400
    assert response.json()["error"].get("param") == param


def test_a_dispute_goes_only_where_it_can(shop: Shop) -> None:
    charge = shop.charge()
    opened = shop.control("disputes", charge=charge.id)
    path = f"{shop.url}/_sandbox/disputes"
    assert requests.post(path, json={"charge": charge.id}, timeout=5).status_code == 400
    shop.control(f"disputes/{opened['id']}", to="under_review")
    shop.control(f"disputes/{opened['id']}", to="lost")
    for to in ("won", "warning_closed", "anything"):
        again = requests.post(f"{path}/{opened['id']}", json={"to": to}, timeout=5)
        assert again.status_code == 400
