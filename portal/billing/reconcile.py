"""What webhooks did not bring: fetch from Stripe and bring our rows to the same end.

Invariant: every family calls the same idempotent effects as webhooks and the return page, so
running it at any time, any number of times, changes nothing that was right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select

from portal.billing import (
    checkout_news,
    comparison,
    inbox,
    mending,
    payment_news,
    subscription_mending,
    top_up_news,
)
from portal.billing.gateway import Gateway
from portal.db import Database
from portal.ids import new_id
from portal.tables import reconciliations

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
    """Mend what webhooks did not bring since an instant; returns what was done, in words.

    What could not be mended has its line among them, as ``mending`` tells them apart.
    """
    begin = since or now - DEFAULT_REACH
    told = [line for mend in FAMILIES for line in mend(database, payments, since=begin, now=now)]
    return told + inbox.finish_pending(database, payments, now=now)


def differences(
    database: Database, payments: Gateway, *, since: datetime | None, now: datetime
) -> list[str]:
    """Return where Stripe, our payments and the ledger differ since an instant, in words."""
    return comparison.compare(database, payments, since=since or now - DEFAULT_REACH)


@dataclass(frozen=True)
class Report:
    """What a reconciliation did and what differs after it, since an instant, in words."""

    asked_by: str
    since: datetime
    begun_at: datetime
    told: Sequence[str]
    differing: Sequence[str]

    @property
    def mended(self) -> Sequence[str]:
        """What was mended."""
        return mending.mended(self.told)

    @property
    def unmended(self) -> Sequence[str]:
        """What could not be mended, and why."""
        return mending.unmended(self.told)

    @property
    def counted(self) -> str:
        """How many there are of each, in words."""
        return mending.counted(self.told, self.differing)


def run(
    database: Database,
    payments: Gateway,
    *,
    since: datetime | None,
    asked_by: str,
    now: datetime,
) -> Report:
    """Mend, compare the three books, and keep the report. Raises Unavailable."""
    begin = since or now - DEFAULT_REACH
    told = reconcile(database, payments, since=begin, now=now)
    report = Report(
        asked_by, begin, now, told, differences(database, payments, since=begin, now=now)
    )
    with database.transaction() as tx:
        keep(tx, report)
    return report


def keep(tx: Connection, report: Report) -> None:
    """Keep a report, to be read later."""
    tx.execute(
        insert(reconciliations).values(
            reconciliation_id=new_id("rec"),
            asked_by=report.asked_by,
            since=report.since,
            begun_at=report.begun_at,
            mended=list(report.told),
            differing=list(report.differing),
        )
    )


def reports(tx: Connection, *, limit: int) -> list[Report]:
    """Return the reports that were kept, the latest first."""
    rows = tx.execute(
        select(reconciliations)
        .order_by(reconciliations.c.begun_at.desc(), reconciliations.c.reconciliation_id)
        .limit(limit)
    )
    return [
        Report(row.asked_by, row.since, row.begun_at, row.mended, row.differing) for row in rows
    ]
