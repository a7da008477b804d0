"""The victim of the crashes about money: it takes Stripe's news, buys, changes plans.

``python -m tests.faults.payer GATE TOLD``, as the other victim.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from typing import Any

from flask import Flask

from app import configure_logging, create_app
from portal import accounts, jobs
from portal.billing import changes, checkout
from portal.billing.gateway import caller
from portal.billing.gateway.circuit import Client
from portal.jobs import Workshop
from sandbox.webhooks import signature
from tests.conftest import settings_for
from tests.faults.victim import Victim
from tests.shop import KEY

SECRET = "whsec_tests"
_clients: list[Client] = []


class Noted(Client):
    """A client that can be told to hang up: a child must not speak on its parent's line."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        _clients.append(self)


class Payer(Victim):
    """The product that is paid through the stand-in which an order names."""

    stripe = ""

    def application(self, url: str) -> Flask:
        place = f"{url} {self.stripe}"
        if place not in self._applications:
            settings = settings_for(url, stripe_secret_key=KEY, stripe_api_base=self.stripe)
            self._applications[place] = create_app(settings, clock=self.clock)
        return self._applications[place]

    def rehearse(self, order: dict[str, Any]) -> None:
        super().rehearse(order)
        for client in _clients:
            client.close()

    def perform(self, order: dict[str, Any]) -> tuple[int, str]:
        self.stripe = order["stripe"]
        self.clock.set(datetime.fromisoformat(order["now"]))
        return act(self.application(order["url"]), order)


def act(application: Flask, order: dict[str, Any]) -> tuple[int, str]:
    """Do what an order says, here."""
    parts = application.extensions["clearmeter"]
    database, payments, now = parts.database, parts.payments, parts.clock()
    if "event" in order:
        body = json.dumps(order["event"]).encode()
        signed = {"Stripe-Signature": signature(body, SECRET, timestamp=int(time.time()))}
        client = application.test_client(use_cookies=False)
        reply = client.post("/webhooks/stripe", data=body, headers=signed)
        return reply.status_code, reply.get_data(as_text=True)
    if "job" in order:
        return 200, str(getattr(jobs, order["job"])(Workshop(database, payments, parts.clock)))
    with database.reading() as tx:
        organization = accounts.find_organization(tx, "acme")
        member = accounts.find_member(tx, "acme", "ana")
    if "pack" in order:
        return 200, checkout.start(
            database, payments, organization=organization, member=member, pack=order["pack"],
            portal_base_url="http://127.0.0.1:8000", now=now,
        )  # fmt: skip
    outcome = changes.confirm(
        database, payments, organization_id="acme", member=member, change_id=order["change"],
        now=now,
    )  # fmt: skip
    return 200, outcome.status


if __name__ == "__main__":
    configure_logging()
    caller.Client = Noted  # type: ignore[misc]
    Payer().serve(int(sys.argv[1]), int(sys.argv[2]))
