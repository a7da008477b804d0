"""Bugs that others have shipped, planted one at a time in a copy of the project, each caught.

A test that cannot fail proves nothing. With every change the first bugs are planted; a soak plants
them all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import soak

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[2]
#: What a run of tests inside another must not take over from it.
OURS = {
    "CLEARMETER_SOAK",
    "PYTEST_XDIST_WORKER",
    "PYTEST_XDIST_WORKER_COUNT",
    "PYTEST_CURRENT_TEST",
}


@dataclass(frozen=True)
class Bug:
    """Text that is replaced wherever it stands in one file, and a test that must notice."""

    name: str
    file: str
    right: str
    wrong: str
    test: str
    store: str = "sqlite"

    @property
    def noticed_by(self) -> str:
        """The test, on the store that shows it soonest; a test without a store runs as it is."""
        return f"tests/{self.test}" + (f"[{self.store}]" if self.store else "")


BUGS = [
    Bug(
        "days are cut in UTC",
        "portal/events.py",
        "return local_day(one.occurred_at, organization.zone)",
        "return one.occurred_at.date()",
        "test_usage.py::test_days_are_the_organizations",
    ),
    Bug(
        "a cap does not see work in flight",
        "portal/core/caps.py",
        "return self.spent_micro + self.held_micro",
        "return self.spent_micro",
        "test_caps.py::test_a_hard_cap_is_reached_exactly",
    ),
    Bug(
        "nobody takes the lock in the store's own functions",
        "migrations/functions/express.sql",
        "WHERE organization_id = org FOR UPDATE;",
        "WHERE organization_id = org;",
        "faults/test_barrier.py::test_nobody_is_refused_while_there_is_enough_for_all",
        "postgresql",
    ),
    Bug(
        "writers begin as readers",
        "portal/db.py",
        '"BEGIN IMMEDIATE"',
        '"BEGIN"',
        "test_store.py::test_what_is_read_in_a_transaction_that_writes_is_still_true_when_it_writes",
    ),
    Bug(
        "a hold's rest goes back to the grants that were taken first",
        "portal/core/ledger.py",
        "    for line in receipt:\n        spent = min(",
        "    for line in reversed(list(receipt)):\n        spent = min(",
        "test_authorization.py::test_capturing_a_part_returns_the_rest_to_the_grants_it_came_from",
    ),
    Bug(
        "credits that have expired can be spent",
        "portal/core/ledger.py",
        "return self.effective_at <= now and not self.expired(now) and not self.frozen",
        "return self.effective_at <= now and not self.frozen",
        "core/test_ledger.py::test_only_what_is_effective_unexpired_and_left_is_spent",
        "",
    ),
    Bug(
        "credits live one instant too long",
        "portal/core/ledger.py",
        "self.expires_at <= now",
        "self.expires_at < now",
        "test_balance.py::test_credits_expire_at_their_instant_with_no_job_running",
    ),
    Bug(
        "an event's identity is a joined string",
        "portal/core/events.py",
        "return (self.source, self.event_id)",
        'return ("", self.source + self.event_id)',
        "test_metering.py::test_two_sources_may_use_one_id_and_joined_names_are_not_mixed_up",
    ),
    Bug(
        "twins inside one batch are not seen",
        "portal/metering/ingestion.py",
        "                known[event.identity] = print_\n",
        "",
        "test_metering.py::test_the_same_event_counts_once_however_often_it_comes",
    ),
    Bug(
        "an idempotency key answers whatever is asked",
        "portal/idempotency.py",
        "if known.fingerprint != print_:",
        "if False:",
        "test_idempotency.py::test_the_same_key_with_another_body_is_a_conflict_and_does_nothing",
        "sqlite-capture",
    ),
    Bug(
        "halves are rounded up",
        "portal/core/units.py",
        "(twice == denominator and quotient % 2)",
        "twice == denominator",
        "core/test_units.py::test_halves_go_to_the_even_neighbour",
        "25-2",
    ),
    Bug(
        "work in flight does not count against the overage limit",
        "portal/core/overage.py",
        "(rate.spent_micro + rate.held_micro)",
        "rate.spent_micro",
        "test_spending.py::test_work_goes_on_up_to_the_limit_and_not_a_millionth_further",
    ),
    Bug(
        "a cap counts from when it was made",
        "portal/caps/windows.py",
        "spent, open_holds = counted(tx, organization_id, cap, window)",
        "spent, open_holds = 0, counted(tx, organization_id, cap, window)[1]",
        "test_caps.py::test_a_cap_made_late_counts_its_window_from_the_start",
    ),
    Bug(
        "the end of a hold leaves it in the caps",
        "portal/caps/counters.py",
        '            "held_": held_micro,\n',
        '            "held_": 0,\n',
        "test_caps.py::test_ending_a_hold_ends_it_in_a_cap_that_was_made_after_it",
    ),
    Bug(
        "a correction gives back to the grants that were taken first",
        "portal/corrections.py",
        "sorted(grants, key=burn_down_key, reverse=True)",
        "sorted(grants, key=burn_down_key)",
        "test_corrections.py::test_a_correction_gives_back_to_the_grants_that_paid_last_taken_first",
    ),
    Bug(
        "anybody may end anybody's work",
        "portal/holds.py",
        "only is not None",
        "False",
        "test_authorization.py::test_another_organizations_authorization_is_the_same_as_none",
    ),
    Bug(
        "new credits do not settle what is owed",
        "portal/wallet/credits.py",
        "        self.settle_debt(at=settle_at)\n        return grant_id",
        "        return grant_id",
        "test_balance.py::test_debt_is_settled_first_and_never_stands_beside_what_is_available",
    ),
]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which every test that is to notice something passes."""
    copy = tmp_path_factory.mktemp("scratch")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    done = _run(copy, *sorted({bug.noticed_by for bug in _planted()}))
    assert done.returncode == 0, done.stdout[-4000:]
    return copy


def _planted() -> list[Bug]:
    return BUGS[: soak.size(2, len(BUGS))]


@pytest.mark.parametrize("bug", _planted(), ids=lambda bug: bug.name.replace(" ", "-"))
def test_a_planted_bug_is_noticed(scratch: Path, bug: Bug) -> None:
    file = scratch / bug.file
    right = file.read_text(encoding="utf-8")
    assert bug.right in right, "the code has changed: plant the bug anew"
    file.write_text(right.replace(bug.right, bug.wrong), encoding="utf-8")
    try:
        done = _run(scratch, bug.noticed_by)
    finally:
        file.write_text(right, encoding="utf-8")
    assert done.returncode == 1, done.stdout[-4000:]
    assert " failed" in done.stdout.splitlines()[-1]


def _run(copy: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    plain = {name: value for name, value in os.environ.items() if name not in OURS}
    return subprocess.run(command, cwd=copy, env=plain, capture_output=True, text=True, check=False)
