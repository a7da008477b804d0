"""Buying a pack as a person does: at the portal, at the checkout, and back again."""

from __future__ import annotations

import re
import time

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.product import Product

pytestmark = pytest.mark.browser


def _to_checkout(page: Page, product: Product, member: str = "ana") -> None:
    page.goto(product.link(member))
    page.wait_for_url(f"{product.url}/")
    _choose_pack(page, product)


def _choose_pack(page: Page, product: Product) -> None:
    page.get_by_role("link", name="Plans & credits").first.click()
    page.get_by_role("button", name=re.compile("Buy for .39")).click()
    page.wait_for_url(f"{product.sandbox_url}/**")


def _pay(page: Page, number: str) -> None:
    if page.get_by_label("E-mail").count():
        page.get_by_label("E-mail").fill("ana@acme.test")
    page.get_by_label("Card number").fill(number)
    page.get_by_label("Expiry").fill("12/34")
    page.get_by_label("CVC").fill("123")
    page.get_by_role("button", name=re.compile("^Pay")).click()


def _delivered(product: Product) -> None:
    """Wait until the sandbox has nothing left to send."""
    for _ in range(100):
        told = requests.get(f"{product.sandbox_url}/_sandbox/deliveries", timeout=5).json()
        if not told["pending"]:
            return
        time.sleep(0.1)
    raise AssertionError("webhooks are still on their way")


def test_the_balance_grows_by_exactly_the_pack_however_often_the_news_comes(
    page: Page, product: Product
) -> None:
    before, packs = product.available(), product.packs_granted()
    product.control("webhooks", copies=3)
    _to_checkout(page, product)
    _pay(page, "4242424242424242")
    expect(page.get_by_role("heading", name="500 credits added")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="500 credits added")).to_be_visible()
    _delivered(product)
    again = product.control("redeliver", type="checkout.session.completed", copies=3)
    assert again.ok, again.text
    page.reload()
    expect(page.get_by_text(f"{before + 500:,}")).to_be_visible()
    page.get_by_role("link", name="To the overview").click()
    expect(page.get_by_text(f"{before + 500:,}").first).to_be_visible()
    assert product.available() == before + 500
    assert product.packs_granted() == packs + 1
    product.control("webhooks", copies=1)


def test_an_admin_sees_the_balance_sets_a_cap_that_holds_and_buys_a_pack(
    page: Page, product: Product
) -> None:
    before = product.available()
    page.goto(product.link("ben"))
    page.wait_for_url(f"{product.url}/")
    expect(page.get_by_text(f"{before:,}").first).to_be_visible()

    page.get_by_role("link", name="Spending").first.click()
    page.get_by_label("For", exact=True).select_option("member:cleo")
    page.get_by_label("Each", exact=True).select_option("day")
    page.get_by_label("Limit in credits").last.fill("400")
    page.get_by_role("button", name="Set the cap").click()
    cap = page.locator(".cap-list > li", has_text="Cleo")
    expect(cap.locator(".meter")).to_be_visible()
    expect(cap).to_contain_text("400 each day")

    work = {"organization": "acme", "action": "image", "member": "cleo"}
    refused = product.api("POST", "/authorizations", quantity=201, **work)
    assert refused.status_code == 402
    told = refused.json()
    assert told["type"] == "/problems/cap-reached"
    assert (told["limit"]["scope"], told["limit"]["target"]) == ("member", "cleo")
    assert (told["limit"]["window"], told["limit"]["limit"]) == ("day", "400")
    assert product.available() == before
    held = product.api("POST", "/authorizations", quantity=1, **work)
    assert held.status_code == 201
    assert product.api("POST", f"/authorizations/{held.json()['id']}/release").ok

    page.goto(f"{product.url}/")
    cap = page.locator("li", has_text="Cleo").filter(has=page.locator(".meter"))
    expect(cap.first).to_be_visible()
    _choose_pack(page, product)
    _pay(page, "4242424242424242")
    expect(page.get_by_role("heading", name="500 credits added")).to_be_visible()
    page.get_by_role("link", name="To the overview").click()
    expect(page.get_by_text(f"{before + 500:,}").first).to_be_visible()
    assert product.available() == before + 500
    _delivered(product)


def test_a_declined_card_says_so_and_grants_nothing(page: Page, product: Product) -> None:
    before = product.available()
    _to_checkout(page, product)
    _pay(page, "4000000000000002")
    expect(page.get_by_role("alert")).to_contain_text("declined")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was charged")
    page.get_by_role("link", name=re.compile("Back")).click()
    page.wait_for_url(f"{product.url}/plans?cancelled=1")
    expect(page.get_by_text("Nothing was charged.")).to_be_visible()
    _delivered(product)
    assert product.available() == before


def test_the_return_page_brings_the_credits_where_no_webhook_does(
    page: Page, product: Product
) -> None:
    before = product.available()
    product.control("webhooks", drop=True)
    _to_checkout(page, product)
    _pay(page, "4242424242424242")
    expect(page.get_by_role("heading", name="500 credits added")).to_be_visible()
    assert product.available() == before + 500
    product.control("webhooks", drop=False)


def test_webhooks_bring_the_credits_to_a_buyer_who_never_comes_back(
    page: Page, product: Product
) -> None:
    before = product.available()
    _to_checkout(page, product)
    page.route(f"{product.url}/plans/thanks*", lambda route: route.abort())
    _pay(page, "4242424242424242")
    for _ in range(100):
        if product.available() != before:
            break
        time.sleep(0.1)
    assert product.available() == before + 500
    _delivered(product)


def test_a_member_sees_the_packs_and_cannot_buy_one(page: Page, product: Product) -> None:
    page.goto(product.link("cleo"))
    page.wait_for_url(f"{product.url}/")
    page.goto(f"{product.url}/plans")
    expect(page.get_by_role("heading", name="2,000 credits")).to_be_visible()
    assert page.get_by_role("button", name=re.compile("^Buy")).count() == 0
