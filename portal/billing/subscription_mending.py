"""What webhooks did not bring of plans: every subscription is brought to what Stripe says.

Invariant: calls the same ``sync_subscription`` and ``sync_invoice`` as webhooks and return pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial

from portal import accounts, cycles
from portal.billing import bills, changes, customers, invoices, tier_checkout
from portal.billing.effects import Quarantined
from portal.billing.gateway import CheckoutSession, Gateway, InvoiceState
from portal.billing.invoice_news import invoice_deleted, sync_invoice
from portal.billing.subscriptions import sync_subscription
from portal.core.errors import NotFound, Unavailable
from portal.cycles import Billed
from portal.db import Database


def mend(database: Database, payments: Gateway, *, since: datetime, now: datetime) -> list[str]:
    """Bring subscriptions, their checkouts and invoices to what Stripe says; returns what mended.

    Looks at what was made since an instant, and at all that is alive or waits here.
    """
    told: list[str] = []
    for session in _sessions(database, payments, since):
        told += _said(partial(_fulfil, database, payments, session, now))
    for change in changes.to_resume(database, now=now):
        told += _said(partial(changes.resume, database, payments, change, now=now))
    with database.reading() as tx:
        known = cycles.of_status(tx)
    for organization_id, subscription_id in known:
        told += _said(partial(_method, database, payments, organization_id, subscription_id))
    alive = dict.fromkeys(subscription_id for _, subscription_id in known)
    for state in payments.subscriptions_since(since):
        if _is_ours(database, state.customer_id):
            alive[state.subscription_id] = None
    for invoice in payments.invoices_since(since):
        if not _is_ours(database, invoice.customer_id):
            continue
        if invoice.subscription_id and invoice.status != "draft":
            alive[invoice.subscription_id] = None
        else:
            told += _said(partial(_invoice, database, payments, invoice, now))
    for subscription_id in alive:
        told += _said(partial(_subscription, database, payments, subscription_id, now))
    return told + _unfinished(database, payments, now)


def _unfinished(database: Database, payments: Gateway, now: datetime) -> list[str]:
    """Bring about what became of older invoices, which nothing since has told of."""
    with database.reading() as tx:
        waiting = {invoice_id: status for _, invoice_id, status in invoices.unfinished(tx)}
        waiting |= {invoice_id: "unheard of" for _, invoice_id in bills.unheard_of(tx)}
    told: list[str] = []
    for invoice_id, status in waiting.items():
        told += _said(partial(_invoice_again, database, payments, invoice_id, status, now))
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


def _is_ours(database: Database, customer_id: str) -> bool:
    """Tell whether a customer of Stripe's is anybody here: the account may sell other things."""
    with database.reading() as tx:
        try:
            accounts.find_customer(tx, customer_id)
        except NotFound:
            return False
    return True


def _said(act: Callable[[], str]) -> Iterator[str]:
    try:
        line = act()
    except (Quarantined, NotFound) as error:
        line = f"does not fit: {error.detail}"
    except Unavailable as error:
        line = f"not yet: {error.detail}"
    if line:
        yield line


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
        f"{_words(synced.before)} -> {_words(synced.after)}"
    )


def _words(billed: Billed | None) -> str:
    if billed is None:
        return "unknown"
    return f"{billed.tier} {billed.status} until {billed.cycle_end.isoformat()}"


def _invoice(database: Database, payments: Gateway, invoice: InvoiceState, now: datetime) -> str:
    """Close a renewal that is still a draft, and keep an invoice that is of no subscription."""
    after = sync_invoice(database, payments, invoice.invoice_id, now=now)
    return "" if after == invoice.status else f"invoice {invoice.invoice_id}: closed, {after}"
