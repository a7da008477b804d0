"""News of one invoice: a subscription's comes with that, any other stands for itself.

Invariant: ``sync_invoice`` is the one way, for webhooks and reconciliation; the draft of a renewal
is closed at once, with the overage of what has ended on it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from portal.accounts import Organization
from portal.billing import allowances, bills, invoices, overage, quarantine
from portal.billing.effects import Mark, Quarantined, no_mark
from portal.billing.gateway import Gateway, InvoiceState
from portal.billing.subscriptions import charges_of, sync_subscription
from portal.db import Database
from portal.desk import open_desk


def sync_invoice(
    database: Database,
    payments: Gateway,
    invoice_id: str,
    *,
    now: datetime,
    mark: Mark = no_mark,
) -> str:
    """Bring our rows to what Stripe says of an invoice; returns its status.

    A subscription's is brought about with the subscription. The draft of a renewal is closed at
    once, with the overage of what has ended on it. Raises Quarantined, NotFound.
    """
    invoice = payments.invoice(invoice_id)
    renews = invoice.reason == "subscription_cycle" and invoice.advances
    if renews and invoice.status == "draft":
        _close(database, payments, invoice, now=now)
        invoice = payments.invoice(invoice_id)
    if invoice.subscription_id:
        synced = sync_subscription(
            database, payments, invoice.subscription_id, now=now, mark=mark, about=invoice
        )
        if invoice.invoice_id in synced.misfits:
            raise Quarantined(synced.misfits[invoice.invoice_id])
        return invoice.status
    with database.reading() as tx:
        organization = _payer(tx, payments, invoice)
    charges = charges_of(database, payments, organization.organization_id, [invoice])
    with database.transaction() as tx:
        wallet = open_desk(tx, organization.organization_id, now=now).wallet
        invoices.keep(tx, organization, invoice)
        allowances.book(wallet, invoice, None, charges)
        overage.follow(
            tx,
            organization.organization_id,
            invoice.invoice_id,
            invoice.status,
            now=wallet.now,
        )
        wallet.write()
        mark(tx)
        quarantine.keep(tx, [invoice], {}, now=wallet.now)
    return invoice.status


def invoice_deleted(
    database: Database,
    payments: Gateway,
    invoice_id: str,
    *,
    now: datetime,
    mark: Mark = no_mark,
) -> int:
    """Forget a draft that Stripe has no more, and have its overage billed again.

    Returns how many bills that is; none where Stripe has the invoice after all.
    """
    with database.reading() as tx:
        organization_id = bills.owner_of(tx, invoice_id) or invoices.owner_of(tx, invoice_id)
    again = 0
    if organization_id is not None and payments.overage_invoice(invoice_id) is None:
        again = overage.draft_deleted(database, payments, organization_id, invoice_id, now=now)
        with database.transaction() as tx:
            invoices.forget_draft(tx, organization_id, invoice_id)
            mark(tx)
        return again
    with database.transaction() as tx:
        mark(tx)
    return again


def _payer(tx: Connection, payments: Gateway, invoice: InvoiceState) -> Organization:
    return invoices.owner(
        tx,
        what=f"Invoice {invoice.invoice_id}",
        organization_id=invoice.organization_id,
        customer_id=invoice.customer_id,
        livemode=invoice.livemode,
        live=payments.livemode,
    )


def _close(database: Database, payments: Gateway, invoice: InvoiceState, *, now: datetime) -> None:
    """Put on the draft of a renewal what went beyond the grants, and close it at once.

    So the next allowance is paid for within minutes and not within the hour.
    """
    with database.reading() as tx:
        organization_id = _payer(tx, payments, invoice).organization_id
    overage.bill_overage(
        database, payments, organization_id, invoice_id=invoice.invoice_id, now=now
    )
    payments.finalize_invoice(invoice.invoice_id)
