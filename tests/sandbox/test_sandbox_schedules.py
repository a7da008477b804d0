"""Schedules: another price from the next period on, and the way back from that."""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from seller import DAY, HOUR, Seller, months_later, seller

__all__ = ["seller"]


def _downgrade(seller: Seller, subscription: stripe.Subscription, price: str) -> Any:
    """Have the price change at the end of the period, as the product does."""
    schedule = seller.v1.subscription_schedules.create({"from_subscription": subscription.id})
    now = schedule.phases[0]
    items = [{"price": now["items"][0].price, "quantity": 1}]
    return seller.v1.subscription_schedules.update(
        schedule.id,
        {
            "end_behavior": "release",
            "phases": [
                {"items": items, "start_date": now.start_date, "end_date": now.end_date},
                {"items": [{"price": price, "quantity": 1}], "start_date": now.end_date},
            ],
        },
    )


def test_a_schedule_made_from_a_subscription_mirrors_its_period(seller: Seller) -> None:
    subscription = seller.subscribe()
    schedule = seller.v1.subscription_schedules.create({"from_subscription": subscription.id})
    item = subscription["items"].data[0]
    assert (schedule.status, schedule.subscription) == ("active", subscription.id)
    assert schedule.current_phase.start_date == item.current_period_start
    assert schedule.current_phase.end_date == item.current_period_end
    assert schedule.phases[0]["items"][0].price == seller.basic
    assert seller.subscription(subscription.id).schedule == schedule.id
    found = seller.v1.subscription_schedules.list({"customer": str(subscription.customer)})
    assert [one.id for one in found] == [schedule.id]
    with pytest.raises(stripe.InvalidRequestError, match="already attached"):
        seller.v1.subscription_schedules.create({"from_subscription": subscription.id})


def test_the_price_changes_with_the_renewal_and_nothing_is_prorated(seller: Seller) -> None:
    subscription = seller.subscribe(seller.pro)
    end = subscription["items"].data[0].current_period_end
    schedule = _downgrade(seller, subscription, seller.basic)
    assert schedule.phases[1].end_date == months_later(end)
    seller.to(end - 60)
    assert seller.subscription(subscription.id)["items"].data[0].price.id == seller.pro
    seller.to(end + HOUR)
    renewed = seller.subscription(subscription.id)
    item = renewed["items"].data[0]
    assert (item.id, item.price.id) == (subscription["items"].data[0].id, seller.basic)
    renewal = seller.invoices(subscription)[0]
    assert (renewal.billing_reason, renewal.amount_paid) == ("subscription_cycle", 2000)
    assert len(renewal.lines.data) == 1
    current = seller.v1.subscription_schedules.retrieve(schedule.id).current_phase
    assert current.start_date == end
    seller.to(months_later(end) + HOUR)
    done = seller.v1.subscription_schedules.retrieve(schedule.id)
    assert (done.status, done.current_phase) == ("completed", None)
    after = seller.subscription(subscription.id)
    assert (after.status, after.schedule) == ("active", None)
    assert seller.invoices(subscription)[0].amount_paid == 2000


def test_a_downgrade_can_be_undone_by_releasing_the_schedule(seller: Seller) -> None:
    subscription = seller.subscribe(seller.pro)
    schedule = _downgrade(seller, subscription, seller.basic)
    released = seller.v1.subscription_schedules.release(schedule.id)
    assert (released.status, released.subscription) == ("released", None)
    assert released.released_subscription == subscription.id
    assert seller.subscription(subscription.id).schedule is None
    seller.wait(32 * DAY)
    assert seller.subscription(subscription.id)["items"].data[0].price.id == seller.pro
    with pytest.raises(stripe.InvalidRequestError, match="`released`"):
        seller.v1.subscription_schedules.release(schedule.id)


def test_an_upgrade_under_a_schedule_changes_its_current_phase_only(seller: Seller) -> None:
    subscription = seller.subscribe()
    cheap = seller.plan("Cheap", 900)
    schedule = _downgrade(seller, subscription, cheap)
    seller.change(subscription, seller.pro)
    phases = seller.v1.subscription_schedules.retrieve(schedule.id).phases
    assert [phase["items"][0].price for phase in phases] == [seller.pro, cheap]
    seller.to(subscription["items"].data[0].current_period_end + HOUR)
    assert seller.invoices(subscription)[0].amount_paid == 900


def test_a_cancellation_goes_through_the_schedule(seller: Seller) -> None:
    subscription = seller.subscribe()
    schedule = seller.v1.subscription_schedules.create({"from_subscription": subscription.id})
    with pytest.raises(stripe.InvalidRequestError, match="managed by the subscription schedule"):
        seller.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    seller.v1.subscription_schedules.update(schedule.id, {"end_behavior": "cancel"})
    end = subscription["items"].data[0].current_period_end
    seller.to(end)
    assert seller.subscription(subscription.id).ended_at == end
    assert seller.v1.subscription_schedules.retrieve(schedule.id).status == "completed"


def test_a_schedule_ends_with_its_subscription(seller: Seller) -> None:
    subscription = seller.subscribe(seller.pro)
    schedule = _downgrade(seller, subscription, seller.basic)
    seller.v1.subscriptions.cancel(subscription.id)
    assert seller.v1.subscription_schedules.retrieve(schedule.id).status == "canceled"
    told = seller.types("subscription_schedule")
    assert told == [
        "subscription_schedule.created",
        "subscription_schedule.updated",
        "subscription_schedule.canceled",
    ]


def test_a_phase_within_the_period_is_prorated_as_it_says(seller: Seller) -> None:
    subscription = seller.subscribe()
    schedule = seller.v1.subscription_schedules.create({"from_subscription": subscription.id})
    now = schedule.phases[0]
    half = now.start_date + (now.end_date - now.start_date) // 2
    basic, pro = ([{"price": one, "quantity": 1}] for one in (seller.basic, seller.pro))
    later = {"start_date": half, "end_date": now.end_date, "proration_behavior": "always_invoice"}
    phases = [{"items": basic, "start_date": now.start_date, "end_date": half}]
    seller.v1.subscription_schedules.update(
        schedule.id, {"phases": [*phases, {"items": pro, **later}]}
    )
    seller.to(half)
    invoice = seller.invoices(subscription)[0]
    assert (invoice.billing_reason, invoice.total) == ("subscription_update", 1500)
    assert [one.status for one in seller.v1.subscription_schedules.list()] == ["active"]


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({"start_date": 1}, "start date of the current phase"),
        ({"end_date": 1}, "must end after it starts"),
        ({"duration": {"interval": "month"}, "end_date": "now"}, "not both"),
    ],
)
def test_phases_that_do_not_fit_are_refused(
    seller: Seller, phase: dict[str, object], message: str
) -> None:
    subscription = seller.subscribe()
    schedule = seller.v1.subscription_schedules.create({"from_subscription": subscription.id})
    start = schedule.phases[0].start_date
    given = {"items": [{"price": seller.basic}], "start_date": start, **phase}
    with pytest.raises(stripe.InvalidRequestError, match=message):
        seller.v1.subscription_schedules.update(schedule.id, {"phases": [given]})
