"""The store's express lane writes row for row what the long way writes, or leaves all alone."""

from __future__ import annotations

import random
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DataError

from portal import (
    accounts,
    authorization,
    caps,
    catalog,
    cost_books,
    ids,
    limits,
    onboarding,
    raises,
)
from portal.authorization import AuthorizeRequest, CaptureRequest, placing
from portal.core.costs import ModelUsage
from portal.core.errors import ClearmeterError
from portal.core.events import StatedCost
from portal.core.periods import local_day, zone_names
from portal.db import Database
from portal.idempotency import Answer
from portal.limits import SpendingRequest
from portal.onboarding import GrantRequest, OrganizationRequest
from portal.tables import events
from portal.wallet import Paid
from tests import digest, postgresql
from tests.clock import START, Clock

pytestmark = pytest.mark.postgresql
ACTS = 100


@pytest.fixture(params=range(5))
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


class _Names:
    """Ids that come out the same for the same seed, and a hold's the same however it is made."""

    def __init__(self, seed: int) -> None:
        self.seed, self.number = seed, 0
        self.random = random.Random(seed)

    def token_bytes(self, count: int) -> bytes:
        return self.random.randbytes(count)

    def next_act(self) -> None:
        self.number += 1
        self.random.seed(f"{self.seed}-{self.number}")

    def of_hold(self, prefix: str) -> str:
        return f"{prefix}_{self.number:08}"


@contextmanager
def _numbered(seed: int) -> Iterator[_Names]:
    names = _Names(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "secrets", names)
        patch.setattr(placing, "new_id", names.of_hold)
        yield names


def _begin(database: Database) -> None:
    with database.transaction() as tx:
        catalog.load(tx, catalog.DEFAULT_FILE.read_text(encoding="utf-8"), now=START)
        cost_books.load(tx, cost_books.EXAMPLE_FILE.read_text(encoding="utf-8"), now=START)
    request = OrganizationRequest("Acme", timezone="Asia/Kathmandu", tier="starter")
    onboarding.put_organization(database, "acme", request, now=START)
    moved = OrganizationRequest("Acme", timezone="America/New_York")
    onboarding.put_organization(database, "acme", moved, now=START)
    with database.transaction() as tx:
        accounts.put_team(tx, "acme", "design", name="Design")
        accounts.put_project(tx, "acme", "atlas", name="Atlas")
    for member, team in (("ana", "design"), ("ben", "")):
        onboarding.put_member(
            database, "acme", member, email=f"{member}@acme.test", team=team, now=START
        )
    for scope, target, limit in (
        ("organization", "", 900), ("team", "design", 300), ("member", "ana", 250),
        ("project", "atlas", 80),
    ):  # fmt: skip
        for window, mode in (("period", "hard"), ("day", "soft")):
            cap = caps.CapRequest(scope, target, "", window, limit * 10**6, mode)
            limits.set_cap(database, "acme", cap, actor="tests", now=START)


def _act(database: Database, dice: random.Random, clock: Clock, holds: list[str]) -> Any:
    """Do one thing, chosen by the dice; returns what was answered."""
    clock.forward(timedelta(seconds=dice.choice([1, 40, 400, 20_000])))
    now, kind = clock(), dice.random()
    key = dice.choice([None, f"key-{dice.randrange(40)}"])
    if kind < 0.1:
        more = GrantRequest(
            dice.choice([7_000_001, 45_000_000]), dice.choice(["promotion", "pack"]), "",
            expires_at=dice.choice([None, now + timedelta(hours=9)]),
            paid=dice.choice([None, Paid(100, "usd")]),
        )  # fmt: skip
        return onboarding.grant(database, "acme", more, actor="tests", now=now)
    if kind < 0.13:
        choice = dice.choice([SpendingRequest("stop"), SpendingRequest("overage", 5_000)])
        limits.set_spending(database, "acme", choice, actor="tests", now=now)
        return None
    if kind < 0.15:
        change = OrganizationRequest(
            "Acme", timezone=dice.choice([None, "Europe/Berlin"]),
            tier=dice.choice(["starter", "pro"]),
        )  # fmt: skip
        organization, _ = onboarding.put_organization(database, "acme", change, now=now)
        return organization
    if kind < 0.18:
        with database.reading() as tx:
            ana = accounts.find_member(tx, "acme", "ana")
            mine = [one for one in caps.in_force(tx, "acme") if raises.may_ask(one, ana)]
        asked = raises.ask(database, "acme", dice.choice(mine).cap_id, "ana", 15_000_000, now=now)
        granted = dice.choice([None, 15_000_000])
        return raises.answer(
            database, "acme", asked.request_id, granted_micro=granted, actor="ben", now=now
        )
    if kind < 0.55 or not holds:
        request = AuthorizeRequest(
            "acme", dice.choice(["document", "analysis", "image"]),
            dice.choice([333_333, 1_000_000, 2_500_000]), dice.choice(["", "ana", "ben"]),
            project=dice.choice(["", "atlas"]), run=dice.choice(["", "run-1"]),
            expires_in_seconds=dice.choice([60, 86_400]),
        )  # fmt: skip
        answer = authorization.authorize(database, request, key=key, now=now)
        if answer.status == 201:
            holds.append(answer.body.split('"', 4)[3])
        return answer
    hold = dice.choice(holds[-6:])
    usage = ModelUsage(dice.randrange(9_000), dice.randrange(900))
    cost = StatedCost("inference", None, "openai", "gpt-4o-mini", usage)
    vector = StatedCost("retrieval", 120_000, resource="vector-search", quantity_micro=10**6)
    counted = StatedCost("retrieval", resource="vector-search", quantity_micro=3 * 10**6)
    doubted = StatedCost("inference", 10**12, "openai", "gpt-4o-mini", usage)
    return authorization.capture(
        database, hold,
        CaptureRequest(
            dice.choice([None, 0, 333_333, 250_001, 900_000, 4_000_000]),
            dice.choice([None, now - timedelta(hours=5)]),
            dice.choice([(), (cost,), (cost, vector, cost), (counted, cost), (cost, doubted)]),
            dice.choice([None, {"kind": "a letter", "pages": 3}]),
        ),
        key=key, now=now, only=dice.choice([None, "acme", "somebody-else"]),
    )  # fmt: skip


def _play(database: Database, seed: int) -> tuple[list[Any], dict[str, list[Any]], int]:
    """Play a game by the seed; returns the answers, every row, and how often the lane was taken."""
    clock, dice, holds, answers = Clock(), random.Random(seed), [], []
    taken = 0
    lane = database.call

    def counted(statement: str, values: tuple[Any, ...]) -> Any:
        nonlocal taken
        found = lane(statement, values)
        taken += found is not None
        return found

    database.call = counted  # type: ignore[method-assign]
    with _numbered(seed) as names:
        _begin(database)
        # The first period ends within the game, and with it the first time zone.
        clock.forward(timedelta(days=27))
        for _ in range(ACTS):
            names.next_act()
            try:
                answers.append(_act(database, dice, clock, holds))
            except ClearmeterError as error:
                answers.append((error.code, error.detail))
    return answers, digest.of_organization(database, "acme"), taken


def test_both_ways_answer_and_write_the_same(
    postgresql_server: postgresql.Server, migrated_postgresql: str, seed: int
) -> None:
    played = []
    for express in (True, False):
        postgresql_server.empty(migrated_postgresql)
        database = Database(postgresql_server.url(migrated_postgresql), express=express)
        played.append(_play(database, seed))
        assert digest.faults(database) == []
        database.close()
    (answers, rows, taken), (expected_answers, expected_rows, none) = played
    assert answers == expected_answers
    assert rows == expected_rows
    assert none == 0
    assert taken >= ACTS // 10, "the lane was hardly taken: the game proves too little"


def test_a_key_gives_the_same_bytes_whichever_way_answers(
    postgresql_store: str, clock: Clock
) -> None:
    quick, slow = Database(postgresql_store), Database(postgresql_store, express=False)
    _begin(quick)
    request = AuthorizeRequest("acme", "image", member="ana")
    first = authorization.authorize(quick, request, key="a", now=clock())
    assert isinstance(first, Answer)
    assert authorization.authorize(slow, request, key="a", now=clock()) == first
    assert authorization.authorize(quick, request, key="a", now=clock()) == first
    for database in (quick, slow):
        database.close()


def test_new_prices_count_at_once_in_every_process(postgresql_store: str, clock: Clock) -> None:
    here, there = Database(postgresql_store), Database(postgresql_store)
    _begin(here)
    request = AuthorizeRequest("acme", "image")

    def price(database: Database, at: datetime) -> str:
        return authorization.authorize(database, request, key=None, now=at).body

    assert '"credits":"2"' in price(here, clock())
    dearer = catalog.DEFAULT_FILE.read_text(encoding="utf-8").replace(
        "credits = 2\n", "credits = 3\n"
    )
    with there.transaction() as tx:
        catalog.load(tx, dearer.replace("2020-01-01T00:00:00Z", clock().isoformat()), now=clock())
    assert '"credits":"3"' in price(here, clock.forward(timedelta(seconds=1)))
    for database in (here, there):
        database.close()


def test_a_capture_counts_on_the_day_of_the_zone_it_happened_in(
    postgresql_store: str, clock: Clock
) -> None:
    database = Database(postgresql_store)
    _begin(database)
    change = datetime(2026, 12, 8, 18, 15, tzinfo=UTC)
    clock.set(change + timedelta(hours=30))
    onboarding.grant(
        database, "acme", GrantRequest(10**9, "promotion", ""), actor="tests", now=clock()
    )
    for step in (-86_401, -86_400, -1, 0, 36_000, 38_000, 86_400, 107_000):
        occurred_at = change + timedelta(seconds=step)
        hold = _hold(database, clock())
        request = CaptureRequest(time=occurred_at)
        assert _captured_at_once(database, hold, request, clock())
        with database.reading() as tx:
            zone = accounts.find_organization(tx, "acme").zone
            day = tx.execute(select(events.c.day).where(events.c.event_id == hold)).scalar_one()
        assert day == local_day(occurred_at, zone), step
    database.close()


def test_a_zone_the_store_does_not_know_is_left_to_the_long_way(
    postgresql_store: str, clock: Clock, tmp_path: Path
) -> None:
    found = next(Path(one, "Asia/Kathmandu") for one in zoneinfo.TZPATH if Path(one).is_dir())
    (tmp_path / "Nowhere").mkdir()
    (tmp_path / "Nowhere" / "Base_Camp").write_bytes(found.read_bytes())
    usual = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(tmp_path), *usual])
    zone_names.cache_clear()
    try:
        database = Database(postgresql_store)
        with database.transaction() as tx:
            catalog.load(tx, catalog.DEFAULT_FILE.read_text(encoding="utf-8"), now=START)
        request = OrganizationRequest("Acme", timezone="Nowhere/Base_Camp", tier="starter")
        onboarding.put_organization(database, "acme", request, now=START)
        hold = _hold(database, clock())
        assert not _captured_at_once(database, hold, CaptureRequest(), clock())
        with database.reading() as tx:
            day = tx.execute(select(events.c.day).where(events.c.event_id == hold)).scalar_one()
        assert day == date(2026, 11, 9)
        database.close()
    finally:
        zoneinfo.reset_tzpath(usual)
        zone_names.cache_clear()


def test_the_lane_goes_on_where_a_connection_has_forgotten_its_statements(
    postgresql_store: str, clock: Clock
) -> None:
    database = Database(postgresql_store, pool_size=1)
    _begin(database)
    for _ in range(2):
        hold = _hold(database, clock())
        with database.transaction() as tx:
            tx.exec_driver_sql("DEALLOCATE ALL")
        assert _captured_at_once(database, hold, CaptureRequest(), clock())
    database.close()


def test_a_letter_the_store_cannot_hold_is_refused_not_cut_off(postgresql_store: str) -> None:
    database = Database(postgresql_store)
    with pytest.raises(DataError, match="NUL"):
        database.call("SELECT $1::text", ("a\0b",))
    assert database.call("SELECT $1::text", ("ab",)) == "ab"
    database.close()


def _hold(database: Database, now: datetime) -> str:
    request = AuthorizeRequest("acme", "image")
    return authorization.authorize(database, request, key=None, now=now).body.split('"', 4)[3]


def _captured_at_once(
    database: Database, hold: str, request: CaptureRequest, now: datetime
) -> bool:
    """Capture, and tell whether it went through the lane."""
    found: list[Any] = []

    def call(statement: str, values: tuple[Any, ...]) -> Any:
        found.append(Database.call(database, statement, values))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "call", call)
        answer = authorization.capture(database, hold, request, key=None, now=now)
    assert answer.status == 200
    return found not in ([], [None])
