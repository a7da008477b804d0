"""What a customer was billed, by the invoices, and what the replay of today's prices says."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from sqlalchemy import select

from portal import accounts, catalog
from portal.core.replay import Bill, Terms, replay
from portal.core.units import MICRO
from portal.db import Database
from portal.margin import history, workload
from portal.tables import invoices, top_ups
from tests.subscribers import Subscriber


def billed_minor(acme: Subscriber) -> int:
    """Return what Stripe has billed, and what packs bought without an invoice cost."""
    with acme.database.reading() as tx:
        paid = tx.execute(
            select(invoices.c.total_minor).where(
                invoices.c.organization_id == "acme", invoices.c.status.in_(("paid", "open"))
            )
        ).scalars()
        bought = tx.execute(
            select(top_ups.c.amount_minor).where(
                top_ups.c.organization_id == "acme", top_ups.c.status == "succeeded"
            )
        ).scalars()
        return sum(paid) + sum(bought)


def replayed(
    database: Database, organization_id: str, now: datetime, *, since: date | None = None
) -> list[Bill]:
    """Return the bills of today's prices over all that happened, or that happened since a day."""
    with database.reading() as tx:
        organization = accounts.find_organization(tx, organization_id)
        days = (since or organization.created_at.date()), now.date() + timedelta(days=1)
        books = catalog.price_books_of(tx)
        whole = all(
            one.price_micro % MICRO == 0 for book in books.versions for one in book.actions.values()
        )
        was = history.as_it_was(tx, organization, days)
        versions = [one.effective_at for one in books.versions if one.effective_at]
        changes = workload.changes_of(was, versions)
        work = workload.work(tx, organization, days, changes, sums_rate_alike=whole)
        happenings = history.in_order([*was.happenings, *work])
        terms = Terms(books.in_force, spares=True)
        found = replay(happenings, was.periods, terms, opening=was.opening)
    assert not found.unpriced_actions
    assert not found.unpriced_tiers
    return found.bills


def replayed_minor(acme: Subscriber, *, since: date | None = None) -> int:
    """Return what the replay bills Acme, in minor units."""
    bills = replayed(acme.database, "acme", acme.clock(), since=since)
    return sum(bill.total_minor for bill in bills)
