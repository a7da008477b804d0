"""What webhooks did not bring of plans: every subscription is brought to what Stripe says.

Invariant: calls the same ``sync_subscription`` and ``sync_invoice`` as webhooks and return pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial

from portal import accounts, cycles
from portal.billing import bills, changes, customers, invoices, tier_checkout
from portal.billing.gateway import CheckoutSession, Gateway, InvoiceState
from portal.billing.invoice_news import invoice_deleted, sync_invoice
from portal.billing.mending import attempt
from portal.billing.subscriptions import sync_subscription
from portal.billing.tier_changes import TierChange
from portal.core.errors import NotFound
from portal.cycles import Billed
from portal.db import Database


def mend(database: Database, payments: Gateway, *, since: datetime, now: datetime) -> list[str]:
    """Bring subscriptions, their checkouts and invoices to what Stripe says; returns what mended.

    Looks at what was made since an instant, and at all that is alive or waits here.
    """
    told: list[str] = []
    for session in _sessions(database, payments, since):
        what = f"{session.organization_id}, checkout {session.session_id}"
        told += attempt(what, partial(_fulfil, database, payments, session, now))
    for change in changes.to_resume(database, now=now):
        what = _change_named(database, change)
        told += attempt(what, partial(changes.resume, database, payments, change, now=now))
    with database.reading() as tx:
        known = cycles.of_status(tx)
    for owner, subscription_id in known:
        what = f"{owner}, subscription {subscription_id}"
        told += attempt(what, partial(_method, database, payments, owner, subscription_id))
    alive = {subscription_id: owner for owner, subscription_id in known}
    for state in payments.subscriptions_since(since):
        if owner := _owner(database, state.customer_id):
            alive[state.subscription_id] = owner
    for invoice in payments.invoices_since(since):
        owner = _owner(database, invoice.customer_id)
        if owner and invoice.subscription_id and invoice.status != "draft":
            alive[invoice.subscription_id] = owner
        elif owner:
            what = f"{owner}, invoice {invoice.invoice_id}"
            told += attempt(what, partial(_invoice, database, payments, invoice, now))
    for subscription_id, owner in alive.items():
        what = f"{owner}, subscription {subscription_id}"
        told += attempt(what, partial(_subscription, database, payments, subscription_id, now))
    return told + _unfinished(database, payments, now)


def _change_named(database: Database, change: TierChange) -> str:
    with database.reading() as tx:
        billed = cycles.find(tx, change.organization_id)
    named = f"{change.organization_id}, {change.kind} {change.change_id}"
    return f"{named} of subscription {billed.stripe_subscription_id}" if billed else named


def _unfinished(database: Database, payments: Gateway, now: datetime) -> list[str]:
    """Bring about what became of older invoices, which nothing since has told of."""
    with database.reading() as tx:
        waiting = {one: (owner, status) for owner, one, status in invoices.unfinished(tx)}
        waiting |= {one: (owner, "unheard of") for owner, one in bills.unheard_of(tx)}
    told: list[str] = []
    for invoice_id, (owner, status) in waiting.items():
        what = f"{owner}, invoice {invoice_id}"
        told += attempt(what, partial(_invoice_again, database, payments, invoice_id, status, now))
    return told


def _invoice_again(
    database: Database, payments: Gateway, invoice_id: str, before: str, now: datetime
) -> str:
    if payments.overage_invoice(invoice_id) is None:
        bills_again = invoice_deleted(database, payments, invoice_id, now=now)
        return f"invoice {invoice_id}: deleted as a draft, {bills_again} bills are billed again"
    if payments.invoice(invoice_id).status == before:
        return ""
    after = sync_invoice(database, payments, invoice_id, now=now)
    return f"invoice {invoice_id}: {before} -> {after}"


def _owner(database: Database, customer_id: str) -> str:
    """Return who a customer of Stripe's is here; nothing for nobody: it may sell other things."""
    with database.reading() as tx:
        try:
            return accounts.find_customer(tx, customer_id).organization_id
        except NotFound:
            return ""


def _method(
    database: Database, payments: Gateway, organization_id: str, subscription_id: str
) -> str:
    if not customers.charge_plan_to_default(database, payments, organization_id):
        return ""
    return f"{organization_id}: subscription {subscription_id}: charged to the default from now on"


def _sessions(database: Database, payments: Gateway, since: datetime) -> Iterator[CheckoutSession]:
    found = {
        one.session_id: one
        for one in payments.checkout_sessions_since(since)
        if one.tier_checkout_id
    }
    yield from found.values()
    with database.reading() as tx:
        waiting = tier_checkout.waiting(tx)
    for session_id in waiting:
        if session_id not in found:
            # Where Stripe has it no more, it stays as it is: nobody can pay it.
            with suppress(NotFound):
                yield payments.checkout_session(session_id)


def _fulfil(database: Database, payments: Gateway, session: CheckoutSession, now: datetime) -> str:
    before = tier_checkout.status_of(database, session)
    if before in {"fulfilled", "expired"}:
        return ""
    after = tier_checkout.fulfil(database, payments, session, now=now)
    if after.status == before:
        return ""
    return (
        f"{after.organization_id}: {after.tier}, {after.checkout_id}, {session.session_id}: "
        f"{before} -> {after.status}"
    )


def _subscription(
    database: Database, payments: Gateway, subscription_id: str, now: datetime
) -> str:
    synced = sync_subscription(database, payments, subscription_id, now=now)
    if not synced.changed:
        return ""
    return (
        f"{synced.organization_id}: subscription {subscription_id}: "
        f"{_became(synced.before, synced.after)}"
    )


def _became(before: Billed | None, after: Billed | None) -> str:
    old, new = _words(before), _words(after)
    # That it goes on is said only where it had been to end.
    if before and after and before.cancels_at and after.alive and not after.cancels_at:
        new = f"{new}, goes on"
    return f"{old} -> {new}" if old != new else f"{new}, brought up to date"


def _words(billed: Billed | None) -> str:
    if billed is None:
        return "unknown"
    words = f"{billed.tier} {billed.status} until {billed.cycle_end.isoformat()}"
    if billed.scheduled_tier and billed.scheduled_at:
        words += f", {billed.scheduled_tier} from {billed.scheduled_at.isoformat()}"
    if not billed.alive or billed.cancels_at is None:
        return words
    with_cycle = billed.cancels_at == billed.cycle_end
    return f"{words}, ends {'with its cycle' if with_cycle else billed.cancels_at.isoformat()}"


def _invoice(database: Database, payments: Gateway, invoice: InvoiceState, now: datetime) -> str:
    """Close a renewal that is still a draft, and keep an invoice that is of no subscription."""
    after = sync_invoice(database, payments, invoice.invoice_id, now=now)
    return "" if after == invoice.status else f"invoice {invoice.invoice_id}: closed, {after}"
