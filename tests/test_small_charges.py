"""What is too little to charge goes on the next invoice: it is said before, and so it comes.

The credits of a change are added at once whether its money is taken now, is carried to the next
invoice, or is paid by a credit that stands there. What is shown as charged is what Stripe takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.clock import Clock
from tests.readers import enter
from tests.subscribers import DAY, HOUR, Subscriber, subscriber, utc

END = utc(2026, 12, 9, 12)
#: For the last three hours of 30 days the step from Starter to Pro, $70, comes to 29 cents.
LATE = END - 3 * HOUR


@pytest.fixture
def acme(store: str, clock: Clock) -> Iterator[Subscriber]:
    with subscriber(store, clock) as made:
        yield made


def page_of(acme: Subscriber, change_id: str) -> str:
    """Return the words of a change's page."""
    return words(acme, f"/plans/changes/{change_id}")


def words(acme: Subscriber, path: str) -> str:
    """Return the words of a page."""
    ana = enter(acme.application, acme.database, acme.clock, "ana")
    text = ana.client.get(path).text
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_a_charge_that_is_too_small_comes_with_the_next_invoice_and_the_credits_at_once(
    acme: Subscriber,
) -> None:
    acme.subscribe("starter")
    acme.to(LATE)
    found = acme.preview("pro")
    assert (found.charge_minor, found.carried_minor) == (0, 29)
    assert found.credits_micro == 8_285_714
    said = page_of(acme, found.change_id)
    assert "Charged today Nothing" in said
    assert "On your next invoice $0.29" in said
    before = acme.taken_minor
    assert acme.confirm(found).status == "done"
    acme.tell()
    assert (acme.taken_minor, acme.carried_minor) == (before, 29)
    assert acme.granted_micro()[1:] == [(8_285_714, 29)]
    said = page_of(acme, found.change_id)
    assert "Nothing was charged now; $0.29 goes on your next invoice." in said
    acme.to(END + HOUR)
    assert (acme.taken_minor, acme.carried_minor) == (before + 9_900 + 29, 0)
    assert acme.differences() == []
    said = words(acme, "/billing")
    assert "Change to Pro 9 Dec · Paid Nothing was charged: your balance took it." in said
    assert "$99.29 was charged, with $0.29 from before." in said


def test_what_was_carried_is_charged_with_the_next_change_and_the_preview_says_so(
    acme: Subscriber,
) -> None:
    acme.subscribe("starter")
    acme.to(LATE)
    acme.change("keeper")
    assert acme.carried_minor == 8
    found = acme.preview("team")
    before = acme.taken_minor
    assert (found.charge_minor, found.carried_minor) == (105 + 8, 0)
    assert acme.confirm(found).status == "done"
    acme.tell()
    assert (acme.taken_minor, acme.carried_minor) == (before + found.charge_minor, 0)


def test_two_charges_that_are_too_small_together_go_on_the_next_invoice(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(LATE)
    acme.change("keeper")
    found = acme.preview("pro")
    assert (found.charge_minor, found.carried_minor) == (0, 21 + 8)
    before = acme.taken_minor
    assert acme.confirm(found).status == "done"
    acme.tell()
    assert (acme.taken_minor, acme.carried_minor) == (before, 29)


def test_a_credit_pays_for_a_change_and_what_is_left_of_it_is_shown(acme: Subscriber) -> None:
    acme.subscribe("team")
    acme.to(END - 15 * DAY)
    acme.set_price(acme.price("starter"))
    acme.tell()
    assert acme.carried_minor == -13_500
    found = acme.preview("pro")
    assert (found.charge_minor, found.carried_minor) == (0, 3_500 - 13_500)
    said = page_of(acme, found.change_id)
    assert "Charged today Nothing" in said
    assert "Credit left for your next invoice $100.00" in said
    before = acme.taken_minor
    assert acme.confirm(found).status == "done"
    acme.tell()
    assert (acme.taken_minor, acme.carried_minor) == (before, found.carried_minor)


def test_a_credit_of_less_than_the_least_charge_is_kept_for_the_next_invoice(
    acme: Subscriber,
) -> None:
    acme.subscribe("pro")
    acme.to(LATE)
    before = acme.taken_minor
    acme.set_price(acme.price("starter"))
    acme.tell()
    assert (acme.taken_minor, acme.carried_minor) == (before, -29)
    found = acme.preview("team")
    assert (found.charge_minor, found.carried_minor) == (113 - 29, 0)
    acme.to(END + HOUR)
    assert (acme.taken_minor, acme.carried_minor) == (before + 2_900 - 29, 0)
    said = words(acme, "/billing")
    assert "It comes off your next invoice." in said
    assert "$28.71 was charged: your balance took the rest." in said
    assert acme.differences() == []


def test_where_a_coupon_pays_all_nothing_is_charged_then_or_later(acme: Subscriber) -> None:
    coupon = acme.stripe.v1.coupons.create({"percent_off": 100, "duration": "forever"})
    promotion = {"type": "coupon", "coupon": coupon.id}
    acme.stripe.v1.promotion_codes.create({"promotion": promotion, "code": "ALL"})
    url = acme.open("starter")
    acme.pay(url, promotion_code="ALL", apply="1")
    assert acme.pay(url, promotion_code="ALL").status_code == 303
    acme.tell()
    acme.to(LATE)
    found = acme.change("pro")
    assert (found.charge_minor, found.carried_minor, acme.taken_minor) == (0, 0, 0)
    assert found.credits_micro == 8_333_333
    said = page_of(acme, found.change_id)
    assert "Nothing was charged." in said
    assert "next invoice" not in said
    acme.to(END + HOUR)
    assert (acme.taken_minor, acme.carried_minor) == (0, 0)
    assert acme.differences() == []
