"""Overage billed: its bills become items on an invoice, each once, wherever the work stops.

Invariant: a bill says on which invoice it goes before Stripe is asked. It is sent to another only
once that one takes no more and is seen not to have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import structlog
from sqlalchemy import Connection

from portal import accounts, audit, catalog, notices
from portal.accounts import Organization
from portal.billing import bills
from portal.billing.bills import Bill
from portal.billing.customers import ensure_customer
from portal.billing.gateway import Gateway, OverageInvoice, OverageItem
from portal.core.catalog import PriceBook
from portal.core.errors import ClearmeterError
from portal.core.periods import Period
from portal.core.units import format_micro
from portal.db import Database
from portal.desk import open_desk

log = structlog.get_logger()

#: The notice of an invoice of our own that is not paid yet; its subject is the invoice's id.
UNPAID = "overage-unpaid"


def bill_overage(
    database: Database,
    payments: Gateway,
    organization_id: str,
    *,
    invoice_id: str | None,
    now: datetime,
) -> list[Bill]:
    """Bill what periods that have ended cost beyond all grants and no bill has yet.

    ``invoice_id`` is the draft of a renewal that is to carry it: whoever made it finalizes it.
    Without one an invoice of its own is made, finalized and paid where it can be. Returns what is
    on an invoice from now on. Raises NotFound, and Unavailable where Stripe does not answer: the
    next call goes on from there.
    """
    with database.transaction() as tx:
        desk = open_desk(tx, organization_id, now=now)
        bills.write_down(desk)
        desk.wallet.write()
        organization, found = desk.organization, bills.open_bills(tx, organization_id)
    done: list[Bill] = []
    for begun in dict.fromkeys(bill.invoice_id for bill in found if bill.invoice_id):
        done += _go_on(database, payments, organization, begun, now=now)
    waiting = [bill for bill in _open_bills(database, organization) if bill.invoice_id is None]
    if waiting:
        invoice = (
            OverageInvoice(invoice_id, "draft", own=False, page_url="")
            if invoice_id
            else payments.own_overage_invoice(
                organization_id,
                ensure_customer(database, payments, organization),
                organization.currency,
                key=waiting[0].key,
            )
        )
        with database.transaction() as tx:
            bills.aim(tx, organization_id, waiting, invoice.invoice_id)
        done += _place(database, payments, organization, invoice, now=now)
    return done


def bill_without_renewal(database: Database, payments: Gateway, *, now: datetime) -> int:
    """Bill the overage that no renewal will carry; returns how many bills.

    Where Stripe refuses one organization's, that waits and keeps no other from being billed.
    """
    with database.reading() as tx:
        found = bills.without_renewal(tx, now=now)
    done = 0
    for organization_id in found:
        try:
            done += len(bill_overage(database, payments, organization_id, invoice_id=None, now=now))
        except ClearmeterError as error:
            log.error("overage not billed yet", organization=organization_id, reason=error.detail)
    return done


def follow(
    tx: Connection, organization_id: str, invoice_id: str, status: str, *, now: datetime
) -> None:
    """Have the overage on an invoice follow what became of it, and put that on record.

    A void invoice is waived, one that is written off is owed all the same.
    """
    if status in {"paid", "void"}:
        notices.end(tx, organization_id, UNPAID, subject=invoice_id, now=now)
    news = bills.follow(tx, organization_id, invoice_id, status)
    if news is not None:
        became, amount_minor = news
        audit.note(
            tx,
            organization_id,
            actor="stripe",
            act=f"overage.{became}",
            target=invoice_id,
            detail={"amount_minor": amount_minor},
            now=now,
        )


def draft_deleted(
    database: Database, payments: Gateway, organization_id: str, invoice_id: str, *, now: datetime
) -> int:
    """Have what was on a draft that is no more billed again; returns how many bills.

    What of it Stripe has put on another invoice meanwhile is billed there.
    """
    with database.reading() as tx:
        customer_id = accounts.find_organization(tx, organization_id).stripe_customer_id
        found = bills.on_invoice(tx, organization_id, invoice_id)
    waiting = payments.waiting_overage(customer_id) if customer_id else {}
    places = []
    for bill in found:
        item_id = bill.item_id or waiting.get(bill.key)
        places.append(payments.withdraw_overage(item_id) if item_id else "")
    with database.transaction() as tx:
        for bill, place in zip(found, places, strict=True):
            bills.move(tx, organization_id, bill, place or None)
        if found:
            audit.note(
                tx,
                organization_id,
                actor="stripe",
                act="overage.draft_deleted",
                target=invoice_id,
                detail={"amount_minor": sum(bill.amount_minor for bill in found)},
                now=now,
            )
    return len(found)


def _open_bills(database: Database, organization: Organization) -> Sequence[Bill]:
    with database.reading() as tx:
        return bills.open_bills(tx, organization.organization_id)


def _go_on(
    database: Database,
    payments: Gateway,
    organization: Organization,
    invoice_id: str,
    *,
    now: datetime,
) -> list[Bill]:
    """Go on with an invoice that bills were to go on; returns those that are on it."""
    invoice = payments.overage_invoice(invoice_id)
    if invoice is None:
        draft_deleted(database, payments, organization.organization_id, invoice_id, now=now)
        return []
    if invoice.takes_items:
        return _place(database, payments, organization, invoice, now=now)
    # Nothing can be put on it any more, so that what is not on it now never will be.
    items = payments.overage_items(invoice_id)
    mine = [bill for bill in _open_bills(database, organization) if bill.invoice_id == invoice_id]
    lost = [bill for bill in mine if bill.key not in items]
    kept = [replace(bill, item_id=items[bill.key]) for bill in mine if bill.key in items]
    with database.transaction() as tx:
        bills.release(tx, organization.organization_id, lost)
    _finish(database, organization, kept, invoice, now=now)
    return kept


def _place(
    database: Database,
    payments: Gateway,
    organization: Organization,
    invoice: OverageInvoice,
    *,
    now: datetime,
) -> list[Bill]:
    """Put on a draft the bills that go there; one of our own is then finalized and paid."""
    with database.reading() as tx:
        open_bills = bills.open_bills(tx, organization.organization_id)
        # By the book of when it was written down: asked for again, it is the same item.
        books = {bill: catalog.in_force(tx, at=bill.created_at) for bill in open_bills}
    items = payments.overage_items(invoice.invoice_id)
    customer_id = ensure_customer(database, payments, organization)
    done = []
    for bill in (one for one in open_bills if one.invoice_id == invoice.invoice_id):
        item_id = items.get(bill.key) or payments.add_overage(
            organization.organization_id,
            customer_id,
            invoice.invoice_id,
            _item(books[bill], bill),
        )
        done.append(replace(bill, item_id=item_id))
    if invoice.own and done:
        method_id = payments.saved_method(customer_id)
        invoice = payments.collect_overage(invoice, method_id=method_id)
    _finish(database, organization, done, invoice, now=now)
    return done


def _item(book: PriceBook, bill: Bill) -> OverageItem:
    action = book.actions.get(bill.action)
    credits_ = format_micro(abs(bill.credits_micro))
    given_back = " given back" if bill.amount_minor < 0 else ""
    return OverageItem(
        bill.key,
        bill.amount_minor,
        bill.currency,
        f"{action.plural if action else bill.action}: {credits_} credits beyond your plan"
        f"{given_back}",
        Period(bill.place.since, bill.period_end),
    )


def _finish(
    database: Database,
    organization: Organization,
    done: Sequence[Bill],
    invoice: OverageInvoice,
    *,
    now: datetime,
) -> None:
    """Remember what is on an invoice, and tell where one of our own waits to be paid."""
    if not done:
        return
    organization_id = organization.organization_id
    with database.transaction() as tx:
        news = [
            bill.amount_minor
            for bill in done
            if bills.placed(tx, organization_id, bill, str(bill.item_id), now=now)
        ]
        if invoice.own and invoice.status == "open":
            notices.raise_notice(
                tx,
                organization_id,
                UNPAID,
                "The invoice for credits beyond your plan is not paid yet.",
                subject=invoice.invoice_id,
                url=invoice.page_url,
                now=now,
            )
        follow(tx, organization_id, invoice.invoice_id, invoice.status, now=now)
        if news:
            audit.note(
                tx,
                organization_id,
                actor="clearmeter",
                act="overage.billed",
                target=invoice.invoice_id,
                detail={"amount_minor": sum(news)},
                now=now,
            )
