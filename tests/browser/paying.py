"""What people do at the sandbox's pages: type a card in, confirm with their bank."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from playwright.sync_api import Browser, Page, expect

from tests.browser.product import Product

GOOD, DECLINED_LATER, ASKS_EVERY_TIME = "4242424242424242", "4000000000000341", "4000002760003184"


def enter(page: Page, product: Product, member: str = "ana", organization: str = "acme") -> None:
    """Sign somebody in."""
    page.goto(product.link(member, organization))
    page.wait_for_url(f"{product.url}/")


@contextmanager
def at_the_desk_of(browser: Browser, product: Product, member: str) -> Iterator[Page]:
    """Open a browser of somebody's own and sign them in."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    enter(page, product, member)
    yield page
    context.close()


def pay(page: Page, product: Product, number: str = GOOD) -> None:
    """Type a card into the page that asks for one."""
    page.wait_for_url(f"{product.sandbox_url}/**")
    if page.get_by_label("E-mail").count():
        page.get_by_label("E-mail").fill("ana@acme.test")
    page.get_by_label("Card number").fill(number)
    page.get_by_label("Expiry").fill("12/54")
    page.get_by_label("CVC").fill("123")
    page.get_by_role("button", name=re.compile("^(Pay|Save)")).click()


def answer_the_bank(page: Page, product: Product, *, confirm: bool = True) -> None:
    """Confirm a payment on the bank's page, or fail to."""
    page.wait_for_url(f"{product.sandbox_url}/c/authenticate/**")
    page.get_by_role("button", name="Complete" if confirm else "Fail").click()


def subscribe(
    page: Page, product: Product, organization: str, tier: str, number: str = GOOD
) -> None:
    """Sign Ana in and take a first plan."""
    enter(page, product, organization=organization)
    page.goto(f"{product.url}/plans")
    page.get_by_role("button", name=f"Choose {tier}").click()
    pay(page, product, number)
    if number == ASKS_EVERY_TIME:
        answer_the_bank(page, product)
    expect(page.get_by_role("heading", name=f"You are on {tier}")).to_be_visible()


def delivered(product: Product) -> None:
    """Wait until the sandbox has nothing left to send."""
    for _ in range(300):
        told = requests.get(f"{product.sandbox_url}/_sandbox/deliveries", timeout=5).json()
        if not told["pending"]:
            return
        time.sleep(0.1)
    raise AssertionError("webhooks are still on their way")
