"""Taking a plan, changing it, and ending it, as a person does; and buying by itself."""

from __future__ import annotations

import re

import pytest
import requests
from playwright.sync_api import Page, expect

from portal.core.units import parse_micro
from tests.browser.paying import (
    ASKS_EVERY_TIME,
    DECLINED_LATER,
    answer_the_bank,
    delivered,
    enter,
    pay,
    subscribe,
)
from tests.browser.product import Product
from tests.browser.whole import check_everywhere

pytestmark = pytest.mark.browser
SHARES_PRODUCT = True


def _heading(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", name=name)).to_be_visible(timeout=10_000)


def _figure(page: Page, term: str) -> str:
    """Return the figure that stands beside a term, with all its decimals."""
    beside = page.locator("dl div", has_text=term).locator("dd").first
    if beside.locator(".exact").count():
        return str(beside.locator(".exact").get_attribute("data-exact"))
    return beside.inner_text().split("\n")[0]


def _change_to(page: Page, product: Product, tier: str) -> None:
    page.goto(f"{product.url}/plans")
    page.get_by_role("button", name=f"Change to {tier}").click()
    page.wait_for_url(f"{product.url}/plans/changes/*")


def _paying_page(page: Page, link: str) -> Page:
    """Follow a link to Stripe's page, which opens beside this one."""
    with page.context.expect_page() as opened:
        page.get_by_role("link", name=re.compile(link)).first.click()
    return opened.value


def test_a_first_plan_begins_with_its_credits_once_it_is_paid(page: Page, product: Product) -> None:
    first = product.found("first")
    subscribe(page, product, first, "Pro")
    delivered(product)
    assert product.available(first) == 2_500
    page.goto(f"{product.url}/plans")
    expect(page.locator("#tier-pro")).to_contain_text("Your plan")
    assert page.get_by_role("button", name=re.compile("^Choose")).count() == 0


def test_an_upgrade_charges_and_adds_what_its_preview_said(page: Page, product: Product) -> None:
    upgrader = product.found("upgrader")
    subscribe(page, product, upgrader, "Starter")
    _change_to(page, product, "Team")
    charge, more = _figure(page, "Charged today"), _figure(page, "Credits added today")
    assert re.fullmatch(r"\$\d+\.\d\d", charge)
    check_everywhere(page, page.url)
    page.get_by_role("button", name=f"Pay {charge} and change").click()
    _heading(page, "You are on Team")
    expect(page.locator("#change")).to_contain_text(f"{charge} was charged")
    assert product.available_micro(upgrader) == parse_micro("500") + parse_micro(
        more.replace(",", "")
    )
    page.goto(f"{product.url}/billing")
    expect(page.get_by_role("row", name="Change to Team")).to_contain_text(charge)


def test_an_upgrade_waits_for_the_bank_and_the_old_plan_stays(page: Page, product: Product) -> None:
    waiting = product.found("waiting")
    subscribe(page, product, waiting, "Starter", ASKS_EVERY_TIME)
    _change_to(page, product, "Pro")
    page.get_by_role("button", name=re.compile("^Pay .* and change")).click()
    _heading(page, "Your bank wants you to confirm")
    expect(page.locator("#change")).to_contain_text("Meanwhile Starter stays as it is")
    assert product.available(waiting) == 500
    check_everywhere(page, page.url)
    check_everywhere(page, f"{product.url}/plans")
    page.go_back()
    page.goto(f"{product.url}/")
    expect(page.get_by_text("The change to Pro is not paid yet.")).to_be_visible()
    bank = _paying_page(page, "Pay or confirm")
    pay(bank, product, ASKS_EVERY_TIME)
    answer_the_bank(bank, product, confirm=False)
    assert product.available(waiting) == 500
    page.goto(f"{product.url}/plans")
    pay(_paying_page(page, "Pay or confirm"), product)
    delivered(product)
    page.goto(f"{product.url}/plans")
    expect(page.locator("#tier-pro")).to_contain_text("Your plan")
    assert product.available(waiting) > 2_000


def test_a_declined_upgrade_says_so_and_charges_nothing(page: Page, product: Product) -> None:
    declined = product.found("declined")
    subscribe(page, product, declined, "Starter")
    page.goto(f"{product.url}/billing")
    page.get_by_role("button", name="Change payment method").click()
    pay(page, product, DECLINED_LATER)
    page.wait_for_url(f"{product.url}/billing")
    expect(page.get_by_text("ending in 0341")).to_be_visible()
    _change_to(page, product, "Team")
    page.get_by_role("button", name=re.compile("^Pay .* and change")).click()
    _heading(page, "The card was declined")
    expect(page.locator("#change")).to_contain_text("Nothing was charged")
    assert product.available(declined) == 500


def test_a_smaller_plan_begins_later_and_can_be_taken_back(page: Page, product: Product) -> None:
    smaller = product.found("smaller")
    subscribe(page, product, smaller, "Pro")
    _change_to(page, product, "Starter")
    assert _figure(page, "Charged today") == "Nothing"
    page.get_by_role("button", name=re.compile(r"^Change on .* for \$29\.00")).click()
    expect(page.get_by_role("heading", name=re.compile("^Starter begins on"))).to_be_visible()
    page.goto(f"{product.url}/billing")
    expect(page.get_by_text(re.compile("Starter begins on"))).to_be_visible()
    page.get_by_role("button", name="Keep Pro").click()
    expect(page.get_by_role("status")).to_contain_text("nothing was charged")
    page.wait_for_url(f"{product.url}/billing")
    expect(page.get_by_text(re.compile("It renews on"))).to_be_visible()


def test_a_plan_is_ended_and_kept_after_all(page: Page, product: Product) -> None:
    leaver = product.found("leaver")
    subscribe(page, product, leaver, "Pro")
    page.goto(f"{product.url}/plans")
    page.get_by_role("button", name="End the plan").click()
    page.get_by_role("button", name=re.compile("^End Pro on")).click()
    expect(page.get_by_role("heading", name=re.compile("^Pro ends on"))).to_be_visible()
    check_everywhere(page, f"{product.url}/plans")
    page.get_by_role("button", name="Keep Pro").click()
    expect(page.get_by_role("button", name="End the plan")).to_be_visible()
    assert product.available(leaver) == 2_500


def test_buying_by_itself_says_first_what_it_buys_now(page: Page, product: Product) -> None:
    buyer = product.found("buyer")
    subscribe(page, product, buyer, "Starter")
    page.goto(f"{product.url}/spending")
    page.locator("#empty summary", has_text="Set it up").first.click()
    page.get_by_label("When fewer credits are left than").fill("600")
    page.get_by_label("At most each month").fill("20")
    page.get_by_role("button", name="See what it would do").click()
    expect(page.get_by_text("less than one pack costs")).to_be_visible()
    page.get_by_label("At most each month").fill("100")
    page.get_by_role("button", name="See what it would do").click()
    assert _figure(page, "Bought now") == "$39.00"
    assert _figure(page, "Most in this calendar month") == "$78.00"
    page.get_by_role("button", name="Turn on and pay $39.00 now").click()
    expect(page.get_by_role("status")).to_contain_text("500 were bought now, for $39.00")
    delivered(product)
    assert product.available(buyer) == 1_000
    check_everywhere(page, f"{product.url}/spending")
    page.goto(f"{product.url}/")
    expect(page.get_by_text("$39.00 of credits bought by themselves")).to_be_visible()


def test_where_stripe_does_not_answer_the_page_stays_and_says_so(
    page: Page, product: Product
) -> None:
    enter(page, product, organization=product.found("patient"))
    page.goto(f"{product.url}/plans")
    product.control("faults", kind="status", status=500, times=None)
    page.get_by_role("button", name="Choose Pro").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was charged", timeout=15_000)
    expect(page.get_by_role("button", name="Choose Pro")).to_be_visible()
    assert requests.delete(f"{product.sandbox_url}/_sandbox/faults", timeout=5).ok
