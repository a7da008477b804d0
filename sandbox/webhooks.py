"""Signed webhooks, at least once, to one address, from a thread of their own.

Each event is queued as the very bytes it will be sent as. The thread sends what is due, tries again
with doubling pauses, and gives up in the end. How deliveries behave can be changed while it runs:
that is what the product's tests are after.
"""

from __future__ import annotations

import hmac
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any

import requests

from sandbox.events import is_of_type
from sandbox.store import Object

ATTEMPTS_MAX = 8
PAUSE_SECONDS_MAX = 60.0
TIMEOUT_SECONDS = (3.0, 20.0)  # to connect, to answer
GATHERING_SECONDS = 0.2  # how long shuffled deliveries wait for others to change places with
DELIVERIES_KEPT = 1000


@dataclass(frozen=True)
class Behaviour:
    """How deliveries behave."""

    url: str | None = None
    copies: int = 1
    delay_seconds: float = 0.0
    drop: bool = False
    shuffle: bool = False
    paused: bool = False
    twins: bool = False  # each change is told by two events
    types: tuple[str, ...] | None = None  # the events that all this is for; others go as ever
    api_version: str | None = None  # in which version's shapes events are told


@dataclass
class Delivery:
    """One event on its way, or one copy of it."""

    event: str
    type: str
    body: bytes
    due: float
    attempts: int = 0
    last_status: int | None = None
    state: str = "pending"  # then delivered, failed or dropped
    told: Object = field(default_factory=dict, repr=False)  # the event itself, to mark as delivered


def signature(body: bytes, secret: str, *, timestamp: int) -> str:
    """Sign a body as Stripe does, for the ``Stripe-Signature`` header."""
    signed = str(timestamp).encode() + b"." + body
    return f"t={timestamp},v1={hmac.new(secret.encode(), signed, sha256).hexdigest()}"


class Courier:
    """The queue of deliveries and the thread that works it off."""

    def __init__(self, url: str | None, secret: str, *, retry_seconds: float) -> None:
        self._initial = Behaviour(url=url)
        self._behaviour = self._initial
        self._secret = secret
        self._retry_seconds = retry_seconds
        self._deliveries: list[Delivery] = []
        self._changed = threading.Condition()
        self._closed = False
        # Repeatable, so that a test that shuffles fails again as it failed.
        self._random = random.Random(4242)  # noqa: S311  # nosec B311
        self._thread = threading.Thread(target=self._work, name="sandbox-webhooks", daemon=True)
        self._thread.start()
        self._render: Callable[[Object, str], Object] = lambda event, _version: event

    def render_with(self, render: Callable[[Object, str], Object]) -> None:
        """Have events rendered by this for an endpoint with a version of its own."""
        self._render = render

    def tellings(self, event_type: str) -> int:
        """Return how many events shall tell of one change."""
        behaviour = self._behaviour
        return 2 if behaviour.twins and _concerns(behaviour, event_type) else 1

    def enqueue(self, event: Object) -> None:
        """Queue an event, as often as copies are wanted."""
        with self._changed:
            behaviour = self._behaviour
            if behaviour.url is None:
                return
            if not _concerns(behaviour, event["type"]):
                behaviour = Behaviour(url=behaviour.url)
            event["pending_webhooks"] = 0 if behaviour.drop else 1
            wait = behaviour.delay_seconds + (GATHERING_SECONDS if behaviour.shuffle else 0)
            for _ in range(behaviour.copies):
                delivery = Delivery(
                    event["id"],
                    event["type"],
                    self._body(event),
                    time.monotonic() + wait,
                    told=event,
                )
                delivery.state = "dropped" if behaviour.drop else "pending"
                self._deliveries.append(delivery)
            self._forget_oldest()
            self._changed.notify_all()

    def _forget_oldest(self) -> None:
        surplus = len(self._deliveries) - DELIVERIES_KEPT
        if surplus > 0:
            older, newer = self._deliveries[:surplus], self._deliveries[surplus:]
            self._deliveries = [one for one in older if one.state == "pending"] + newer

    @property
    def behaviour(self) -> dict[str, Any]:
        """Return how deliveries behave at present."""
        return asdict(self._behaviour)

    def behave(self, changes: dict[str, Any]) -> None:
        """Change how deliveries behave from now on; what waits is reconsidered at once."""
        with self._changed:
            self._behaviour = replace(self._behaviour, **changes)
            self._changed.notify_all()

    def deliveries(self) -> list[dict[str, Any]]:
        """Tell of each delivery, the oldest first."""
        with self._changed:
            return [
                {
                    "event": one.event,
                    "type": one.type,
                    "attempts": one.attempts,
                    "last_status": one.last_status,
                    "state": one.state,
                }
                for one in self._deliveries
            ]

    def send_now(self, event: Object, copies: int) -> list[int | None]:
        """Send an event at once, whatever else is set; return the statuses, None for no answer."""
        return [self._post(self._body(event)) for _ in range(copies)]

    def clear(self) -> None:
        """Forget all deliveries, and behave as at the start."""
        with self._changed:
            self._deliveries.clear()
            self._behaviour = self._initial

    def close(self) -> None:
        """Stop the thread; what is still queued is not sent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=2)

    def _body(self, event: Object) -> bytes:
        version = self._behaviour.api_version
        told = {**event, "pending_webhooks": 1}
        told = self._render(told, version) if version else told
        return json.dumps(told, indent=2, ensure_ascii=False).encode()

    def _work(self) -> None:
        while (delivery := self._next()) is not None:
            status = self._post(delivery.body)
            with self._changed:
                self._record(delivery, status)

    def _next(self) -> Delivery | None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                pending = [one for one in self._deliveries if one.state == "pending"]
                due = [one for one in pending if one.due <= now]
                if due and not self._behaviour.paused:
                    pick: Callable[[list[Delivery]], Delivery] = (
                        self._random.choice if self._behaviour.shuffle else _earliest
                    )
                    return pick(due)
                waits = [one.due - now for one in pending if one.due > now]
                self._changed.wait(min(waits, default=None))
        return None

    def _record(self, delivery: Delivery, status: int | None) -> None:
        delivery.attempts += 1
        delivery.last_status = status
        if status is not None and 200 <= status < 300:
            delivery.state = "delivered"
            delivery.told["pending_webhooks"] = 0
        elif delivery.attempts >= ATTEMPTS_MAX:
            delivery.state = "failed"
        else:
            pause = self._retry_seconds * 2 ** (delivery.attempts - 1)
            delivery.due = time.monotonic() + min(pause, PAUSE_SECONDS_MAX)

    def _post(self, body: bytes) -> int | None:
        url = self._behaviour.url
        if url is None:
            return None
        # The receiver judges the signature's age by its own clock, so this is the real time.
        header = signature(body, self._secret, timestamp=int(time.time()))
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": header,
            "User-Agent": "Stripe-Sandbox/1.0",
        }
        try:
            with requests.post(
                url, data=body, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False
            ) as response:
                return response.status_code
        except requests.RequestException:
            return None


def _earliest(deliveries: list[Delivery]) -> Delivery:
    return min(deliveries, key=lambda one: one.due)


def _concerns(behaviour: Behaviour, event_type: str) -> bool:
    chosen = behaviour.types
    return chosen is None or any(is_of_type(event_type, wanted) for wanted in chosen)
