"""Every page is open to all: to axe in every look, without a script, by keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, Locator, Page, Route, expect

from portal.config import Settings
from tests.browser.furnished import ATELIER, DORA, furnish
from tests.browser.pages import (
    CUSTOMER,
    DOORS,
    FURNISHED,
    IN_FLOWS,
    NO_PAGES,
    OPERATOR,
    STATES,
    WAITING,
)
from tests.browser.paying import enter, pay
from tests.browser.product import PASSWORD, Product
from tests.browser.whole import SIDEWAYS, check, check_everywhere
from tests.conftest import settings_for

SHARES_PRODUCT = True
#: A page is left for its next stop at most so often.
MOST_STOPS = 90

browser_test = pytest.mark.browser


@pytest.fixture(scope="module")
def furnished(product: Product) -> dict[str, str]:
    """What the addresses of things that wait are made of."""
    return furnish(product)


def test_every_page_is_on_a_list(sqlite_store: str, built: Callable[[Settings], Flask]) -> None:
    rules = built(settings_for(sqlite_store)).url_map.iter_rules()
    shown = {
        rule.endpoint
        for rule in rules
        if rule.endpoint.partition(".")[0] in {"auth", "customer", "invited", "operator"}
        and "GET" in (rule.methods or ())
    }
    listed = {*CUSTOMER, *FURNISHED, *OPERATOR, *DOORS, *IN_FLOWS, *NO_PAGES}
    assert shown - listed == set(), "put the new page on a list in tests/browser/pages.py"
    here = Path(__file__).parent
    for endpoint, name in IN_FLOWS.items():
        assert "check" in (here / name).read_text(encoding="utf-8"), endpoint


@browser_test
def test_every_page_of_a_customer_is_whole_and_open_to_all(page: Page, product: Product) -> None:
    enter(page, product)
    for path in CUSTOMER.values():
        check_everywhere(page, f"{product.url}{path}")
    for path in STATES:
        check_everywhere(page, f"{product.url}{path}", widths=(390,))


@browser_test
def test_every_page_of_who_has_nothing_yet_is_too(page: Page, product: Product) -> None:
    enter(page, product, organization="newcomer")
    for endpoint, path in CUSTOMER.items():
        if endpoint not in {"customer.event", "customer.design"}:
            check_everywhere(page, f"{product.url}{path}", widths=(390,))


@browser_test
def test_every_page_where_something_waits_is_too(
    page: Page, product: Product, furnished: dict[str, str]
) -> None:
    enter(page, product, organization=ATELIER)
    for path in FURNISHED.values():
        check_everywhere(page, product.url + path.format(**furnished))
    for path in WAITING:
        check_everywhere(page, f"{product.url}{path}", widths=(390,))
    enter(page, product, "cleo", organization=ATELIER)
    for path in (*FURNISHED.values(), "/", "/spending", "/settings/notifications"):
        check(page, product.url + path.format(**furnished))


@browser_test
def test_every_page_of_a_member_and_the_doors_are_too(
    page: Page, product: Product, furnished: dict[str, str]
) -> None:
    check_everywhere(page, product.link("cleo"), widths=(390,))
    # Whoever is signed in is led past the doors.
    page.context.clear_cookies()
    for path in DOORS.values():
        check_everywhere(page, product.url + path.format(**furnished))
    page.goto(f"{product.url}/sign-in")
    page.get_by_label("Email").fill(DORA)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{product.url}/sign-in/choose")
    check_everywhere(page, page.url)
    enter(page, product, "cleo")
    for endpoint in ("customer.overview", "customer.usage", "customer.spending", "customer.plans"):
        check(page, f"{product.url}{CUSTOMER[endpoint]}")


@browser_test
def test_every_page_of_the_operator_is_too(page: Page, product: Product) -> None:
    page.goto(product.operator_link())
    page.wait_for_url(f"{product.url}/operator/")
    for path in OPERATOR.values():
        check_everywhere(page, f"{product.url}{path}")


@browser_test
def test_every_page_that_the_operators_acts_lead_to_is_too(
    page: Page, product: Product, furnished: dict[str, str]
) -> None:
    assert furnished
    enter(page, product, organization=ATELIER)
    page.goto(f"{product.url}/plans")
    page.get_by_role("button", name=re.compile(r"^Buy for")).first.click()
    pay(page, product)
    expect(page.get_by_role("heading", name=re.compile("credits added"))).to_be_visible()

    page.goto(product.operator_link())
    page.wait_for_url(f"{product.url}/operator/")
    for name in ("Void", "Refund"):
        page.goto(f"{product.url}/operator/customers/{ATELIER}")
        page.get_by_role("link", name=re.compile(f"^{name}")).first.click()
        check_everywhere(page, page.url)
    ask_for_a_refund(page, product)
    check_everywhere(page, page.url)
    check_everywhere(page, f"{product.url}/operator/payments/refunds")
    page.goto(f"{product.url}/operator/keys")
    page.get_by_role("link", name=re.compile("^Revoke")).first.click()
    check_everywhere(page, page.url)
    page.goto(f"{product.url}/operator/simulation")
    page.get_by_label("Way to charge", exact=True).select_option("flat")
    page.get_by_label(re.compile("^Price a month")).fill("49")
    page.get_by_role("button", name="Simulate").click()
    page.wait_for_url(re.compile("/operator/simulation/"))
    check_everywhere(page, page.url)


def ask_for_a_refund(page: Page, product: Product) -> None:
    """Take back what was bought, of which nothing is unspent then, and ask for its money."""
    page.goto(f"{product.url}/operator/customers/{ATELIER}")
    page.get_by_role("link", name=re.compile("^Void")).first.click()
    page.get_by_label(re.compile("Reason")).fill("They left")
    page.get_by_role("button", name=re.compile("credits back$")).click()
    page.get_by_role("link", name=re.compile("^Refund")).first.click()
    page.get_by_label(re.compile("^Amount")).fill("10")
    page.get_by_label(re.compile("Reason")).fill("They never used it")
    page.get_by_role("button", name="Show what it does").click()
    check_everywhere(page, page.url, widths=(390,))
    page.get_by_role("button", name=re.compile(r"^Ask for")).click()
    expect(page.get_by_text("somebody else must approve it")).to_be_visible()


@browser_test
def test_no_page_is_wider_than_any_window(page: Page, product: Product) -> None:
    enter(page, product)
    for path in CUSTOMER.values():
        page.goto(f"{product.url}{path}")
        for width in (360, 561, 768, 901, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(SIDEWAYS) <= 0, f"{path} at {width}"


@browser_test
def test_nothing_moves_for_who_asked_for_calm(browser: Browser, product: Product) -> None:
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    enter(page, product)
    moving = page.evaluate(
        "document.getAnimations().length + [...document.querySelectorAll('*')].filter("
        "e => parseFloat(getComputedStyle(e).animationDuration) > 0).length"
    )
    context.close()
    assert moving == 0


@browser_test
def test_everything_works_without_a_script(browser: Browser, product: Product) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(product.link("ana"))
    page.get_by_role("button", name="Continue").click()
    page.locator(".month summary", has_text="As a table").click()
    expect(page.locator(".month table")).to_be_visible()

    page.goto(f"{product.url}/usage")
    page.get_by_label("By", exact=True).select_option("member")
    page.get_by_label("Action", exact=True).select_option("image")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("table.usage thead")).to_contain_text("Member")
    page.get_by_text("The chart as a table").click()
    expect(page.locator(".as-table table")).to_be_visible()
    page.get_by_role("link", name="Remove the filter").click()
    expect(page.locator(".chip")).to_have_count(0)

    page.get_by_role("link", name="Each piece of work").click()
    page.locator(".run a").first.click()
    expect(page.locator(".run.open tr")).not_to_have_count(0)
    page.locator(".run.open tr").nth(1).get_by_role("link").click()
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible()

    page.goto(f"{product.url}/spending")
    page.get_by_label("Limit in credits").last.fill("123,456")
    page.get_by_role("button", name="Set the cap").click()
    mine = page.locator(".cap-list > li", has_text="123,456")
    mine.locator("summary", has_text="Remove").click()
    mine.get_by_role("button", name="Remove this cap").click()
    expect(page.get_by_text("123,456")).to_have_count(0)

    page.goto(f"{product.url}/billing")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile(r"period="))
    context.close()


def _reach(page: Page, target: Locator) -> None:
    """Go to a stop by Tab, and see that it is seen."""
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        if target.evaluate("one => one === document.activeElement"):
            seen = target.evaluate(
                "one => getComputedStyle(one).outlineStyle !== 'none'"
                " && parseFloat(getComputedStyle(one).outlineWidth) >= 2"
            )
            assert seen, "the focus is not seen"
            return
    raise AssertionError(f"{target} is not reached by Tab")


@browser_test
def test_the_main_task_of_each_page_is_done_by_keyboard_alone(page: Page, product: Product) -> None:
    page.goto(f"{product.url}/sign-in")
    _reach(page, page.get_by_label("Email"))
    page.keyboard.type("ana@acme.test")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{product.url}/")

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    _reach(page, page.locator(".month summary"))
    page.keyboard.press("Enter")
    expect(page.locator(".month table")).to_be_visible()

    page.goto(f"{product.url}/usage")
    _reach(page, page.get_by_label("By", exact=True))
    page.keyboard.press("ArrowDown")
    expect(page.locator("table.usage thead")).to_contain_text("Day")
    expect(page).to_have_url(re.compile("group=day"))

    page.goto(f"{product.url}/usage/events")
    _reach(page, page.locator(".run a").first)
    page.keyboard.press("Enter")
    expect(page.locator(".run.open")).to_be_visible()
    expect(page.locator(".run.open a").first).to_be_focused()

    page.goto(f"{product.url}/spending")
    _reach(page, page.get_by_label("Limit in credits").last)
    page.keyboard.type("654,321")
    page.keyboard.press("Enter")
    mine = page.locator(".cap-list > li", has_text="654,321")
    _reach(page, mine.locator("summary", has_text="Remove"))
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("654,321")).to_have_count(0)

    page.goto(f"{product.url}/billing")
    _reach(page, page.locator("#statement summary"))
    page.keyboard.press("Enter")
    expect(page.locator("#statement .as-table table")).to_be_visible()

    page.goto(f"{product.url}/plans")
    _reach(page, page.get_by_role("button", name=re.compile(r"^Buy for")).first)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{product.sandbox_url}/**")


@browser_test
def test_a_part_that_is_fetched_says_so_and_says_when_it_could_not_be(
    browser: Browser, product: Product
) -> None:
    context = browser.new_context()
    page = context.new_page()
    enter(page, product)
    page.goto(f"{product.url}/usage")
    before = page.locator("#results").bounding_box()
    waiting: list[Route] = []
    page.route(re.compile(r"/usage\?"), lambda route: waiting.append(route))
    page.get_by_label("By", exact=True).select_option("member")
    expect(page.locator("#loading")).to_have_class(re.compile("htmx-request"))
    assert page.locator("#results").bounding_box() == before
    waiting[0].abort()
    expect(page.get_by_role("alert")).to_contain_text("This could not be loaded")
    page.unroute(re.compile(r"/usage\?"))
    page.get_by_label("By", exact=True).select_option("project")
    expect(page.get_by_role("alert")).to_be_hidden()
    context.close()
