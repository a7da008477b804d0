"""The page of components: all of them are on it, and only while developing."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from portal.db import Database
from tests.cast import Customer
from tests.clock import Clock
from tests.conftest import ROOT
from tests.readers import enter

COMPONENTS = ROOT / "templates" / "_components"


@pytest.fixture
def store(sqlite_store: str) -> str:
    """What components there are does not depend on the store."""
    return sqlite_store


def test_every_component_is_on_the_page() -> None:
    page = (ROOT / "templates" / "customer" / "design.html").read_text(encoding="utf-8")
    imports = "".join(re.findall(r'{% from "_components/\w+\.html" import ([^%]+) %}', page))
    known = {
        name: name
        for path in sorted(COMPONENTS.glob("*.html"))
        for name in re.findall(r"{%-? macro (\w+)\(", path.read_text(encoding="utf-8"))
    }
    known |= dict(re.findall(r"(\w+) as (\w+)", imports))
    used = [name for name, here in known.items() if re.search(rf"(?<!import )\b{here}\(", page)]
    assert used == list(known), "a macro that is not shown in templates/customer/design.html"


def test_the_page_is_there_while_developing_alone(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    ana = enter(application, database, clock, "ana")
    assert ana.client.get("/design").status_code == 404
    application.debug = True
    try:
        page = ana.client.get("/design")
        assert page.status_code == 200
        assert page.text.count("<h1") == 1
        assert "The tightest limit is" in page.text
    finally:
        application.debug = False
