"""The scheduled jobs of the worker. Each takes a lease first, so many workers fire it once.

Jobs only tidy: every answer is the same with all of them stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.blocking import BlockingScheduler
from sqlalchemy import update

from portal import access, accounts, forecast_record, holds, keeping, wallet
from portal.billing import mending, overage, reconcile, refunds, top_up
from portal.billing.gateway import Gateway
from portal.billing.reconcile import Report
from portal.clock import Clock
from portal.core.errors import ClearmeterError
from portal.db import Database
from portal.desk import open_desk
from portal.lookout import Lookout
from portal.margin import revenue, simulation
from portal.notices.delivering import Post, deliver_webhooks
from portal.notices.mailing import deliver_mail
from portal.notices.spread import spread
from portal.office import viewing
from portal.rows import insert_or_ignore
from portal.tables import job_leases
from portal.wallet import Wallet

log = structlog.get_logger()

#: How far back the books are compared every day.
A_WEEK = timedelta(days=7)
#: A worker looks at least so often which jobs are due, so that a restart puts none off.
LOOKS_EVERY = timedelta(minutes=1)
#: What failed is tried again after so long at most, however seldom it runs.
TRIED_AGAIN_AFTER = timedelta(minutes=5)
#: How many organizations' revenue is brought up to date in one round.
A_ROUND = 10_000


@dataclass(frozen=True)
class Workshop:
    """What jobs work with."""

    database: Database
    payments: Gateway
    clock: Clock
    post: Post | None = None
    lookout: Lookout = field(default_factory=Lookout)


def _for_each(
    shop: Workshop, organization_ids: list[str], act: Callable[[Wallet], object] | None = None
) -> int:
    """Open each organization's books, which ends holds and begins periods, and act on them.

    Returns for how many: one whose books do not open now keeps no other waiting.
    """
    done = 0
    for organization_id in organization_ids:
        try:
            with shop.database.transaction() as tx:
                purse = open_desk(tx, organization_id, now=shop.clock()).wallet
                if act is not None:
                    act(purse)
                purse.write()
        except ClearmeterError as error:
            log.warning("books not tidied", organization=organization_id, reason=error.detail)
        else:
            done += 1
    return done


def end_lapsed_holds(shop: Workshop) -> int:
    """Book holds past their deadline as expired; returns for how many organizations."""
    with shop.database.reading() as tx:
        found = holds.organizations_with_lapsed(tx, now=shop.clock())
    return _for_each(shop, found)


def expire_grants(shop: Workshop) -> int:
    """Book what is left of expired grants; returns for how many organizations."""
    with shop.database.reading() as tx:
        found = wallet.with_expired(tx, now=shop.clock())
    return _for_each(shop, found, Wallet.expire_grants)


def begin_periods(shop: Workshop) -> int:
    """Begin the periods that are due and grant their allowance; returns how many."""
    with shop.database.reading() as tx:
        found = accounts.organizations_due(tx, now=shop.clock())
    return _for_each(shop, found)


def forget_sessions(shop: Workshop) -> int:
    """Drop sign-in links and sessions that ended, and say of views that they did."""
    with shop.database.transaction() as tx:
        viewing.end_lapsed(tx, now=shop.clock())
        access.forget_ended(tx, now=shop.clock())
    return 1


def take_away_old(shop: Workshop) -> int:
    """Take away what is past its keeping time, the money and the record never; returns how many."""
    return keeping.take_away(shop.database, now=shop.clock())


def keep_forecasts(shop: Workshop) -> int:
    """Keep what is forecast today, once for each organization and day; returns how many."""
    return forecast_record.keep(shop.database, now=shop.clock())


def recognise_revenue(shop: Workshop) -> int:
    """Bring what is recognised of customers' money up to now; returns of how many."""
    found = revenue.bring_up_to_date(shop.database, now=shop.clock(), most=A_ROUND, patient=True)
    return found.done


def reconcile_payments(shop: Workshop) -> int:
    """Fetch from Stripe what webhooks did not bring; returns how much was mended."""
    if not shop.payments.configured:
        return 0
    told = reconcile.reconcile(shop.database, shop.payments, since=None, now=shop.clock())
    mended = mending.mended(told)
    for line in mended:
        log.info("reconciled", line=line)
    for line in mending.unmended(told):
        log.warning("not reconciled", line=line)
    return len(mended)


def compare_books(shop: Workshop) -> int:
    """Compare Stripe, our payments and the ledger; returns how many differences there are."""
    if not shop.payments.configured:
        return 0
    now = shop.clock()
    since = now - A_WEEK
    found = reconcile.differences(shop.database, shop.payments, since=since, now=now)
    with shop.database.transaction() as tx:
        reconcile.keep(tx, Report("the daily comparison", since, now, [], found))
    for line in found:
        log.error("books differ", line=line)
    return len(found)


def run_simulations(shop: Workshop) -> int:
    """Run the simulations that wait, from where they stand; returns how many were finished."""
    return simulation.run_waiting(shop.database, clock=shop.clock)


def top_up_credits(shop: Workshop) -> int:
    """Buy packs for whoever wants them when credits run low; returns how many attempts."""
    if not shop.payments.configured:
        return 0
    return top_up.run_all(shop.database, shop.payments, clock=shop.clock)


def finish_refunds(shop: Workshop) -> int:
    """Bring refunds that were begun to their end; returns how many came to one."""
    if not shop.payments.configured:
        return 0
    return refunds.finish_begun(shop.database, shop.payments, now=shop.clock())


def bill_overage(shop: Workshop) -> int:
    """Bill what was used beyond all grants and no renewal will carry; returns how many bills."""
    if not shop.payments.configured:
        return 0
    return overage.bill_without_renewal(shop.database, shop.payments, now=shop.clock())


def look_around(shop: Workshop) -> int:
    """Tell what no act tells of: credits that run low or expire, caps on course to be passed."""
    return shop.lookout.look_around(shop.database, now=shop.clock())


def tell(shop: Workshop) -> int:
    """Send what there is to tell, by mail and by webhook; returns how much was taken."""
    spread(shop.database, now=shop.clock())
    if shop.post is None:
        return 0
    sent = deliver_mail(shop.database, shop.post, clock=shop.clock)
    return sent + deliver_webhooks(shop.database, shop.post, clock=shop.clock)


@dataclass(frozen=True)
class Job:
    """A job, and how often it runs."""

    name: str
    every: timedelta
    run: Callable[[Workshop], int]


JOBS = (
    Job("end-lapsed-holds", timedelta(seconds=30), end_lapsed_holds),
    Job("begin-periods", timedelta(seconds=30), begin_periods),
    Job("top-up", timedelta(seconds=10), top_up_credits),
    Job("tell", timedelta(seconds=5), tell),
    Job("look-around", timedelta(minutes=1), look_around),
    Job("expire-grants", timedelta(minutes=1), expire_grants),
    Job("forget-sessions", timedelta(hours=1), forget_sessions),
    Job("finish-refunds", timedelta(minutes=1), finish_refunds),
    Job("bill-overage", timedelta(hours=1), bill_overage),
    Job("keep-forecasts", timedelta(hours=6), keep_forecasts),
    Job("run-simulations", timedelta(seconds=10), run_simulations),
    Job("recognise-revenue", timedelta(minutes=5), recognise_revenue),
    Job("reconcile-payments", timedelta(hours=1), reconcile_payments),
    Job("compare-books", timedelta(days=1), compare_books),
    Job("take-away-old", timedelta(days=1), take_away_old),
)


def take_lease(database: Database, job: Job, *, now: datetime) -> bool:
    """Claim one run of a job; False where it ran already or another worker has it."""
    lasts = job.every - min(job.every * 0.1, LOOKS_EVERY / 2)
    with database.transaction() as tx:
        insert_or_ignore(
            tx, job_leases, {"job": job.name, "leased_until": now - timedelta(seconds=1)}
        )
        claimed = tx.execute(
            update(job_leases)
            .where(job_leases.c.job == job.name, job_leases.c.leased_until <= now)
            .values(leased_until=now + lasts)
        ).rowcount
    return claimed == 1


def _try_again_soon(database: Database, job: Job, *, now: datetime) -> None:
    """Give the rest of a lease back: the run that it was taken for came to nothing."""
    soon = now + TRIED_AGAIN_AFTER
    with suppress(ClearmeterError), database.transaction() as tx:
        tx.execute(
            update(job_leases)
            .where(job_leases.c.job == job.name, job_leases.c.leased_until > soon)
            .values(leased_until=soon)
        )


def run_once(shop: Workshop, job: Job) -> int:
    """Run a job where its lease is free; returns what it did. What fails is tried again soon."""
    if not take_lease(shop.database, job, now=shop.clock()):
        return 0
    try:
        done = job.run(shop)
    except ClearmeterError as error:
        log.warning("job postponed", job=job.name, reason=error.detail)
    except Exception:
        log.exception("job failed", job=job.name)
    else:
        if done:
            log.info("job done", job=job.name, count=done)
        return done
    _try_again_soon(shop.database, job, now=shop.clock())
    return 0


def schedule(scheduler: BaseScheduler, shop: Workshop, jobs: Sequence[Job]) -> None:
    """Have a scheduler run jobs at their pace, however late it comes to them."""
    for job in jobs:
        scheduler.add_job(
            run_once,
            "interval",
            args=[shop, job],
            seconds=min(job.every, LOOKS_EVERY).total_seconds(),
            next_run_time=shop.clock(),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
            id=job.name,
        )


def work(shop: Workshop) -> None:
    """Run every job at its pace until the process is stopped."""
    scheduler = BlockingScheduler(timezone="UTC")
    schedule(scheduler, shop, JOBS)
    scheduler.start()
