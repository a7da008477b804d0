"""A portal that sells, and the stand-in for Stripe it sells through, both within the test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
import stripe
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import TestResponse

from portal import accounts
from portal.billing import checkout
from portal.billing.gateway import Gateway
from portal.db import Database
from sandbox.app import create_sandbox
from sandbox.webhooks import signature
from tests.cast import Customer
from tests.clock import Clock

KEY = "sk_test_ofthetests"
SECRETS = ("whsec_new", "whsec_old")
GOOD, DECLINED = "4242424242424242", "4000000000000002"


class SandboxClock:
    """The stand-in's own time: the real one, and whatever a test adds."""

    ahead_seconds = 0

    def __call__(self) -> float:
        return time.time() + self.ahead_seconds


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def stand_in(clock: SandboxClock) -> Iterator[str]:
    """Run the stand-in for Stripe on loopback; gives its address. It sends no webhooks itself."""
    with serving(create_sandbox(webhook_url=None, clock=clock)) as address:
        yield address


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """Run a stand-in that was made already; gives its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
        app.extensions["sandbox"].close()


@dataclass
class Shop:
    """Acme's purchases, from the click to the grant."""

    application: Flask
    customer: Customer
    stripe: stripe.StripeClient
    clock: Clock
    stripe_clock: SandboxClock

    @property
    def database(self) -> Database:
        found: Database = self.application.extensions["clearmeter"].database
        return found

    @property
    def payments(self) -> Gateway:
        found: Gateway = self.application.extensions["clearmeter"].payments
        return found

    def open(self, pack: str = "small") -> str:
        """Have Ana open a checkout; return the address of the page to pay on."""
        with self.database.reading() as tx:
            organization = accounts.find_organization(tx, "acme")
            member = accounts.find_member(tx, "acme", "ana")
        return checkout.start(
            self.database, self.payments, organization=organization, member=member, pack=pack,
            portal_base_url="http://127.0.0.1:8000", now=self.clock(),
        )  # fmt: skip

    def pay(self, url: str, number: str = GOOD) -> requests.Response:
        """Type a card into the page."""
        form = {"email": "ana@acme.example", "number": number, "expiry": "12/34", "cvc": "123"}
        return requests.post(url, data=form, allow_redirects=False, timeout=10)

    def buy(self, pack: str = "small") -> str:
        """Open a checkout and pay it; return the session's id."""
        url = self.open(pack)
        assert self.pay(url).status_code == 303
        return session_of(url)

    def events(self, kind: str = "checkout.session.completed") -> list[Any]:
        """Return Stripe's events of a kind, oldest first."""
        found = self.stripe.v1.events.list({"limit": 100}).data
        return [one.to_dict() for one in found if one.type == kind][::-1]

    def deliver(
        self, event: Any, *, secret: str = SECRETS[0], ago: int = 0, header: str | None = None
    ) -> TestResponse:
        """Deliver an event as Stripe does, signed."""
        body = json.dumps(event).encode()
        signed = signature(body, secret, timestamp=int(time.time()) - ago)
        client = self.application.test_client(use_cookies=False)
        return client.post(
            "/webhooks/stripe",
            data=body,
            headers={"Stripe-Signature": signed if header is None else header},
        )

    def returned(self, session_id: str) -> str:
        """Come back to the thank-you page; return what became of the purchase."""
        found = checkout.returned(
            self.database, self.payments, organization_id="acme", session_id=session_id,
            now=self.clock(),
        )  # fmt: skip
        return found.status

    @property
    def packs(self) -> list[str]:
        """What is left of the packs that were bought."""
        grants = self.customer.balance()["grants"]
        return [one["remaining"] for one in grants if one["source"] == "pack"]


def session_of(url: str) -> str:
    """Return the session's id in the address of its page."""
    return url.rstrip("/").rpartition("/")[2].partition("?")[0]
