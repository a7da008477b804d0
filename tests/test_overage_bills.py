"""Overage on invoices: by action, once, and to the cent what the page shows of the period."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import insert, select

from portal import accounts, catalog, jobs, overage
from portal.billing.customers import ensure_customer
from portal.billing.overage import bill_overage
from portal.jobs import Workshop
from portal.tables import notices, payments, stripe_subscriptions
from tests.cast import ok
from tests.clock import Clock
from tests.shop import GOOD, SandboxClock, Shop, selling, stand_in

#: Acme is on Pro from 9 November on: six cents a credit beyond its own.
NEXT = datetime(2026, 12, 9, 0, 0, 1, tzinfo=UTC)


@pytest.fixture
def shop(store: str, clock: Clock) -> Iterator[Shop]:
    there = SandboxClock()
    there.show(clock())
    with stand_in(there) as address, selling(store, clock, address, there) as made:
        acme = made.customer
        ok(acme.api.put(acme.path, {"name": "Acme", "email": "ana@acme.example", "tier": "pro"}))
        ok(acme.send(acme.event("image", quantity=1_300)))
        ok(acme.api.patch(f"{acme.path}/spending", {"on_empty": "overage", "overage_limit": "99"}))
        ensure_customer(made.database, made.payments, organization(made))
        yield made


def organization(shop: Shop) -> accounts.Organization:
    with shop.database.reading() as tx:
        return accounts.find_organization(tx, "acme")


def until(shop: Shop, instant: datetime) -> None:
    shop.clock.set(instant)
    shop.stripe_clock.show(instant)


def work(shop: Shop) -> int:
    """Let the worker come round."""
    return jobs.bill_overage(Workshop(shop.database, shop.payments, shop.clock))


def shown(shop: Shop, at: datetime) -> int:
    """Return what the page shows of the period that holds an instant, in cents."""
    with shop.database.reading() as tx:
        book = catalog.in_force(tx, at=at)
        return overage.standing(tx, organization(shop), book, at=at).amount_minor


def invoices(shop: Shop) -> list[Any]:
    """Return Stripe's invoices for Acme, oldest first, each with its lines."""
    return shop.stripe.v1.invoices.list({"limit": 100}).data[::-1]


def lines(invoice: Any) -> list[tuple[str, int]]:
    return sorted((line.description, line.amount) for line in invoice.lines.data)


def test_a_period_that_ended_is_billed_by_action_and_paid(shop: Shop) -> None:
    shop.save_card()
    began = shop.clock()
    # 7.7 credits beyond the plan: 46.2 cents, where each action by itself would come to 47.
    for action, quantity in (("document", "1.11"), ("image", "0.51"), ("analysis", "0.113")):
        ok(shop.customer.send(shop.customer.event(action, quantity=quantity)))
    assert (work(shop), invoices(shop)) == (0, [])
    until(shop, NEXT)
    assert work(shop) == 3
    (invoice,) = invoices(shop)
    assert lines(invoice) == [
        ("Analyses: 1.13 credits beyond your plan", 7),
        ("Documents: 5.55 credits beyond your plan", 33),
        ("Images: 1.02 credits beyond your plan", 6),
    ]
    assert (invoice.status, invoice.total, shown(shop, began)) == ("paid", 46, 46)
    assert (work(shop), len(invoices(shop))) == (0, 1)


def test_what_is_captured_late_or_given_back_comes_with_another_bill(shop: Shop) -> None:
    shop.save_card()
    began = shop.clock()
    event = shop.customer.event("document", quantity=2)
    ok(shop.customer.send(event))
    until(shop, NEXT - timedelta(hours=1))
    hold = shop.customer.hold("analysis", expires_in=7_200)
    until(shop, NEXT)
    work(shop)
    ok(shop.customer.capture(hold))
    less = shop.customer.event(quantity=1, corrects={"source": "tests", "id": event["id"]})
    ok(shop.customer.send(less))
    assert work(shop) == 2
    assert [invoice.total for invoice in invoices(shop)] == [60, 30]
    assert lines(invoices(shop)[1]) == [
        ("Analyses: 10 credits beyond your plan", 60),
        ("Documents: 5 credits beyond your plan given back", -30),
    ]
    assert shown(shop, began) == 90


def test_an_invoice_that_cannot_be_paid_says_where_to(shop: Shop) -> None:
    ok(shop.customer.send(shop.customer.event("analysis", quantity=2)))
    until(shop, NEXT)
    work(shop)
    (invoice,) = invoices(shop)
    with shop.database.reading() as tx:
        (notice,) = tx.execute(select(notices)).all()
    assert (invoice.status, notice.url) == ("open", invoice.hosted_invoice_url)
    form = {"email": "ana@acme.example", "number": GOOD, "expiry": "12/34", "cvc": "123"}
    requests.post(notice.url, form, allow_redirects=False, timeout=10)
    for event in shop.events("invoice.paid"):
        assert shop.deliver(event).get_json()["outcome"] == "done"
    with shop.database.reading() as tx:
        (notice,) = tx.execute(select(notices)).all()
        (paid,) = tx.execute(select(payments)).all()
    assert notice.ended_at is not None
    assert (paid.kind, paid.amount_minor, paid.grant_id) == ("overage", 120, None)


def test_a_renewal_carries_what_went_beyond(shop: Shop) -> None:
    began = shop.clock()
    ok(shop.customer.send(shop.customer.event("analysis", quantity=2)))
    with shop.database.transaction() as tx:
        tx.execute(
            insert(stripe_subscriptions).values(
                organization_id="acme", stripe_subscription_id="sub_1", status="active",
                tier="pro", cycle_start=began, cycle_end=NEXT, created_at=began,
            )
        )  # fmt: skip
    until(shop, NEXT)
    assert (work(shop), invoices(shop)) == (0, [])
    customer = str(organization(shop).stripe_customer_id)
    draft = shop.stripe.v1.invoices.create({"customer": customer, "auto_advance": False})
    for bills in (1, 0):
        found = bill_overage(
            shop.database, shop.payments, "acme", invoice_id=draft.id, now=shop.clock()
        )
        assert len(found) == bills
    (invoice,) = invoices(shop)
    assert (invoice.status, lines(invoice)) == (
        "draft", [("Analyses: 20 credits beyond your plan", 120)],
    )  # fmt: skip
