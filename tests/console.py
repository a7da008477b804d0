"""The operator of the tests: Olga, signed in, with a browser of her own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flask import Flask
from werkzeug.test import TestResponse

from portal import access
from portal.db import Database
from tests.clock import Clock
from tests.readers import Reader, sign_in

OLGA, OTTO = "olga@operator.example", "otto@operator.example"


def enter_olga(application: Flask, database: Database, clock: Clock, email: str = OLGA) -> Reader:
    """Sign the operator in, or another one by their address."""
    with database.transaction() as tx:
        access.put_operator(tx, email, email.partition("@")[0].title(), now=clock())
        token, _ = access.make_link(tx, operator_email=email, now=clock())
    return sign_in(application, f"/sign-in/{token}")


def hidden(page: str, name: str) -> str:
    """Return the value of a hidden field of a page."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, page[:2000]
    return found[1]


@dataclass(frozen=True)
class Form:
    """A form as it stands on a preview, with what was typed into it: to be sent, also twice."""

    olga: Reader
    address: str
    fields: dict[str, str]

    def send(self) -> TestResponse:
        return self.olga.client.post(
            self.address, data=self.fields, headers={"Referer": "http://localhost"}
        )


def previewed(olga: Reader, address: str, **typed: str) -> Form:
    """Look at a preview and return its form."""
    page = olga.client.get(address)
    assert page.status_code == 200, page.text[:3000]
    form = page.text.rpartition("<form class=")[2]
    known = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form))
    return Form(olga, address.partition("?")[0], known | typed)
