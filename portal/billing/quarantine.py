"""Objects of Stripe's that do not fit, set aside one by one while all around them has its effect.

Writes ``stripe_inbox``, beside the events: what is set aside here is listed and tried again like an
event that was. Invariant: it stands there as long as it does not fit, and no longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog
from sqlalchemy import Connection, update

from portal.billing.gateway import InvoiceState
from portal.rows import insert_or_ignore
from portal.tables import stripe_inbox

log = structlog.get_logger()

#: The kind of event it stands for: tried again, the invoice is brought to what Stripe says.
KIND = "invoice.misfit"


def keep(
    tx: Connection,
    found: Sequence[InvoiceState],
    misfits: Mapping[str, str],
    *,
    but: str = "",
    now: datetime,
) -> None:
    """Set invoices aside with why they do not fit, and let go of those that do by now.

    ``but`` is one that is told of by an event, which is set aside itself.
    """
    for invoice in found:
        reason = misfits.get(invoice.invoice_id)
        if reason is None:
            _let_go(tx, invoice.invoice_id, now=now)
        elif invoice.invoice_id != but:
            _set_aside(tx, invoice, reason, now=now)


def _set_aside(tx: Connection, invoice: InvoiceState, reason: str, *, now: datetime) -> None:
    event_id = f"misfit:{invoice.invoice_id}"
    told = {"status": "quarantined", "detail": reason, "done_at": now}
    new = insert_or_ignore(
        tx,
        stripe_inbox,
        {
            "stripe_event_id": event_id,
            "type": KIND,
            "object_id": invoice.invoice_id,
            "livemode": invoice.livemode,
            "received_at": now,
            **told,
        },
    )
    if not new:
        mine = stripe_inbox.c.stripe_event_id == event_id
        tx.execute(update(stripe_inbox).where(mine, stripe_inbox.c.detail != reason).values(told))
    if new:
        log.error("invoice quarantined", invoice_id=invoice.invoice_id, reason=reason)


def _let_go(tx: Connection, invoice_id: str, *, now: datetime) -> None:
    tx.execute(
        update(stripe_inbox)
        .where(
            stripe_inbox.c.stripe_event_id == f"misfit:{invoice_id}",
            stripe_inbox.c.status == "quarantined",
        )
        .values(status="done", detail="", done_at=now)
    )
