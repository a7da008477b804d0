"""The overview's words: what there is by name, what the plan really gave, the most it can cost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import pytest

from tests.cast import ok
from tests.clock import Clock
from tests.readers import enter
from tests.subscribers import Subscriber, subscriber, utc

HALF = utc(2026, 11, 24, 12)


@pytest.fixture
def acme(store: str, clock: Clock) -> Iterator[Subscriber]:
    with subscriber(store, clock) as made:
        yield made


def words(acme: Subscriber, path: str = "/") -> str:
    """Return a page's words as Ana reads them, without markup."""
    page = enter(acme.application, acme.database, acme.clock, "ana").client.get(path).text
    main = page.partition("<main")[2].partition("</main>")[0]
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", main)))


def test_each_lot_is_named_after_what_granted_it_also_after_an_upgrade(acme: Subscriber) -> None:
    acme.subscribe("starter")
    acme.to(HALF)
    acme.change("pro")
    page = words(acme)
    assert "Included in Starter" in page
    assert "Added by Pro" in page
    assert "Included in Pro" not in page
    ok(acme.acme.send(acme.acme.event("image", quantity=260, id="big")))
    receipt = words(acme, "/usage/events/big")
    assert "Included in Starter" in receipt
    assert "Added by Pro" in receipt


def test_what_the_credits_are_enough_for_is_the_same_on_the_plans_page(acme: Subscriber) -> None:
    acme.subscribe("starter")
    for action, quantity in (("image", 40), ("analysis", 3)):
        ok(acme.acme.send(acme.acme.event(action, quantity=quantity)))
    overview, plans = (
        re.search(r"about ([\d,]+ \w+ or [\d,]+ \w+)", words(acme, path))
        for path in ("/", "/plans")
    )
    assert overview
    assert plans
    assert overview[1] == plans[1]
    assert "images" in overview[1].split(" or ")[0]


def test_what_no_credits_would_buy_is_not_told(acme: Subscriber) -> None:
    acme.subscribe("starter")
    ok(acme.acme.send(acme.acme.event("analysis", quantity=200)))
    assert acme.available == "0"
    for path in ("/", "/plans"):
        assert "about 0" not in words(acme, path)


def test_a_plan_taken_within_the_period_says_what_it_gave_not_what_it_includes(
    acme: Subscriber,
) -> None:
    acme.subscribe("starter")
    assert "Your plan includes 500" in words(acme)
    acme.to(HALF)
    acme.change("pro")
    page = words(acme)
    assert "gave you 1,500 this period" in page
    assert "2,500" not in page


def test_the_parts_of_the_guarantee_are_its_sum(acme: Subscriber) -> None:
    acme.subscribe("starter")
    path = f"{acme.acme.path}/spending"
    ok(acme.acme.api.patch(path, {"on_empty": "overage", "overage_limit": "20.50"}))
    page = words(acme)
    assert "Most you can be charged this period $49.50" in page
    assert "$29.00 for Starter and up to $20.50 beyond your credits." in page
    ok(acme.acme.api.patch(path, {"on_empty": "stop"}))
    assert "$29.00 for Starter, and nothing more unless you buy credits yourself." in words(acme)
