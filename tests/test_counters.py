"""Counting requests: each count ends with its window, and what has ended is forgotten."""

from __future__ import annotations

import time

import pytest

from portal.web import counters
from portal.web.counters import Counters


def test_a_count_grows_until_its_window_ends_and_begins_anew() -> None:
    counts = Counters()
    assert [counts.incr("ana", 60), counts.incr("ana", 60, 2), counts.incr("ben", 60)] == [1, 3, 1]
    assert counts.get("ana") == 3
    assert 59 < counts.get_expiry("ana") - time.time() <= 60
    assert counts.incr("cleo", 0.001) == 1
    time.sleep(0.002)
    assert (counts.get("cleo"), counts.incr("cleo", 60)) == (0, 1)
    counts.clear("ana")
    assert (counts.get("ana"), counts.reset(), counts.get("ben")) == (0, 2, 0)


def test_what_has_ended_is_forgotten_before_it_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MANY", 10)
    counts = Counters()
    for number in range(100):
        counts.incr(f"visitor {number}", 0.0)
    assert (counts.reset() or 0) <= 11
