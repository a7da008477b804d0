"""Two people and what they came for: last month for accounting, and the plan that costs less."""

from __future__ import annotations

import csv
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from portal import accounts
from tests.browser.paying import delivered, enter, subscribe
from tests.browser.product import Product
from tests.browser.whole import check_everywhere

pytestmark = pytest.mark.browser
DAY = timedelta(days=1)
#: What Pro asks for a credit beyond its own, and for a month, in dollars.
BEYOND, PRO = Decimal("0.06"), Decimal("99")


def _use(product: Product, organization: str, images: int, *, days_ago: int = 0) -> None:
    at = product.now() - days_ago * DAY - timedelta(minutes=1)
    event = {
        "specversion": "1.0",
        "id": f"{organization}-{days_ago}",
        "source": "tests",
        "subject": organization,
        "type": "image",
        "time": at.isoformat(),
        "data": {"quantity": images, "member": "cleo"},
    }
    assert product.api("POST", "/events", **event).ok


def test_the_finance_person_finds_last_month_equal_to_the_invoice(
    page: Page, product: Product
) -> None:
    books = product.found("books")
    subscribe(page, product, books, "Pro")
    check_everywhere(page, page.url, widths=(390,))
    path = f"/organizations/{books}"
    assert product.api("PUT", f"{path}/members/fay", email="fay@books.test", role="billing").ok
    allowed = {"on_empty": "overage", "overage_limit": "50"}
    assert product.api("PATCH", f"{path}/spending", **allowed).ok
    product.move(timedelta(minutes=5))
    _use(product, books, 1300)
    with product.database.reading() as tx:
        ends = accounts.find_organization(tx, books).cycle_end
    assert ends is not None
    # The renewal's invoice is a draft for an hour, which what went beyond is put on.
    product.move(ends - product.now() + timedelta(minutes=5))
    delivered(product)
    product.move(timedelta(hours=2))
    delivered(product)

    enter(page, product, "fay", books)
    page.get_by_role("link", name="Billing").click()
    with page.expect_download() as loading:
        page.get_by_role("link", name="Last period as CSV").click()
    lines = list(csv.DictReader(Path(loading.value.path()).read_text("utf-8").splitlines()))
    beyond = sum(Decimal(one["credits"]) for one in lines if one["kind"] == "beyond the plan")
    used = sum(Decimal(one["credits"]) for one in lines if one["kind"] == "used")
    assert (abs(beyond), used, lines[-1]["kind"]) == (100, -2600, "closing")

    owed = PRO + abs(beyond) * BEYOND
    row = page.get_by_role("row", name=re.compile("credits beyond yours"))
    expect(row).to_contain_text(f"${owed:.2f}")
    page.get_by_label("Period", exact=True).select_option(index=1)
    expect(page.locator(".statement tbody")).to_contain_text("−2,600")


def test_the_buyer_who_is_told_that_a_larger_plan_costs_less_takes_it(
    page: Page, product: Product
) -> None:
    grower = product.found("grower")
    subscribe(page, product, grower, "Starter")
    product.move(timedelta(minutes=5))
    for day in range(30):
        _use(product, grower, 40, days_ago=day)
    page.goto(f"{product.url}/plans")
    told = page.locator(".advice")
    expect(told).to_contain_text(re.compile(r"Pro would cost \$\d+\.\d\d less than Starter"))
    told.get_by_text("How this is worked out").click()
    costs = {
        row.get_by_role("rowheader").inner_text().split()[0]: Decimal(
            row.get_by_role("cell").last.inner_text().strip("$")
        )
        for row in told.locator("table").first.locator("tbody tr").all()
    }
    saved = re.search(r"Pro would cost \$(\d+\.\d\d) less", told.inner_text())
    assert saved is not None
    assert costs["Starter"] - costs["Pro"] == Decimal(saved[1])
    page.get_by_role("button", name="Change to Pro").click()
    page.get_by_role("button", name=re.compile(r"^Pay .* and change")).click()
    expect(page.get_by_role("heading", name="You are on Pro")).to_be_visible(timeout=10_000)
    page.goto(f"{product.url}/plans")
    expect(page.locator(".advice")).to_contain_text("Pro is the plan for you")
    page.goto(f"{product.url}/")
    expect(page.locator(".balance")).to_contain_text("Added by Pro")
