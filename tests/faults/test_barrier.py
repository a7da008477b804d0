"""Everybody asks for the last credit at the same moment: exactly one gets it, every time.

A crowd that merely drains a balance hardly ever meets the moment at which a missing lock shows; a
crowd released together on the last unit meets it every round. Refusing who should have been served
is as much a failure as serving one too many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from portal import audit, balances, catalog, limits, onboarding
from portal.caps import CapChange, CapRequest
from portal.core.units import MICRO
from portal.db import Database
from portal.onboarding import GrantRequest, OrganizationRequest
from tests import postgresql
from tests.cast import make_key
from tests.conftest import migrate
from tests.faults.crowd import Crowd
from tests.servers import serving

CLIENTS = 32
#: Enough to meet the moment many times. A naive check fails nearly every round.
ROUNDS = int(os.environ.get("CLEARMETER_BARRIER_ROUNDS", "200"))
PRICE_MICRO = 5 * MICRO  # of one document


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Scene:
    """Acme on a store that several processes serve, and the crowd before it."""

    database: Database
    crowd: Crowd
    rounds: int

    def grant(self, actions: int) -> None:
        request = GrantRequest(actions * PRICE_MICRO, "promotion", "a round")
        onboarding.grant(self.database, "acme", request, actor="tests", now=_now())

    def authorize(self, **more: str) -> list[int]:
        """Have everybody authorize one document; return the statuses in order."""
        body = {"organization": "acme", "action": "document"} | more
        return sorted(status for status, _ in self.crowd.post("/v1/authorizations", body))

    def standing(self) -> tuple[int, int]:
        with self.database.reading() as tx:
            assert audit.ledger_faults(tx, "acme") == []
            found = balances.balance(tx, "acme", now=_now())
            return found.available_micro, found.held_micro


ONE = [201] + [402] * (CLIENTS - 1)
ALL = [201] * CLIENTS


def _scene(stack: ExitStack, url: str, *, processes: int, rounds: int) -> Scene:
    database = Database(url)
    stack.callback(database.close)
    document = catalog.DEFAULT_FILE.read_text(encoding="utf-8")
    with database.transaction() as tx:
        catalog.load(tx, document, now=_now())
    onboarding.put_organization(database, "acme", OrganizationRequest("Acme"), now=_now())
    onboarding.put_member(
        database, "acme", "cleo", email="cleo@acme.example", name="Cleo", role="member", team="",
        now=_now(),
    )  # fmt: skip
    key = make_key(database, _now)
    ports = [stack.enter_context(serving(url)) for _ in range(processes)]
    crowd = Crowd(ports, size=CLIENTS, key=key)
    stack.callback(crowd.close)
    return Scene(database, crowd, rounds)


@pytest.fixture(scope="module")
def postgresql_scene(postgresql_server: postgresql.Server) -> Iterator[Scene]:
    url = postgresql_server.url(postgresql_server.create())
    migrate(url)
    with ExitStack() as stack:
        yield _scene(stack, url, processes=2, rounds=ROUNDS)


@pytest.fixture(scope="module")
def sqlite_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    url = f"sqlite:///{tmp_path_factory.mktemp('barrier') / 'store.db'}"
    migrate(url)
    with ExitStack() as stack:
        yield _scene(stack, url, processes=1, rounds=max(1, ROUNDS // 5))


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]
)
def scene(request: pytest.FixtureRequest) -> Scene:
    """The same rounds: two processes on PostgreSQL, one on SQLite."""
    found: Scene = request.getfixturevalue(f"{request.param}_scene")
    return found


def test_the_last_credits_of_a_balance_go_to_exactly_one_of_many(scene: Scene) -> None:
    _, held = scene.standing()
    for _ in range(scene.rounds):
        scene.grant(1)
        assert scene.authorize() == ONE
    assert scene.standing() == (0, held + scene.rounds * PRICE_MICRO)


def test_nobody_is_refused_while_there_is_enough_for_all(scene: Scene) -> None:
    rounds = max(1, scene.rounds // 20)
    _, held = scene.standing()
    for _ in range(rounds):
        scene.grant(CLIENTS)
        assert scene.authorize() == ALL
    assert scene.standing() == (0, held + rounds * CLIENTS * PRICE_MICRO)


def test_the_last_room_under_a_members_cap_goes_to_exactly_one_of_many(scene: Scene) -> None:
    request = CapRequest("member", "cleo", "", "period", 0, "hard")
    cap = limits.set_cap(scene.database, "acme", request, actor="tests", now=_now()).state.cap
    scene.grant(scene.rounds + CLIENTS)
    for turn in range(1, scene.rounds + 1):
        limit = turn * PRICE_MICRO
        limits.change_cap(
            scene.database, "acme", cap.cap_id, CapChange(limit), actor="tests", now=_now()
        )  # fmt: skip
        assert scene.authorize(member="cleo") == ONE
    (watched,) = limits.list_caps(scene.database, "acme", now=_now())
    assert (watched.state.spent_micro, watched.state.held_micro) == (0, scene.rounds * PRICE_MICRO)
    available, _ = scene.standing()
    assert available == CLIENTS * PRICE_MICRO
    # What the cap left over goes to whoever it does not bind.
    assert scene.authorize() == ALL
