"""A team's cap, from its setting to the raise: as its admin and its member live it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.paying import at_the_desk_of
from tests.browser.product import Product
from tests.browser.whole import check

pytestmark = pytest.mark.browser


def cleo_makes_an_analysis(product: Product) -> int:
    """Have the operator's software ask whether Cleo may; returns the status of the answer."""
    body = {"organization": "acme", "action": "analysis", "member": "cleo"}
    return product.api("POST", "/authorizations", **body).status_code


def test_a_member_who_hits_the_teams_cap_asks_is_granted_and_goes_on(
    browser: Browser, product: Product
) -> None:
    with at_the_desk_of(browser, product, "ben") as ben:
        # Ben sets the design team a limit for the day.
        ben.goto(f"{product.url}/spending")
        cap = ben.get_by_role("region", name="New cap")
        cap.get_by_label("For").select_option("team:design")
        cap.get_by_label("Each").select_option("day")
        cap.get_by_label("Limit in credits").fill("30")
        cap.get_by_role("button", name="Set the cap").click()
        expect(ben.get_by_text("The cap is in force")).to_be_visible()

        # Cleo works until it is used up.
        while cleo_makes_an_analysis(product) == 201:
            pass
        assert cleo_makes_an_analysis(product) == 402

        with at_the_desk_of(browser, product, "cleo") as cleo:
            # She sees which limit it is, and asks for more.
            check(cleo, f"{product.url}/")
            limits = cleo.get_by_role("region", name=re.compile("^Your own use"))
            expect(limits).to_contain_text("Design team")
            limits.get_by_role("link", name="Ask for more").click()
            expect(cleo.get_by_role("heading", name="Design team")).to_be_visible()
            check(cleo, cleo.url)
            cleo.get_by_label("Credits more").fill("20")
            cleo.get_by_label("What for").fill("The Miller report is due today")
            cleo.get_by_role("button", name="Ask for more").click()
            expect(cleo.get_by_text("You asked for 20 more", exact=False).last).to_be_visible()

            # Ben finds it on his overview and allows it.
            ben.goto(f"{product.url}/")
            decide = ben.get_by_role("region", name="For you to decide")
            expect(decide).to_contain_text("Cleo asks for 20 more credits")
            expect(decide).to_contain_text("The Miller report is due today")
            asked = decide.get_by_role("link", name="Cleo asks for").get_attribute("href")
            check(ben, f"{product.url}{asked}")
            ben.goto(f"{product.url}/")
            decide.get_by_role("button", name="Allow 20").click()
            expect(ben.get_by_text("Allowed: 20 more credits")).to_be_visible()

            # Cleo is told, and goes on: with exactly so much more.
            cleo.reload()
            expect(cleo.get_by_text("20 more were allowed")).to_be_visible()
        assert cleo_makes_an_analysis(product) == 201
        assert cleo_makes_an_analysis(product) == 201
        assert cleo_makes_an_analysis(product) == 402
