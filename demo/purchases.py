"""What Acme buys in the demo's history: a plan that renews and a pack, paid at the sandbox's pages.

The sandbox starts when the story does and is moved along with it, so that its invoices are dated as
they should be; what webhooks would tell, nobody is there to hear: reconciliation brings it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import requests

from portal import accounts, cycles
from portal.billing import checkout, reconcile, tier_checkout
from portal.billing.gateway import Gateway
from portal.db import Database

CARD = {"number": "4242424242424242", "expiry": "12/54", "cvc": "123"}
#: A renewal's invoice is a draft for an hour before it is paid.
UNTIL_PAID = timedelta(hours=2)
_SECONDS = 10


@dataclass(frozen=True)
class Till:
    """Where one organization buys: the product's own use cases, and a card at the sandbox."""

    database: Database
    payments: Gateway
    sandbox_url: str
    portal_url: str
    organization_id: str
    buyer: str

    def subscribe(self, tier: str, *, now: datetime) -> None:
        """Subscribe to a plan and pay for it."""
        self._reach(now)
        with self.database.reading() as tx:
            organization = accounts.find_organization(tx, self.organization_id)
            member = accounts.find_member(tx, self.organization_id, self.buyer)
        url = tier_checkout.start(
            self.database,
            self.payments,
            organization=organization,
            member=member,
            tier=tier,
            portal_base_url=self.portal_url,
            now=now,
        )
        self._pay(url, organization.email)
        self._hear(since=now, now=now + timedelta(minutes=5))

    def buy(self, pack: str, *, now: datetime) -> None:
        """Buy a pack."""
        self._reach(now)
        with self.database.reading() as tx:
            organization = accounts.find_organization(tx, self.organization_id)
            member = accounts.find_member(tx, self.organization_id, self.buyer)
        url = checkout.start(
            self.database,
            self.payments,
            organization=organization,
            member=member,
            pack=pack,
            portal_base_url=self.portal_url,
            now=now,
        )
        self._pay(url, organization.email)
        self._hear(since=now, now=now + timedelta(minutes=5))

    def renew(self, *, now: datetime) -> None:
        """Let the plan renew, where that is due by now."""
        with self.database.reading() as tx:
            billed = cycles.find(tx, self.organization_id)
        if billed is not None and billed.cycle_end + UNTIL_PAID <= now:
            self._reach(now)
            self._hear(since=billed.cycle_end, now=now)

    def close(self, *, now: datetime) -> None:
        """Bring the sandbox to the present, and have it tell the portal from now on."""
        self._reach(now)
        self._hear(since=now - timedelta(days=1), now=now)
        self._control("webhooks", drop=False)

    def open(self) -> None:
        """Have the sandbox tell nobody while the history is written."""
        self._control("webhooks", drop=True)

    def _reach(self, instant: datetime) -> None:
        there = requests.get(f"{self.sandbox_url}/_sandbox/clock", timeout=_SECONDS).json()["now"]
        ahead = int(instant.timestamp()) - there
        if ahead > 0:
            self._control("clock", advance_seconds=ahead)

    def _hear(self, *, since: datetime, now: datetime) -> None:
        earlier = since - timedelta(hours=1)
        reconcile.reconcile(self.database, self.payments, since=earlier, now=now)

    def _pay(self, url: str, email: str) -> None:
        form = CARD | {"email": email}
        answer = requests.post(url, data=form, allow_redirects=False, timeout=_SECONDS)
        if answer.status_code != requests.codes.see_other:
            raise AssertionError(f"the card was not taken: {answer.status_code}")

    def _control(self, path: str, **body: bool | int) -> None:
        url = f"{self.sandbox_url}/_sandbox/{path}"
        requests.post(url, json=body, timeout=_SECONDS).raise_for_status()
