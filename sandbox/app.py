"""The sandbox put together: store, gate, courier and pages, as one Flask application."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask

from sandbox import (
    balance,
    billing,
    catalog,
    challenge,
    checkout,
    checkout_setup,  # noqa: F401 - checkout learns the mode from it
    control,
    coupons,
    customer_balance,
    customers,
    decisions,
    disputes,
    events,
    hosted,
    intents,
    invoice_items,
    invoice_pages,
    invoice_payments,
    invoices,
    methods,
    outages,
    pages,
    payments,
    portal,
    portal_pages,
    previews,
    receipts,
    refunds,
    renewals,
    schedules,
    setup,
    subscription_updates,
    subscriptions,
    tax_ids,
    versions,
)
from sandbox.api import Gate
from sandbox.idempotency import Memory
from sandbox.store import Object, Store
from sandbox.webhooks import Courier

REQUEST_BYTES_MAX = 1024 * 1024
# It guards nothing: no money moves here.
DEFAULT_SECRET = "whsec_sandbox"  # noqa: S105  # nosec B105
ROUTES = (
    *catalog.ROUTES,
    *customers.ROUTES,
    *checkout.ROUTES,
    *methods.ROUTES,
    *intents.ROUTES,
    *payments.ROUTES,
    *setup.ROUTES,
    *refunds.ROUTES,
    *disputes.ROUTES,
    *portal.ROUTES,
    *tax_ids.ROUTES,
    *balance.ROUTES,
    *events.ROUTES,
    *customer_balance.ROUTES,
    *subscriptions.ROUTES,
    *subscription_updates.ROUTES,
    *schedules.ROUTES,
    *invoices.ROUTES,
    *invoice_payments.ROUTES,
    *invoice_items.ROUTES,
    *previews.ROUTES,
    *coupons.ROUTES,
)
# What happens by itself, by the clock or because of something else that happened.
_ATTENDING = (
    checkout,
    payments,
    refunds,
    billing,
    subscription_updates,
    renewals,
    schedules,
)


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
    store.settle_with(balance.release)
    store.listen(courier.enqueue)  # first, so that webhooks go out in the order of the events
    store.tell_as_often_as(courier.tellings)
    courier.render_with(lambda event, version: _in_version(store, event, version))
    for module in _ATTENDING:
        module.attend(store)
    gate = Gate(store, memory, base_url)
    gate.register(app, ROUTES)
    app.register_blueprint(hosted.blueprint(gate, courier))
    app.register_blueprint(invoice_pages.blueprint(gate))
    app.register_blueprint(challenge.blueprint(gate))
    app.register_blueprint(portal_pages.blueprint(gate))
    app.register_blueprint(receipts.blueprint(gate))
    app.register_blueprint(control.blueprint(gate, courier))
    app.register_blueprint(decisions.blueprint(gate))
    app.register_blueprint(outages.blueprint(gate))
    app.jinja_env.filters.update(money=pages.money, instant=pages.instant, day=pages.day)
    app.extensions["sandbox"] = Sandbox(store, memory, courier)
    return app


def _in_version(store: Store, event: Object, version: str) -> Object:
    with store.held():
        return versions.rendered(store, event, version)
