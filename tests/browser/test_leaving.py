"""Somebody leaves in the middle of their work: as the owner, the leaver and the product live it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.paying import at_the_desk_of
from tests.browser.product import Product

pytestmark = pytest.mark.browser


def test_an_owner_removes_a_member_mid_work_and_the_work_that_began_is_finished(
    browser: Browser, product: Product
) -> None:
    work = {"organization": "acme", "action": "document", "member": "cleo", "quantity": 2}
    begun = product.api("POST", "/authorizations", **work).json()["id"]
    before = product.available()
    with (
        at_the_desk_of(browser, product, "ana") as ana,
        at_the_desk_of(browser, product, "cleo") as cleo,
    ):
        # Ana reads what would become of Cleo's work before she decides.
        ana.goto(f"{product.url}/team")
        ana.get_by_role("row", name="Cleo").get_by_role("link", name="Change").click()
        remove = ana.get_by_role("region", name="Remove Cleo")
        expect(remove).to_contain_text("1 piece of their work is in progress")
        expect(remove).to_contain_text("can still be finished")
        remove.get_by_role("button", name="Remove Cleo").click()
        expect(ana.get_by_role("status")).to_contain_text("Cleo")

        # Cleo is out at her next click.
        cleo.reload()
        expect(cleo).to_have_url(f"{product.url}/sign-in")

    # What had begun is finished and charged: one document of the two that were set aside.
    done = product.api("POST", f"/authorizations/{begun}/capture", quantity=1)
    assert (done.status_code, done.json()["credits"], done.json()["released"]) == (200, "5", "5")
    assert product.available() == before + 5
    # The next step is refused, and says why.
    refused = product.api("POST", "/authorizations", **work)
    assert refused.status_code == 422
    assert "was removed" in refused.json()["errors"][0]["detail"]
