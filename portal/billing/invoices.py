"""What organizations were billed: a copy of Stripe's invoices, for the page and for the books.

Owns ``invoices``. Invariant: a row only goes forward, from draft to open to how it ended, whatever
comes late; what it says was fetched from Stripe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, case, delete, literal, select, tuple_, update

from portal import accounts
from portal.accounts import Organization
from portal.billing import bills
from portal.billing.effects import Quarantined
from portal.billing.gateway import InvoiceLine, InvoiceState, tier_of_product
from portal.billing.gateway.overage import MARK
from portal.core.errors import NotFound
from portal.core.periods import Period
from portal.rows import insert_or_ignore
from portal.tables import invoices

#: The kinds of lines that a plan is billed by.
_OF_PLAN = ("tier", "proration")
#: How far an invoice has come: it never goes back.
_COURSE = {"draft": 0, "open": 1, "uncollectible": 2, "void": 3, "paid": 3}


@dataclass(frozen=True)
class Line:
    """One line as a page shows it: what it is for, the amount before tax, the time it is for."""

    kind: str
    tier: str
    action: str
    description: str
    amount_minor: int
    quantity: int
    start: datetime
    end: datetime
    #: The amount after discounts; nothing where the invoice was kept before that was asked.
    net_minor: int | None = None


@dataclass(frozen=True)
class Invoice:
    """An invoice as a page shows it; amounts in minor units."""

    invoice_id: str
    number: str
    status: str
    reason: str
    currency: str
    subtotal_minor: int
    tax_minor: int
    total_minor: int
    paid_minor: int
    due_minor: int
    issued_at: datetime
    paid_at: datetime | None
    page_url: str
    file_url: str
    lines: Sequence[Line]


def owner(
    tx: Connection, *, what: str, organization_id: str, customer_id: str, livemode: bool, live: bool
) -> Organization:
    """Return the organization that an object of Stripe's belongs to. Raises Quarantined.

    What it says itself must agree with whose customer it is.
    """
    if livemode != live:
        raise Quarantined(f"{what}: live and test mode are mixed.")
    try:
        if not organization_id:
            return accounts.find_customer(tx, customer_id)
        found = accounts.find_organization(tx, organization_id)
    except NotFound as error:
        raise Quarantined(f"{what} names no organization here.") from error
    if found.stripe_customer_id != customer_id:
        raise Quarantined(
            f"{what}: the customer is {customer_id!r}, we expected {found.stripe_customer_id!r}."
        )
    return found


def keep(tx: Connection, organization: Organization, found: InvoiceState) -> bool:
    """Store an invoice as Stripe has it; tells whether it is new or has come further.

    Raises Quarantined for one in another currency than the organization's.
    """
    if found.currency != organization.currency:
        raise Quarantined(
            f"Invoice {found.invoice_id}: the currency is {found.currency!r}, we expected "
            f"{organization.currency!r}."
        )
    key = {"organization_id": organization.organization_id, "invoice_id": found.invoice_id}
    row = _row(found)
    if insert_or_ignore(tx, invoices, key | row):
        return True
    mine = (
        invoices.c.organization_id == organization.organization_id,
        invoices.c.invoice_id == found.invoice_id,
    )
    before = tx.execute(select(invoices.c.status).where(*mine)).scalar_one()
    stands = case(_COURSE, value=invoices.c.status)
    tx.execute(update(invoices).where(*mine, stands <= _COURSE[found.status]).values(row))
    return _COURSE[before] < _COURSE[found.status]


def _row(found: InvoiceState) -> dict[str, Any]:
    return {
        "number": found.number,
        "status": found.status,
        "reason": found.reason,
        "currency": found.currency,
        "subtotal_minor": found.subtotal_minor,
        "tax_minor": found.tax_minor,
        "total_minor": found.total_minor,
        "paid_minor": found.paid_minor,
        "due_minor": found.due_minor,
        "issued_at": found.issued_at,
        "paid_at": found.paid_at,
        "page_url": found.page_url,
        "file_url": found.file_url,
        "lines": [_line(one) for one in found.lines],
    }


def kind_of(line: InvoiceLine) -> str:
    """Return what a line is for: tier, proration, overage or other."""
    if MARK in line.metadata:
        return "overage"
    if not tier_of_product(line.product_id):
        return "other"
    return "proration" if line.proration else "tier"


def _line(line: InvoiceLine) -> dict[str, Any]:
    return {
        "kind": kind_of(line),
        "tier": tier_of_product(line.product_id),
        "action": bills.action_of(line.metadata.get(MARK, "")),
        "description": line.description,
        "amount_minor": line.amount_minor,
        "net_minor": line.net_minor,
        "quantity": line.quantity,
        "start": line.start.isoformat(),
        "end": line.end.isoformat(),
    }


def listed(
    tx: Connection,
    organization_id: str,
    *,
    before: tuple[datetime, str] | None = None,
    limit: int = 100,
) -> list[Invoice]:
    """Return an organization's invoices, the latest first; a draft is not for its eyes yet.

    ``before`` is when the one was issued after which the list goes on, and its id.
    """
    query = (
        select(invoices)
        .where(invoices.c.organization_id == organization_id, invoices.c.status != "draft")
        .order_by(invoices.c.issued_at.desc(), invoices.c.invoice_id.desc())
        .limit(limit)
    )
    if before is not None:
        at, invoice_id = before
        place = tuple_(invoices.c.issued_at, invoices.c.invoice_id)
        query = query.where(
            place < tuple_(literal(at, invoices.c.issued_at.type), literal(invoice_id))
        )
    return [_invoice(row) for row in tx.execute(query).mappings()]


def owner_of(tx: Connection, invoice_id: str) -> str | None:
    """Return whose invoice it is, as far as we have a copy."""
    found = tx.execute(
        select(invoices.c.organization_id).where(invoices.c.invoice_id == invoice_id).limit(1)
    ).scalar()
    return None if found is None else str(found)


def forget_draft(tx: Connection, organization_id: str, invoice_id: str) -> None:
    """Forget a draft that was deleted; what went further stays."""
    tx.execute(
        delete(invoices).where(
            invoices.c.organization_id == organization_id,
            invoices.c.invoice_id == invoice_id,
            invoices.c.status == "draft",
        )
    )


def unfinished(tx: Connection) -> list[tuple[str, str, str]]:
    """Return the invoices of everybody that may still be paid or withdrawn, oldest first.

    For each whose it is, its id, and its status as we know it. What is written off may be paid too.
    """
    rows = tx.execute(
        select(invoices.c.organization_id, invoices.c.invoice_id, invoices.c.status)
        .where(invoices.c.status.in_(("draft", "open", "uncollectible")))
        .order_by(invoices.c.issued_at, invoices.c.invoice_id)
    )
    return [(row.organization_id, row.invoice_id, row.status) for row in rows]


def for_plan_minor(
    tx: Connection, organization_id: str, period: Period, *, awaited: str | None = None
) -> tuple[int | None, int]:
    """Return what a plan costs in a billing period by its invoices, changes within it included.

    And what the invoice of an upgrade that is ``awaited`` would add to that. In minor units, before
    discounts and tax; the first is None where no invoice has the period itself yet.
    """
    rows = tx.execute(
        select(invoices.c.invoice_id, invoices.c.lines).where(
            invoices.c.organization_id == organization_id,
            invoices.c.status.in_(("open", "paid", "uncollectible")),
            invoices.c.issued_at >= period.start,
        )
    ).all()
    lines = [
        (invoice_id == awaited, line)
        for invoice_id, found in rows
        for line in (_shown(one) for one in found if one["kind"] in _OF_PLAN)
        if line.start in period
    ]
    mine = [line for waits, line in lines if not waits]
    more_minor = max(0, sum(line.amount_minor for waits, line in lines if waits))
    if all(line.kind != "tier" for line in mine):
        return None, more_minor
    return max(0, sum(line.amount_minor for line in mine)), more_minor


def net_of(tx: Connection, organization_id: str, invoice_id: str) -> int | None:
    """Return what an invoice comes to without tax, in minor units; None where it is not known."""
    row = tx.execute(
        select(invoices.c.total_minor, invoices.c.tax_minor).where(
            invoices.c.organization_id == organization_id, invoices.c.invoice_id == invoice_id
        )
    ).first()
    return None if row is None else row.total_minor - row.tax_minor


def page_of(tx: Connection, organization_id: str, invoice_id: str | None) -> str:
    """Return where an invoice is read and paid, or nothing where none is known."""
    found = tx.execute(
        select(invoices.c.page_url).where(
            invoices.c.organization_id == organization_id, invoices.c.invoice_id == invoice_id
        )
    ).scalar()
    return str(found or "")


def unpaid(tx: Connection, organization_id: str) -> Invoice | None:
    """Return the oldest invoice that is open and due, if there is one."""
    query = (
        select(invoices)
        .where(
            invoices.c.organization_id == organization_id,
            invoices.c.status == "open",
            invoices.c.due_minor > 0,
        )
        .order_by(invoices.c.issued_at, invoices.c.invoice_id)
        .limit(1)
    )
    row = tx.execute(query).mappings().first()
    return None if row is None else _invoice(row)


def _invoice(row: RowMapping) -> Invoice:
    told = {name: row[name] for name in Invoice.__dataclass_fields__ if name != "lines"}
    return Invoice(**told, lines=[_shown(one) for one in row["lines"]])


def _shown(one: Mapping[str, Any]) -> Line:
    instants = {name: datetime.fromisoformat(one[name]) for name in ("start", "end")}
    return Line(**(dict(one) | instants))
