"""Authorize, then capture, with caps on organization, team and member, against a ledger in SQL.

The peer is pgledger, whose user fetches it: a transfer between two accounts is what either half of
a pair does at the least.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from bench import clients
from bench.events import prepare_books
from bench.machine import Machine
from bench.report import Found, LeftOut, at_least, in_turns, median
from portal import accounts, authorization, limits, onboarding
from portal.authorization import AuthorizeRequest, CaptureRequest
from portal.caps import CapRequest
from portal.core.units import MICRO
from portal.db import Database
from portal.onboarding import GrantRequest, OrganizationRequest

CLIENTS = 8
SPREAD = 1_000


def hot(machine: Machine) -> Iterator[Found]:
    """Measure one busy organization."""
    yield _pairs("authorize + capture, one organization, 8 clients", machine, 1)


def spread(machine: Machine) -> Iterator[Found]:
    """Measure as many clients on many organizations."""
    what = f"authorize + capture, {SPREAD:,} organizations, 8 clients"
    yield _pairs(what, machine, SPREAD)


def _pairs(what: str, machine: Machine, organizations: int) -> Found:
    if machine.pgledger is None:
        return LeftOut(what, "Name a checkout of pgledger with --pgledger to compare with.")
    url = machine.postgresql()
    database = Database(url)
    prepare(database, organizations)
    load_peer(url, machine.pgledger, organizations)
    settle(url, organizations)
    ours, theirs = in_turns(
        lambda: clients.measure(pair, CLIENTS, url, organizations).per_second,
        lambda: clients.measure(transfer, CLIENTS, url, organizations).per_second,
    )
    database.close()
    return at_least(what, median(ours), median(theirs), "pgledger, transfers", 1.0)


def prepare(database: Database, organizations: int) -> None:
    """Make organizations with credits, a team, a member and three caps each."""
    now = datetime.now(UTC)
    prepare_books(database)
    for number in range(organizations):
        _customer(database, f"org-{number}", now)


def _customer(database: Database, name: str, now: datetime) -> None:
    onboarding.put_organization(database, name, OrganizationRequest(name), now=now)
    credits_ = GrantRequest(100_000_000 * MICRO, "adjustment", "bench")
    onboarding.grant(database, name, credits_, actor="bench", now=now)
    with database.transaction() as tx:
        accounts.put_team(tx, name, "team", name="Team")
    onboarding.put_member(database, name, "ana", email="ana@bench.test", team="team", now=now)
    for scope, target in (("organization", ""), ("team", "team"), ("member", "ana")):
        cap = CapRequest(scope, target, "", "period", 90_000_000 * MICRO, "hard")
        limits.set_cap(database, name, cap, actor="bench", now=now)


def pair(number: int, url: str, organizations: int) -> Callable[[], None]:
    """Return the act of a client: authorize and capture on the next organization of its turn."""
    database = Database(url, pool_size=1)
    names = itertools.cycle(range(organizations))
    # Each client begins elsewhere, as the peer's do.
    for _ in range(number * organizations // CLIENTS):
        next(names)
    keys = (f"{os.getpid()}-{one}" for one in itertools.count())

    def act() -> None:
        now, key = datetime.now(UTC), next(keys)
        request = AuthorizeRequest(f"org-{next(names)}", "document", member="ana")
        answer = authorization.authorize(database, request, key=key, now=now)
        hold_id = answer.body.split('"', 4)[3]
        authorization.capture(database, hold_id, CaptureRequest(), key=key, now=datetime.now(UTC))

    return act


def load_peer(url: str, folder: Path, organizations: int) -> None:
    """Load pgledger's SQL from a checkout, and make as many pairs of accounts."""
    with psycopg.connect(address(url), autocommit=True) as connection:
        for file in (*sorted((folder / "vendor").rglob("*.sql")), folder / "pgledger.sql"):
            connection.execute(file.read_text(encoding="utf-8").encode())
        connection.execute(
            "CREATE TABLE bench_accounts AS SELECT number,"
            " (pgledger_create_account('from-' || number, 'USD')).id AS source,"
            " (pgledger_create_account('to-' || number, 'USD')).id AS target"
            " FROM generate_series(0, %s) AS number",
            (organizations - 1,),
        )


def settle(url: str, organizations: int) -> None:
    """Use both for a while and let the store count its rows, as it does by itself in a minute."""
    for use in (pair, transfer):
        act = use(0, url, organizations)
        for _ in range(200):
            act()
    with psycopg.connect(address(url), autocommit=True) as connection:
        connection.execute("ANALYZE")


def transfer(number: int, url: str, organizations: int) -> Callable[[], None]:
    """Return the act of a peer's client: one transfer on the next pair of accounts."""
    connection = psycopg.connect(address(url), autocommit=True)
    rows = connection.execute("SELECT source, target FROM bench_accounts ORDER BY number")
    turns = itertools.cycle(rows.fetchall())
    for _ in range(number * organizations // CLIENTS):
        next(turns)

    def act() -> None:
        connection.execute("SELECT pgledger_create_transfer(%s, %s, 1)", next(turns))

    return act


def address(url: str) -> str:
    """Return a store's address as psycopg takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
