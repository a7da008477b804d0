"""Real objects of Stripe's, of today's API and of older ones: both are read the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from portal.billing.gateway.invoices import invoice_of
from portal.billing.gateway.subscriptions import subscription_of


def read(data: Path, name: str) -> Any:
    found = json.loads((data / "stripe" / f"{name}.json").read_text(encoding="utf-8"))
    return found["data"]["object"] if "data" in found and name.startswith("events") else found


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_a_subscription_of_today_tells_its_cycle_by_its_item(data: Path) -> None:
    state = subscription_of(read(data, "objects/subscription"))
    assert (state.cycle_start, state.cycle_end) == (at(1896570518), at(976287773))
    assert (state.item_id, state.quantity, state.interval) == ("si_QXhVnC2h0Jczwc", 1, "month")
    assert (state.customer_id, state.tier) == ("cus_QXg1o8vcGmoR32", "")
    assert state.cancels_at == at(1234567890)
    assert state.awaited is None


def test_an_older_subscription_tells_its_cycle_by_itself(data: Path) -> None:
    state = subscription_of(read(data, "events/customer.subscription.updated"))
    assert (state.cycle_start, state.cycle_end) == (at(1648320105), at(1650998505))
    assert (state.currency, state.interval, state.anchor) == ("usd", "month", at(1648320105))
    assert (state.cancels_at, state.ended_at, state.schedule_id) == (None, None, "")
    assert state.latest_invoice_id == "in_000000000000000000000000"


def test_an_invoice_of_today_names_its_subscription_by_its_parent(data: Path) -> None:
    told = read(data, "objects/invoice")
    state = invoice_of(told)
    assert (state.subscription_id, state.status, state.total_minor) == (
        "subscription", "draft", 1000,
    )  # fmt: skip
    assert (state.payment_id, state.finalized_at) == ("", None)
    (line,) = state.lines
    assert (line.proration, line.amount_minor, line.net_minor) == (True, 1000, 1000)
    told["payments"] = {"data": [{
        "status": "paid", "is_default": True,
        "payment": {"type": "payment_intent", "payment_intent": "pi_1"},
    }]}  # fmt: skip
    told["lines"]["data"][0]["discount_amounts"] = [{"amount": 250, "discount": "di_1"}]
    told["total_taxes"] = [{"amount": 190}]
    state = invoice_of(told)
    assert (state.payment_id, state.tax_minor, state.lines[0].net_minor) == ("pi_1", 190, 750)
    told["lines"]["data"][0]["taxes"] = [
        {"amount": 120, "tax_behavior": "inclusive"}, {"amount": 5, "tax_behavior": "exclusive"},
    ]  # fmt: skip
    assert invoice_of(told).lines[0].net_minor == 630
    older = [{"amount": 120, "inclusive": True}, {"amount": 5, "inclusive": False}]
    told["lines"]["data"][0] |= {"taxes": None, "tax_amounts": older}
    assert invoice_of(told).lines[0].net_minor == 630


@pytest.mark.parametrize(
    ("name", "status", "paid"),
    [("invoice.paid", "paid", 2000), ("invoice.payment_failed", "open", 0)],
)
def test_an_older_invoice_names_its_payment_by_itself(
    data: Path, name: str, status: str, paid: int
) -> None:
    state = invoice_of(read(data, f"events/{name}"))
    assert (state.status, state.paid_minor, state.due_minor) == (status, paid, 2000 - paid)
    assert state.payment_id == "pi_000000000000000000000000"
    (line,) = state.lines
    assert (line.product_id, line.proration, line.amount_minor) == (
        "prod_00000000000000", False, 2000,
    )  # fmt: skip
    assert state.issued_at == state.finalized_at


def test_every_recorded_invoice_and_subscription_can_be_read(data: Path) -> None:
    folder = data / "stripe" / "events"
    names = [path.stem for path in sorted(folder.glob("*.json"))]
    read_ = [
        (invoice_of if name.startswith("invoice.") else subscription_of)(
            {"id": ""} | read(data, f"events/{name}")
        )
        for name in names
        if name.startswith(("invoice.", "customer.subscription."))
    ]
    assert len(read_) == 12
