"""Overage on invoices: by action, once, and to the cent what the page shows of the period."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import insert, select

from portal import accounts, catalog, jobs, overage, papers
from portal.billing import bills, reconcile
from portal.billing import overage as billing_overage
from portal.billing.customers import ensure_customer
from portal.billing.overage import bill_overage
from portal.jobs import Workshop
from portal.tables import (
    audit_log,
    notices,
    organizations,
    overage_bills,
    payments,
    stripe_subscriptions,
)
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


def test_the_card_a_plan_was_paid_with_is_charged_though_it_is_nobodys_default(shop: Shop) -> None:
    customer = str(organization(shop).stripe_customer_id)
    shop.stripe.v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    ok(shop.customer.send(shop.customer.event("analysis", quantity=2)))
    until(shop, NEXT)
    work(shop)
    assert [(one.status, one.total) for one in invoices(shop)] == [("paid", 120)]


def test_a_customer_that_stripe_has_no_more_keeps_nobody_else_from_being_billed(
    shop: Shop,
) -> None:
    zenith = shop.found("zenith")
    ok(zenith.api.put(zenith.path, {"name": "Zenith", "tier": "pro"}))
    ok(zenith.api.patch(f"{zenith.path}/spending", {"on_empty": "overage", "overage_limit": "99"}))
    ok(zenith.send(zenith.event("analysis", quantity=252)))
    ok(shop.customer.send(shop.customer.event("analysis", quantity=2)))
    with shop.database.transaction() as tx:
        gone = organizations.c.organization_id == "acme"
        tx.execute(organizations.update().where(gone).values(stripe_customer_id="cus_gone"))
    until(shop, NEXT)
    assert work(shop) == 1
    assert [invoice.total for invoice in invoices(shop)] == [120]


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
    for expected in (1, 0):
        found = bill_overage(
            shop.database, shop.payments, "acme", invoice_id=draft.id, now=shop.clock()
        )
        assert len(found) == expected
    (invoice,) = invoices(shop)
    assert (invoice.status, lines(invoice)) == (
        "draft", [("Analyses: 20 credits beyond your plan", 120)],
    )  # fmt: skip


# --- what becomes of it on its invoice -----------------------------------------------------------


def billed(shop: Shop) -> Any:
    """Have two analyses beyond the plan billed on an invoice that nobody can pay yet; return it."""
    ok(shop.customer.send(shop.customer.event("analysis", quantity=2)))
    until(shop, NEXT)
    assert work(shop) >= 1
    return invoices(shop)[-1]


def standing(shop: Shop) -> list[str]:
    """Return how the bills stand, oldest first."""
    with shop.database.reading() as tx:
        return list(tx.execute(select(overage_bills.c.status)).scalars())


def acts(shop: Shop) -> list[str]:
    with shop.database.reading() as tx:
        found = tx.execute(select(audit_log.c.act)).scalars()
        return sorted(act for act in found if act.startswith("overage."))


def told(shop: Shop, way: str, kind: str) -> None:
    """Have the portal hear of it by its event, or by itself long after."""
    if way == "event":
        for event in shop.events(kind):
            assert shop.deliver(event).get_json()["outcome"] == "done"
    else:
        until(shop, NEXT + timedelta(days=20))
        reconcile.reconcile(shop.database, shop.payments, since=None, now=shop.clock())


WAYS = ["event", "reconcile"]


@pytest.mark.parametrize("way", WAYS)
def test_an_invoice_that_the_operator_voids_is_waived_for_good_and_says_so(
    shop: Shop, way: str
) -> None:
    late = shop.customer.event("image", quantity=5)
    ok(shop.customer.send(late))
    invoice = billed(shop)
    told(shop, way, "invoice.finalized")
    shop.stripe.v1.invoices.void_invoice(invoice.id)
    told(shop, way, "invoice.voided")
    assert (standing(shop), acts(shop)) == (["waived"] * 2, ["overage.billed", "overage.waived"])
    with shop.database.reading() as tx:
        (paper,) = papers.papers(
            tx, organization(shop), organization(shop).period_at(NEXT), now=shop.clock()
        ).papers
        assert (paper.status, paper.waived_minor) == ("void", 180)
        assert tx.execute(select(notices.c.ended_at)).scalar_one() is not None
    # What was fetched before does not stand, whoever comes with it.
    with shop.database.transaction() as tx:
        billing_overage.follow(tx, "acme", invoice.id, "open", now=shop.clock())
    assert (standing(shop), work(shop)) == (["waived"] * 2, 0)
    # What nobody paid for is not given back in money either.
    less = shop.customer.event("image", quantity=2, corrects={"source": "tests", "id": late["id"]})
    ok(shop.customer.send(less))
    assert (work(shop), len(invoices(shop))) == (0, 1)
    assert standing(shop) == ["waived"] * 3


@pytest.mark.parametrize("way", WAYS)
def test_an_invoice_that_is_written_off_stays_owed_until_it_is_paid(shop: Shop, way: str) -> None:
    invoice = billed(shop)
    told(shop, way, "invoice.finalized")
    shop.stripe.v1.invoices.mark_uncollectible(invoice.id)
    told(shop, way, "invoice.marked_uncollectible")
    assert (standing(shop), work(shop)) == (["uncollectible"], 0)
    with shop.database.reading() as tx:
        assert tx.execute(select(notices.c.ended_at)).scalar_one() is None
    form = {"email": "ana@acme.example", "number": GOOD, "expiry": "12/34", "cvc": "123"}
    requests.post(invoice.hosted_invoice_url, form, allow_redirects=False, timeout=10)
    told(shop, "event", "invoice.paid")
    assert standing(shop) == ["due"]
    assert acts(shop) == ["overage.billed", "overage.due", "overage.uncollectible"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("placed", [False, True])
def test_a_draft_that_is_deleted_is_billed_again_and_once(
    shop: Shop, way: str, placed: bool
) -> None:
    shop.save_card()
    path = "/v1/invoices/*/finalize" if placed else "/v1/invoiceitems"
    shop.fail_calls("status" if placed else "reset_after", path)
    ok(shop.customer.send(shop.customer.event("analysis", quantity=2)))
    until(shop, NEXT)
    assert work(shop) == 0
    (draft,) = invoices(shop)
    shop.stripe.v1.invoices.delete(draft.id)
    told(shop, way, "invoice.deleted")
    work(shop)
    assert [(one.status, one.total) for one in invoices(shop)] == [("paid", 120)]
    assert (work(shop), standing(shop)) == (0, ["due"])
    waiting = shop.stripe.v1.invoice_items.list({"pending": True}).data
    assert waiting == []


def test_a_renewals_draft_gone_astray_is_billed_where_stripe_put_it(shop: Shop) -> None:
    customer = str(organization(shop).stripe_customer_id)
    ok(shop.customer.send(shop.customer.event("analysis", quantity=2)))
    until(shop, NEXT)
    draft = shop.stripe.v1.invoices.create({"customer": customer, "auto_advance": False})
    bill_overage(shop.database, shop.payments, "acme", invoice_id=draft.id, now=shop.clock())
    shop.stripe.v1.invoices.delete(draft.id)
    other = shop.stripe.v1.invoices.create(
        {"customer": customer, "pending_invoice_items_behavior": "include"}
    )
    told(shop, "event", "invoice.deleted")
    assert (work(shop), [one.total for one in invoices(shop)]) == (0, [120])
    shop.stripe.v1.invoices.void_invoice(shop.stripe.v1.invoices.finalize_invoice(other.id).id)
    told(shop, "event", "invoice.voided")
    assert standing(shop) == ["waived"]


def test_tax_is_put_on_overage_where_it_is_put_on_plans(shop: Shop) -> None:
    shop.payments.automatic_tax = True
    shop.save_card()
    customer = str(organization(shop).stripe_customer_id)
    shop.stripe.v1.customers.update(customer, {"address": {"country": "DE"}})
    billed(shop)
    (invoice,) = invoices(shop)
    assert (invoice.status, invoice.subtotal, invoice.total) == ("paid", 120, 143)
    told(shop, "event", "invoice.paid")
    with shop.database.reading() as tx:
        (paid,) = tx.execute(select(payments)).all()
    assert (paid.amount_minor, paid.tax_minor) == (143, 23)


def test_a_description_that_has_changed_does_not_bill_twice(shop: Shop) -> None:
    shop.save_card()
    ok(shop.customer.send(shop.customer.event("analysis", quantity=2)))
    until(shop, NEXT)
    shop.fail_calls("reset_after", "/v1/invoiceitems")
    assert work(shop) == 0
    until(shop, NEXT + timedelta(minutes=1))
    book = catalog.DEFAULT_FILE.read_text(encoding="utf-8")
    with shop.database.transaction() as tx:
        catalog.load(tx, book.replace('"Analyses"', '"Deep looks"'), now=shop.clock())
    (draft,) = invoices(shop)
    with shop.database.reading() as tx:
        (bill,) = bills.open_bills(tx, "acme")
        item = billing_overage._item(catalog.in_force(tx, at=bill.created_at), bill)
    again = shop.payments.add_overage("acme", str(draft.customer), draft.id, item)
    assert again == shop.stripe.v1.invoice_items.list({"invoice": draft.id}).data[0].id
    assert work(shop) == 1
    assert [one.total for one in invoices(shop)] == [120]
