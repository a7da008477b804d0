"""The sandbox put together: store, gate, courier and pages, as one Flask application."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask

from sandbox import (
    balances,
    billing,
    catalog,
    checkout,
    control,
    customers,
    events,
    hosted,
    invoice_items,
    invoice_pages,
    invoice_payments,
    invoices,
    payments,
    previews,
    renewals,
    schedules,
    subscription_updates,
    subscriptions,
)
from sandbox.api import Gate
from sandbox.idempotency import Memory
from sandbox.store import Store
from sandbox.webhooks import Courier

REQUEST_BYTES_MAX = 1024 * 1024
# It guards nothing: no money moves here.
DEFAULT_SECRET = "whsec_sandbox"  # noqa: S105  # nosec B105
ROUTES = (
    *catalog.ROUTES,
    *customers.ROUTES,
    *checkout.ROUTES,
    *payments.ROUTES,
    *events.ROUTES,
    *balances.ROUTES,
    *subscriptions.ROUTES,
    *subscription_updates.ROUTES,
    *schedules.ROUTES,
    *invoices.ROUTES,
    *invoice_payments.ROUTES,
    *invoice_items.ROUTES,
    *previews.ROUTES,
)
# What happens by itself, by the clock or because of something else that happened.
_ATTENDING = (checkout, billing, subscription_updates, renewals, schedules)


@dataclass(frozen=True)
class Sandbox:
    """The parts that outlive a request; at ``app.extensions["sandbox"]``."""

    store: Store
    memory: Memory
    courier: Courier

    def close(self) -> None:
        """Stop the thread that sends webhooks."""
        self.courier.close()


def create_sandbox(
    *,
    webhook_url: str | None = None,
    webhook_secret: str = DEFAULT_SECRET,
    base_url: str | None = None,
    clock: Callable[[], float] = time.time,
    retry_seconds: float = 0.5,
) -> Flask:
    """Build a sandbox with nothing in it.

    ``base_url`` is where browsers find it, by default where the request found it; ``clock`` decides
    what is created and expired when; ``retry_seconds`` is the first pause between two attempts.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = REQUEST_BYTES_MAX
    store = Store(clock)
    memory = Memory(clock)
    courier = Courier(webhook_url, webhook_secret, retry_seconds=retry_seconds)
    store.listen(courier.enqueue)  # first, so that webhooks go out in the order of the events
    for module in _ATTENDING:
        module.attend(store)
    gate = Gate(store, memory, base_url)
    gate.register(app, ROUTES)
    app.register_blueprint(hosted.blueprint(gate, courier))
    app.register_blueprint(invoice_pages.blueprint(gate))
    app.register_blueprint(control.blueprint(gate, courier))
    app.jinja_env.filters.update(money=hosted.money, instant=hosted.instant)
    app.extensions["sandbox"] = Sandbox(store, memory, courier)
    return app
