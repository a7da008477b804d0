"""Every call that has an effect, and what that effect is; asked all at once, and asked again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.faults.money import PRICE_MICRO
from tests.faults.site import Company
from tests.faults.wire import Line, Reply

DOCUMENT = PRICE_MICRO["document"]
#: Enough for every round, and to be asked for more.
CREDITS_MICRO = 10_000_000 * DOCUMENT
BATCH = 50
GRANT = {"credits": "15", "source": "promotion", "reason": "a test"}

#: What is added to what is available, held and captured, in documents.
Effect = tuple[int, int, int]


@dataclass(frozen=True)
class Call:
    """A call that takes a key: its path on a hold of 5, two bodies, what the first does."""

    path: Callable[[Company, str], str]
    body: Callable[[Company], dict[str, Any]]
    other: Callable[[Company], dict[str, Any]] | None
    effect: Effect


def _on_hold(act: str) -> Callable[[Company, str], str]:
    return lambda _acme, hold: f"/v1/authorizations/{hold}/{act}"


CALLS = {
    "authorize": Call(
        lambda _acme, _hold: "/v1/authorizations",
        lambda acme: acme.authorization(quantity=2),
        lambda acme: acme.authorization(quantity=3),
        (-2, 2, 0),
    ),
    "capture": Call(
        _on_hold("capture"), lambda _: {"quantity": 4}, lambda _: {"quantity": 3}, (1, -5, 4)
    ),
    "capture of more": Call(
        _on_hold("capture"), lambda _: {"quantity": 7}, lambda _: {"quantity": 8}, (-2, -5, 7)
    ),
    "increment": Call(
        _on_hold("increment"), lambda _: {"quantity": 1}, lambda _: {"quantity": 2}, (-1, 1, 0)
    ),
    "release": Call(_on_hold("release"), lambda _: {}, None, (5, -5, 0)),
    "grant": Call(
        lambda acme, _hold: f"{acme.path}/grants",
        lambda _: GRANT,
        lambda _: GRANT | {"credits": "16"},
        (3, 0, 0),
    ),
}


def books(acme: Company) -> Effect:
    """Return what is available, held and captured, in documents."""
    available, held = acme.standing
    captured = acme.accounts()["captured"]
    return available // DOCUMENT, held // DOCUMENT, captured // DOCUMENT


def changed(before: Effect, *effects: Effect) -> Effect:
    """Return the books after some effects."""
    available, held, captured = (sum(figures) for figures in zip(before, *effects, strict=True))
    return available, held, captured


@dataclass(frozen=True)
class Deed:
    """Something asked, which is to have its effect once however often it is asked."""

    path: str
    request: bytes
    effect: Effect

    def done(self, reply: Reply) -> bool:
        """Tell whether an answer says that the effect is there."""
        if reply.status not in {200, 201}:
            return False
        if self.path != "/v1/events":
            return True
        return bool(reply.json["accepted"] + reply.json["duplicates"] == BATCH)

    def agree(self, first: Reply, again: Reply) -> bool:
        """Tell whether a second answer says what the first one did."""
        if self.path == "/v1/events":
            return bool(again.json["duplicates"] == BATCH)
        return first == again


def deeds(acme: Company, name: str) -> list[Deed]:
    """Return deeds of every kind, three of each, on holds made here."""
    site, found = acme.site, []
    for number in range(3):
        for call in CALLS.values():
            path = call.path(acme, acme.hold(quantity=5))
            asked = site.request("POST", path, call.body(acme), key=f"{name}/{number}")
            found.append(Deed(path, asked, call.effect))
        events = [
            {
                "specversion": "1.0", "id": f"{name}/{number}/{place}", "source": "tests",
                "subject": acme.id, "type": "document",
            }
            for place in range(BATCH)
        ]  # fmt: skip
        asked = site.request("POST", "/v1/events", events)
        found.append(Deed("/v1/events", asked, (-BATCH, 0, BATCH)))
    return found


def ask_all(
    asked: Sequence[Deed], ports: Sequence[int], *, after: int, then: Callable[[], None]
) -> list[Reply | None]:
    """Ask everything at once; do something when ``after`` answers are in. None: no answer came."""
    answered = threading.Semaphore(0)
    lines = [Line(ports[number % len(ports)]) for number in range(len(asked))]

    def ask(line: Line, deed: Deed) -> Reply | None:
        try:
            return line.exchange(deed.request)
        except OSError:
            return None
        finally:
            answered.release()
            line.close()

    with ThreadPoolExecutor(len(asked)) as crowd:
        asking = [crowd.submit(ask, *each) for each in zip(lines, asked, strict=True)]
        for _ in range(after):
            answered.acquire()
        then()
        return [one.result() for one in asking]


def ask_again(deed: Deed, port: int) -> Reply:
    """Ask once more, on a new connection."""
    with Line(port) as line:
        return line.exchange(deed.request)
