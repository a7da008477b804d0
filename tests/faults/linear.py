"""Could these answers have come from one clerk who served one client after another?

A history is what clients saw: each operation is asked at one instant and answered at a later one,
and those of different clients overlap. It is linearizable if all of them can be put in one order
that (a) respects time: what was answered before another was asked comes first; and (b) is what a
sequential model would have answered. An operation whose answer never came may have happened at any
time after it was asked, or never.

The search is Wing and Gong's with Lowe's memo. Walk the events in time and try the first call that
the model can take next; where an answer is met whose call could not be taken before it, undo the
last choice. A set of operations done together with a state of the model is never searched twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

#: Beyond so many choices a history has no verdict: it would take longer than anybody waits.
MOST_CHOICES = 200_000

#: The answer of an operation whose answer never came.
UNKNOWN = object()

#: From a state, what was asked and what was answered, to the state after it; None where the model
#: would not have answered so. Of an UNKNOWN answer it returns the state if the operation happened.
Step = Callable[[Any, Any, Any], Hashable | None]


class Undecided(Exception):
    """Neither shown to be linearizable nor shown not to be."""


@dataclass(frozen=True)
class Event:
    """Operation ``number`` was asked, or was answered."""

    number: int
    content: Any
    answered: bool = False


class History:
    """The events clients saw, in their order in time; many threads may write."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self.events = list(events)
        self._numbers = itertools.count(len(self.events))

    def ask(self, content: Any) -> int:
        """Note that something is about to be asked; returns the operation's number."""
        number = next(self._numbers)
        self.events.append(Event(number, content))
        return number

    def answer(self, number: int, content: Any) -> None:
        """Note an answer. Where none came, note nothing."""
        self.events.append(Event(number, content, answered=True))


class _Node:
    """A call or the answer to one, in a list from which both can be taken and put back."""

    def __init__(self, number: int, asked: Any) -> None:
        self.bit = 1 << number
        self.asked = asked
        self.answer: Any = UNKNOWN
        self.end: _Node | None = None
        self.is_call = True
        self.before: _Node = self
        self.after: _Node = self

    def append(self, node: _Node) -> None:
        """Put a node at the end of the ring of which this is the head."""
        node.before, node.after = self.before, self
        self.before.after = node
        self.before = node

    def take(self) -> None:
        """Take a call and its answer out."""
        for node in (self, self.end):
            if node is not None:
                node.before.after, node.after.before = node.after, node.before

    def put_back(self) -> None:
        """Undo the latest take that is not undone."""
        for node in (self.end, self):
            if node is not None:
                node.before.after = node.after.before = node


def _ring(events: Sequence[Event]) -> tuple[_Node, int]:
    """Return the head of the events' ring, and how many were answered."""
    head = _Node(0, None)
    calls: dict[int, _Node] = {}
    answered = 0
    for event in events:
        if event.answered:
            end = _Node(event.number, None)
            end.is_call = False
            call = calls[event.number]
            call.answer, call.end = event.content, end
            head.append(end)
            answered += 1
        else:
            calls[event.number] = _Node(event.number, event.content)
            head.append(calls[event.number])
    return head, answered


def linearizable(history: History, initial: Hashable, step: Step) -> bool:
    """Tell whether one order of all that was answered explains every answer.

    Raises Undecided where there are too many orders to try, which proves nothing either way.
    """
    head, waiting = _ring(history.events)
    state: Any = initial
    done = 0
    seen: set[tuple[int, Hashable]] = set()
    trail: list[tuple[_Node, Any]] = []
    node = head.after
    while waiting:
        if node.is_call:
            following = step(state, node.asked, node.answer)
            place = (done | node.bit, following)
            # What nobody was told of and left no trace need not have happened.
            idle = node.end is None and following == state
            if following is None or idle or place in seen:
                node = node.after
                continue
            seen.add(place)
            if len(seen) > MOST_CHOICES:
                raise Undecided(f"{len(seen):,} choices did not decide it")
            trail.append((node, state))
            done, state = place
            waiting -= node.end is not None
            node.take()
            node = head.after
        elif trail:
            node, state = trail.pop()
            done ^= node.bit
            waiting += node.end is not None
            node.put_back()
            node = node.after
        else:
            return False
    return True
