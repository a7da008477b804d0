"""Client processes that all begin at once, and what they got done together in a second."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

#: How long a measurement lasts, in seconds, and how long before it its clients warm up.
SECONDS = 2.5
WARM_UP = 0.5


@dataclass(frozen=True)
class Rate:
    """What was done in a second, and the time that 99 of 100 acts stayed under, in milliseconds."""

    per_second: float
    p99_ms: float


def measure(work: Callable[..., Callable[[], None]], clients: int, *given: Any) -> Rate:
    """Run ``work(number, *given)`` in each of several processes; it returns the act to repeat."""
    context = multiprocessing.get_context("forkserver")
    # Imported once, not by each client: eight of them would keep a small machine busy for a while.
    context.set_forkserver_preload(["bench.authorizations", "bench.served"])
    barrier, answers = context.Barrier(clients), context.Queue()
    processes = [
        context.Process(target=_repeat, args=(work, number, given, barrier, answers))
        for number in range(clients)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    times = sorted(one for took, _ in found for one in took)
    per_second = sum(len(took) / seconds for took, seconds in found)
    return Rate(per_second, times[int(len(times) * 0.99)] * 1000 if times else 0.0)


def _repeat(
    work: Callable[..., Callable[[], None]],
    number: int,
    given: tuple[Any, ...],
    barrier: Barrier,
    answers: multiprocessing.Queue[tuple[list[float], float]],
) -> None:
    act = work(number, *given)
    barrier.wait()
    until = time.perf_counter() + WARM_UP
    while time.perf_counter() < until:
        act()
    took, begun = [], time.perf_counter()
    while time.perf_counter() < begun + SECONDS:
        started = time.perf_counter()
        act()
        took.append(time.perf_counter() - started)
    answers.put((took, time.perf_counter() - begun))
