"""What every page must be: whole, protected, not wider than its window, and open to all (axe)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
  };
}"""
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
VIOLATIONS = "axe.run({resultTypes: ['violations']}).then(found => found.violations)"
WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")


def check(page: Page, address: str) -> None:
    """Open a page and hold it against all of it, as the window is."""
    _opened(page, address)
    _open_to_all(page, address)


def check_everywhere(
    page: Page,
    address: str,
    *,
    widths: Iterable[int] = WIDTHS,
    schemes: Iterable[str] = SCHEMES,
) -> None:
    """Hold a page against all of it, wide and narrow, light and dark; it is opened once."""
    page.emulate_media(reduced_motion="reduce")
    for first, (width, scheme) in _first(_looks(widths, schemes)):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        if first:
            _opened(page, address)
        _open_to_all(page, f"{address} at {width} in {scheme}")
    page.set_viewport_size({"width": 1440, "height": 900})


def _looks(widths: Iterable[int], schemes: Iterable[str]) -> Iterator[tuple[int, str]]:
    return ((width, scheme) for width in widths for scheme in schemes)


def _first(looks: Iterable[tuple[int, str]]) -> Iterator[tuple[bool, tuple[int, str]]]:
    return ((place == 0, look) for place, look in enumerate(looks))


def _opened(page: Page, address: str) -> None:
    """Open a page, hold its text against what does not depend on the look, and bring axe in."""
    page.goto(address)
    found = page.evaluate(CHECKS)
    assert found["title"].strip(), address
    assert found["h1"] == 1, address
    assert found["twice"] == [], address
    assert found["inline"] == 0, address
    assert found["unprotected"] == 0, address
    page.evaluate(Axe().axe_script)


def _open_to_all(page: Page, where: str) -> None:
    assert page.evaluate(SIDEWAYS) <= 0, where
    violations = page.evaluate(VIOLATIONS)
    told = [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in violations]
    assert told == [], f"{where}: {told}"
