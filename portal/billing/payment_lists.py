"""Payments as pages list them, beside the invoices they paid or by themselves. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, exists, literal, select, tuple_

from portal.billing.payments import Settled, of_row
from portal.tables import invoices, payments


def of_organization(tx: Connection, organization_id: str, *, limit: int) -> list[Settled]:
    """Return an organization's payments, the latest first."""
    rows = tx.execute(
        select(payments)
        .where(payments.c.organization_id == organization_id)
        .order_by(payments.c.settled_at.desc(), payments.c.payment_id)
        .limit(limit)
    )
    return [of_row(row) for row in rows]


def of_invoices(tx: Connection, organization_id: str, invoice_ids: Sequence[str]) -> list[Settled]:
    """Return the payments of an organization that invoices were paid by."""
    rows = tx.execute(
        select(payments).where(
            payments.c.organization_id == organization_id,
            payments.c.stripe_invoice_id.in_(invoice_ids),
        )
    )
    return [of_row(row) for row in rows]


def without_invoice(
    tx: Connection, organization_id: str, *, before: tuple[datetime, str] | None, limit: int
) -> list[Settled]:
    """Return an organization's payments that no invoice here tells of, the latest first.

    ``before`` is when the one settled after which the list goes on, and its id.
    """
    told_of = exists().where(
        invoices.c.organization_id == payments.c.organization_id,
        invoices.c.invoice_id == payments.c.stripe_invoice_id,
        invoices.c.status != "draft",
    )
    query = (
        select(payments)
        .where(
            payments.c.organization_id == organization_id,
            payments.c.settled_at.is_not(None),
            ~told_of,
        )
        .order_by(payments.c.settled_at.desc(), payments.c.payment_id.desc())
        .limit(limit)
    )
    if before is not None:
        at, payment_id = before
        place = tuple_(payments.c.settled_at, payments.c.payment_id)
        query = query.where(
            place < tuple_(literal(at, payments.c.settled_at.type), literal(payment_id))
        )
    return [of_row(row) for row in tx.execute(query)]


def charged_for(tx: Connection, organization_id: str, grant_id: str) -> int:
    """Return what was charged for a grant, in minor units; 0 where a promotion made it free."""
    found = select(payments.c.amount_minor).where(
        payments.c.organization_id == organization_id, payments.c.grant_id == grant_id
    )
    return int(tx.execute(found).scalar() or 0)
