"""What every page must be: whole, protected, not wider than its window, and open to all (axe)."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

CHECKS = """() => {
  const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
  return {
    title: document.title,
    h1: document.querySelectorAll('h1').length,
    twice: ids.filter((id, i) => ids.indexOf(id) !== i),
    inline: document.querySelectorAll('[style], style, script:not([src]), [onclick]').length,
    unprotected: [...document.querySelectorAll('form[method=post]')]
      .filter(f => !f.querySelector('input[name=csrf_token]')).length,
    sideways: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
}"""


def check(page: Page, address: str) -> None:
    """Open a page and hold it against all of it."""
    page.goto(address)
    found = page.evaluate(CHECKS)
    assert found["title"].strip(), address
    assert found["h1"] == 1, address
    assert found["twice"] == [], address
    assert found["inline"] == 0, address
    assert found["unprotected"] == 0, address
    assert found["sideways"] <= 0, address
    violations = Axe().run(page).response["violations"]
    told = [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in violations]
    assert told == [], f"{address}: {told}"


def check_everywhere(page: Page, address: str) -> None:
    """Hold a page against all of it, wide and narrow, light and dark."""
    page.emulate_media(reduced_motion="reduce")
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            check(page, address)
    page.set_viewport_size({"width": 1440, "height": 900})
