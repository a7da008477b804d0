"""What a customer wants to know or change is at most two clicks from the overview."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.paying import enter
from tests.browser.product import Product

pytestmark = pytest.mark.browser
SHARES_PRODUCT = True
DAY = timedelta(days=1)


@dataclass
class Hand:
    """A hand that counts its clicks."""

    clicks: int = 0

    def click(self, what: Locator) -> None:
        """Press something, which may be the third time at most never."""
        self.clicks += 1
        assert self.clicks <= 2, "a third click"
        what.click()


@pytest.fixture(scope="module")
def jumper(product: Product) -> str:
    """An organization whose images, mostly Cleo's, have jumped within the last week."""
    organization = product.found("jumper")
    path = f"/organizations/{organization}"
    grant = {"credits": "2000", "source": "promotion", "reason": "a test"}
    assert product.api("POST", f"{path}/grants", **grant).ok
    now = product.now()
    events = [
        {
            "specversion": "1.0",
            "id": f"jump-{day}",
            "source": "tests",
            "subject": organization,
            "type": "image",
            "time": (now - day * DAY - timedelta(minutes=5)).isoformat(),
            "data": {"quantity": 20 if day < 7 else 4, "member": "cleo"},
        }
        for day in range(30)
    ]
    for event in events:
        assert product.api("POST", "/events", **event).ok
    return organization


@pytest.fixture
def overview(page: Page, product: Product, jumper: str) -> Page:
    enter(page, product, organization=jumper)
    return page


def test_how_much_is_left_is_there_at_once(overview: Page, product: Product, jumper: str) -> None:
    left = f"{product.available(jumper):,}"
    expect(overview.locator(".balance .big")).to_have_text(left)


def test_what_made_it_jump_is_said_and_shown_by_one_click(overview: Page) -> None:
    expect(overview.locator(".outlook")).to_contain_text(
        re.compile(r"Images are up \d\d\d% on the week before")
    )
    hand = Hand()
    hand.click(overview.locator(".made").get_by_role("link", name="Images"))
    expect(overview.locator("#work tr:has(td)").first).to_contain_text("cleo")
    expect(overview.locator(".chip")).to_contain_text("Images")


def test_whether_they_will_run_out_is_there_at_once(
    overview: Page, product: Product, jumper: str
) -> None:
    told = product.api("GET", f"/organizations/{jumper}/forecast").json()
    runs_out = (told["runs_out_at"] or {}).get("p50")
    words = "credits run out on" if runs_out else "cover"
    expect(overview.locator(".outlook")).to_contain_text(re.compile(words))


def test_spending_is_stopped_at_an_amount_of_money_by_two_clicks(
    overview: Page, product: Product, jumper: str
) -> None:
    hand = Hand()
    hand.click(overview.locator(".outlook").get_by_role("link", name=re.compile("Set a cap")))
    overview.get_by_label("Limit in credits").last.fill("$200")
    hand.click(overview.get_by_role("button", name="Set the cap"))
    expect(overview.locator(".cap-mode")).to_contain_text("Blocks new work at $200.00 each period")
    (cap,) = product.api("GET", f"/organizations/{jumper}/caps").json()["data"]
    assert (cap["limit"]["amount"], cap["mode"]) == ("200", "hard")


def test_more_is_bought_by_two_clicks(overview: Page, product: Product) -> None:
    hand = Hand()
    hand.click(overview.get_by_role("link", name="Buy credits").first)
    hand.click(overview.get_by_role("button", name="Buy for $39.00"))
    overview.wait_for_url(f"{product.sandbox_url}/**")
