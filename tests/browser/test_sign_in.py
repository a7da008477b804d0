"""The ways in, in a real browser: a passkey of its own device; and how the pages hold together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.browser.product import PASSWORD, Product
from tests.browser.whole import check_everywhere

pytestmark = pytest.mark.browser


@pytest.fixture
def device(page: Page) -> Iterator[CDPSession]:
    """A device that keeps passkeys and whose owner is always there."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    session.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    yield session
    session.send("WebAuthn.disable")


def _named(product: Product) -> str:
    """Return the portal's address by name: passkeys are for names."""
    return product.url.replace("127.0.0.1", "localhost")


def _enter(page: Page, url: str) -> None:
    page.goto(f"{url}/sign-in")
    page.get_by_label("Email").fill("ana@acme.test")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{url}/")


def _sign_out(page: Page, url: str) -> None:
    page.locator("summary", has_text="your account").click()
    page.locator(".menu-sheet").get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{url}/sign-in")


def test_a_passkey_is_added_signs_in_and_is_worth_nothing_once_removed(
    page: Page, device: CDPSession, product: Product
) -> None:
    url = _named(product)
    _enter(page, url)
    page.goto(f"{url}/account")
    page.get_by_label("Name of the new one").fill("Work laptop")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("status")).to_contain_text("Your passkey is ready")
    expect(page.get_by_text("Work laptop")).to_be_visible()

    _sign_out(page, url)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{url}/")
    page.goto(f"{url}/account")
    expect(page.get_by_text("Signed in by passkey")).to_be_visible()

    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("status")).to_contain_text("no longer signs you in")
    _sign_out(page, url)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("alert").filter(has_text="not known here")).to_be_visible()
    assert page.url == f"{url}/sign-in"


def test_a_device_that_has_a_passkey_says_so(
    page: Page, device: CDPSession, product: Product
) -> None:
    url = _named(product)
    _enter(page, url)
    for words in ("Your passkey is ready", None):
        page.goto(f"{url}/account")
        page.get_by_role("button", name="Add a passkey").click()
        if words:
            expect(page.get_by_role("status")).to_contain_text(words)
    expect(page.get_by_role("alert").filter(has_text="has a passkey")).to_be_visible()
    page.get_by_role("button", name="Remove").click()


def test_without_scripts_the_other_ways_remain(browser: Browser, product: Product) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    url = _named(product)
    page.goto(f"{url}/sign-in")
    expect(page.get_by_role("button", name="Use a passkey")).to_be_hidden()
    page.get_by_label("Email").fill("ana@acme.test")
    page.get_by_role("button", name="Mail me a link").click()
    expect(page.get_by_role("heading", name="Look in your mail")).to_be_visible()
    _enter(page, url)
    page.goto(f"{url}/account")
    expect(page.get_by_role("button", name="Add a passkey")).to_be_hidden()
    context.close()


def test_another_device_is_signed_out_from_this_one(
    page: Page, browser: Browser, product: Product
) -> None:
    url = _named(product)
    other = browser.new_context(user_agent="Mozilla/5.0 (iPhone; like Mac OS X) Safari/604.1")
    elsewhere = other.new_page()
    _enter(elsewhere, url)
    _enter(page, url)
    page.goto(f"{url}/account")
    row = page.get_by_role("listitem").filter(has_text="Safari on iPhone")
    row.get_by_role("button", name="End").click()
    expect(page.get_by_role("status")).to_contain_text("has ended")
    elsewhere.reload()
    elsewhere.wait_for_url(f"{url}/sign-in")
    other.close()


def test_the_door_and_the_account_are_whole(page: Page, product: Product) -> None:
    url = _named(product)
    for path in ("/sign-in", "/sign-in/mail/anything", "/sign-in/anything"):
        page.route("**/continue.js", lambda route: route.fulfill(body=""))
        check_everywhere(page, f"{url}{path}")
    page.goto(f"{url}/sign-in")
    page.get_by_label("Email").fill("ana@acme.test")
    page.get_by_role("button", name="Mail me a link").click()
    expect(page.get_by_role("heading", name="Look in your mail")).to_be_visible()
    _enter(page, url)
    check_everywhere(page, f"{url}/account")
