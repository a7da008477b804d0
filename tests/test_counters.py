"""Counting requests: each count ends with its window, what has ended is forgotten, no thread."""

from __future__ import annotations

import threading
import time

import pytest

from portal.web import counters
from portal.web.counters import Counters


def test_a_count_grows_until_its_window_ends_and_begins_anew() -> None:
    counts = Counters()
    assert [counts.incr("ana", 60), counts.incr("ana", 60, 2), counts.incr("ben", 60)] == [1, 3, 1]
    assert counts.incr("cleo", 0.001) == 1
    time.sleep(0.002)
    assert (counts.get("ana"), counts.get("cleo"), counts.incr("cleo", 60)) == (3, 0, 1)


def test_what_has_ended_is_forgotten_by_the_way_and_by_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counters, "OFTEN", 10)
    counts = Counters()
    counts.timer.join()
    for number in range(99):
        counts.incr(f"visitor {number}", 0.0)
    assert threading.active_count() == 1 or not counts.timer.is_alive()
    assert len(counts.storage) < 20
