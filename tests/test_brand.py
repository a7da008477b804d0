"""The operator's brand on every page: name, colour, logo and where to ask."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from portal.config import Brand, Settings
from portal.core.errors import ConfigError
from tests.conftest import ROOT, SECRET_KEY, settings_for

LOGO = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'


@pytest.fixture
def store(sqlite_store: str) -> str:
    """What the pages wear does not depend on the store."""
    return sqlite_store


def test_the_door_wears_the_brand_under_the_strict_policy(
    store: str, built: Callable[[Settings], Flask], tmp_path: Path
) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_text(LOGO, encoding="utf-8")
    brand = Brand("Scribe", "https://scribe.test/help", "#ffd400", str(logo))
    client = built(settings_for(store, brand=brand)).test_client()
    page = client.get("/sign-in").text
    assert "Scribe" in page
    assert "https://scribe.test/help" in page
    (address,) = re.findall(r'href="(/brand\.css[^"]+)"', page)
    sheet = client.get(address)
    assert sheet.content_type == "text/css; charset=utf-8"
    assert "immutable" in sheet.headers["Cache-Control"]
    assert "Set-Cookie" not in sheet.headers
    # Yellow on white cannot be read; on the dark ground it can, and stays.
    light, dark = re.findall(r"--accent:(#[0-9a-f]{6});", sheet.text)[:2]
    assert (light == "#ffd400", dark) == (False, "#ffd400")
    (source,) = re.findall(r'<img class="logo" src="([^"]+)"', page)
    shown = client.get(source)
    assert (shown.text, shown.content_type) == (LOGO, "image/svg+xml")
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]


def test_without_a_brand_nothing_more_is_fetched(application: Flask) -> None:
    client = application.test_client()
    page = client.get("/sign-in").text
    assert "brand.css" not in page
    assert client.get("/brand.css").status_code == client.get("/brand/logo").status_code == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BRAND_ACCENT", "blue"),
        ("BRAND_ACCENT", "#12345"),
        ("BRAND_LOGO_FILE", "/nowhere/logo.svg"),
        ("BRAND_LOGO_FILE", str(ROOT / "README.md")),
    ],
)
def test_a_malformed_setting_is_named(name: str, value: str) -> None:
    env = {
        "DATABASE_URL": "sqlite:////tmp/x.db",
        "SECRET_KEY": SECRET_KEY,
        "PORTAL_BASE_URL": "https://x.test",
    }
    with pytest.raises(ConfigError, match=name):
        Settings.from_env({**env, name: value})


def test_the_themes_grounds_are_those_of_the_style_sheet() -> None:
    sheet = (ROOT / "static" / "clearmeter.css").read_text(encoding="utf-8")
    light, dark = sheet.partition("prefers-color-scheme: dark")[::2]
    for text, grounds in ((light, ("#fff", "#f6f7f9", "#f6f7f9")), (dark, ("#16191f", "#0e1014", "#111419"))):  # fmt: skip  # noqa: E501
        for name, value in zip(("panel", "page", "well"), grounds, strict=True):
            assert re.search(rf"--{name}: {value}[;\s]", text), name
