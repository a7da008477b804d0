"""Acme with a plan: the portal and the stand-in for Stripe on one clock, and what people do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
import stripe
from flask import Flask
from sqlalchemy import select

from portal import accounts, catalog, cycles, notices
from portal.accounts import Member, Organization
from portal.billing import changes, inbox, plan, reconcile, tier_checkout
from portal.billing.changes import Outcome, Preview
from portal.billing.gateway import Gateway, StripeEvent
from portal.billing.inbox import EFFECTS
from portal.billing.plan import PaymentStanding, Pending
from portal.billing.subscriptions import sync_subscription
from portal.billing.tier_checkout import TierCheckout
from portal.cycles import Billed
from portal.db import Database
from portal.tables import grants
from sandbox.app import create_sandbox
from sandbox.store import Cause
from tests import digest, remembered
from tests.cast import Api, Customer, ok
from tests.clock import Clock
from tests.conftest import settings_for
from tests.shop import GOOD, KEY, portal_of, serving, session_of

BOOK = (
    catalog.DEFAULT_FILE.read_text(encoding="utf-8")
    + """
[tiers.keeper]
name = "Keeper"
price = 49.00
credits = 1000
rollover = true

[tiers.seat]
name = "Seat"
kind = "per_seat"
price = 20.00

[tiers.yearly]
name = "Yearly"
price = 990.00
credits = 30000
interval = "year"
"""
)
MICRO = 10**6
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass
class Subscriber:
    """Acme and its plan, from the click to the grant."""

    application: Flask
    acme: Customer
    stripe: stripe.StripeClient
    address: str
    clock: Clock
    delivered: set[str] = field(default_factory=set)

    @property
    def database(self) -> Database:
        found: Database = self.application.extensions["clearmeter"].database
        return found

    @property
    def payments(self) -> Gateway:
        found: Gateway = self.application.extensions["clearmeter"].payments
        return found

    @property
    def organization(self) -> Organization:
        with self.database.reading() as tx:
            return accounts.find_organization(tx, "acme")

    @property
    def ana(self) -> Member:
        with self.database.reading() as tx:
            return accounts.find_member(tx, "acme", "ana")

    @property
    def billed(self) -> Billed:
        """What is known of Acme's subscription."""
        with self.database.reading() as tx:
            found = cycles.find(tx, "acme")
        assert found is not None
        return found

    def rows(self, table: Any) -> list[Any]:
        with self.database.reading() as tx:
            return list(tx.execute(select(table).where(table.c.organization_id == "acme")).all())

    def open(self, tier: str, seats: int | None = None) -> str:
        """Have Ana open a checkout for a tier; returns the address of the page to pay on."""
        return tier_checkout.start(
            self.database, self.payments, organization=self.organization, member=self.ana,
            tier=tier, seats=seats, portal_base_url="http://127.0.0.1:8000", now=self.clock(),
        )  # fmt: skip

    def pay(self, url: str, number: str = GOOD, **more: str) -> requests.Response:
        """Type a card into a page."""
        form = {"email": "ana@acme.example", "number": number, "expiry": "12/54", "cvc": "123"}
        return requests.post(url, data=form | more, allow_redirects=False, timeout=10)

    def authenticate(self, outcome: str) -> None:
        """Answer the bank about the latest invoice: complete or fail."""
        expand = {"expand": ["payments"]}
        invoice = self.stripe.v1.invoices.retrieve(self.invoices()[0].id, expand).to_dict()
        intent = invoice["payments"]["data"][0]["payment"]["payment_intent"]
        action = self.stripe.v1.payment_intents.retrieve(intent).to_dict()["next_action"]
        url = action["redirect_to_url"]["url"]
        answer = requests.post(url, data={"outcome": outcome}, allow_redirects=False, timeout=10)
        assert answer.status_code in {200, 303}, answer.text

    def subscribe(self, tier: str, seats: int | None = None, number: str = GOOD) -> str:
        """Subscribe Acme to a tier and tell the portal; returns the session's id."""
        url = self.open(tier, seats)
        paid = self.pay(url, number)
        assert paid.status_code == 303, paid.text
        self.tell()
        return session_of(url)

    def events(self, *stems: str) -> list[Any]:
        """Return Stripe's events whose type begins so, oldest first."""
        found = list(self.stripe.v1.events.list({"limit": 100}).auto_paging_iter())[::-1]
        return [one for one in found if one.type.startswith(stems or ("",))]

    def untold(self) -> list[StripeEvent]:
        """Return what was not delivered yet, oldest first."""
        store = self.sandbox.extensions["sandbox"].store
        with store.acting(Cause(self.address)):
            found = store.newest_first("event")[::-1]
        return [
            StripeEvent(one["id"], one["type"], one["data"]["object"]["id"], one["livemode"])
            for one in found
            if one["id"] not in self.delivered
        ]

    def receive(self, one: StripeEvent) -> str:
        """Deliver one event."""
        self.delivered.add(one.event_id)
        return inbox.receive(self.database, self.payments, one, now=self.clock())

    def tell(self, *, all_of_them: bool = False) -> list[str]:
        """Deliver what was not delivered yet, also what that brings about; returns what came.

        Of several events about one object only the last is delivered, which is told of them all.
        """
        outcomes: list[str] = []
        while waiting := self.untold():
            last = {one.object_id: one for one in waiting if one.type.startswith(tuple(EFFECTS))}
            self.delivered |= {one.event_id for one in waiting}
            chosen = waiting if all_of_them else last.values()
            outcomes += [self.receive(one) for one in chosen]
        assert "quarantined" not in outcomes
        return outcomes

    def to(self, instant: datetime, *, told: bool = True) -> None:
        """Let time pass for both; Stripe's news are told unless the test keeps them back."""
        self.clock.set(instant)
        if told:
            self.tell()

    def preview(self, tier: str | None, seats: int | None = None) -> Preview:
        return changes.preview(
            self.database, self.payments, organization_id="acme", member=self.ana,
            tier=tier, seats=seats, now=self.clock(),
        )  # fmt: skip

    def confirm(self, preview: Preview) -> Outcome:
        return changes.confirm(
            self.database, self.payments, organization_id="acme", member=self.ana,
            change_id=preview.change_id, now=self.clock(),
        )  # fmt: skip

    def undo(self) -> None:
        changes.undo(
            self.database, self.payments, organization_id="acme", member=self.ana, now=self.clock()
        )

    def drop(self) -> None:
        """Give up the upgrade that waits for its payment."""
        changes.drop(
            self.database, self.payments, organization_id="acme", member=self.ana, now=self.clock()
        )

    def change(self, tier: str | None, seats: int | None = None) -> Preview:
        """Preview a change, confirm it at once, and tell the portal."""
        found = self.preview(tier, seats)
        assert self.confirm(found).status == "done"
        self.tell()
        return found

    def subscription(self) -> Any:
        """Return Stripe's own subscription."""
        return self.stripe.v1.subscriptions.retrieve(self.billed.stripe_subscription_id)

    def invoices(self) -> list[Any]:
        """Return Stripe's invoices of the subscription, newest first."""
        found = self.stripe.v1.invoices.list({"subscription": self.billed.stripe_subscription_id})
        return list(found.data)

    @property
    def taken_minor(self) -> int:
        """All that was ever taken from Acme's cards."""
        mine = {"customer": str(self.organization.stripe_customer_id), "limit": 100}
        charges = self.stripe.v1.charges.list(mine).auto_paging_iter()  # type: ignore[arg-type]
        return sum(one.amount for one in charges if one.status == "succeeded")

    @property
    def carried_minor(self) -> int:
        """What Stripe adds to Acme's next invoice; below zero what it takes off that."""
        customer = self.stripe.v1.customers.retrieve(str(self.organization.stripe_customer_id))
        return int(customer.balance or 0)

    @property
    def billed_minor(self) -> int:
        """What all of Acme's invoices come to that were closed."""
        mine = {"customer": str(self.organization.stripe_customer_id), "limit": 100}
        invoices = self.stripe.v1.invoices.list(mine).auto_paging_iter()  # type: ignore[arg-type]
        return sum(one.total for one in invoices if one.status in {"open", "paid"})

    def sync(self, subscription_id: str) -> bool:
        """Bring a subscription to what Stripe says; tells whether anything changed."""
        return sync_subscription(
            self.database, self.payments, subscription_id, now=self.clock()
        ).changed

    def returned(self, session_id: str) -> TierCheckout:
        """Come back to the thank-you page."""
        return tier_checkout.returned(
            self.database, self.payments, organization_id="acme", session_id=session_id,
            now=self.clock(),
        )  # fmt: skip

    def standing(self) -> PaymentStanding:
        """What the page says of a late payment."""
        with self.database.reading() as tx:
            return plan.payment_standing(tx, self.organization)

    def pending(self) -> Pending:
        """What the page says is coming."""
        with self.database.reading() as tx:
            return plan.pending(tx, self.organization)

    def give_up(self, outcome: str) -> None:
        """Decide what becomes of the subscription when all attempts to charge it have failed."""
        answer = requests.post(
            f"{self.address}/_sandbox/billing", json={"after_retries": outcome}, timeout=10
        )
        assert answer.status_code == 200

    def card(self, number: str) -> None:
        """Have the saved card behave like another from now on."""
        sandbox = self.sandbox.extensions["sandbox"].store
        method = sandbox.get("payment_method", self.subscription().default_payment_method)
        method["card"]["fingerprint"] = "sandbox" + number[-9:]

    def price(self, tier: str) -> str:
        """Return Stripe's price of a tier."""
        with self.database.reading() as tx:
            book = catalog.in_force(tx, at=self.clock())
        return tier_checkout.price_in_stripe(self.payments, book.tiers[tier], book.currency)

    def set_price(self, price: str) -> None:
        """Change the plan in Stripe's dashboard, at once and prorated."""
        found = self.stripe.v1.subscriptions.retrieve(self.billed.stripe_subscription_id)
        item = found["items"].data[0].id
        self.stripe.v1.subscriptions.update(
            found.id,
            {
                "items": [{"id": item, "price": price}],
                "proration_behavior": "always_invoice",
            },
        )

    def notices(self) -> dict[str, str]:
        """What Acme is told, and where to act on it."""
        with self.database.reading() as tx:
            return {one.kind: one.url for one in notices.standing(tx, "acme")}

    def mend(self) -> list[str]:
        """Reconcile; returns what was mended."""
        since = self.clock() - 100 * DAY
        return reconcile.reconcile(self.database, self.payments, since=since, now=self.clock())

    def differences(self, since: datetime | None = None) -> list[str]:
        """Compare the three books, of the last hundred days or since an instant."""
        since = since or self.clock() - 100 * DAY
        return reconcile.differences(self.database, self.payments, since=since, now=self.clock())

    def control(self, path: str, /, **body: Any) -> dict[str, Any]:
        """Have the stand-in do what banks do."""
        answer = requests.post(f"{self.address}/_sandbox/{path}", json=body, timeout=10)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def fail(self, kind: str, path: str, times: int, **more: Any) -> None:
        """Have Stripe fail calls; the library tries each three times before it gives up."""
        fault = {"kind": kind, "method": "POST", "path": path, "times": times, **more}
        fault |= {"seconds": 0.01} if kind == "timeout_after" else {}
        answer = requests.post(f"{self.address}/_sandbox/faults", json=fault, timeout=10)
        assert answer.status_code == 200, answer.text

    @property
    def sandbox(self) -> Flask:
        found: Flask = self.application.extensions["stand_in"]
        return found

    def given(self, source: str = "allowance") -> list[tuple[int, int | None]]:
        """Return what was granted, in credits, and what was paid for it, oldest first."""
        found = sorted(self.rows(grants), key=lambda row: (row.effective_at, row.created_at))
        return [
            (row.granted_micro // MICRO, row.paid_minor) for row in found if row.source == source
        ]

    def granted_micro(self) -> list[tuple[int, int | None]]:
        """Return the allowances that were granted, in millionths, and what was paid for each."""
        found = sorted(self.rows(grants), key=lambda row: (row.created_at, row.effective_at))
        return [(row.granted_micro, row.paid_minor) for row in found if row.source == "allowance"]

    @property
    def available(self) -> str:
        return str(self.acme.balance()["available"])

    @property
    def digest(self) -> dict[str, list[Any]]:
        """What the portal holds of Acme."""
        return digest.of_organization(self.database, "acme")


@contextmanager
def subscriber(store: str, clock: Clock, timezone: str = "UTC") -> Iterator[Subscriber]:
    """Make Acme and Bystander without a plan, at a stand-in whose clock is the test's."""
    sandbox = create_sandbox(webhook_url=None, clock=lambda: clock().timestamp())
    with serving(sandbox) as address:
        settings = settings_for(store, stripe_secret_key=KEY, stripe_api_base=address)
        application = portal_of(settings, clock)
        application.extensions["stand_in"] = sandbox
        database: Database = application.extensions["clearmeter"].database
        remembered.price_book(database, clock, BOOK)
        api = Api(application, remembered.service_key(database, clock))
        body = {"name": "Acme", "email": "ana@acme.example", "timezone": timezone}
        ok(api.put("/v1/organizations/acme", body), 201)
        person = {"email": "ana@acme.example", "name": "Ana", "role": "owner"}
        ok(api.put("/v1/organizations/acme/members/ana", person), 201)
        client = stripe.StripeClient(KEY, base_addresses={"api": address}, max_network_retries=0)
        bystander = remembered.bystander(api, database, clock)
        before = digest.of_organization(database, bystander.id)
        try:
            yield Subscriber(application, Customer(api, "acme"), client, address, clock)
        finally:
            database.engine.dispose()
        assert digest.of_organization(database, bystander.id) == before
        assert digest.faults(database) == []
        database.close()


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)
