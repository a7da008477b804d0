"""A process full of clients who spend one organization's credits in every way there is.

``python -m tests.faults.spender`` reads its orders as JSON, works, and writes what it saw: what it
was told was charged, what it still holds, and every answer that was not as promised. Nothing but
the standard library, so that many start in no time.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.faults.money import MICRO, PRICE_MICRO, credits_of, micro_of
from tests.faults.wire import Line, Reply, request

#: A hold that ends by itself while the others go on.
SHORT_SECONDS = 1
LONG_SECONDS = 3600


@dataclass(frozen=True)
class Orders:
    """What one process is to do: so many operations from each of so many threads."""

    ports: list[int]
    secret: str
    organization: str
    seed: int
    threads: int
    operations: int


@dataclass
class Sight:
    """What clients were told, in millionths of a credit."""

    granted_micro: int = 0
    captured_micro: int = 0
    uncollected_micro: int = 0
    held_micro: int = 0
    authorized: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    authorize_seconds: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def add(self, other: Sight) -> None:
        """Count what another saw too."""
        self.granted_micro += other.granted_micro
        self.captured_micro += other.captured_micro
        self.uncollected_micro += other.uncollected_micro
        self.held_micro += other.held_micro
        self.authorized += other.authorized
        self.statuses = dict(Counter(self.statuses) + Counter(other.statuses))
        self.authorize_seconds += other.authorize_seconds
        self.broken += other.broken


@dataclass
class _Hold:
    id: str
    price_micro: int
    quantity_micro: int
    short: bool

    @property
    def credits_micro(self) -> int:
        # Prices are whole credits: the product is exact.
        return self.quantity_micro * self.price_micro // MICRO


class _Client:
    """One client on one connection, who acts at random and checks each answer."""

    def __init__(self, orders: Orders, number: int) -> None:
        self.orders = orders
        self.random = random.Random(f"{orders.seed}/{number}")
        self.line = Line(orders.ports[number % len(orders.ports)])
        self.name = f"{orders.seed}-{number}"
        self.holds: list[_Hold] = []
        self.seen = Sight()
        self.statuses: Counter[str] = Counter()
        self.sent = 0

    def work(self) -> Sight:
        acts = (self.capture, self.capture, self.release, self.increment, self.grant)
        for _ in range(self.orders.operations):
            if not self.holds or self.random.random() < 0.45:
                self.authorize()
            else:
                self.random.choices(acts, weights=(30, 30, 28, 11, 1))[0]()
        self.line.close()
        self.seen.held_micro = sum(hold.credits_micro for hold in self.holds if not hold.short)
        self.seen.statuses = dict(self.statuses)
        return self.seen

    def post(self, path: str, body: dict[str, Any], *expected: int) -> Reply:
        """Send with a key, now and then twice; whatever is not expected is remembered."""
        self.sent += 1
        key = f"{self.name}-{self.sent}"
        content = request("POST", path, self.orders.secret, body, key=key)
        reply = self.line.exchange(content)
        self.statuses[str(reply.status)] += 1
        if reply.status not in expected:
            self.seen.broken.append(f"{path}: {reply.status} {reply.body.decode()}")
        # A conflict is no answer to keep: what stands may have changed since.
        if reply.status != 409 and self.random.random() < 0.1:
            again = self.line.exchange(content)
            if again != reply:
                self.seen.broken.append(f"{path}: first {reply}, then {again}")
        return reply

    def quantity(self) -> int:
        return self.random.choice((1, 999_999, MICRO, self.random.randint(1, 3 * MICRO)))

    def authorize(self) -> None:
        action = self.random.choice(list(PRICE_MICRO))
        short = self.random.random() < 0.2
        quantity = self.quantity()
        body = {
            "organization": self.orders.organization,
            "action": action,
            "quantity": credits_of(quantity),
            "expires_in": SHORT_SECONDS if short else LONG_SECONDS,
        }
        started = time.perf_counter()
        reply = self.post("/v1/authorizations", body, 201, 402)
        self.seen.authorize_seconds.append(time.perf_counter() - started)
        if reply.status == 201:
            hold = _Hold(reply.json["id"], PRICE_MICRO[action], quantity, short)
            self.expect(micro_of(reply.json["credits"]) == hold.credits_micro, reply)
            self.holds.append(hold)
            self.seen.authorized += 1

    def one_hold(self) -> _Hold:
        return self.holds.pop(self.random.randrange(len(self.holds)))

    def capture(self) -> None:
        hold = self.one_hold()
        used = self.random.choice(
            (
                hold.quantity_micro,
                self.random.randint(0, hold.quantity_micro),
                hold.quantity_micro + self.quantity(),
            )
        )
        path = f"/v1/authorizations/{hold.id}/capture"
        # Nothing used is a release, and what lapsed cannot be released any more.
        reply = self.post(path, {"quantity": credits_of(used)}, 200)
        if reply.status != 200:
            return
        charged, left = micro_of(reply.json["credits"]), micro_of(reply.json["uncollected"])
        self.expect(charged + left == used * hold.price_micro // MICRO, reply)
        self.expect(hold.short or not reply.json["late"], reply)
        self.seen.captured_micro += charged
        self.seen.uncollected_micro += left
        if self.random.random() < 0.1:
            again = self.post(path, {"quantity": "1"}, 409)
            self.expect(again.json["original"] == reply.json, again)

    def release(self) -> None:
        hold = self.one_hold()
        # What lapsed has been given back already.
        allowed = (200, 409) if hold.short else (200,)
        self.post(f"/v1/authorizations/{hold.id}/release", {}, *allowed)

    def increment(self) -> None:
        hold = self.holds[self.random.randrange(len(self.holds))]
        more = self.quantity()
        allowed = (200, 402, 409) if hold.short else (200, 402)
        path = f"/v1/authorizations/{hold.id}/increment"
        reply = self.post(path, {"quantity": credits_of(more)}, *allowed)
        if reply.status == 200:
            hold.quantity_micro += more
            self.expect(micro_of(reply.json["credits"]) == hold.credits_micro, reply)

    def grant(self) -> None:
        micro = self.random.randint(1, 20 * MICRO)
        body = {"credits": credits_of(micro), "source": "promotion", "reason": "a test"}
        self.post(f"/v1/organizations/{self.orders.organization}/grants", body, 201)
        self.seen.granted_micro += micro

    def expect(self, kept: bool, reply: Reply) -> None:
        if not kept:
            self.seen.broken.append(f"{self.name}: {reply}")


def spend(orders: Orders) -> Sight:
    """Have every client work at once; return what they saw together."""
    seen = Sight()
    clients = [_Client(orders, number) for number in range(orders.threads)]
    threads = [threading.Thread(target=client.work) for client in clients]
    for thread in threads:
        thread.start()
    for thread, client in zip(threads, clients, strict=True):
        thread.join()
        seen.add(client.seen)
    return seen


if __name__ == "__main__":
    json.dump(asdict(spend(Orders(**json.load(sys.stdin)))), sys.stdout)
