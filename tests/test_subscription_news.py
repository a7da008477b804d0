"""News of subscriptions: in any order, any number of times, at once, and what does not fit."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from stripe import CardError

from portal import recommendation
from portal.billing import inbox, reconcile
from portal.billing.effects import Quarantined
from portal.billing.gateway import StripeEvent
from portal.tables import grants, invoices, payments, stripe_inbox, tier_checkouts
from tests.cast import ok, refused
from tests.clock import START, Clock
from tests.shop import DECLINED
from tests.subscribers import DAY, HOUR, MICRO, Subscriber, subscriber, utc

HALF, END = utc(2026, 11, 24, 12), utc(2026, 12, 9, 12)


@pytest.fixture
def acme(store: str, clock: Clock) -> Iterator[Subscriber]:
    with subscriber(store, clock) as made:
        yield made


def outcome(acme: Subscriber) -> tuple[Any, ...]:
    """What counts of what the portal holds: without ids that are made anew each time."""
    billed = acme.billed
    given = sorted(
        (row.source, row.granted_micro, row.effective_at, row.expires_at, row.paid_minor)
        for row in acme.rows(grants)
    )
    paid = sorted((row.kind, row.amount_minor, row.fee_minor) for row in acme.rows(payments))
    kept = sorted((row.status, row.total_minor, row.reason) for row in acme.rows(invoices))
    standing = (billed.tier, billed.status, billed.cycle, billed.largest_allowance_micro)
    return given, paid, kept, standing, acme.organization.tier, acme.available


def lived(acme: Subscriber) -> list[StripeEvent]:
    """Let a subscription begin, grow and be renewed while nobody is told; returns the news."""
    acme.pay(acme.open("starter"))
    acme.clock.set(HALF)
    subscription = acme.stripe.v1.subscriptions.list().data[0]
    item = subscription["items"].data[0].id
    price = acme.price("pro")
    acme.stripe.v1.subscriptions.update(
        subscription.id,
        {"items": [{"id": item, "price": price}], "proration_behavior": "always_invoice"},
    )
    acme.clock.set(END + 2 * HOUR)
    wanted = ("checkout.session.completed", "customer.subscription.", "invoice.paid")
    return [one for one in acme.untold() if one.type.startswith(wanted)]


def test_the_news_may_come_in_any_order_and_again(
    sqlite_store: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subscriber(sqlite_store, clock) as acme:
        news = lived(acme)
        assert len(news) >= 6
        dice, seen = random.Random(3), set()
        for _ in range(5):
            told = news + dice.sample(news, 3)
            dice.shuffle(told)
            with forgotten(acme):
                for number, one in enumerate(told):
                    again = StripeEvent(f"{one.event_id}-{number}", one.type, one.object_id, False)
                    assert acme.receive(again) == "done"
                seen.add(repr(outcome(acme)))
        assert len(seen) == 1
        with forgotten(acme):
            acme.mend()
            seen.add(repr(outcome(acme)))
        assert len(seen) == 1


@contextmanager
def forgotten(acme: Subscriber) -> Iterator[None]:
    """Do something with the store and have it forgotten again."""
    file = Path(acme.database.url.removeprefix("sqlite:///"))
    before = file.read_bytes()
    yield
    acme.database.close()
    file.write_bytes(before)


def test_any_one_event_is_enough_and_none_is_too(acme: Subscriber) -> None:
    news = lived(acme)
    paid = [one for one in news if one.type == "invoice.paid"]
    acme.receive(paid[1])
    expected = outcome(acme)
    for one in itertools.chain(news, news):
        acme.receive(one)
    assert outcome(acme) == expected
    assert acme.differences() == []


def test_twenty_deliveries_at_once_have_one_effect(acme: Subscriber) -> None:
    acme.pay(acme.open("pro"))
    news = [one for one in acme.untold() if one.type.startswith(("invoice.paid", "customer.sub"))]
    together = threading.Barrier(12)

    def bring(number: int) -> str:
        one = news[number % len(news)]
        together.wait(30)
        again = StripeEvent(f"{one.event_id}-{number // 4}", one.type, one.object_id, False)
        return acme.receive(again)

    with ThreadPoolExecutor(12) as crowd:
        assert set(crowd.map(bring, range(12))) == {"done"}
    assert acme.given() == [(2500, 9900)]
    assert len(acme.rows(payments)) == 1


def quarantined(acme: Subscriber) -> list[str]:
    acme.delivered |= {one.event_id for one in acme.untold() if "invoice" in one.type}
    for one in acme.untold():
        acme.receive(one)
    with acme.database.reading() as tx:
        rows = tx.execute(stripe_inbox.select().where(stripe_inbox.c.status == "quarantined"))
        return sorted({row.detail.partition(": ")[2] or row.detail for row in rows})


def test_what_does_not_fit_is_set_aside(acme: Subscriber) -> None:
    acme.subscribe("pro")
    before = acme.digest
    other = acme.stripe.v1.customers.create({"name": "Somebody"})
    theirs = acme.stripe.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "customer": other.id,
            "line_items": [{"price": acme.price("pro"), "quantity": 1}],
            "subscription_data": {"metadata": {"organization": "acme"}},
            "success_url": "http://127.0.0.1:8000/",
        }
    )
    acme.pay(str(theirs.url))
    (reason,) = [one for one in quarantined(acme) if "customer" in one]
    assert other.id in reason
    assert acme.digest == before


def test_a_second_subscription_beside_one_that_is_alive_is_set_aside(acme: Subscriber) -> None:
    acme.subscribe("pro")
    second = acme.stripe.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "customer": str(acme.organization.stripe_customer_id),
            "line_items": [{"price": acme.price("team"), "quantity": 1}],
            "success_url": "http://127.0.0.1:8000/",
        }
    )
    acme.pay(str(second.url))
    newest = acme.stripe.v1.subscriptions.list().data[0]
    with pytest.raises(Quarantined, match="second one beside"):
        acme.sync(newest.id)
    assert (acme.organization.tier, acme.given()) == ("pro", [(2500, 9900)])


def test_a_new_subscription_is_had_at_once_though_the_end_of_the_old_one_was_not_told(
    acme: Subscriber,
) -> None:
    acme.subscribe("pro")
    acme.to(HALF)
    acme.stripe.v1.subscriptions.cancel(acme.billed.stripe_subscription_id)
    second = acme.stripe.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "customer": str(acme.organization.stripe_customer_id),
            "line_items": [{"price": acme.price("team"), "quantity": 1}],
            "success_url": "http://127.0.0.1:8000/",
        }
    )
    acme.pay(str(second.url))
    paid = [one for one in acme.untold() if one.type == "invoice.paid"]
    assert acme.receive(paid[-1]) == "done"
    assert acme.organization.tier == "team"
    before = outcome(acme)
    for one in acme.untold():
        if one.type.startswith(("customer.subscription.", "invoice.")):
            assert acme.receive(one) == "done"
    assert (outcome(acme), acme.differences()) == (before, [])


def set_aside(acme: Subscriber) -> list[tuple[str, str]]:
    return [(one.object_id, why) for one, why in inbox.quarantined(acme.database)]


def test_a_payment_that_does_not_fit_keeps_nothing_else_from_its_effect(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(HALF, told=False)
    acme.set_price(acme.price("pro"))
    upgrade = acme.invoices()[0]
    intent = str(acme.stripe.v1.payment_intents.list().data[0].id)
    with acme.database.transaction() as tx:
        known = {"organization_id": "acme", "payment_id": intent, "kind": "pack"}
        tx.execute(payments.insert().values(**known, amount_minor=1, currency="usd"))
    about_it = [one for one in acme.untold() if one.object_id == upgrade.id]
    assert {acme.receive(one) for one in about_it} == {"quarantined"}
    assert (acme.organization.tier, acme.given()) == ("pro", [(500, 2900)])
    acme.to(END)
    acme.to(END + HOUR / 60)
    assert acme.given() == [(500, 2900), (2500, 9900)]
    assert {found for found, _ in set_aside(acme)} == {upgrade.id}
    with acme.database.transaction() as tx:
        tx.execute(payments.delete().where(payments.c.payment_id == intent))
    again = [one.event_id for one, _ in inbox.quarantined(acme.database)]
    inbox.replay(acme.database, acme.payments, again, now=acme.clock())
    assert (set_aside(acme), acme.given()[1]) == ([], (1000, 3500))


def test_an_old_invoice_that_is_open_begins_no_grace(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.card(DECLINED)
    acme.to(START + DAY)
    customer = str(acme.organization.stripe_customer_id)
    other = acme.stripe.v1.invoices.create(
        {"customer": customer, "subscription": acme.billed.stripe_subscription_id}
    )
    item = {"customer": customer, "invoice": other.id, "amount": 700, "currency": "usd"}
    acme.stripe.v1.invoice_items.create(item)  # type: ignore[arg-type]
    acme.stripe.v1.invoices.finalize_invoice(other.id)
    with pytest.raises(CardError):
        acme.stripe.v1.invoices.pay(other.id)
    acme.to(END)
    acme.to(END + 2 * HOUR)
    assert acme.billed.status == "past_due"
    assert acme.billed.past_due_since is not None
    assert acme.billed.past_due_since >= END


def test_something_else_that_is_sold_to_acme_is_no_plan(acme: Subscriber) -> None:
    acme.subscribe("pro")
    acme.change(None)
    acme.to(END)
    price = acme.stripe.v1.prices.create(
        {
            "currency": "usd", "unit_amount": 500, "recurring": {"interval": "month"},
            "product_data": {"name": "A newsletter"},
        }
    )  # fmt: skip
    session = acme.stripe.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "customer": str(acme.organization.stripe_customer_id),
            "line_items": [{"price": price.id, "quantity": 1}],
            "success_url": "http://127.0.0.1:8000/",
        }
    )
    acme.pay(str(session.url))
    with pytest.raises(Quarantined, match="no tier of ours"):
        acme.sync(acme.stripe.v1.subscriptions.list().data[0].id)
    assert acme.organization.tier is None


def test_a_plan_billed_by_an_interval_we_do_not_sell_is_set_aside(acme: Subscriber) -> None:
    acme.subscribe("pro")
    acme.change(None)
    acme.to(END)
    price = acme.stripe.v1.prices.create(
        {
            "currency": "usd", "unit_amount": 2500, "recurring": {"interval": "week"},
            "product": "clearmeter-tier-pro",
        }
    )  # fmt: skip
    customer = str(acme.organization.stripe_customer_id)
    session = acme.stripe.v1.checkout.sessions.create(
        {
            "mode": "subscription", "customer": customer, "success_url": "http://127.0.0.1:8000/",
            "line_items": [{"price": price.id, "quantity": 1}],
        }
    )  # fmt: skip
    acme.pay(str(session.url))
    (made,) = [one for one in acme.untold() if one.type == "customer.subscription.created"]
    assert acme.receive(made) == "quarantined"


def test_a_schedule_that_is_yet_to_begin_a_subscription_is_no_news(acme: Subscriber) -> None:
    acme.subscribe("pro")
    store = acme.sandbox.extensions["sandbox"].store
    schedule = acme.stripe.v1.subscription_schedules.create(
        {"from_subscription": acme.billed.stripe_subscription_id}
    )
    store.get("subscription_schedule", schedule.id).update(status="not_started", subscription=None)
    (made,) = [one for one in acme.untold() if one.type == "subscription_schedule.created"]
    assert acme.receive(made) == "done"


def test_who_pays_a_plan_by_a_transfer_has_it_and_no_payment_of_stripes(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.card("4000000000000341")
    acme.to(END + 2 * HOUR)
    assert acme.billed.status == "past_due"
    acme.stripe.v1.invoices.pay(acme.invoices()[0].id, {"paid_out_of_band": True})
    acme.tell()
    assert (acme.billed.status, acme.given()) == ("active", [(500, 2900), (500, 2900)])
    assert len(acme.rows(payments)) == 1
    assert (acme.mend(), acme.differences()) == ([], [])


def test_a_refund_that_is_of_no_charge_stops_no_reconciliation(acme: Subscriber) -> None:
    """As one of a customer's cash balance is, which a transfer had filled."""
    acme.subscribe("starter")
    (paid,) = acme.rows(payments)
    refund = acme.stripe.v1.refunds.create({"charge": paid.stripe_charge_id, "amount": 100})
    store = acme.sandbox.extensions["sandbox"].store
    store.get("refund", refund.id).update(charge=None, payment_intent=None)
    store.get("charge", paid.stripe_charge_id).update(amount_refunded=0)
    assert (acme.mend(), acme.differences()) == ([], [])


def test_a_refund_that_nobody_told_of_is_a_difference_however_old_the_payment(
    acme: Subscriber,
) -> None:
    acme.subscribe("starter")
    (paid,) = acme.rows(payments)
    acme.to(START + 20 * DAY)
    acme.stripe.v1.refunds.create({"charge": paid.stripe_charge_id, "amount": 100})
    (line,) = acme.differences(since=acme.clock() - 7 * DAY)
    assert paid.payment_id in line
    assert line.endswith("the refunded is 0 here, 100 at Stripe")


def test_an_invoice_that_was_written_off_may_be_paid_after_all(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.card("4000000000000341")
    acme.to(END + 2 * HOUR)
    invoice = acme.invoices()[0]
    acme.stripe.v1.invoices.mark_uncollectible(invoice.id)
    acme.stripe.v1.subscriptions.cancel(acme.billed.stripe_subscription_id)
    acme.tell()
    assert {row.status for row in acme.rows(invoices)} == {"paid", "uncollectible"}
    acme.to(END + 40 * DAY)
    acme.stripe.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    acme.clock.set(END + 50 * DAY)
    since = acme.clock() - 3 * DAY
    (line,) = reconcile.reconcile(acme.database, acme.payments, since=since, now=acme.clock())
    assert line == f"invoice {invoice.id}: uncollectible -> paid"


def test_a_checkout_that_stripe_has_no_more_stops_no_reconciliation(acme: Subscriber) -> None:
    acme.open("pro")
    with acme.database.transaction() as tx:
        tx.execute(tier_checkouts.update().values(stripe_session_id="cs_test_gone"))
    (line,) = acme.mend()
    assert line.startswith("does not fit")


def test_what_goes_beyond_the_plan_is_billed_with_the_renewal(acme: Subscriber) -> None:
    acme.subscribe("starter")
    ok(acme.acme.api.patch(
        f"{acme.acme.path}/spending", {"on_empty": "overage", "overage_limit": "10.00"}
    ))  # fmt: skip
    ok(acme.acme.send(acme.acme.event("document", quantity=104)))
    ok(acme.acme.send(acme.acme.event("image", quantity=5)))
    assert acme.acme.balance()["overage"]["amount"] == "2.4"
    acme.to(END)
    acme.to(END + HOUR / 60)
    renewal = max(acme.rows(invoices), key=lambda row: row.issued_at)
    assert (renewal.status, renewal.paid_minor) == ("paid", 2900 + 240)
    told = [(line["kind"], line["action"], line["amount_minor"]) for line in renewal.lines]
    assert sorted(told) == [
        ("overage", "document", 160), ("overage", "image", 80), ("tier", "", 2900),
    ]  # fmt: skip
    assert acme.given() == [(500, 2900), (500, 2900)]
    assert acme.differences() == []


def test_the_express_lane_leaves_an_overdue_payment_and_a_cycle_that_ended_alone(
    postgresql_store: str, clock: Clock
) -> None:
    with subscriber(postgresql_store, clock) as acme:
        acme.subscribe("keeper")
        acme.to(END - DAY)
        ok(acme.acme.capture(acme.acme.hold("image")))
        acme.to(END, told=False)
        acme.acme.hold("image")
        assert [granted for granted, _ in acme.given("rollover")] == [998]
        acme.give_up("past_due")
        acme.card(DECLINED)
        acme.tell()
        acme.to(END + 8 * DAY)
        refused(acme.acme.authorize("image"), 402, "payment-overdue")


def test_a_refund_of_a_cycle_takes_its_allowance_back(acme: Subscriber) -> None:
    acme.subscribe("pro")
    (payment,) = acme.rows(payments)
    acme.stripe.v1.refunds.create({"payment_intent": payment.payment_id, "amount": 4950})
    acme.tell()
    assert acme.available == "1250"
    assert acme.differences() == []


def test_the_plan_that_fits_is_recommended_by_the_forecast(acme: Subscriber) -> None:
    acme.subscribe("team")
    for day in range(10):
        acme.clock.set(START + day * DAY)
        ok(acme.acme.send(acme.acme.event("document", quantity=5)))
    with acme.database.reading() as tx:
        found = recommendation.recommended(tx, acme.organization, now=acme.clock())
    assert found is not None
    assert found.best is not None
    assert (found.best.tier, found.current and found.current.tier) == ("keeper", "team")
    assert 700 * MICRO < found.projected_micro < 800 * MICRO
    assert found.saving_minor == 29_900 - 4_900
