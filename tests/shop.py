"""A portal that sells, and the stand-in for Stripe it sells through, both within the test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import requests
import stripe
from flask import Flask
from werkzeug.exceptions import NotFound
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.test import TestResponse

from app import create_app
from portal import accounts
from portal.billing import checkout, reconcile
from portal.billing.customers import ensure_customer
from portal.billing.gateway import Gateway
from portal.config import Settings
from portal.db import Database
from portal.web.security import limiter
from portal.web.services import Services
from sandbox.app import create_sandbox
from sandbox.webhooks import signature
from tests import digest, remembered
from tests.cast import Api, Customer, ok
from tests.clock import Clock
from tests.conftest import hurry, settings_for

KEY = "sk_test_ofthetests"
SECRETS = ("whsec_new", "whsec_old")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
GOOD, DECLINED = "4242424242424242", "4000000000000002"


class SandboxClock:
    """The stand-in's own time: the real one, and whatever a test adds."""

    ahead_seconds = 0

    def __call__(self) -> float:
        return time.time() + self.ahead_seconds

    def show(self, instant: datetime) -> None:
        """Have it be that instant there, too."""
        self.ahead_seconds = int(instant.timestamp() - time.time()) + 1


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
    server = _idle.pop() if _idle else _listening()
    server.app = app
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.app = NotFound()
        _idle.append(server)
        app.extensions["sandbox"].close()


#: Who listens for the next stand-in: portals are built for an address and can be used again.
_idle: list[BaseWSGIServer] = []


def _listening() -> BaseWSGIServer:
    server = make_server("127.0.0.1", 0, NotFound(), threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


#: How many portals are kept: for both stores, with what is sold once and by the month.
_PORTALS_MOST = 8
_portals: dict[Settings, Flask] = {}


def portal_of(settings: Settings, clock: Clock) -> Flask:
    """Return the product with these settings, which was built before; it knows nothing of Stripe.

    Its routes and the statements it has compiled are kept from test to test.
    """
    application = _portals.get(settings)
    if application is None or application.extensions["clearmeter"].clock is not clock:
        if len(_portals) >= _PORTALS_MOST:
            _portals.clear()
        application = _portals[settings] = create_app(settings, clock=clock)
        hurry(application.extensions["clearmeter"].database)
    limiter.reset()
    parts: Services = application.extensions["clearmeter"]
    stripe_again = Gateway(settings.stripe_secret_key, settings.stripe_api_base)
    application.extensions["clearmeter"] = replace(parts, payments=stripe_again)
    return application


@dataclass
class Shop:
    """Acme's purchases, from the click to the grant."""

    application: Flask
    customer: Customer
    stripe: stripe.StripeClient
    clock: Clock
    stripe_clock: SandboxClock
    address: str = ""

    @property
    def database(self) -> Database:
        found: Database = self.application.extensions["clearmeter"].database
        return found

    @property
    def payments(self) -> Gateway:
        found: Gateway = self.application.extensions["clearmeter"].payments
        return found

    def open(self, pack: str = "small", *, of: str = "acme", **more: Any) -> str:
        """Have Ana open a checkout; return the address of the page to pay on."""
        with self.database.reading() as tx:
            organization = accounts.find_organization(tx, of)
            member = accounts.find_member(tx, of, "ana")
        return checkout.start(
            self.database, self.payments, organization=organization, member=member, pack=pack,
            portal_base_url="http://127.0.0.1:8000", now=self.clock(), **more,
        )  # fmt: skip

    def found(self, name: str) -> Customer:
        """Make another organization, of Ana's as well, with nothing to spend."""
        customer = Customer(self.customer.api, name)
        ok(customer.api.put(customer.path, {"name": name.title()}), 201)
        owner = {"email": "ana@acme.example", "role": "owner"}
        ok(customer.api.put(f"{customer.path}/members/ana", owner), 201)
        return customer

    def pay(self, url: str, number: str = GOOD) -> requests.Response:
        """Type a card into the page."""
        form = {"email": "ana@acme.example", "number": number, "expiry": "12/34", "cvc": "123"}
        return requests.post(url, data=form, allow_redirects=False, timeout=10)

    def buy(self, pack: str = "small", *, of: str = "acme") -> str:
        """Open a checkout and pay it; return the session's id."""
        url = self.open(pack, of=of)
        assert self.pay(url).status_code == 303
        return session_of(url)

    def pay_by_bank(self, url: str, way: str = "bank_pays") -> None:
        """Choose a bank debit on the page: whether it pays is known later."""
        form = {"email": "ana@acme.example", "way": way}
        assert requests.post(url, data=form, allow_redirects=False, timeout=10).status_code == 303

    def control(self, path: str, /, **body: Any) -> dict[str, Any]:
        """Have the stand-in do what banks and time do."""
        response = requests.post(f"{self.address}/_sandbox/{path}", json=body, timeout=10)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def payment_of(self, session_id: str) -> str:
        """Return the payment intent by which a session was paid."""
        return str(self.stripe.v1.checkout.sessions.retrieve(session_id).payment_intent)

    def refund(self, payment_id: str, amount_minor: int | None = None) -> str:
        """Give a payment back in Stripe's dashboard, all of it unless an amount is given."""
        part = {} if amount_minor is None else {"amount": amount_minor}
        return str(self.stripe.v1.refunds.create({"payment_intent": payment_id} | part).id)  # type: ignore[arg-type]

    def dispute(self, payment_id: str, *decisions: str, **more: Any) -> str:
        """Have the payer's bank dispute a payment, and decide; return the dispute's id."""
        opened = str(self.control("disputes", payment_intent=payment_id, **more)["id"])
        for decision in decisions:
            self.control(f"disputes/{opened}", to=decision)
        return opened

    def news(self, *kinds: str, of: str) -> list[Any]:
        """Return Stripe's events of these kinds about a payment or its session, oldest first."""
        found = self.stripe.v1.events.list({"limit": 100}).data
        told = [one.to_dict(for_json=True) for one in found if one.type.startswith(kinds)][::-1]
        return [one for one in told if of in json.dumps(one["data"]["object"])]

    def tell(self, *kinds: str, of: str) -> None:
        """Deliver all news of these kinds about a payment."""
        for event in self.news(*kinds, of=of):
            assert self.deliver(event).status_code == 200

    def mend(self) -> list[str]:
        """Reconcile all that ever was; return what was mended."""
        return reconcile.reconcile(self.database, self.payments, since=LONG_AGO, now=self.clock())

    def differences(self) -> list[str]:
        """Compare Stripe, the payments and the ledger; return what differs."""
        return reconcile.differences(self.database, self.payments, since=LONG_AGO, now=self.clock())

    def events(self, kind: str = "checkout.session.completed") -> list[Any]:
        """Return Stripe's events of a kind, oldest first."""
        found = self.stripe.v1.events.list({"limit": 100}).data
        return [one.to_dict() for one in found if one.type == kind][::-1]

    def deliver(
        self, event: Any, *, secret: str = SECRETS[0], ago: int = 0, header: str | None = None
    ) -> TestResponse:
        """Deliver an event as Stripe does, signed."""
        body = json.dumps(event, default=str).encode()
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

    def save_card(self, name: str = "pm_card_visa") -> str:
        """Save a test card with Acme's customer, to be charged by default; return its id."""
        with self.database.reading() as tx:
            organization = accounts.find_organization(tx, "acme")
        customer = ensure_customer(self.database, self.payments, organization)
        saved = self.stripe.v1.payment_methods.attach(name, {"customer": customer})
        self.make_default(customer, saved.id)
        return str(saved.id)

    def make_default(self, customer: str, method: str) -> None:
        """Have a customer's payments made by a method where nothing else is said."""
        settings = {"invoice_settings": {"default_payment_method": method}}
        self.stripe.v1.customers.update(customer, settings)

    def fail_calls(self, kind: str, path: str = "/v1/payment_intents", times: int = 3) -> None:
        """Have Stripe fail calls; the library tries each three times before it gives up."""
        fault = {"kind": kind, "method": "POST", "path": path, "times": times}
        fault |= {"seconds": 0.01} if kind == "timeout_after" else {}
        url = f"{self.payments.checkout_origin}/_sandbox/faults"
        assert requests.post(url, json=fault, timeout=10).status_code == 200

    def charged_minor(self) -> list[int]:
        """Return what Stripe took of Acme's cards, oldest first."""
        found = self.stripe.v1.charges.list({"limit": 100}).auto_paging_iter()
        return [one.amount for one in found if one.status == "succeeded"][::-1]

    @property
    def packs(self) -> list[str]:
        """What is left of the packs that were bought."""
        grants = self.customer.balance()["grants"]
        return [one["remaining"] for one in grants if one["source"] == "pack"]


class Stopped(Exception):
    """The process stopped here."""


class Stopping(Gateway):
    """Stripe, for a process that stops at one of its calls: before it, or before its answer."""

    stops: tuple[int, bool] | None = None
    calls = 0

    @contextmanager
    def _calling(self) -> Iterator[Any]:
        self.calls += 1
        if self.stops == (self.calls, False):
            raise Stopped
        with super()._calling() as v1:
            yield v1
        if self.stops == (self.calls, True):
            raise Stopped


@contextmanager
def selling(
    store: str, clock: Clock, stripe_address: str, stripe_clock: SandboxClock
) -> Iterator[Shop]:
    """Run a portal on a store that sells to Acme; Bystander must be left alone, ledgers whole."""
    settings = settings_for(
        store, stripe_secret_key=KEY, stripe_api_base=stripe_address,
        stripe_webhook_secrets=SECRETS,
    )  # fmt: skip
    application = portal_of(settings, clock)
    database = application.extensions["clearmeter"].database
    remembered.price_book(database, clock)
    api = Api(application, remembered.service_key(database, clock))
    client = stripe.StripeClient(KEY, base_addresses={"api": stripe_address}, max_network_retries=0)
    customer = remembered.acme(api, database, clock)
    made = Shop(application, customer, client, clock, stripe_clock, stripe_address)
    bystander = remembered.bystander(api, database, clock)
    before = digest.of_organization(database, bystander.id)
    yield made
    assert digest.of_organization(database, bystander.id) == before
    assert digest.faults(database) == []
    database.close()


def session_of(url: str) -> str:
    """Return the session's id in the address of its page."""
    return url.rstrip("/").rpartition("/")[2].partition("?")[0]
