"""A new price book takes nothing from who has a plan: what is sold no more stays as bought."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from portal import catalog
from portal.core.errors import InvalidRequest
from tests.cast import ok
from tests.clock import Clock
from tests.readers import enter
from tests.subscribers import BOOK, DAY, Subscriber, subscriber, utc

HALF, END = utc(2026, 11, 24, 12), utc(2026, 12, 9, 12)
PAID = END + DAY / 1440


@pytest.fixture
def acme(store: str, clock: Clock) -> Iterator[Subscriber]:
    with subscriber(store, clock) as made:
        yield made


def publish(acme: Subscriber, *, without: str = "", **changed: str) -> None:
    """Publish a book without a tier, or with another text for some of them."""
    book = re.sub(rf"\[tiers\.{without}\]\n(?:.+\n)*", "", BOOK) if without else BOOK
    for tier, text in changed.items():
        book = re.sub(rf"\[tiers\.{tier}\]\n(?:.+\n)*", f"[tiers.{tier}]\n{text}\n", book)
    assert book != BOOK
    with acme.database.transaction() as tx:
        catalog.load(tx, book, now=acme.clock())


def test_a_plan_that_is_sold_no_more_is_renewed_with_all_it_includes(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    publish(acme, without="starter")
    acme.to(PAID)
    assert (acme.organization.tier, acme.given()) == ("starter", [(500, 2900)] * 2)
    assert acme.available == "500"
    body = {"on_empty": "overage", "overage_limit": "10.00"}
    ok(acme.acme.api.patch(f"{acme.acme.path}/spending", body))
    # 29.00 for the plan, and 10.00 for credits beyond it, at the 8 cents that it was sold with.
    assert acme.acme.balance()["worst_case"]["amount"] == "39"
    assert acme.differences() == []
    ana = enter(acme.application, acme.database, acme.clock, "ana")
    for page in ("/plans", "/billing"):
        assert "$29.00" in ana.client.get(page).text


def test_a_plan_that_is_sold_no_more_cannot_be_chosen_anew(acme: Subscriber) -> None:
    publish(acme, without="starter")
    with pytest.raises(InvalidRequest):
        acme.open("starter")


def test_who_leaves_seats_that_are_sold_no_more_is_charged_for_credits_again(
    acme: Subscriber,
) -> None:
    acme.subscribe("seat", seats=3)
    acme.to(HALF)
    publish(acme, without="seat")
    assert acme.organization.charging == "shadow"
    found = acme.change("team")
    assert (found.kind, found.charge_minor) == ("upgrade", (29_900 - 6_000) // 2)
    assert acme.given() == [(5_000, found.charge_minor)]
    assert acme.organization.charging == "on"


def test_the_end_of_seats_that_are_sold_no_more_has_credits_count_again(acme: Subscriber) -> None:
    acme.subscribe("seat", seats=3)
    publish(acme, without="seat")
    acme.change(None)
    acme.to(PAID)
    assert (acme.organization.tier, acme.organization.charging) == (None, "on")


def test_seats_that_become_credits_under_their_name_do_so_with_the_next_cycle(
    acme: Subscriber,
) -> None:
    acme.subscribe("seat", seats=3)
    acme.to(HALF)
    publish(acme, seat='name = "Seat"\nprice = 60.00\ncredits = 900\n')
    acme.to(END - DAY)
    assert (acme.organization.charging, acme.given()) == ("shadow", [])
    acme.to(PAID)
    assert (acme.organization.charging, acme.given()) == ("on", [(900, 6_000)])


def test_a_smaller_plan_is_smaller_than_what_is_paid_and_not_than_what_it_costs_by_now(
    acme: Subscriber,
) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    publish(
        acme,
        starter='name = "Starter"\nprice = 59.00\ncredits = 500\n',
        keeper='name = "Keeper"\nprice = 49.00\ncredits = 1000\n',
    )
    # Acme still pays 29.00 for Starter.
    found = acme.preview("keeper")
    assert (found.kind, found.charge_minor) == ("upgrade", 1_000)


def test_fewer_credits_for_less_than_seats_cost_come_with_the_next_cycle(acme: Subscriber) -> None:
    acme.subscribe("seat", seats=3)
    acme.to(HALF)
    publish(acme, without="seat")
    assert acme.preview("starter").kind == "downgrade"


def test_a_plan_of_the_operators_is_renewed_though_it_is_sold_no_more(acme: Subscriber) -> None:
    ok(acme.acme.api.put(acme.acme.path, {"name": "Acme", "tier": "starter"}))
    publish(acme, without="starter")
    acme.to(acme.clock() + 40 * DAY)
    assert acme.available == "500"
