"""Changing a plan: what is previewed is what is charged and given, and nothing is farmed by it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction

import pytest

from portal import jobs
from portal.core.errors import InvalidRequest, NotFound, Unavailable
from portal.core.periods import Period
from portal.jobs import Workshop
from portal.tables import grants, tier_changes
from tests.cast import ok
from tests.clock import Clock
from tests.readers import enter
from tests.shop import DECLINED, GOOD
from tests.subscribers import DAY, HOUR, MICRO, Subscriber, subscriber, utc

START, END = utc(2026, 11, 9, 12), utc(2026, 12, 9, 12)
HALF = utc(2026, 11, 24, 12)
#: A card whose bank asks about every payment.
ASKS = "4000002760003184"
TICK = timedelta(microseconds=1)


@pytest.fixture
def acme(store: str, clock: Clock) -> Iterator[Subscriber]:
    with subscriber(store, clock) as made:
        yield made


def status(acme: Subscriber) -> list[str]:
    return [row.status for row in sorted(acme.rows(tier_changes), key=lambda row: row.created_at)]


def test_an_upgrade_charges_and_gives_what_was_previewed(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    found = acme.preview("pro")
    assert (found.kind, found.charge_minor, found.credits_micro) == ("upgrade", 3500, 1000 * MICRO)
    assert (found.effective_at, found.renews_at, found.renewal_minor) == (HALF, END, 9900)
    acme.to(HALF + 10 * HOUR / 60)
    assert acme.confirm(found).status == "done"
    assert acme.organization.tier == "pro"
    assert acme.given() == [(500, 2900), (1000, 3500)]
    assert acme.invoices()[0].amount_paid == found.charge_minor
    assert acme.billed.largest_allowance_micro == 2500 * MICRO
    before = acme.digest
    acme.tell(all_of_them=True)
    acme.sync(acme.billed.stripe_subscription_id)
    assert acme.digest | {"stripe_inbox": []} == before | {"stripe_inbox": []}
    assert acme.confirm(found).status == "done"
    assert len(acme.invoices()) == 2
    acme.to(END - TICK)
    assert acme.available == "1500"
    acme.to(END, told=False)
    assert acme.available == "0"


def test_the_worst_case_has_what_a_change_really_cost(acme: Subscriber) -> None:
    acme.subscribe("starter")
    assert worst(acme) == "29"
    acme.to(HALF)
    acme.change("pro")
    assert worst(acme) == "64"
    # Until the renewal is billed it is the list price, and then what that says.
    acme.to(END, told=False)
    assert worst(acme) == "99"
    acme.tell()
    acme.to(END + HOUR / 60)
    assert worst(acme) == "99"


def test_the_worst_case_names_the_price_of_an_upgrade_that_waits_by_itself(
    acme: Subscriber,
) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    acme.card(DECLINED)
    outcome = acme.confirm(acme.preview("pro"))
    acme.tell()
    waits = "$29.00 for Starter and $35.00 more for Pro if you pay for it."
    assert (worst(acme), waits in overview(acme)) == ("64", True)
    acme.pay(outcome.pay_url, GOOD)
    acme.tell()
    assert (worst(acme), "$64.00 for Pro, and nothing more" in overview(acme)) == ("64", True)


def test_the_worst_case_has_nothing_of_an_upgrade_that_was_dropped(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.card(DECLINED)
    acme.confirm(acme.preview("pro"))
    acme.tell()
    acme.drop()
    assert "$29.00 for Starter, and nothing more" in overview(acme)


def overview(acme: Subscriber) -> str:
    ana = enter(acme.application, acme.database, acme.clock, "ana")
    return " ".join(ana.client.get("/").text.split())


def worst(acme: Subscriber) -> str:
    return str(acme.acme.balance()["worst_case"]["amount"])


@pytest.mark.parametrize("seed", range(2))
def test_at_any_instant_the_preview_is_the_grant_and_never_under_the_list_price(
    acme: Subscriber, seed: int
) -> None:
    dice = random.Random(seed)
    acme.subscribe("starter")
    acme.to(START + timedelta(seconds=dice.randrange(30 * 86_400)))
    tier, price, included = dice.choice([("pro", 9900, 2500), ("team", 29_900, 10_000)])
    found = acme.change(tier)
    _, (_, charged) = acme.given()
    given = [row.granted_micro for row in acme.rows(grants)]
    assert charged == found.charge_minor == acme.invoices()[0].amount_paid
    assert sum(given) == 500 * MICRO + found.credits_micro
    assert Fraction(2900 + found.charge_minor, sum(given)) >= Fraction(price, included * MICRO)


def test_in_the_last_minute_a_charge_of_nothing_gives_nothing(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(END - timedelta(seconds=60))
    found = acme.change("pro")
    assert (found.charge_minor, found.credits_micro) == (0, 0)
    assert acme.organization.tier == "pro"
    assert acme.given() == [(500, 2900)]


def test_going_up_and_down_in_stripes_dashboard_adds_nothing(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(START + DAY)
    acme.change("pro")
    once = acme.given()
    low, high = acme.price("starter"), acme.price("pro")
    for time in range(8):
        acme.to(START + (2 + time) * DAY, told=False)
        acme.set_price(low)
        acme.to(acme.clock() + HOUR, told=False)
        acme.set_price(high)
    acme.tell()
    assert acme.given() == once
    assert acme.organization.tier == "pro"


def test_an_upgrade_made_in_stripes_dashboard_gives_the_same(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    expected = acme.preview("pro")
    acme.set_price(acme.price("pro"))
    acme.tell()
    assert acme.given() == [(500, 2900), (expected.credits_micro // MICRO, expected.charge_minor)]


def test_two_upgrades_give_the_same_in_whatever_order_they_are_told(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(START + 10 * DAY, told=False)
    acme.set_price(acme.price("pro"))
    acme.to(START + 20 * DAY, told=False)
    acme.set_price(acme.price("team"))
    waiting = [one for one in acme.untold() if one.type == "invoice.paid"]
    assert len(waiting) == 2
    for one in reversed(waiting):
        acme.receive(one)
    # 2,000 for 20 of 30 days, and 7,500 for 10.
    assert [credits_ for credits_, _ in acme.given()] == [500, 1333, 2500]


def test_a_declined_upgrade_waits_and_the_old_tier_stays(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    acme.card(DECLINED)
    found = acme.preview("pro")
    outcome = acme.confirm(found)
    assert (outcome.status, outcome.pay_url[:8]) == ("awaiting_payment", acme.address[:8])
    acme.tell()
    assert (acme.organization.tier, acme.given()) == ("starter", [(500, 2900)])
    pending = acme.pending()
    assert (pending.awaited_tier, pending.pay_url) == ("pro", outcome.pay_url)
    assert acme.notices() == {"upgrade-unpaid": outcome.pay_url}
    acme.pay(outcome.pay_url, GOOD)
    acme.tell()
    assert acme.organization.tier == "pro"
    assert acme.given() == [(500, 2900), (found.credits_micro // MICRO, found.charge_minor)]
    assert (acme.pending().awaited_tier, acme.notices(), status(acme)) == (None, {}, ["done"])


@pytest.mark.parametrize("outcome", ["complete", "fail"])
def test_an_upgrade_that_a_bank_asks_about_waits_for_the_answer(
    acme: Subscriber, outcome: str
) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    acme.card(ASKS)
    found = acme.preview("pro")
    assert acme.confirm(found).status == "awaiting_payment"
    acme.tell()
    assert (acme.organization.tier, acme.given()) == ("starter", [(500, 2900)])
    acme.authenticate(outcome)
    acme.tell()
    if outcome == "complete":
        assert acme.organization.tier == "pro"
        assert acme.given()[1] == (found.credits_micro // MICRO, found.charge_minor)
    else:
        assert (acme.organization.tier, len(acme.given())) == ("starter", 1)
        assert acme.pending().awaited_tier == "pro"


def test_a_discount_is_taken_off_what_was_paid_and_not_off_the_credits(acme: Subscriber) -> None:
    coupon = acme.stripe.v1.coupons.create({"percent_off": 50, "duration": "once"})
    promotion = {"type": "coupon", "coupon": coupon.id}
    acme.stripe.v1.promotion_codes.create({"promotion": promotion, "code": "HALF"})
    url = acme.open("pro")
    acme.pay(url, promotion_code="HALF", apply="1")
    assert acme.pay(url, promotion_code="HALF").status_code == 303
    acme.tell()
    assert acme.given() == [(2500, 4950)]
    assert acme.invoices()[0].amount_paid == 4950
    acme.to(HALF)
    found = acme.preview("team")
    assert acme.confirm(found).status == "done"
    acme.tell()
    assert acme.invoices()[0].amount_paid == found.charge_minor
    assert sum(credits_ for credits_, _ in acme.given()) == 2500 + found.credits_micro // MICRO
    assert acme.differences() == []


def discounted(acme: Subscriber, percent: int) -> None:
    """Subscribe to Starter with so much off for ever."""
    coupon = acme.stripe.v1.coupons.create({"percent_off": percent, "duration": "forever"})
    promotion = {"type": "coupon", "coupon": coupon.id}
    acme.stripe.v1.promotion_codes.create({"promotion": promotion, "code": "HALF"})  # type: ignore[arg-type]
    url = acme.open("starter")
    acme.pay(url, promotion_code="HALF", apply="1")
    assert acme.pay(url, promotion_code="HALF").status_code == 303
    acme.tell()


@pytest.mark.parametrize(("percent", "charge"), [(50, 1750), (100, 0)])
def test_a_discount_for_ever_takes_off_the_money_and_not_the_credits(
    acme: Subscriber, percent: int, charge: int
) -> None:
    discounted(acme, percent)
    acme.to(HALF)
    found = acme.change("pro")
    assert (found.charge_minor, found.credits_micro) == (charge, 1000 * MICRO)
    assert acme.given()[1] == (1000, charge)
    assert acme.differences() == []


def test_a_discount_buys_nothing_in_the_last_minute(acme: Subscriber) -> None:
    discounted(acme, 50)
    acme.to(END - timedelta(seconds=60))
    assert acme.change("pro").credits_micro == 0
    assert len(acme.given()) == 1


@pytest.mark.parametrize("hears", [True, False])
def test_an_upgrade_that_waits_for_its_payment_can_be_dropped(
    acme: Subscriber, hears: bool
) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    acme.card(DECLINED)
    outcome = acme.confirm(acme.preview("pro"))
    acme.tell()
    if not hears:
        acme.fail("reset_after", "/v1/invoices/*/void", times=3)
        with pytest.raises(Unavailable):
            acme.drop()
    acme.drop()
    acme.tell()
    assert (acme.organization.tier, acme.pending().awaited_tier) == ("starter", None)
    assert (acme.given(), acme.notices(), status(acme)) == ([(500, 2900)], {}, ["failed"])
    assert acme.invoices()[0].status == "void"
    acme.pay(outcome.pay_url, GOOD)
    acme.tell()
    assert (acme.organization.tier, acme.invoices()[0].status) == ("starter", "void")
    with pytest.raises(InvalidRequest, match="No change waits"):
        acme.drop()
    acme.card(GOOD)
    acme.change("pro")
    assert acme.given()[1:] == [(1000, 3500)]


def test_whoever_pays_may_drop_it_on_the_page(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    acme.card(DECLINED)
    found = acme.preview("pro")
    acme.confirm(found)
    ana = enter(acme.application, acme.database, acme.clock, "ana")
    for page in ("/plans", "/billing", f"/plans/changes/{found.change_id}"):
        assert "Do not upgrade" in ana.client.get(page).text
    assert ana.send("/plans/drop", "/billing", page="billing").headers["Location"] == "/billing"
    said = ana.client.get("/billing").text
    assert "Your plan stays as it is, and nothing was charged" in said
    assert "Do not upgrade" not in said


def test_an_upgrade_that_was_paid_meanwhile_is_not_dropped(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    acme.card(DECLINED)
    outcome = acme.confirm(acme.preview("pro"))
    acme.tell()
    acme.pay(outcome.pay_url, GOOD)
    with pytest.raises(InvalidRequest, match="has been paid"):
        acme.drop()
    assert (acme.organization.tier, acme.given()[1:]) == ("pro", [(1000, 3500)])


def test_the_end_of_a_plan_says_what_was_used_beyond_it_until_it_is_billed(
    acme: Subscriber,
) -> None:
    acme.subscribe("pro")
    beyond = {"on_empty": "overage", "overage_limit": "99"}
    ok(acme.acme.api.patch(f"{acme.acme.path}/spending", beyond))
    ok(acme.acme.send(acme.acme.event("image", quantity=1_310)))

    def says(path: str) -> str:
        ana = enter(acme.application, acme.database, acme.clock, "ana")
        return " ".join(re.sub(r"<[^>]+>", "", ana.client.get(path).text).split())

    waits = "$7.20 for credits used beyond yours is not billed yet: it is billed"
    assert f"{waits} on 9 Dec." in says("/billing")
    found = acme.preview(None)
    here = f"/plans/changes/{found.change_id}"
    assert "$7.20 for credits used beyond yours so far; nothing for the plan" in says(here)
    acme.confirm(found)
    assert "$7.20 for credits used beyond yours is billed then." in says(here)
    acme.to(END + HOUR / 60)
    assert acme.organization.tier is None
    assert f"{waits} within the hour." in says("/billing")
    assert "Nothing is due" not in says("/billing")
    jobs.bill_overage(Workshop(acme.database, acme.payments, acme.clock))
    assert "not billed yet" not in says("/billing")
    assert "Nothing is due unless you buy credits." in says("/billing")


def test_an_end_on_a_day_of_its_own_is_taken_back_too(acme: Subscriber) -> None:
    acme.subscribe("pro")
    day = int((START + 9 * DAY).timestamp())
    acme.stripe.v1.subscriptions.update(acme.billed.stripe_subscription_id, {"cancel_at": day})
    acme.tell()
    assert acme.pending().cancels_at == START + 9 * DAY
    acme.undo()
    assert (acme.pending().cancels_at, acme.subscription().cancel_at) == (None, None)


def test_an_upgrade_that_nobody_pays_is_dropped(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    acme.card(DECLINED)
    assert acme.confirm(acme.preview("pro")).status == "awaiting_payment"
    acme.tell()
    until = acme.pending().awaited_until
    assert until is not None
    acme.to(until + HOUR)
    assert (acme.organization.tier, acme.pending().awaited_tier) == ("starter", None)
    assert (acme.given(), acme.notices(), status(acme)) == ([(500, 2900)], {}, ["failed"])


def test_a_smaller_plan_begins_with_the_next_cycle_and_can_be_taken_back(acme: Subscriber) -> None:
    acme.subscribe("pro")
    acme.to(HALF)
    found = acme.change("starter")
    assert (found.kind, found.charge_minor, found.credits_micro) == ("downgrade", 0, 0)
    assert (found.effective_at, found.renewal_minor) == (END, 2900)
    assert (acme.pending().scheduled_tier, acme.pending().scheduled_at) == ("starter", END)
    acme.undo()
    acme.tell()
    assert (acme.pending().scheduled_tier, acme.subscription().schedule) == (None, None)
    with pytest.raises(InvalidRequest, match="Nothing is scheduled"):
        acme.undo()
    acme.change("starter")
    acme.to(END - TICK)
    assert (acme.organization.tier, acme.available) == ("pro", "2500")
    acme.to(END, told=False)
    assert (acme.available, acme.organization.tier) == ("0", "starter")
    acme.tell()
    acme.to(END + HOUR / 60)
    assert acme.given() == [(2500, 9900), (500, 2900)]
    assert acme.pending().scheduled_tier is None
    assert acme.organization.subscribed == Period(utc(2026, 12, 9), utc(2027, 1, 9))


def test_a_smaller_plan_keeps_the_discount_that_was_agreed(acme: Subscriber) -> None:
    coupon = acme.stripe.v1.coupons.create({"percent_off": 50, "duration": "forever"})
    promotion = {"type": "coupon", "coupon": coupon.id}
    acme.stripe.v1.promotion_codes.create({"promotion": promotion, "code": "HALF"})
    url = acme.open("pro")
    acme.pay(url, promotion_code="HALF", apply="1")
    assert acme.pay(url, promotion_code="HALF").status_code == 303
    acme.tell()
    acme.to(HALF)
    acme.change("starter")
    acme.to(END)
    acme.to(END + HOUR / 60)
    assert acme.given() == [(2500, 4950), (500, 1450)]
    acme.to(utc(2027, 1, 9, 12))
    acme.to(utc(2027, 1, 9, 12, 1))
    assert acme.given()[-1] == (500, 1450)


@pytest.mark.parametrize("scheduled", ["starter", None])
def test_an_upgrade_takes_back_what_is_scheduled(acme: Subscriber, scheduled: str | None) -> None:
    acme.subscribe("pro")
    acme.change(scheduled)
    assert acme.pending().undoable
    acme.to(HALF)
    acme.change("team")
    assert acme.organization.tier == "team"
    assert not acme.pending().undoable
    assert acme.given() == [(2500, 9900), (3750, 10_000)]


def test_a_preview_is_confirmed_while_it_is_true_by_who_asked(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    found = acme.preview("pro")
    acme.to(HALF + 30 * HOUR / 60)
    with pytest.raises(InvalidRequest, match="no longer current"):
        acme.confirm(found)
    found, other = acme.preview("pro"), acme.preview("team")
    assert acme.confirm(found).status == "done"
    acme.tell()
    with pytest.raises(InvalidRequest, match="changed meanwhile"):
        acme.confirm(other)
    with pytest.raises(InvalidRequest, match="is the plan you have"):
        acme.preview("pro")
    with pytest.raises(NotFound):
        acme.confirm(type(found)(**(found.__dict__ | {"change_id": "tx_nobody"})))
    assert len(acme.invoices()) == 2


def test_a_preview_from_other_seats_is_no_longer_true(acme: Subscriber) -> None:
    acme.subscribe("seat", seats=5)
    acme.to(START + DAY)
    found, first = acme.preview("seat", seats=7), acme.preview("seat", seats=10)
    assert acme.confirm(first).status == "done"
    acme.tell()
    with pytest.raises(InvalidRequest, match="changed meanwhile"):
        acme.confirm(found)
    assert acme.billed.seats == 10


def test_what_stripe_did_not_answer_is_gone_on_with_by_the_same_key(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    found = acme.preview("pro")
    acme.fail("timeout_after", "/v1/subscriptions/*", times=3)
    with pytest.raises(Unavailable):
        acme.confirm(found)
    assert status(acme) == ["started"]
    acme.to(HALF + HOUR / 10)
    acme.mend()
    assert status(acme) == ["done"]
    assert acme.given() == [(500, 2900), (1000, 3500)]
    assert len(acme.invoices()) == 2


def reconciled(acme: Subscriber) -> list[str]:
    runner = acme.application.test_cli_runner()
    done = runner.invoke(args=["stripe", "reconcile", "--since", "2026-11-01"])
    assert done.exit_code == 0, done.output
    return list(done.output.splitlines())


def test_what_cannot_be_mended_yet_is_told_with_whose_it_is_and_counted_as_that(
    acme: Subscriber,
) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    found = acme.preview("pro")
    acme.fail("status", "/v1/subscriptions/*", times=3, status=503)
    with pytest.raises(Unavailable):
        acme.confirm(found)
    acme.to(HALF + HOUR / 10, told=False)
    acme.fail("status", "/v1/subscriptions/*", times=3, status=503)
    *told, count = reconciled(acme)
    (line,) = told
    assert line.startswith("not yet: acme, upgrade ")
    assert acme.billed.stripe_subscription_id in line
    assert count == "0 mended, 1 not yet, 0 differ."
    acme.fail("status", "/v1/subscriptions/*", times=3, status=503)
    assert jobs.reconcile_payments(Workshop(acme.database, acme.payments, acme.clock)) == 0
    assert reconciled(acme)[-1] == "1 mended, 0 differ."
    assert status(acme) == ["done"]


def test_what_is_mended_of_a_plan_that_is_to_end_is_what_changed(acme: Subscriber) -> None:
    acme.subscribe("starter")
    for ends, before, after in ((True, "", ", ends with its cycle"),
                                (False, ", ends with its cycle", ", goes on")):  # fmt: skip
        acme.stripe.v1.subscriptions.update(
            acme.billed.stripe_subscription_id, {"cancel_at_period_end": ends}
        )
        stands = f"starter active until {END.isoformat()}"
        (line,) = acme.mend()
        assert line.endswith(f": {stands}{before} -> {stands}{after}")


def test_what_stripe_refuses_has_failed_at_once_and_is_not_done_later(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    found = acme.preview("pro")
    acme.fail("status", "/v1/subscriptions/*", times=1, status=400)
    assert acme.confirm(found).status == "failed"
    acme.to(HALF + HOUR)
    acme.mend()
    assert (status(acme), acme.billed.tier) == (["failed"], "starter")
    assert acme.confirm(found).status == "failed"
    assert len(acme.invoices()) == 1


def test_reconciliation_alone_brings_everything_about(acme: Subscriber) -> None:
    url = acme.open("starter")
    acme.pay(url)
    assert len(acme.mend()) > 0
    assert acme.mend() == []
    acme.to(HALF, told=False)
    acme.set_price(acme.price("pro"))
    assert any("starter active" in line for line in acme.mend())
    acme.to(END, told=False)
    acme.mend()
    acme.to(END + HOUR / 60, told=False)
    acme.mend()
    assert acme.mend() == []
    assert acme.given() == [(500, 2900), (1000, 3500), (2500, 9900)]
    before = acme.digest
    acme.tell(all_of_them=True)
    assert acme.digest == before
    assert acme.differences() == []
