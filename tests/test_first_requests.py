"""The first requests of a new process, all at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Threads that change over as often as they can, each with the first body of its process.
MANY_AT_ONCE = """
import sys, threading
sys.setswitchinterval(1e-6)
import msgspec
from portal.web.api import shapes
body = {"specversion": "1.0", "id": "a", "source": "s", "subject": "acme", "type": "document",
        "data": {"quantity": 2, "costs": [{"layer": "external", "amount_usd": "1"}]}}
start = threading.Barrier(16)
def read():
    start.wait()
    for _ in range(20):
        msgspec.convert(body, shapes.EventBody, strict=True, dec_hook=shapes.take_as_sent)
threads = [threading.Thread(target=read) for _ in range(16)]
for one in threads: one.start()
for one in threads: one.join()
"""


@pytest.mark.parametrize("turn", range(5))
def test_many_first_bodies_at_once_bring_nothing_down(turn: int) -> None:
    done = subprocess.run([sys.executable, "-c", MANY_AT_ONCE], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
