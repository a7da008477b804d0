"""Jobs only tidy: what they book was so before, and running one again changes nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Connection, select

from portal import jobs
from portal.billing.gateway import Gateway
from portal.core.errors import ClearmeterError, Unavailable
from portal.db import Database
from portal.desk import Desk
from portal.jobs import JOBS, Job, Workshop
from portal.tables import sessions
from tests import digest
from tests.cast import Api, Customer, ok
from tests.clock import Clock

HOUR = timedelta(hours=1)


@pytest.fixture
def shop(database: Database, clock: Clock) -> Workshop:
    return Workshop(database, Gateway(""), clock)


def test_ending_lapsed_holds_books_what_was_so_already(
    acme: Customer, bystander: Customer, shop: Workshop, clock: Clock
) -> None:
    acme.grant(20, priority=1, expires_at=(clock() + timedelta(minutes=5)).isoformat())
    cap = acme.cap(100)
    hold = acme.hold("analysis", 3, expires_in=600)
    acme.hold("image", expires_in=7200)
    clock.forward(timedelta(minutes=10))
    before = acme.balance(), acme.caps()
    assert before[0]["held"] == "2"
    assert jobs.end_lapsed_holds(shop) == 1
    assert (acme.balance(), acme.caps()) == before
    assert acme.caps()[cap]["held"] == "2"
    assert ok(acme.api.get(f"/v1/authorizations/{hold}"))["status"] == "expired"
    assert jobs.end_lapsed_holds(shop) == 0


def test_expiring_grants_books_what_was_so_already(
    acme: Customer, bystander: Customer, shop: Workshop, database: Database, clock: Clock
) -> None:
    acme.grant(20, expires_at=(clock() + HOUR).isoformat())
    acme.grant(30, priority=1, expires_at=(clock() + HOUR).isoformat())
    acme.hold("analysis", 2, expires_in=7200)
    clock.forward(HOUR)
    before = acme.balance()
    assert (before["available"], before["held"]) == ("100", "20")
    assert jobs.expire_grants(shop) == 1
    assert acme.balance() == before
    assert digest.balances(database)["acme", "expired"] == 30_000_000
    assert jobs.expire_grants(shop) == 0


def test_a_period_begins_once_with_its_allowance(
    api: Api, bystander: Customer, shop: Workshop, clock: Clock
) -> None:
    ok(api.put("/v1/organizations/acme", {"name": "Acme", "tier": "starter"}), 201)
    acme = Customer(api, "acme")
    assert jobs.begin_periods(shop) == 0
    clock.set(datetime(2026, 12, 9, tzinfo=UTC))
    assert jobs.begin_periods(shop) == 1
    assert acme.standing == ("500", "0")
    period = {"start": "2026-12-09T00:00:00+00:00", "end": "2027-01-09T00:00:00+00:00"}
    assert acme.balance()["period"] == period
    assert jobs.begin_periods(shop) == 0
    clock.forward(timedelta(days=100))
    assert jobs.begin_periods(shop) == 1
    assert acme.standing == ("500", "0")


def test_jobs_leave_what_is_in_force_alone(
    acme: Customer, bystander: Customer, shop: Workshop, database: Database
) -> None:
    acme.hold("document")
    before = digest.counts(database), digest.balances(database)
    for job in JOBS:
        job.run(shop)
    assert (digest.counts(database), digest.balances(database)) == before


def test_sessions_that_ended_are_forgotten(
    acme: Customer, shop: Workshop, database: Database, clock: Clock
) -> None:
    body = {"organization": "acme", "member": {"id": "ana", "email": "ana@acme.example"}}
    ok(acme.api.post("/v1/portal_sessions", body), 201)
    clock.forward(timedelta(days=2))
    jobs.forget_sessions(shop)
    with database.reading() as tx:
        assert tx.execute(select(sessions)).all() == []


def test_without_stripe_there_is_nothing_to_reconcile(shop: Workshop) -> None:
    assert jobs.reconcile_payments(shop) == 0


def test_a_job_runs_once_however_many_workers_there_are(shop: Workshop, clock: Clock) -> None:
    ran: list[int] = []
    job = Job("count", timedelta(minutes=10), lambda _: ran.append(1) or 1)
    together = threading.Barrier(8)

    def work(_: int) -> None:
        together.wait(30)
        jobs.run_once(shop, job)

    for turn in range(1, 4):
        with ThreadPoolExecutor(8) as workers:
            list(workers.map(work, range(8)))
        assert len(ran) == turn
        clock.forward(job.every)


def test_a_job_that_a_neighbour_keeps_from_its_work_is_tried_again(
    shop: Workshop, clock: Clock
) -> None:
    def fail(_: Workshop) -> int:
        raise ClearmeterError("not now")

    job = Job("fail", timedelta(minutes=10), fail)
    assert jobs.run_once(shop, job) == 0
    clock.forward(job.every)
    assert jobs.take_lease(shop.database, job, now=clock())
    assert not jobs.take_lease(shop.database, job, now=clock())


@pytest.mark.parametrize("trouble", [ClearmeterError("Stripe does not answer"), KeyError("a bug")])
def test_what_runs_once_a_day_and_fails_is_tried_again_within_minutes(
    shop: Workshop, clock: Clock, trouble: Exception
) -> None:
    ran: list[datetime] = []

    def fail_once(_: Workshop) -> int:
        ran.append(clock())
        if len(ran) == 1:
            raise trouble
        return 1

    job = Job("nightly", timedelta(days=1), fail_once)
    assert jobs.run_once(shop, job) == 0
    assert jobs.run_once(shop, job) == 0
    clock.forward(timedelta(minutes=5))
    assert jobs.run_once(shop, job) == 1
    clock.forward(timedelta(hours=23))
    assert jobs.run_once(shop, job) == 0
    clock.forward(HOUR)
    assert jobs.run_once(shop, job) == 1
    assert len(ran) == 3


def test_a_worker_that_is_late_runs_its_jobs_all_the_same(shop: Workshop) -> None:
    ran = threading.Event()
    job = Job("nightly", timedelta(days=1), lambda _: ran.set() or 1)
    worker = BackgroundScheduler(timezone="UTC")
    jobs.schedule(worker, shop, [job])
    worker.start()
    try:
        # The clock of the tests is weeks behind the machine's.
        assert ran.wait(30)
    finally:
        worker.shutdown()


def test_a_worker_that_starts_anew_puts_nothing_off(shop: Workshop) -> None:
    worker = BackgroundScheduler(timezone="UTC")
    jobs.schedule(worker, shop, JOBS)
    for scheduled in worker.get_jobs():
        assert scheduled.trigger.interval <= timedelta(minutes=1), scheduled


def test_an_organization_whose_books_do_not_open_keeps_no_other_waiting(
    acme: Customer,
    api: Api,
    bystander: Customer,
    shop: Workshop,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ok(api.put("/v1/organizations/zenith", {"name": "Zenith", "tier": "starter"}), 201)
    for customer in (acme, Customer(api, "zenith")):
        customer.hold("analysis", expires_in=60)
    clock.forward(timedelta(minutes=10))
    opening = jobs.open_desk

    def stuck(tx: Connection, organization_id: str, *, now: datetime) -> Desk:
        if organization_id == "acme":
            raise Unavailable("another transaction has it")
        return opening(tx, organization_id, now=now)

    monkeypatch.setattr(jobs, "open_desk", stuck)
    assert jobs.end_lapsed_holds(shop) == 1
    monkeypatch.undo()
    assert jobs.end_lapsed_holds(shop) == 1
    assert jobs.end_lapsed_holds(shop) == 0


def test_every_job_has_a_name_of_its_own() -> None:
    assert len({job.name for job in JOBS}) == len(JOBS)
