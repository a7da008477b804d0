"""What webhooks did not bring of purchases: every session is brought to the end that Stripe tells.

Invariant: calls the same idempotent fulfilment as webhooks and the return page.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from sqlalchemy import select

from portal.billing import checkout
from portal.billing import payments as book
from portal.billing.gateway import CheckoutSession, Gateway
from portal.billing.mending import attempt
from portal.core.errors import NotFound
from portal.core.units import format_micro
from portal.db import Database
from portal.tables import checkouts


def mend(database: Database, payments: Gateway, *, since: datetime, now: datetime) -> list[str]:
    """Fulfil or close the purchases of sessions made since an instant, and all that still wait.

    Returns what was mended, in words.
    """
    sessions = {one.session_id: one for one in payments.checkout_sessions_since(since)}
    with database.reading() as tx:
        waiting = tx.execute(
            select(checkouts.c.stripe_session_id).where(
                checkouts.c.status == "open", checkouts.c.stripe_session_id.is_not(None)
            )
        ).scalars()
        missing = [session_id for session_id in waiting if session_id not in sessions]
    for session_id in missing:
        try:
            sessions[session_id] = payments.checkout_session(session_id)
        except NotFound:
            continue
    mended: list[str] = []
    for session in sessions.values():
        what = f"{session.organization_id}, checkout {session.session_id}"
        mended += attempt(what, partial(_mend, database, payments, session, now))
    return mended


def _standing(database: Database, session: CheckoutSession) -> tuple[str | None, bool]:
    """Return where a purchase stands, and whether its payment is written down."""
    with database.reading() as tx:
        status = tx.execute(
            select(checkouts.c.status).where(
                checkouts.c.organization_id == session.organization_id,
                checkouts.c.checkout_id == session.checkout_id,
            )
        ).scalar()
        paid = book.of(tx, session.organization_id, session.payment_intent_id)
    written = paid is not None and paid.payment.grant_id is not None
    return status, written or not session.payment_intent_id


def _mend(
    database: Database, payments: Gateway, session: CheckoutSession, now: datetime
) -> str | None:
    if not session.checkout_id:
        return None
    before, written = _standing(database, session)
    if before == "fulfilled" and written:
        return None
    after = checkout.fulfil(database, session, livemode=payments.livemode, now=now)
    named = f"{session.organization_id}: {after.pack_name}, {after.checkout_id}"
    if before == "fulfilled":
        return f"{named} ({after.grant_id}): payment {session.payment_intent_id} written down"
    if after.status == before:
        return None
    return (
        f"{named}, {format_micro(after.credits_micro)} credits, {session.session_id}: "
        f"{before} -> {after.status}"
    )
