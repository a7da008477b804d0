"""PostgreSQL itself dies, one process of it or all at once: what was answered is there after."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests import digest, postgresql
from tests.conftest import migrate
from tests.faults import soak
from tests.faults.deeds import CREDITS_MICRO, Deed, ask_again, ask_all, books, changed, deeds
from tests.faults.site import Company, Site, opened
from tests.faults.wire import PATIENCE_SECONDS, Reply

pytestmark = [pytest.mark.postgresql, pytest.mark.soak]

ROUNDS = soak.rounds(2, 50)
Kill = Callable[[], None]


@pytest.fixture(scope="module")
def server() -> Iterator[postgresql.Server]:
    """A server of this module's own, to be killed."""
    binaries = postgresql.programs()
    if binaries is None:
        pytest.skip(postgresql.MISSING)
    with postgresql.running(binaries) as server:
        yield server


@pytest.fixture(scope="module")
def doomed(server: postgresql.Server) -> Iterator[Site]:
    url = server.url(server.create())
    migrate(url)
    with opened(url, processes=2) as site:
        yield site


@pytest.fixture
def acme(doomed: Site) -> Company:
    acme = doomed.found()
    acme.grant(CREDITS_MICRO)
    return acme


def kill_one(server: postgresql.Server, chance: random.Random) -> Kill:
    """Kill the process that serves one client: PostgreSQL then restarts all of itself."""

    def kill() -> None:
        os.kill(chance.choice(server.backends("store_1")), signal.SIGKILL)

    return kill


def kill_all(server: postgresql.Server, _chance: random.Random) -> Kill:
    """Kill all of it, and start it again: it recovers from its log."""

    def kill() -> None:
        server.crash()
        server.start()

    return kill


def ask_until_done(deed: Deed, port: int) -> Reply:
    """Ask until the store is back; meanwhile the only answer is to try again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        reply = ask_again(deed, port)
        if deed.done(reply) or time.monotonic() > deadline:
            return reply
        assert reply.status == 503, reply
        time.sleep(0.05)


@pytest.mark.parametrize("how", [kill_one, kill_all])
def test_what_was_answered_is_there_when_postgresql_is_back(
    server: postgresql.Server,
    doomed: Site,
    acme: Company,
    how: Callable[[postgresql.Server, random.Random], Kill],
) -> None:
    chance = random.Random(2)
    cut = 0
    for turn in range(ROUNDS):
        asked = deeds(acme, f"turn {turn}")
        start = books(acme)
        kill = how(server, chance)
        # The tests' own connections die too.
        doomed.database.close()
        replies = ask_all(asked, doomed.ports, after=chance.randrange(10), then=kill)
        for deed, first in zip(asked, replies, strict=True):
            assert first is not None, "the product itself went away"
            again = ask_until_done(deed, doomed.ports[0])
            assert deed.done(again), again
            if deed.done(first):
                assert deed.agree(first, again)
            else:
                assert first.status == 503, first
                cut += 1
        for port in doomed.ports:
            # Every process finds its way back without being started again.
            assert deed.agree(again, ask_until_done(deed, port))
        assert books(acme) == changed(start, *(deed.effect for deed in asked))
        assert digest.faults(doomed.database) == []
    server.check("store_1")
    assert cut, "nothing was asked while PostgreSQL was away"
