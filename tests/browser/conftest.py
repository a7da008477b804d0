"""A running product and a real Chromium; where there is none, the tests say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import product as running
from tests.browser.product import Product

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = running.chromium()
    if path is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One product for all modules that leave it as others may find it."""
    found, processes = running.start(tmp_path_factory.mktemp("shared"))
    yield found
    running.stop(found, processes)


@pytest.fixture(scope="module")
def product(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """The product of a module: the shared one where it says so, else one of its own."""
    if getattr(request.module, "SHARES_PRODUCT", False):
        yield request.getfixturevalue("shared")
        return
    found, processes = running.start(tmp_path_factory.mktemp("product"))
    yield found
    running.stop(found, processes)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh visitor; whatever their console complains of fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    found = context.new_page()
    complaints: list[str] = []
    found.on("console", lambda message: _complain(complaints, message.type, message.text))
    found.on("pageerror", lambda error: complaints.append(str(error)))
    yield found
    context.close()
    assert complaints == []


def _complain(complaints: list[str], kind: str, text: str) -> None:
    # A refused form answers 4xx, which Chromium writes to the console as an error of its own.
    if kind == "error" and "status of 4" not in text:
        complaints.append(text)
