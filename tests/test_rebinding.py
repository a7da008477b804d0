"""A name that leads to this machine the second time it is asked for leads nowhere.

By the system's own resolver, in a network where the test says what names mean.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import soak
from tests.rebinding import HARMLESS_AT_FIRST, TRICKS

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parent.parent
TRIES = soak.rounds(3 * len(TRICKS), 1_000)


def apart(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with mounts and a network of its own."""
    whose = [] if os.geteuid() == 0 else ["--map-root-user"]
    return subprocess.run(
        ["unshare", "--mount", "--net", *whose, "--", *command],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _may_be_apart() -> None:
    try:
        allowed = apart("mount", "--bind", "/etc", "/etc")
    except OSError as error:
        pytest.skip(f"there is no unshare here: {error}")
    if allowed.returncode:
        pytest.skip(f"no mounts of one's own are allowed here: {allowed.stderr.strip()}")


def test_whatever_a_name_is_said_to_mean_nobody_here_is_connected_to() -> None:
    done = apart(sys.executable, "-m", "tests.rebinding", str(TRIES))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # Who checks a name and then connects to it is led here: the trick works.
    assert found["caught"] == 1
    assert found["here"] == 0
    # Where all was public it went where it had looked, and nothing else was gone to at all.
    assert found["public"] == found["harmless"] >= TRIES * len(HARMLESS_AT_FIRST) // len(TRICKS)
    refused = TRIES - found["harmless"]
    assert found["said"] == {"not public": refused, "not answered": found["harmless"]}
    print(f"\n{TRIES} names of {len(TRICKS)} kinds: nobody on this machine was connected to")
