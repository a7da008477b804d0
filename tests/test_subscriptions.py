"""A plan that Stripe bills: what each cycle gives, when it ends, and what a late payment stops."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from portal.billing import customers, tier_checkout
from portal.billing import invoices as billed_invoices
from portal.billing.gateway import CheckoutSession
from portal.core.errors import InvalidRequest, NotFound
from portal.core.periods import Period
from portal.tables import invoices, payments, tier_checkouts
from tests import digest
from tests.cast import ok, refused
from tests.clock import Clock
from tests.readers import enter
from tests.shop import DECLINED, GOOD, session_of
from tests.subscribers import DAY, HOUR, Subscriber, subscriber, utc

START, END = utc(2026, 11, 9, 12), utc(2026, 12, 9, 12)
TICK = timedelta(microseconds=1)


@pytest.fixture
def acme(store: str, clock: Clock) -> Iterator[Subscriber]:
    with subscriber(store, clock) as made:
        yield made


def test_a_first_tier_is_paid_and_its_allowance_is_given(acme: Subscriber) -> None:
    acme.subscribe("pro")
    assert acme.organization.tier == "pro"
    assert acme.given() == [(2500, 9900)]
    assert acme.available == "2500"
    billed = acme.billed
    assert billed.cycle == Period(utc(2026, 11, 9, 12), utc(2026, 12, 9, 12))
    period = acme.organization.subscribed
    assert period == Period(utc(2026, 11, 9), utc(2026, 12, 9))
    (checkout,) = acme.rows(tier_checkouts)
    assert (checkout.status, checkout.stripe_subscription_id) == (
        "fulfilled", billed.stripe_subscription_id,
    )  # fmt: skip
    (payment,) = acme.rows(payments)
    assert (payment.kind, payment.amount_minor) == ("tier", 9900)
    assert payment.grant_id is not None
    (invoice,) = acme.rows(invoices)
    assert (invoice.status, invoice.reason, invoice.paid_minor) == (
        "paid", "subscription_create", 9900,
    )  # fmt: skip


def spend(acme: Subscriber, documents: int) -> None:
    ok(acme.acme.send(acme.acme.event("document", quantity=documents)))


def test_a_renewal_gives_the_next_allowance_and_what_is_left_expires(acme: Subscriber) -> None:
    acme.subscribe("starter")
    spend(acme, 1)
    acme.to(utc(2026, 12, 9, 12) - TICK)
    assert acme.available == "495"
    assert acme.organization.subscribed == Period(utc(2026, 12, 9), utc(2027, 1, 9))
    acme.to(utc(2026, 12, 9, 12), told=False)
    assert acme.available == "0"
    acme.tell()
    acme.to(utc(2026, 12, 9, 12, 1))
    assert acme.given() == [(500, 2900), (500, 2900)]
    assert acme.available == "500"
    assert [one.status for one in acme.rows(invoices)] == ["paid", "paid"]


def test_what_is_left_rolls_over_at_the_exact_instant_where_the_tier_says_so(
    acme: Subscriber,
) -> None:
    acme.subscribe("keeper")
    spend(acme, 40)
    end = utc(2026, 12, 9, 12)
    acme.to(end - TICK)
    assert (acme.given(), acme.given("rollover")) == ([(1000, 4900)], [])
    acme.to(end, told=False)
    assert acme.available == "800"
    assert acme.given("rollover") == [(800, None)]
    acme.to(end + HOUR / 60)
    acme.to(end + HOUR / 30)
    assert acme.available == "1800"
    spend(acme, 100)
    acme.to(utc(2027, 1, 9, 12), told=False)
    assert acme.available == "1000"
    assert acme.given("rollover") == [(800, None), (1000, None)]


def test_work_in_flight_outlives_the_cycle_it_began_in(acme: Subscriber) -> None:
    acme.subscribe("keeper")
    end = utc(2026, 12, 9, 12)
    acme.to(end - HOUR / 12)
    outlives = acme.acme.hold("document", expires_in=900)
    lapses = acme.acme.hold("document", expires_in=600)
    # Nobody looks until the second hold's deadline is past; at the cycle's end both were pinned.
    acme.to(end + HOUR / 10, told=False)
    assert acme.available == "990"
    assert acme.given("rollover") == [(990, None)]
    assert acme.acme.api.get(f"/v1/authorizations/{lapses}").get_json()["status"] == "expired"
    captured = ok(acme.acme.capture(outlives))
    assert (captured["late"], captured["credits"]) == (False, "5")
    assert digest.faults(acme.database) == []


def test_what_is_left_of_two_allowances_rolls_over_as_one_whole_grant(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(utc(2026, 11, 24, 12))
    acme.change("keeper")
    assert acme.given() == [(500, 2900), (250, 1000)]
    acme.to(utc(2026, 12, 9, 12), told=False)
    assert (acme.available, acme.given("rollover")) == ("750", [(750, None)])
    assert digest.faults(acme.database) == []


def test_periods_are_of_local_days_and_allowances_of_seconds(store: str, clock: Clock) -> None:
    with subscriber(store, clock, "Pacific/Honolulu") as acme:
        acme.clock.set(utc(2027, 1, 31, 9, 59, 7))
        acme.subscribe("starter")
        edges = [(acme.organization.subscribed, acme.billed.cycle)]
        for end in (utc(2027, 2, 28, 9, 59, 7), utc(2027, 3, 31, 9, 59, 7)):
            acme.to(end)
            acme.to(end + HOUR / 60)
            edges.append((acme.organization.subscribed, acme.billed.cycle))
    assert edges == [
        (Period(utc(2027, 1, 30, 10), utc(2027, 2, 27, 10)),
         Period(utc(2027, 1, 31, 9, 59, 7), utc(2027, 2, 28, 9, 59, 7))),
        (Period(utc(2027, 2, 27, 10), utc(2027, 3, 30, 10)),
         Period(utc(2027, 2, 28, 9, 59, 7), utc(2027, 3, 31, 9, 59, 7))),
        (Period(utc(2027, 3, 30, 10), utc(2027, 4, 29, 10)),
         Period(utc(2027, 3, 31, 9, 59, 7), utc(2027, 4, 30, 9, 59, 7))),
    ]  # fmt: skip


def test_a_late_payment_leaves_a_grace_of_seven_days_and_then_stops_new_work(
    acme: Subscriber,
) -> None:
    acme.subscribe("starter")
    acme.acme.grant(100, source="pack", paid={"amount": 10, "currency": "usd"})
    acme.give_up("past_due")
    acme.card(DECLINED)
    end = utc(2026, 12, 9, 12)
    acme.to(end)
    acme.to(end + HOUR)
    assert acme.billed.status == "past_due"
    failed = acme.billed.past_due_since
    assert failed is not None
    stops = failed + 7 * DAY
    assert acme.organization.stops_at == stops
    state = acme.standing()
    assert (state.past_due_since, state.stops_at) == (failed, stops)
    assert state.pay_url.startswith(acme.address)
    acme.to(stops - HOUR / 60)
    assert acme.billed.past_due_since == failed, "a later failure does not move it"
    hold = acme.acme.hold("document")
    acme.to(stops)
    assert acme.organization.stops_at == stops
    problem = refused(acme.acme.authorize("document"), 402, "payment-overdue")
    assert problem["options"][0] == {"do": "pay-invoice", "url": acme.standing().pay_url}
    refused(acme.acme.increment(hold, 1), 402, "payment-overdue")
    ok(acme.acme.capture(hold))
    spend(acme, 1)
    assert acme.available == "90"
    acme.pay(acme.standing().pay_url)
    acme.tell()
    assert (acme.billed.status, acme.billed.past_due_since) == ("active", None)
    assert acme.organization.stops_at is None
    assert acme.standing().past_due_since is None
    assert acme.given() == [(500, 2900), (500, 2900)]
    acme.acme.hold("document")


def save_card(acme: Subscriber, number: str = GOOD) -> None:
    """Save another card in Stripe's portal."""
    page = acme.payments.portal_page(
        str(acme.organization.stripe_customer_id),
        return_url="http://127.0.0.1:8000/billing",
        flow="payment_method_update",
    )
    assert acme.pay(page, number, change="add_card").status_code == 303


@pytest.mark.parametrize("way", ["told", "mended", "returned"])
def test_a_plan_is_charged_to_the_card_that_was_saved_since(acme: Subscriber, way: str) -> None:
    acme.subscribe("starter")
    acme.card("4000000000000341")
    acme.to(START + DAY)
    save_card(acme)
    if way == "returned":
        ana = enter(acme.application, acme.database, acme.clock, "ana")
        assert ana.client.get("/billing/returned").status_code == 302
    else:
        assert acme.mend() if way == "mended" else acme.tell()
    assert acme.mend() == []
    acme.to(END + 2 * HOUR)
    assert (acme.billed.status, acme.given()) == ("active", [(500, 2900), (500, 2900)])


def test_the_card_saved_since_is_charged_after_a_scheduled_change_too(acme: Subscriber) -> None:
    acme.subscribe("pro")
    acme.card("4000000000000341")
    acme.change("starter")
    acme.to(START + DAY)
    save_card(acme)
    acme.tell()
    acme.to(END + 2 * HOUR)
    assert (acme.billed.tier, acme.billed.status) == ("starter", "active")


def test_a_plan_begun_with_another_card_is_not_charged_to_the_default_saved_before(
    acme: Subscriber,
) -> None:
    acme.subscribe("starter")
    acme.to(START + DAY)
    save_card(acme)
    acme.stripe.v1.subscriptions.cancel(acme.billed.stripe_subscription_id)
    acme.to(START + 2 * DAY)
    acme.subscribe("starter")
    own = acme.subscription().default_payment_method
    assert acme.mend() == []
    assert acme.subscription().default_payment_method == own


def test_what_is_said_to_pay_the_plan_is_what_it_is_charged_to(acme: Subscriber) -> None:
    def ways() -> tuple[str, str]:
        of_plan = customers.method_of_plan(acme.database, acme.payments, acme.organization)
        default = customers.method_in_words(acme.payments, acme.organization)
        return (of_plan.last4 if of_plan else "", default.last4 if default else "")

    assert ways() == ("", "")
    acme.subscribe("starter", number="4000000000007726")
    assert ways() == ("7726", "7726")
    save_card(acme)
    assert ways() == ("7726", "4242")
    acme.stripe.v1.subscriptions.cancel(acme.billed.stripe_subscription_id)
    acme.tell()
    assert ways() == ("4242", "4242")


def test_who_does_not_pay_for_seats_begins_no_new_work_either(acme: Subscriber) -> None:
    acme.subscribe("seat", seats=3)
    acme.give_up("past_due")
    acme.card(DECLINED)
    acme.to(utc(2026, 12, 9, 12))
    acme.to(utc(2026, 12, 9, 13))
    stops = acme.organization.stops_at
    assert (stops is not None, acme.organization.charging) == (True, "shadow")
    acme.to(stops - HOUR / 60)
    hold = acme.acme.hold("document")
    acme.to(stops)
    refused(acme.acme.authorize("document"), 402, "payment-overdue")
    refused(acme.acme.increment(hold, 1), 402, "payment-overdue")
    ok(acme.acme.capture(hold))
    acme.pay(acme.standing().pay_url)
    acme.tell()
    acme.acme.hold("document")


@pytest.mark.parametrize("after", ["canceled", "unpaid"])
def test_who_never_pays_has_no_plan_any_more_and_keeps_what_was_bought(
    acme: Subscriber, after: str
) -> None:
    acme.subscribe("starter")
    acme.acme.grant(100, source="pack", paid={"amount": 10, "currency": "usd"})
    acme.give_up(after)
    acme.card(DECLINED)
    acme.to(utc(2026, 12, 9, 12))
    for days in (1, 3.1, 5.2, 7.3, 8):
        acme.to(utc(2026, 12, 9, 12) + days * DAY)
    assert acme.billed.status == after
    assert (acme.organization.tier, acme.organization.stops_at) == (None, None)
    assert acme.available == "100"
    acme.acme.hold("document")
    period = acme.organization.period_at(acme.clock())
    assert period.end == utc(2027, 1, 1)
    assert acme.given() == [(500, 2900)]


def test_an_end_is_scheduled_undone_and_scheduled_again(acme: Subscriber) -> None:
    acme.subscribe("keeper")
    end = utc(2026, 12, 9, 12)
    found = acme.change(None)
    assert (found.kind, found.effective_at, found.charge_minor) == ("cancel", end, 0)
    assert (acme.pending().cancels_at, acme.pending().undoable) == (end, True)
    acme.undo()
    acme.tell()
    assert acme.pending().undoable is False
    assert acme.subscription().cancel_at_period_end is False
    acme.change(None)
    acme.to(end - TICK)
    assert acme.organization.tier == "keeper"
    acme.to(end, told=False)
    assert acme.available == "0"
    assert acme.organization.tier is None, "at its instant, whether or not Stripe has told"
    before = acme.organization
    acme.tell()
    assert acme.organization == before
    assert acme.billed.status == "canceled"
    assert acme.given("rollover") == []
    assert acme.organization.period_at(end) == Period(utc(2026, 12, 9), utc(2027, 1, 1))


def test_subscribing_again_after_the_end_begins_anew(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.change(None)
    acme.to(utc(2026, 12, 9, 12))
    acme.to(utc(2026, 12, 20, 8))
    acme.subscribe("pro")
    assert acme.given() == [(500, 2900), (2500, 9900)]
    assert acme.available == "2500"
    assert acme.organization.subscribed == Period(utc(2026, 12, 20), utc(2027, 1, 20))
    before = acme.digest
    first = acme.events("customer.subscription.deleted")[0]
    again = [one for one in acme.untold() if one.event_id == first.id]
    assert again == []
    acme.sync(str(first.data.object.id))
    assert acme.digest == before, "what ended before does not end what began since"


def test_who_ended_at_once_and_begins_again_is_not_given_the_same_days_twice(
    acme: Subscriber,
) -> None:
    acme.subscribe("starter")
    spend(acme, 100)
    acme.to(utc(2026, 11, 24, 12))
    acme.stripe.v1.subscriptions.cancel(acme.billed.stripe_subscription_id)
    acme.tell()
    assert acme.organization.tier is None
    acme.subscribe("starter")
    first, second = acme.given()
    assert (first, second) == ((500, 2900), (250, 2900))


def test_who_has_a_failed_refund_and_begins_again_is_not_given_the_same_days_twice(
    acme: Subscriber,
) -> None:
    acme.subscribe("starter")
    (payment,) = acme.rows(payments)
    refund = acme.stripe.v1.refunds.create({"payment_intent": payment.payment_id})
    acme.tell()
    assert acme.available == "0"
    acme.control(f"refunds/{refund.id}", to="failed")
    acme.tell()
    assert acme.available == "500"
    acme.to(utc(2026, 11, 24, 12))
    acme.stripe.v1.subscriptions.cancel(acme.billed.stripe_subscription_id)
    acme.tell()
    acme.subscribe("starter")
    assert acme.given() == [(500, 2900), (250, 2900)]


def test_a_tier_by_the_seat_is_billed_for_its_seats(acme: Subscriber) -> None:
    acme.subscribe("seat", seats=3)
    assert (acme.organization.tier, acme.organization.seats) == ("seat", 3)
    assert acme.given() == []
    (payment,) = acme.rows(payments)
    assert (payment.amount_minor, payment.grant_id) == (6000, None)
    acme.to(utc(2026, 11, 24, 12))
    found = acme.change("seat", seats=5)
    assert (found.kind, found.charge_minor, found.credits_micro) == ("upgrade", 2000, 0)
    assert found.renewal_minor == 10_000
    assert acme.organization.seats == 5
    found = acme.change("seat", seats=2)
    assert (found.kind, found.charge_minor) == ("downgrade", 0)
    acme.to(utc(2026, 12, 9, 12))
    acme.to(utc(2026, 12, 9, 12, 1))
    assert acme.organization.seats == 2
    assert acme.invoices()[0].amount_paid == 4000


def test_who_pays_by_the_seat_is_never_stopped_for_credits_until_a_plan_counts_them(
    acme: Subscriber,
) -> None:
    acme.acme.grant(3)
    before = acme.acme.hold("image")
    acme.subscribe("seat", seats=3)
    hold = acme.acme.hold("analysis", 7)
    assert ok(acme.acme.capture(hold))["uncollected"] == "0"
    assert ok(acme.acme.send(acme.acme.event("analysis", quantity=7)))["uncollected"] == 0
    assert ok(acme.acme.capture(before))["credits"] == "2"
    standing = acme.acme.standing
    ana = enter(acme.application, acme.database, acme.clock, "ana")
    page = " ".join(ana.client.get("/").text.split())
    assert "None of it is charged and nothing is blocked." in page
    assert "$60.00 for Seat with 3 seats, and nothing more" in page
    acme.change("seat", seats=5)
    ok(acme.acme.authorize("analysis", 7), 201)
    assert acme.acme.standing == standing
    acme.change("team")
    assert acme.organization.charging == "on"
    acme.acme.hold("analysis")
    assert acme.acme.standing[1] == "10"
    acme.change("seat", seats=1)
    acme.to(utc(2026, 12, 9, 12))
    acme.to(utc(2026, 12, 9, 12, 1))
    assert (acme.organization.tier, acme.organization.charging) == ("seat", "shadow")
    acme.change(None)
    acme.to(utc(2027, 1, 9, 12))
    acme.to(utc(2027, 1, 9, 12, 1))
    assert (acme.organization.tier, acme.organization.charging) == (None, "on")


def test_what_the_operator_chose_to_charge_stays_while_the_plan_does(acme: Subscriber) -> None:
    acme.subscribe("seat", seats=3)
    ok(acme.acme.api.put(acme.acme.path, {"name": "Acme", "charging": "on"}))
    acme.change("seat", seats=5)
    acme.to(utc(2026, 12, 9, 12))
    acme.to(utc(2026, 12, 9, 12, 1))
    assert acme.organization.charging == "on"
    ok(acme.acme.api.put(acme.acme.path, {"name": "Acme", "charging": "shadow"}))
    acme.change("team")
    assert acme.organization.charging == "on"
    ok(acme.acme.api.put(acme.acme.path, {"name": "Acme", "charging": "shadow"}))
    acme.change("starter")
    acme.to(utc(2027, 1, 9, 12))
    acme.to(utc(2027, 1, 9, 12, 1))
    assert (acme.organization.tier, acme.organization.charging) == ("starter", "shadow")


def put(acme: Subscriber, **stated: Any) -> str:
    return str(ok(acme.acme.api.put(acme.acme.path, {"name": "Acme", **stated}))["charging"])


def test_on_seats_that_the_operator_put_in_place_use_is_only_measured(acme: Subscriber) -> None:
    assert put(acme, tier="seat", seats=3) == "shadow"
    acme.acme.hold("image", 1_000)
    assert put(acme, tier="seat", seats=4) == "shadow"
    assert put(acme, tier="starter") == "on"
    assert put(acme, tier="seat", seats=3, charging="on") == "on"
    assert acme.acme.authorize("image", 1_000).status_code == 402
    assert put(acme, tier="starter", charging="shadow") == "shadow"
    assert put(acme, tier="pro") == "shadow"


def test_seats_of_the_operator_s_that_are_bought_go_on_and_a_plan_of_credits_charges(
    acme: Subscriber,
) -> None:
    url = acme.open("seat", seats=3)
    assert put(acme, tier="seat", seats=3) == "shadow"
    assert acme.pay(url).status_code == 303
    acme.tell()
    assert acme.organization.charging == "shadow"
    acme.acme.hold("image", 100)


def test_who_had_seats_of_the_operator_s_and_buys_a_plan_of_credits_is_charged(
    acme: Subscriber,
) -> None:
    url = acme.open("starter")
    assert put(acme, tier="seat", seats=3) == "shadow"
    acme.pay(url)
    acme.tell()
    assert (acme.organization.tier, acme.organization.charging) == ("starter", "on")


def test_a_tier_by_the_year_is_given_once_a_year(acme: Subscriber) -> None:
    acme.subscribe("yearly")
    assert acme.given() == [(30_000, 99_000)]
    assert acme.organization.subscribed == Period(utc(2026, 11, 9), utc(2027, 11, 9))
    found = acme.preview("team")
    assert (found.kind, found.charge_minor, found.effective_at) == (
        "downgrade", 0, utc(2027, 11, 9, 12),
    )  # fmt: skip


def test_what_is_not_sold_here_is_refused(acme: Subscriber) -> None:
    with pytest.raises(InvalidRequest, match="not sold here"):
        acme.open("enterprise")
    with pytest.raises(InvalidRequest, match="by the seat"):
        acme.open("seat")
    with pytest.raises(InvalidRequest, match="is not one of"):
        acme.open("gold")
    assert acme.rows(tier_checkouts) == []


def test_only_one_checkout_is_open_and_who_has_a_plan_begins_no_second(acme: Subscriber) -> None:
    first = acme.open("starter")
    second = acme.open("pro")
    assert acme.pay(first).status_code != 303
    assert acme.pay(second).status_code == 303
    with pytest.raises(InvalidRequest, match="plan already"):
        acme.open("team")
    assert acme.organization.tier == "pro"
    assert sorted(row.status for row in acme.rows(tier_checkouts)) == ["expired", "fulfilled"]


def test_two_clicks_at_once_leave_one_page_to_pay_on(
    acme: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, second = acme.payments.create_tier_checkout, [""]

    def interrupted(**asked: Any) -> CheckoutSession:
        if not second[0]:
            second[0] = "begun"
            second[0] = session_of(acme.open("team"))
        return create(**asked)

    monkeypatch.setattr(acme.payments, "create_tier_checkout", interrupted)
    with pytest.raises(InvalidRequest, match="Another checkout"):
        acme.open("pro")
    sessions = acme.stripe.v1.checkout.sessions.list().data
    assert [one.id for one in sessions if one.status == "open"] == second


def test_what_the_operator_arranged_is_not_sold_over_nor_the_other_way_round(
    acme: Subscriber,
) -> None:
    ok(acme.acme.api.put(acme.acme.path, {"name": "Acme", "tier": "enterprise"}))
    with pytest.raises(InvalidRequest, match="arranged with us"):
        acme.open("pro")
    with pytest.raises(InvalidRequest, match="no plan here"):
        acme.preview("pro")


def test_the_operator_does_not_put_a_tier_over_what_stripe_bills(acme: Subscriber) -> None:
    acme.subscribe("pro")
    before = acme.organization
    ok(acme.acme.api.put(acme.acme.path, {"name": "Acme", "tier": "pro"}))
    assert acme.organization == before
    problem = acme.acme.api.put(acme.acme.path, {"name": "Acme", "tier": "enterprise"})
    refused(problem, 422, "invalid-request")
    assert acme.organization == before


def test_the_page_a_buyer_returns_to_brings_it_about(acme: Subscriber) -> None:
    url = acme.open("pro")
    session = session_of(url)
    assert acme.returned(session).status == "open"
    acme.pay(url)
    assert acme.returned(session).status == "fulfilled"
    assert acme.given() == [(2500, 9900)]
    before = acme.digest
    acme.tell()
    assert acme.digest == before
    with pytest.raises(NotFound):
        tier_checkout.returned(
            acme.database, acme.payments, organization_id="bystander", session_id=session,
            now=acme.clock(),
        )  # fmt: skip


def test_invoices_are_listed_with_what_they_are_for(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(utc(2026, 11, 24, 12))
    acme.change("pro")
    with acme.database.reading() as tx:
        latest, first = billed_invoices.listed(tx, "acme")
    assert [line.kind for line in latest.lines] == ["proration", "proration"]
    assert [(line.kind, line.tier, line.amount_minor) for line in first.lines] == [
        ("tier", "starter", 2900),
    ]  # fmt: skip
    assert latest.number
    assert latest.page_url.startswith(acme.address)
    assert (latest.status, latest.paid_minor, latest.due_minor) == ("paid", 3500, 0)


def test_a_cap_counts_on_in_the_plans_own_period(acme: Subscriber) -> None:
    acme.acme.grant(100)
    cap = acme.acme.cap(60)
    spend(acme, 2)
    acme.to(acme.clock() + HOUR)
    spend(acme, 1)
    acme.subscribe("starter")
    assert acme.acme.caps()[cap]["spent"] == "15"
    assert acme.acme.caps()[cap]["resets_at"] == "2026-12-09T00:00:00+00:00"
    spend(acme, 1)
    acme.to(utc(2026, 12, 9))
    assert acme.acme.caps()[cap]["spent"] == "0"
