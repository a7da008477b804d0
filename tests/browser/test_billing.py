"""Invoices, the statement, and a payment that is late: what is said, to whom, and what mends it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.paying import DECLINED_LATER, delivered, enter, pay, subscribe
from tests.browser.product import Product
from tests.browser.whole import check_everywhere

pytestmark = pytest.mark.browser


def test_the_statement_and_its_sheet_say_what_the_balance_says(
    page: Page, product: Product
) -> None:
    reader = product.found("reader")
    subscribe(page, product, reader, "Pro")
    page.goto(f"{product.url}/billing")
    row = page.get_by_role("row", name=re.compile("Pro .*99"))
    expect(row).to_contain_text("Paid")
    assert str(row.get_by_role("link", name="View").get_attribute("href")).startswith("http")
    expect(page.locator(".statement tfoot")).to_contain_text("2,500")
    cookies = {one["name"]: one["value"] for one in page.context.cookies()}
    sheet = requests.get(f"{product.url}/billing/statement.csv", cookies=cookies, timeout=5)
    assert sheet.headers["Content-Disposition"].startswith("attachment")
    assert sheet.text.strip().split("\r\n")[-1].endswith(",closing,,2500")
    check_everywhere(page, f"{product.url}/billing")


def test_a_payment_that_is_late_is_told_everywhere_and_mended_by_one_act(
    page: Page, product: Product
) -> None:
    late = product.found("late")
    subscribe(page, product, late, "Pro")
    page.goto(f"{product.url}/billing")
    page.get_by_role("button", name="Change payment method").click()
    pay(page, product, DECLINED_LATER)
    page.wait_for_url(f"{product.url}/billing")
    product.control("billing", after_retries="past_due")
    product.move(timedelta(days=31))
    delivered(product)
    enter(page, product, organization=late)
    for path in ("/", "/usage", "/billing"):
        page.goto(f"{product.url}{path}")
        expect(page.get_by_role("alert")).to_contain_text("A payment of $99.00 for your plan")
    check_everywhere(page, f"{product.url}/billing")

    product.move(timedelta(days=8))
    delivered(product)
    refused = product.api("POST", "/authorizations", organization=late, action="image", quantity=1)
    assert refused.json()["type"] == "/problems/payment-overdue"
    enter(page, product, "cleo", late)
    expect(page.get_by_role("alert")).to_contain_text("New work waits until an owner")
    assert page.get_by_role("link", name=re.compile("^Pay")).count() == 0

    enter(page, product, organization=late)
    with page.context.expect_page() as opened:
        page.get_by_role("alert").get_by_role("link", name="Pay $99.00").click()
    pay(opened.value, product)
    delivered(product)
    page.goto(f"{product.url}/")
    assert page.get_by_role("alert").count() == 0
    assert product.available(late) == 2_500
