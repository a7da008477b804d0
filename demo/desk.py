"""What waits on the operator's desk in the demo, so that each page of theirs has something to say.

Books to come, an event that was refused, a cost in doubt, news of Stripe's that fits nobody, keys,
a report and a simulation.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from demo.purchases import Till
from portal import catalog, cost_books, keys, metering
from portal.billing import inbox, reconcile
from portal.billing.gateway import StripeEvent
from portal.core.costs import ModelUsage
from portal.core.events import StatedCost, UsageEvent
from portal.core.margin.focus import Charge
from portal.core.simulation import Kind
from portal.core.units import NANO
from portal.db import Database
from portal.margin import costs, simulation
from portal.margin.simulation_runs import SimulationRequest
from portal.metering import Sent

OLGA = "olga@scribe.example"
_A_WEEK = timedelta(days=7)


def lay_out(database: Database, till: Till, *, now: datetime) -> None:
    """Put it all there."""
    _books(database, now=now)
    _events(database, now=now)
    with database.transaction() as tx:
        for name, organization in (("Production backend", None), ("Acme's own reports", "acme")):
            keys.create(tx, name=name, organization_id=organization, scopes=(), now=now - _A_WEEK)
    _bills(database, now=now)
    payments = till.payments
    # An endpoint of the live account that was pointed at this one by mistake.
    stray = StripeEvent("evt_demo_stray", "invoice.paid", "in_demo_stray", livemode=True)
    inbox.receive(database, payments, stray, now=now - timedelta(hours=5))
    reconcile.run(database, payments, since=None, asked_by="the daily comparison", now=now)
    _simulate(database, now=now)


def _books(database: Database, *, now: datetime) -> None:
    """Have costs changed a week ago, and prices that change next month."""
    spent = cost_books.EXAMPLE_FILE.read_text(encoding="utf-8")
    prices = catalog.DEFAULT_FILE.read_text(encoding="utf-8")
    dearer = prices.replace("credits = 2\n", "credits = 3\n", 1)
    next_month = (now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)) + 32 * timedelta(
        days=1
    )
    with database.transaction() as tx:
        cost_books.load(tx, spent, now=now - 2 * _A_WEEK)
        cheaper = spent.replace("input = 2.00", "input = 1.80", 1)
        cost_books.load(tx, cheaper, effective_at=now - _A_WEEK, now=now - _A_WEEK)
        catalog.load(tx, dearer, effective_at=next_month.replace(day=1), now=now)


def _bills(database: Database, *, now: datetime) -> None:
    """Have the bills for storage of two months say more than the work of customers explains."""
    this = now.date().replace(day=1)
    last = (this - timedelta(days=1)).replace(day=1)
    following = (this + timedelta(days=32)).replace(day=1)
    for start, end, dollars in ((last, this, 31), (this, following, 34)):
        costs.import_invoice(
            database,
            f"storage {start}".encode(),
            name=f"Storage, {start:%B %Y}",
            charge=Charge("storage", "", start, end, dollars * NANO),
            actor=f"operator:{OLGA}",
            now=now,
        )


def _events(database: Database, *, now: datetime) -> None:
    """Send work that nobody priced yet, and a cost that is a hundred times too much."""
    poster = {
        "specversion": "1.0",
        "id": "poster-1",
        "source": "scribe/backend",
        "subject": "acme",
        "type": "poster",
        "data": {"member": "cleo"},
    }
    unpriced = UsageEvent("scribe/backend", "poster-1", "acme", "poster", member="cleo")
    doubtful = UsageEvent(
        source="scribe/backend",
        event_id="transcript-17",
        organization_id="northwind",
        type="cost.inference",
        member="hana",
        costs=(
            StatedCost(
                "inference",
                412 * NANO,
                "openai",
                "gpt-4o-mini",
                ModelUsage(input_tokens=48_000, output_tokens=1_200),
            ),
        ),
    )
    sent = [Sent(0, poster, event=unpriced), Sent(1, None, event=doubtful)]
    metering.ingest(database, sent, now=now - timedelta(hours=3))


def _simulate(database: Database, *, now: datetime) -> None:
    """Ask what a dearer Pro would have come to; the worker finds out."""
    prices = catalog.DEFAULT_FILE.read_text(encoding="utf-8")
    first = (now - timedelta(days=60)).date().replace(day=1)
    request = SimulationRequest(
        name="Pro at $149",
        kind=Kind.BOOK,
        start=first,
        end=now.date(),
        document=prices.replace("price = 99.00", "price = 149.00", 1),
    )
    simulation.take_on(database, request, actor=f"operator:{OLGA}", now=now)
