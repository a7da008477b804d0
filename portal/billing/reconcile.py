"""What webhooks did not bring: fetch from Stripe and bring our rows to the same end.

Invariant: every family calls the same idempotent effects as webhooks and the return page, so
running it at any time, any number of times, changes nothing that was right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from portal.billing import (
    checkout_news,
    comparison,
    inbox,
    payment_news,
    subscription_mending,
    top_up_news,
)
from portal.billing.gateway import Gateway
from portal.db import Database

#: How far back Stripe is asked where nothing else is said.
DEFAULT_REACH = timedelta(days=3)
#: What each family does about what was made since an instant; a purchase comes before its refund.
FAMILIES: Sequence[Callable[..., list[str]]] = (
    checkout_news.mend,
    subscription_mending.mend,
    top_up_news.mend,
    payment_news.mend,
)


def reconcile(
    database: Database, payments: Gateway, *, since: datetime | None, now: datetime
) -> list[str]:
    """Mend what webhooks did not bring since an instant; returns what was mended, in words."""
    begin = since or now - DEFAULT_REACH
    mended = [line for mend in FAMILIES for line in mend(database, payments, since=begin, now=now)]
    return mended + inbox.finish_pending(database, payments, now=now)


def differences(
    database: Database, payments: Gateway, *, since: datetime | None, now: datetime
) -> list[str]:
    """Return where Stripe, our payments and the ledger differ since an instant, in words."""
    return comparison.compare(database, payments, since=since or now - DEFAULT_REACH)
