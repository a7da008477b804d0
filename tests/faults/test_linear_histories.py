"""Whatever many clients are told at once, one clerk serving them in some order would have said.

Each round lets clients authorize, capture, release, grant, move the cap and look, all at random on
one organization and on each other's authorizations; some hang up before they are answered. Every
figure of every answer must fit.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import clerk, soak
from tests.faults.clerk import PRICE_MICRO, Books
from tests.faults.linear import History, linearizable
from tests.faults.money import credits_of, micro_of
from tests.faults.site import Company, Site
from tests.faults.wire import Line, Reply

pytestmark = pytest.mark.soak

HISTORIES = soak.rounds(10, 300)
CLIENTS = 8
OPERATIONS = soak.size(16, 200)
CAP_MICRO = 12 * PRICE_MICRO
CREDITS_MICRO = 16 * PRICE_MICRO
#: How often a client hangs up without waiting for the answer: some six times a history.
LOST = 6 / (CLIENTS * OPERATIONS)

Asked = tuple[Any, ...]


class _Scene:
    """An organization, what is known of it, and what was seen."""

    def __init__(self, acme: Company) -> None:
        self.acme = acme
        acme.grant(CREDITS_MICRO)
        self.cap = acme.cap(CAP_MICRO)
        self.history = History()
        #: Authorizations that anybody may end, and may try to end again.
        self.holds: list[str] = []

    def request(self, asked: Asked) -> bytes:
        act, *given = asked
        path, site = self.acme.path, self.acme.site
        if act == "authorize":
            body = self.acme.authorization(quantity=given[0])
            return site.request("POST", "/v1/authorizations", body)
        if act == "capture":
            hold, documents = given
            body = {"quantity": documents}
            return site.request("POST", f"/v1/authorizations/{hold}/capture", body)
        if act == "release":
            return site.request("POST", f"/v1/authorizations/{given[0]}/release", {})
        if act == "grant":
            body = {"credits": credits_of(given[0]), "source": "promotion", "reason": "a test"}
            return site.request("POST", f"{path}/grants", body)
        if act == "change cap":
            body = {"limit": {"credits": credits_of(given[0])}}
            return site.request("PATCH", f"{path}/caps/{self.cap}", body)
        return site.request("GET", f"{path}/caps" if act == "see cap" else f"{path}/balance")


def understood(asked: Asked, reply: Reply) -> tuple[Any, ...]:
    """Return what an answer says, every figure in millionths."""
    act, said = asked[0], reply.json
    if act == "authorize" and reply.status == 201:
        balance = said["balance"]
        return (201, said["id"], micro_of(balance["available"]), micro_of(balance["held"]))
    if act == "authorize":
        code = said["type"].removeprefix("/problems/")
        return (reply.status, code, micro_of(said["limit"]["remaining"]))
    if reply.status == 409:
        ended = said["original"]
        return (409, ended["status"], micro_of(ended["credits"]))
    if act in {"capture", "release"}:
        figures = (said["credits"], said["released"], said["uncollected"])
        return (reply.status, said["status"], *map(micro_of, figures))
    if act == "grant":
        return (reply.status,)
    if act == "see balance":
        figures = (said["available"], said["held"], said["uncollected"])
        return (reply.status, *map(micro_of, figures))
    cap = said["data"][0] if act == "see cap" else said
    return (reply.status, *(micro_of(cap[name]) for name in ("spent", "held", "remaining")))


class _Client:
    def __init__(self, scene: _Scene, number: int, seed: str, *, lost: float = LOST) -> None:
        self.scene, self.lost = scene, lost
        self.random = random.Random(f"{seed}/{number}")
        ports = scene.acme.site.ports
        self.port = ports[number % len(ports)]
        self.line = Line(self.port)
        self.failure: BaseException | None = None

    def work(self) -> None:
        try:
            for _ in range(OPERATIONS):
                self.act(self.choose())
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self.line.close()

    def choose(self) -> Asked:
        chance, holds = self.random, self.scene.holds
        act = chance.choices(
            ("authorize", "capture", "release", "grant", "change cap", "see cap", "see balance"),
            weights=(38, 22, 10, 6, 6, 6, 12),
        )[0]
        if act in {"capture", "release"} and not holds:
            act = "authorize"
        if act == "authorize":
            return (act, chance.randint(1, 4))
        if act in {"capture", "release"}:
            # Mostly a recent one, so that most end once and some are fought for.
            hold = chance.choice(holds[-6:])
            return (act, hold, chance.randint(0, 5)) if act == "capture" else (act, hold)
        if act == "grant":
            return (act, chance.randint(1, 8) * PRICE_MICRO)
        if act == "change cap":
            return (act, chance.randint(0, 60) * PRICE_MICRO)
        return (act,)

    def act(self, asked: Asked) -> None:
        content = self.scene.request(asked)
        lost = self.random.random() < self.lost
        number = self.scene.history.ask(asked)
        self.line.send(content)
        if lost:
            time.sleep(self.random.random() / 100)
            self.line.close()
            self.line = Line(self.port)
            return
        reply = self.line.receive()
        if reply.status >= 500:
            # A busy store: whether it happened is not known.
            return
        answer = understood(asked, reply)
        self.scene.history.answer(number, answer)
        if asked[0] == "authorize" and reply.status == 201:
            self.scene.holds.append(answer[1])


def record(acme: Company, seed: str, **more: float) -> History:
    """Let the clients loose on an organization; return what they saw, and a last look."""
    scene = _Scene(acme)
    clients = [_Client(scene, number, seed, **more) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.work) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [client.failure for client in clients if client.failure] == []
    last = _Client(scene, 0, seed)
    for asked in (("see balance",), ("see cap",)):
        number = scene.history.ask(asked)
        reply = last.line.exchange(scene.request(asked))
        assert reply.status == 200, "without a last look a history proves nothing"
        scene.history.answer(number, understood(asked, reply))
    last.line.close()
    return scene.history


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Path]:
    """Where the last history is kept, to be looked at."""
    return tmp_path / "history.txt"


def test_every_history_could_have_been_one_clerks(site: Site, kept: Path) -> None:
    operations = unknown = 0
    for turn in range(HISTORIES):
        history = record(site.found(), f"{site.database.dialect}/{turn}")
        kept.write_text("\n".join(map(repr, history.events)))
        asked = sum(not event.answered for event in history.events)
        lost = 2 * asked - len(history.events)
        assert lost < asked / 5, f"history {turn}: too little was answered: see {kept}"
        books = Books(available=CREDITS_MICRO, limit=CAP_MICRO)
        assert linearizable(history, books, clerk.step), f"history {turn} is no clerk's: see {kept}"
        operations, unknown = operations + asked, unknown + lost
    assert unknown
    print(
        f"\n{site.database.dialect}: {HISTORIES} histories of {operations:,} operations, "
        f"{unknown:,} never answered"
    )


def test_a_figure_that_is_off_by_a_millionth_is_noticed(site: Site) -> None:
    """The clerk is strict enough: change one figure anywhere, and he cannot have said it."""
    # Were any answer lost, it could explain some of the figures.
    history = record(site.found(), "tampered", lost=0)
    books = Books(available=CREDITS_MICRO, limit=CAP_MICRO)
    assert linearizable(history, books, clerk.step)
    figures = [
        (place, at)
        for place, event in enumerate(history.events)
        if event.answered
        for at, figure in enumerate(event.content)
        if at and isinstance(figure, int)
    ]
    for place, at in random.Random(7).sample(figures, 20):
        events = list(history.events)
        answer = list(events[place].content)
        answer[at] += 1
        events[place] = type(events[place])(events[place].number, tuple(answer), answered=True)
        assert not linearizable(History(events), books, clerk.step), events[place]
