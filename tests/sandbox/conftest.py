"""A running sandbox, a receiver of its webhooks and the real Stripe library, for each test."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

REPO_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO_ROOT))  # the sandbox is found wherever pytest was started

from sandbox.app import create_sandbox  # noqa: E402

SECRET = "whsec_of_the_tests"
KEY = "sk_test_of_the_tests"
GOOD, DECLINED, POOR = "4242 4242 4242 4242", "4000-0000-0000-0002", "4000000000009995"


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.offset_seconds = 0

    def __call__(self) -> float:
        return time.time() + self.offset_seconds


@dataclass
class Inbox:
    """What the receiver of the webhooks got; it answers with the statuses left, then with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def events(self) -> list[stripe.Event]:
        """Return the events, each with its signature verified by the real library."""
        return [
            stripe.Webhook.construct_event(body, headers["Stripe-Signature"], SECRET)
            for headers, body in list(self.received)
        ]

    def types(self) -> list[str]:
        return [event.type for event in self.events()]


@dataclass
class Shop:
    """A seller's side: the real library's client and the addresses of the sandbox."""

    url: str
    app: Flask
    stripe: stripe.StripeClient
    clock: Clock

    def price(self, amount_minor: int = 2500, **more: Any) -> stripe.Price:
        params = {"currency": "usd", "product_data": {"name": "500 credits"}, **more}
        return self.stripe.v1.prices.create({"unit_amount": amount_minor, **params})

    def session(self, **more: Any) -> stripe.checkout.Session:
        items = more.pop("line_items", None) or [{"price": self.price().id, "quantity": 1}]
        return self.stripe.v1.checkout.sessions.create(
            {
                "mode": "payment",
                "line_items": items,
                "success_url": "http://shop.example/thanks?session={CHECKOUT_SESSION_ID}",
                "cancel_url": "http://shop.example/packs",
                **more,
            }
        )

    def pay(self, url: str, number: str = GOOD, **more: str) -> requests.Response:
        form = {"email": "ana@acme.example", "number": number, "expiry": "12/34", "cvc": "123"}
        return requests.post(url, data={**form, **more}, allow_redirects=False, timeout=10)

    def control(self, path: str, /, **body: Any) -> dict[str, Any]:
        response = requests.post(f"{self.url}/_sandbox/{path}", json=body, timeout=10)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def saved(self, name: str = "pm_card_visa", **more: Any) -> tuple[str, str]:
        """Return a customer and a test card saved with them."""
        customer = self.stripe.v1.customers.create({"email": "ana@acme.example", **more})
        method = self.stripe.v1.payment_methods.attach(name, {"customer": customer.id})
        return customer.id, method.id

    def charge(self, name: str = "pm_card_visa", amount_minor: int = 2500) -> stripe.Charge:
        """Charge a test card while its payer is away."""
        customer, method = self.saved(name)
        return self.off_session(customer, method, amount_minor).latest_charge

    def off_session(
        self, customer: str, method: str, amount_minor: int = 2500, **more: Any
    ) -> stripe.PaymentIntent:
        return self.stripe.v1.payment_intents.create(
            {
                "amount": amount_minor,
                "currency": "usd",
                "customer": customer,
                "payment_method": method,
                "off_session": True,
                "confirm": True,
                "error_on_requires_action": True,
                "expand": ["latest_charge.balance_transaction"],
                **more,
            }
        )

    def told(self, *types: str) -> list[stripe.Event]:
        """Return the events of these types, or all, the oldest first."""
        params = {"types": list(types), "limit": 100} if types else {"limit": 100}
        return self.stripe.v1.events.list(params).data[::-1]

    def answer(self, url: str, outcome: str) -> requests.Response:
        """Answer the bank's page where a payer authenticates."""
        return requests.post(url, {"outcome": outcome}, allow_redirects=False, timeout=10)

    def deliveries(self) -> list[dict[str, Any]]:
        response = requests.get(f"{self.url}/_sandbox/deliveries", timeout=10)
        told: list[dict[str, Any]] = response.json()["deliveries"]
        return told


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    kept = Inbox()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.received.append((dict(self.headers), body))
            self.send_response(kept.statuses.pop(0) if kept.statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    kept.url = f"http://127.0.0.1:{server.server_port}/webhooks/stripe"
    with _serving(server):
        yield kept


@pytest.fixture
def shop(inbox: Inbox) -> Iterator[Shop]:
    clock = Clock()
    app = create_sandbox(
        webhook_url=inbox.url, webhook_secret=SECRET, clock=clock, retry_seconds=0.02
    )
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    url = f"http://127.0.0.1:{server.server_port}"
    with _serving(server):
        yield Shop(url, app, client(url), clock)
    app.extensions["sandbox"].close()


class _serving:  # noqa: N801 - read as a verb: with _serving(server)
    def __init__(self, server: Any) -> None:
        self.server = server
        self.thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


def client(url: str, key: str = KEY) -> stripe.StripeClient:
    """Return the real library's client, which never repeats a request of its own accord."""
    return stripe.StripeClient(key, base_addresses={"api": url}, max_network_retries=0)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait for something that a thread will bring about."""

    def wait(happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 5
        while not happened():
            assert time.monotonic() < deadline, "it did not happen within five seconds"
            time.sleep(0.01)

    return wait
