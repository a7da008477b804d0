"""The operator's pages in a browser: open to all, wide and narrow, and as they act."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.product import Product
from tests.browser.whole import check

pytestmark = pytest.mark.browser

PAGES = (
    "", "customers", "customers/acme", "customers/acme/timeline", "customers/acme/events",
    "customers/acme/grant?credits=10.5&source=promotion&reason=x&expires=",
    "customers/acme/view", "routing", "simulation", "catalogue", "catalogue/prices/new",
    "catalogue/prices/difference?old=0&new=1", "events", "events/reviews", "events/undelivered",
    "payments",
    "payments?show=disputed", "payments/inbox?status=all", "payments/reconciliation",
    "payments/refunds", "keys", "audit",
)  # fmt: skip


@pytest.fixture
def olga(page: Page, product: Product) -> Page:
    page.goto(product.operator_link())
    page.wait_for_url(f"{product.url}/operator/")
    return page


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_every_page_of_the_operator_is_whole_and_open_to_all(
    olga: Page, product: Product, width: int, theme: str
) -> None:
    olga.set_viewport_size({"width": width, "height": 900})
    olga.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
    for path in PAGES:
        check(olga, f"{product.url}/operator/{path}")


def test_a_grant_is_previewed_confirmed_and_undone(olga: Page, product: Product) -> None:
    before = product.available()
    olga.goto(f"{product.url}/operator/customers/acme")
    olga.get_by_role("link", name="Grant credits").click()
    olga.get_by_label("Credits").fill("40")
    olga.get_by_label(re.compile("Reason")).fill("A bad week")
    olga.get_by_role("button", name="Show what it does").click()
    expect(olga.get_by_role("cell", name="+40")).to_be_visible()
    assert product.available() == before
    olga.get_by_role("button", name="Grant 40 credits").click()
    olga.wait_for_url(re.compile("#grants$"))
    assert product.available() == before + 40
    olga.get_by_role("row", name=re.compile("A bad week")).get_by_role("link").click()
    olga.get_by_label(re.compile("Reason")).fill("Not theirs")
    olga.get_by_role("button", name="Take 40 credits back").click()
    olga.wait_for_url(re.compile("#grants$"))
    assert product.available() == before


def test_a_view_shows_the_customers_pages_with_its_banner_and_ends(
    olga: Page, product: Product
) -> None:
    olga.goto(f"{product.url}/operator/customers/acme/view")
    olga.get_by_label("As", exact=True).select_option("cleo")
    olga.get_by_label(re.compile("Reason")).fill("A question of theirs")
    olga.get_by_role("button", name="Begin the view").click()
    olga.wait_for_url(f"{product.url}/")
    expect(olga.get_by_text(re.compile("You see what Cleo of Acme sees"))).to_be_visible()
    check(olga, f"{product.url}/usage")
    olga.get_by_role("button", name="End the view").click()
    olga.wait_for_url(f"{product.url}/operator/customers/acme")


@pytest.fixture
def plain(browser: Browser, product: Product) -> Iterator[Page]:
    """Olga in a browser that runs no scripts."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(product.operator_link())
    page.get_by_role("button").first.click()
    yield page
    context.close()


def test_the_operators_pages_work_without_scripts(plain: Page, product: Product) -> None:
    plain.goto(f"{product.url}/operator/customers")
    plain.get_by_label("Search").fill("newcomer")
    plain.get_by_role("button", name="Show").click()
    expect(plain.get_by_role("row", name=re.compile("Newcomer"))).to_be_visible()
    expect(plain.get_by_role("row", name=re.compile("Acme"))).to_have_count(0)
    plain.goto(f"{product.url}/operator/keys")
    plain.get_by_label("What it is for").fill("A backend")
    plain.get_by_role("button", name="Make the key").click()
    expect(plain.get_by_text(re.compile("^cm_"))).to_be_visible()
