"""Signing in, looking around, setting a cap; and what every page must be."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import CUSTOMER
from tests.browser.product import CANARY_USD_NANO, PASSWORD, Product

pytestmark = pytest.mark.browser
SHARES_PRODUCT = True

#: What a customer's page must never say: the unit nobody understands, who did the work, its cost.
NEVER = re.compile(
    r"\btokens?\b|gpt-4o|openai|anthropic|" + str(CANARY_USD_NANO)[:6], re.IGNORECASE
)


def _enter(page: Page, product: Product, member: str, organization: str = "acme") -> None:
    page.goto(product.link(member, organization))
    page.wait_for_url(f"{product.url}/")


def test_a_link_signs_in_once_and_shows_the_balance(page: Page, product: Product) -> None:
    link = product.link("ana")
    page.goto(link)
    page.wait_for_url(f"{product.url}/")
    expect(page.get_by_text(f"{product.available():,}").first).to_be_visible()
    page.context.clear_cookies()
    page.goto(link)
    expect(page.get_by_role("alert")).to_contain_text("has been used")


def test_a_password_signs_in_and_a_wrong_one_is_told(page: Page, product: Product) -> None:
    page.goto(f"{product.url}/")
    page.wait_for_url(f"{product.url}/sign-in*")
    page.get_by_label("Email").fill("ana@acme.test")
    page.get_by_label("Password").fill("not her password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not fit")
    page.get_by_label("Email").fill("ana@acme.test")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{product.url}/")


def test_a_copied_cookie_is_worth_nothing_after_signing_out(page: Page, product: Product) -> None:
    _enter(page, product, "ana")
    copied = {one["name"]: one["value"] for one in page.context.cookies()}
    page.locator("summary", has_text="your account").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{product.url}/sign-in*")
    answer = requests.get(f"{product.url}/", cookies=copied, timeout=5, allow_redirects=False)
    assert answer.status_code == 302


def test_a_cap_that_an_admin_sets_blocks_work_at_once(page: Page, product: Product) -> None:
    _enter(page, product, "ben")
    page.get_by_role("link", name="Spending").first.click()
    page.get_by_label("For", exact=True).select_option("member:cleo")
    page.get_by_label("Each", exact=True).select_option("day")
    page.get_by_label("Limit in credits").last.fill("30")
    page.get_by_role("button", name="Set the cap").click()
    expect(page.get_by_role("heading", name=re.compile("Cleo"))).to_be_visible()
    refused = product.api(
        "POST", "/authorizations", organization="acme", action="image", quantity=16, member="cleo"
    )
    assert refused.status_code == 402
    assert refused.json()["limit"]["target"] == "cleo"
    page.goto(f"{product.url}/")
    expect(page.get_by_text(re.compile("Cleo")).first).to_be_visible()


def test_a_limit_that_is_no_number_names_the_field(page: Page, product: Product) -> None:
    _enter(page, product, "ana")
    page.goto(f"{product.url}/spending")
    page.get_by_label("Limit in credits").last.fill("1E+3000000")
    page.get_by_role("button", name="Set the cap").click()
    expect(page.get_by_text("plain decimal number").first).to_be_visible()
    assert page.get_by_label("Limit in credits").last.get_attribute("aria-invalid") == "true"


def test_a_member_sees_their_own_use_and_no_way_to_set_a_cap(page: Page, product: Product) -> None:
    _enter(page, product, "cleo")
    own = product.api("GET", "/organizations/acme/usage?member=cleo").json()["totals"]
    for address in ("/usage", "/usage?group=member", "/usage?group=member&member=ana"):
        page.goto(f"{product.url}{address}")
        assert f"{float(own['credits']):,.0f}" in page.locator("table tfoot").first.inner_text()
        assert page.get_by_role("row", name=re.compile("Ana|Ben")).count() == 0
    page.goto(f"{product.url}/spending")
    assert page.get_by_role("button", name="Set the cap").count() == 0


def test_the_page_the_csv_and_the_api_say_the_same(page: Page, product: Product) -> None:
    _enter(page, product, "ana")
    totals = product.api("GET", "/organizations/acme/usage").json()["totals"]
    cookies = {one["name"]: one["value"] for one in page.context.cookies()}
    page.goto(f"{product.url}/usage")
    shown = page.locator("table tfoot").first.inner_text()
    assert f"{float(totals['credits']):,.0f}" in shown
    sheet = requests.get(f"{product.url}/usage.csv", cookies=cookies, timeout=5)
    assert sheet.headers["Content-Type"].startswith("text/csv")
    heads, *rows = [line.split(",") for line in sheet.text.strip().split("\r\n")]
    column = [name.lower() for name in heads].index("credits")
    assert sum(float(row[column]) for row in rows) == float(totals["credits"])


@pytest.fixture(params=["ana", "cleo"])
def member(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_no_page_gives_the_operator_away(page: Page, product: Product, member: str) -> None:
    _enter(page, product, member)
    for path in CUSTOMER.values():
        page.goto(f"{product.url}{path}")
        assert not NEVER.search(page.content()), path
    page.goto(f"{product.url}/operator/")
    assert "customers" not in page.title().lower()


def test_the_operator_sees_what_everybody_costs(page: Page, product: Product) -> None:
    page.goto(product.operator_link())
    page.wait_for_url(f"{product.url}/operator/")
    page.goto(f"{product.url}/operator/customers")
    acme = page.get_by_role("row", name=re.compile("Acme"))
    expect(acme).to_be_visible()
    expect(acme.get_by_text(re.compile(r"\$1\d\d\.\d\d")).first).to_be_visible()


def test_the_first_visit_weighs_less_than_200_kilobytes(
    browser: Browser, product: Product, weigh: Callable[[Page], int]
) -> None:
    context = browser.new_context()
    page = context.new_page()
    _enter(page, product, "ana")
    cookies = context.cookies()
    context.close()
    context = browser.new_context()
    context.add_cookies(
        [{k: one[k] for k in ("name", "value", "domain", "path")} for one in cookies]
    )
    page = context.new_page()
    total = weigh(page)
    page.goto(f"{product.url}/", wait_until="networkidle")
    assert 0 < total() < 200_000
    context.close()


@pytest.fixture
def weigh() -> Callable[[Page], Callable[[], int]]:
    def begin(page: Page) -> Callable[[], int]:
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        sizes: list[int] = []
        session.on(
            "Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"])
        )
        return lambda: sum(int(size) for size in sizes)

    return begin
