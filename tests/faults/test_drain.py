"""Many processes drain one organization in every way there is; at the end not a millionth is amiss.

Each client keeps its own books from the answers it was given. What they were told together must be
what the ledger says, account by account.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import timedelta

import pytest

from portal import jobs
from portal.billing.gateway import Gateway
from portal.jobs import Workshop
from tests.faults import soak
from tests.faults.money import MICRO
from tests.faults.site import Company, Site, now
from tests.faults.spender import SHORT_SECONDS, Orders, Sight
from tests.servers import ROOT

pytestmark = pytest.mark.soak

PROCESSES = soak.size(4, 16)
THREADS = 4
OPERATIONS = soak.rounds(2_000, 40_000) // (PROCESSES * THREADS)
EXPIRIES = (timedelta(seconds=2), timedelta(seconds=4), timedelta(seconds=6))


@pytest.fixture
def acme(site: Site) -> Company:
    """An organization with credits for most of what will be asked, some of which expire soon."""
    acme = site.found()
    total = OPERATIONS * PROCESSES * THREADS * MICRO
    acme.grant(total, priority=50)
    acme.grant(total // 20, priority=10)
    for expires_at in EXPIRIES:
        acme.grant(total // 20, priority=20, expires_at=(now() + expires_at).isoformat())
    # Spent last, and over before its turn: something expires however quick the work is.
    acme.grant(total // 20, priority=90, expires_at=(now() + EXPIRIES[0]).isoformat())
    return acme


def spend(acme: Company) -> Sight:
    """Let every process work at once; return what they saw together."""
    processes = []
    for seed in range(PROCESSES):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.spender"],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        orders = Orders(acme.site.ports, acme.site.secret, acme.id, seed, THREADS, OPERATIONS)
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(orders)))
        process.stdin.close()
        process.stdin = None
    seen = Sight()
    for process in processes:
        said, _ = process.communicate()
        assert process.returncode == 0
        seen.add(Sight(**json.loads(said)))
    return seen


def test_what_many_were_told_is_what_the_ledger_says_to_the_unit(acme: Company) -> None:
    before = acme.accounts()
    granted = -before["issued"]
    began = time.monotonic()
    seen = spend(acme)
    took = time.monotonic() - began
    # From here on nothing lapses or expires any more.
    time.sleep(max(SHORT_SECONDS, EXPIRIES[-1].total_seconds() - took))

    assert seen.broken == []
    assert not [status for status in seen.statuses if status.startswith("5")]
    assert {"200", "201", "402", "409"} <= set(seen.statuses)
    standing = acme.standing
    shop = Workshop(acme.site.database, Gateway(""), now)
    jobs.end_lapsed_holds(shop)
    jobs.expire_grants(shop)
    assert acme.standing == standing

    accounts = acme.accounts()
    available, held = standing
    assert seen.held_micro == held == accounts["held"]
    assert seen.captured_micro == accounts["captured"]
    assert seen.uncollected_micro == accounts["uncollected"]
    assert accounts["expired"] > 0
    assert granted + seen.granted_micro == (
        seen.captured_micro + seen.held_micro + available + accounts["expired"]
    )
    _report(acme.site, seen, took)


def _report(site: Site, seen: Sight, seconds: float) -> None:
    """Say how fast it went: for a reader of a soak, no test of speed."""
    slowest = statistics.quantiles(seen.authorize_seconds, n=100)[98]
    asked = len(seen.authorize_seconds)
    print(
        f"\n{site.database.dialect}: {sum(seen.statuses.values()):,} operations by {PROCESSES} "
        f"processes in {seconds:.1f} s; {asked:,} authorizes, {asked / seconds:.0f} per s, "
        f"p99 {slowest * 1000:.0f} ms; {seen.statuses}"
    )
