"""What webhooks did not bring: fetch from Stripe and bring our rows to the same end.

Invariant: calls the same idempotent fulfilment as webhooks and the return page, so running it at
any time, any number of times, changes nothing that was right.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select

from portal.billing import checkout, inbox, top_up_news
from portal.billing.effects import Quarantined
from portal.billing.gateway import CheckoutSession, Gateway
from portal.core.errors import NotFound
from portal.core.units import format_micro
from portal.db import Database
from portal.tables import checkouts

#: How far back Stripe is asked where nothing else is said.
DEFAULT_REACH = timedelta(days=3)


def reconcile(
    database: Database, payments: Gateway, *, since: datetime | None, now: datetime
) -> list[str]:
    """Mend what webhooks did not bring since an instant; returns what was mended, in words."""
    sessions = {
        session.session_id: session
        for session in payments.checkout_sessions_since(since or now - DEFAULT_REACH)
    }
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
    mended = []
    for session in sessions.values():
        line = _mend(database, payments, session, now)
        if line:
            mended.append(line)
    mended += top_up_news.mend(database, payments, since=since or now - DEFAULT_REACH, now=now)
    return mended + inbox.finish_pending(database, payments, now=now)


def _status(database: Database, session: CheckoutSession) -> str | None:
    with database.reading() as tx:
        found = tx.execute(
            select(checkouts.c.status).where(
                checkouts.c.organization_id == session.organization_id,
                checkouts.c.checkout_id == session.checkout_id,
            )
        ).scalar()
    return None if found is None else str(found)


def _mend(
    database: Database, payments: Gateway, session: CheckoutSession, now: datetime
) -> str | None:
    if not session.checkout_id:
        return None
    before = _status(database, session)
    if before == "fulfilled":
        return None
    try:
        after = checkout.fulfil(database, session, livemode=payments.livemode, now=now)
    except Quarantined as error:
        return f"does not fit: {error.detail}"
    if after.status == before:
        return None
    return (
        f"{session.organization_id}: {after.pack_name} ({format_micro(after.credits_micro)} "
        f"credits), {session.session_id}: {before} -> {after.status}"
    )
