"""Everything the sandbox remembers: objects by kind and id, and the events they gave rise to.

In memory, one process, behind one lock. Whoever reads or writes does so inside ``acting``, which
also settles first what the passing of time alone decides: each thing that falls due at an instant
of its own (a session's expiry, a renewal) happens at that instant, in order.
"""

from __future__ import annotations

import heapq
import secrets
import string
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from sandbox import shapes
from sandbox.errors import resource_missing

API_VERSION = "2026-10-28.endive"
Object = dict[str, Any]
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Cause:
    """Who asked for a change: a request of the API, or nobody (the hosted page, the clock)."""

    base_url: str
    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, order=True)
class Alarm:
    """An instant at which something falls due; of two at one instant the lower rank goes first."""

    instant: int
    rank: int
    number: int
    kind: str = field(compare=False)
    identifier: str = field(compare=False)


def new_id(prefix: str, length: int = 24) -> str:
    """Make an id of Stripe's form, not guessable."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))


class Store:
    """The objects, the events and the lock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._objects: dict[str, dict[str, Object]] = {}
        self._when_time_passes: list[Callable[[Store], object]] = []
        self._afterwards: list[Callable[[Store], object]] = []
        self._ahead_seconds = 0
        self._instant: int | None = None  # the one being settled
        self._alarms: list[Alarm] = []
        self._alarms_set = 0
        self._due: dict[str, tuple[int, Callable[[Store, str], object]]] = {}
        self._followers: list[Callable[[Store, str, Object], None]] = []
        self._listeners: list[Callable[[Object], None]] = []
        self._tellings: Callable[[str], int] = lambda _event_type: 1
        self.cause = Cause(base_url="")

    def now(self) -> int:
        """Return the sandbox's time, in whole seconds."""
        if self._instant is not None:
            return self._instant
        return int(self._clock()) + self._ahead_seconds

    def advance(self, seconds: int) -> None:
        """Move the time forward; what falls due on the way happens at the next access."""
        with self._lock:
            self._ahead_seconds += seconds

    def when_due(self, kind: str, happens: Callable[[Store, str], object], *, rank: int) -> None:
        """Have the alarms of a kind answered; who answers looks whether it is still so."""
        self._due[kind] = (rank, happens)

    def wake(self, instant: int, kind: str, identifier: str) -> None:
        """Set an alarm of a kind, for an object."""
        self._alarms_set += 1
        rank = self._due[kind][0]
        heapq.heappush(self._alarms, Alarm(instant, rank, self._alarms_set, kind, identifier))

    def _settle(self) -> None:
        now = self.now()
        try:
            while self._alarms and self._alarms[0].instant <= now:
                alarm = heapq.heappop(self._alarms)
                self._instant = alarm.instant
                self._due[alarm.kind][1](self, alarm.identifier)
        finally:
            self._instant = None

    def settle_with(self, step: Callable[[Store], object]) -> None:
        """Have a step run before every access, to settle what time alone decides."""
        self._when_time_passes.append(step)

    def afterwards(self, step: Callable[[Store], object]) -> None:
        """Have a step run once what is going on is done, and told."""
        self._afterwards.append(step)

    def follow(self, follower: Callable[[Store, str, Object], None]) -> None:
        """Have a part of the sandbox go on from what happened: once, however often it is told."""
        self._followers.append(follower)

    def listen(self, listener: Callable[[Object], None]) -> None:
        """Have every new event told."""
        self._listeners.append(listener)

    @contextmanager
    def acting(self, cause: Cause) -> Iterator[None]:
        """Hold the lock; what happens inside is on this cause's account."""
        with self._lock:
            self.cause = Cause(base_url=cause.base_url)
            self._settle()
            for step in self._when_time_passes:
                step(self)
            self.cause = cause
            try:
                yield
            finally:
                self.cause = Cause(base_url=cause.base_url)
                while self._afterwards:
                    self._afterwards.pop(0)(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock to read, and let nothing come of it."""
        with self._lock:
            yield

    def add(self, kind: str, thing: Object) -> Object:
        """Keep a new object."""
        self._objects.setdefault(kind, {})[thing["id"]] = thing
        return thing

    def remove(self, kind: str, identifier: str) -> None:
        """Forget an object."""
        del self._objects[kind][identifier]

    def has(self, kind: str, identifier: str) -> bool:
        """Tell whether there is such an object."""
        return identifier in self._objects.get(kind, {})

    def get(self, kind: str, identifier: str, param: str | None = None) -> Object:
        """Return the object itself, or refuse; ``param`` is where the id stood outside a path."""
        try:
            return self._objects[kind][identifier]
        except KeyError:
            raise resource_missing(kind, identifier, param) from None

    def find(self, identifier: str) -> Object | None:
        """Return whatever has this id."""
        for things in self._objects.values():
            if identifier in things:
                return things[identifier]
        return None

    def newest_first(self, kind: str) -> list[Object]:
        """Return all of a kind, the last made first."""
        return list(reversed(self._objects.get(kind, {}).values()))

    def emit(self, event_type: str, about: Object, previous: Object | None = None) -> None:
        """Record an event with a snapshot of its object, and tell the listeners."""
        for _ in range(self._tellings(event_type)):
            self._tell(event_type, about, previous)
        for follower in self._followers:
            follower(self, event_type, about)

    def tell_as_often_as(self, tellings: Callable[[str], int]) -> None:
        """Have this decide, by an event's type, how many events tell of one change."""
        self._tellings = tellings

    def _tell(self, event_type: str, about: Object, previous: Object | None) -> None:
        told: Object = {"object": deepcopy(about)}
        if previous is not None:
            told["previous_attributes"] = deepcopy(previous)
        event = shapes.new(
            "event",
            id=new_id("evt_1"),
            api_version=API_VERSION,
            created=self.now(),
            data=told,
            request={
                "id": self.cause.request_id,
                "idempotency_key": self.cause.idempotency_key,
            },
            type=event_type,
        )
        self.add("event", event)
        for listener in self._listeners:
            listener(event)

    def change(self, event_type: str, thing: Object, changes: Object) -> Object:
        """Change an object; an event tells what it was before, if anything did change."""
        previous = {key: thing[key] for key in changes if thing[key] != changes[key]}
        thing.update(changes)
        if previous:
            self.emit(event_type, thing, previous)
        return thing

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._objects.clear()
            self._alarms.clear()
            self._ahead_seconds = 0
