"""The checker of histories, on histories whose verdict is known."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.faults import linear
from tests.faults.linear import UNKNOWN, Event, History, Undecided, linearizable

Line = tuple[str, Any]


def register(state: int, asked: Any, answer: Any) -> int | None:
    """A register: ``("write", 3)`` is answered "ok", ``("read", None)`` with what stands."""
    act, value = asked
    if act == "write":
        return int(value)
    return state if answer in (state, UNKNOWN) else None


def till(state: int, asked: int, answer: Any) -> int | None:
    """A till of credits: so much is asked for; True and it is gone, False and it was too much."""
    fits = asked <= state
    if answer is not UNKNOWN and answer is not fits:
        return None
    return state - asked if fits else state


def history(*lines: Line) -> History:
    """Return a history: ``("a?", x)`` client a asks x, ``("a!", y)`` and is answered y."""
    found, asked = History(), dict[str, int]()
    for who, content in lines:
        if who.endswith("?"):
            asked[who[:-1]] = found.ask(content)
        else:
            found.answer(asked[who[:-1]], content)
    return found


READ = ("read", None)


def test_one_after_another_must_read_what_was_written() -> None:
    lines = [("a?", ("write", 1)), ("a!", "ok"), ("b?", READ)]
    assert linearizable(history(*lines, ("b!", 1)), 0, register)
    assert not linearizable(history(*lines, ("b!", 0)), 0, register)


def test_a_read_beside_a_write_may_see_either() -> None:
    for seen in (0, 1):
        lines = [("a?", ("write", 1)), ("b?", READ), ("b!", seen), ("a!", "ok")]
        assert linearizable(history(*lines), 0, register)
    lines = [("a?", ("write", 1)), ("b?", READ), ("b!", 2), ("a!", "ok")]
    assert not linearizable(history(*lines), 0, register)


def test_nobody_sees_the_old_value_after_somebody_saw_the_new_one() -> None:
    lines: list[Line] = [("a?", ("write", 1)), ("b?", READ), ("b!", 1), ("c?", READ)]
    assert linearizable(history(*lines, ("c!", 1), ("a!", "ok")), 0, register)
    assert not linearizable(history(*lines, ("c!", 0), ("a!", "ok")), 0, register)


def test_the_last_credit_cannot_be_given_twice() -> None:
    both: list[Line] = [("a?", 1), ("b?", 1), ("a!", True)]
    assert linearizable(history(*both, ("b!", False)), 1, till)
    assert not linearizable(history(*both, ("b!", True)), 1, till)
    assert linearizable(history(*both, ("b!", True)), 2, till)


def test_nobody_may_be_refused_what_is_there() -> None:
    assert not linearizable(history(("a?", 1), ("a!", False)), 1, till)
    # Not even while others are being refused, who take nothing.
    lines = [("a?", 2), ("b?", 1), ("a!", False), ("b!", False)]
    assert not linearizable(history(*lines), 1, till)


def test_the_order_may_differ_from_that_of_asking_and_of_answering() -> None:
    lines = [("a?", 2), ("b?", 2), ("c?", 1), ("b!", False), ("a!", False), ("c!", True)]
    assert linearizable(history(*lines), 2, till)


def test_what_was_never_answered_may_have_happened() -> None:
    lines: list[Line] = [("a?", ("write", 1)), ("b?", READ)]
    assert linearizable(history(*lines, ("b!", 1)), 0, register)


def test_what_was_never_answered_may_never_have_happened() -> None:
    lines: list[Line] = [("a?", ("write", 1)), ("b?", READ)]
    assert linearizable(history(*lines, ("b!", 0)), 0, register)


def test_what_was_never_answered_may_happen_late_but_only_once() -> None:
    lines: list[Line] = [("a?", ("write", 1)), ("b?", READ), ("b!", 0), ("b?", READ), ("b!", 1)]
    assert linearizable(history(*lines), 0, register)
    lines += [("b?", ("write", 2)), ("b!", "ok"), ("b?", READ)]
    assert linearizable(history(*lines, ("b!", 2)), 0, register)
    assert not linearizable(history(*lines, ("b!", 1)), 0, register)


def test_what_was_never_answered_cannot_happen_before_it_was_asked() -> None:
    lines: list[Line] = [("b?", READ), ("b!", 1), ("a?", ("write", 1))]
    assert not linearizable(history(*lines), 0, register)


def test_an_empty_history_and_one_without_answers_are_fine() -> None:
    assert linearizable(History(), 0, register)
    assert linearizable(history(("a?", READ), ("b?", ("write", 1))), 0, register)


def by_every_order(found: History, state: int) -> bool:
    """Decide the slow way: try every order that respects time."""
    calls = {event.number: event.content for event in found.events if not event.answered}
    answers = {event.number: event.content for event in found.events if event.answered}
    first = {event.number: place for place, event in enumerate(found.events) if not event.answered}
    last = {event.number: place for place, event in enumerate(found.events) if event.answered}

    def search(left: frozenset[int], state: int) -> bool:
        if not left & answers.keys():
            return True
        soonest = min(last[number] for number in left & answers.keys())
        for number in left:
            if first[number] > soonest:
                continue
            following = till(state, calls[number], answers.get(number, UNKNOWN))
            if following is not None and search(left - {number}, following):
                return True
        return False

    return search(frozenset(calls), state)


@pytest.mark.parametrize("seed", range(20))
def test_the_verdict_is_that_of_trying_every_order(seed: int) -> None:
    """Small random histories, of which about half could not have been."""
    chance = random.Random(seed)
    verdicts = []
    for _ in range(50):
        found, asked = History(), list[int]()
        for _ in range(chance.randint(2, 6)):
            asked.append(found.ask(chance.randint(1, 3)))
            while asked and chance.random() < 0.5:
                number = asked.pop(chance.randrange(len(asked)))
                if chance.random() < 0.8:
                    found.answer(number, chance.random() < 0.5)
        verdict = linearizable(found, 4, till)
        assert verdict == by_every_order(found, 4), found.events
        verdicts.append(verdict)
    assert {True, False} == set(verdicts)


def clerks(count: int, operations: int, *, careful: bool) -> History:
    """Let threads take from one till, with a lock or with a gap between looking and taking."""
    found, lock, stand = History(), threading.Lock(), [operations]
    together = threading.Barrier(count)

    def guarded() -> bool:
        with lock:
            return unguarded(lambda: None)

    def unguarded(pause: Callable[[], object]) -> bool:
        seen = stand[0]
        pause()
        if seen:
            stand[0] = seen - 1
        return bool(seen)

    def work() -> None:
        for _ in range(operations):
            number = found.ask(1)
            fits = guarded() if careful else unguarded(lambda: together.wait(30))
            found.answer(number, fits)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_threads_with_a_lock_are_believed_and_those_without_are_not() -> None:
    assert linearizable(clerks(8, 100, careful=True), 100, till)
    assert not linearizable(clerks(4, 5, careful=False), 5, till)


def test_events_of_a_long_history_are_not_searched_twice() -> None:
    """Ten that never came and could each be anywhere: without a memo this takes for ever."""
    events: Sequence[Event] = [Event(number, 0) for number in range(10)]
    found = History(events)
    for turn in range(200):
        number = found.ask(1)
        found.answer(number, turn < 100)
    assert linearizable(found, 100, till)
    number = found.ask(1)
    found.answer(number, True)
    assert not linearizable(found, 100, till)


def test_a_search_without_end_is_given_up_and_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of so many that took an amount of their own, any may have happened: none explains this."""
    found = History([Event(number, 2**number) for number in range(40)])
    number = found.ask(1)
    found.answer(number, False)
    monkeypatch.setattr(linear, "MOST_CHOICES", 10_000)
    with pytest.raises(Undecided):
        linearizable(found, 2**50, till)
