"""Pages and balances of an organization with a long history, against those of one with a short one.

The history is written by the store itself, set by set, just as ingestion would have left it; the
ledger's own audit proves that before anything is measured. One history serves whoever measures
against it in a run.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from flask.testing import FlaskClient
from sqlalchemy import Connection, text

from bench import served
from bench.events import prepare_books
from bench.loading import in_bulk, settle
from bench.machine import Machine, application
from bench.report import Found, LeftOut, Row, at_most, in_turns, median, percentile
from portal import access, onboarding, proof
from portal.core.units import MICRO
from portal.db import Database
from portal.onboarding import GrantRequest, OrganizationRequest

SHORT = 1_000
LONG = 200_000
FULL = 10_000_000
DAYS = 30
REQUESTS = 40
CREDITS_MICRO = 5 * MICRO

#: The tables that get a row for each event, or two.
_LONG_TABLES = ("events", "event_debits", "transfers", "entries")
# Every figure of the history follows from the event's number n, so that each set is written from
# the numbers alone.
_NUMBERS = """
    CREATE TEMPORARY TABLE numbered ON COMMIT DROP AS
    SELECT cast(n AS bigint) AS n, 'event-' || n AS event_id, 'member-' || n % 20 AS member_id,
           cast(:each AS bigint) AS credits_micro,
           cast(:until AS timestamptz)
           - cast(:span AS interval) * (cast(:events - n AS float) / :events) AS at
    FROM generate_series(1, :events) AS n
"""
_SETS = (
    _NUMBERS,
    """
    INSERT INTO events (
        organization_id, source, event_id, fingerprint, type, occurred_at, received_at, day, action,
        member_id, team_id, project_id, run_id, request_type, model, hold_id, quantity_micro,
        credits_micro, uncollected_micro, price_micro, price_book_version, charged)
    SELECT :org, 'bench', event_id, md5(event_id), 'document', at, at,
           cast(at AT TIME ZONE 'UTC' AS date), 'document', member_id, '', '', '', '', '', '',
           1000000, credits_micro, 0, credits_micro, 1, true
    FROM numbered
    """,
    """
    INSERT INTO event_debits (organization_id, source, event_id, account, amount_micro)
    SELECT :org, 'bench', event_id, :lot, credits_micro FROM numbered
    """,
    """
    INSERT INTO transfers (
        organization_id, transfer_id, kind, from_account, to_account, amount_micro, at, reference)
    SELECT :org, :transfers + n, 'debit', :lot, 'captured', credits_micro, at, event_id
    FROM numbered
    """,
    """
    INSERT INTO entries (
        organization_id, account, version, transfer_id, amount_micro, before_micro, after_micro, at)
    SELECT :org, account, version + n, :transfers + n, sign * credits_micro,
           balance_micro + sign * credits_micro * (n - 1),
           balance_micro + sign * credits_micro * n, at
    FROM numbered,
         (SELECT account, version, balance_micro, CASE account WHEN :lot THEN -1 ELSE 1 END AS sign
          FROM accounts WHERE organization_id = :org AND account IN (:lot, 'captured')) AS moved
    """,
    """
    UPDATE accounts SET version = version + :events,
        balance_micro = balance_micro
        + (SELECT sum(credits_micro) FROM numbered) * CASE account WHEN :lot THEN -1 ELSE 1 END
    WHERE organization_id = :org AND account IN (:lot, 'captured')
    """,
    """
    UPDATE wallets SET transfers = transfers + :events, moved_at = :until
    WHERE organization_id = :org
    """,
    """
    INSERT INTO usage_daily (
        organization_id, day, action, member_id, team_id, project_id, model, quantity_micro,
        credits_micro, uncollected_micro, events)
    SELECT organization_id, day, action, member_id, team_id, project_id, model,
           sum(quantity_micro), sum(credits_micro - uncollected_micro), sum(uncollected_micro),
           count(*)
    FROM events WHERE organization_id = :org GROUP BY 1, 2, 3, 4, 5, 6, 7
    """,
)


def rows(machine: Machine) -> Iterator[Found]:
    """Measure the overview, the usage page and the balance at a past instant."""
    long = FULL if machine.full else LONG
    url, database = store(machine)
    clients = {name: _signed_in(url, database, name) for name in ("short", "long")}
    sizes = f"{long:,} events"
    for page, path in (("overview", "/"), ("usage", "/usage")):
        what = f"{page} page, p95, {sizes}"
        yield _compared(what, {name: _get(clients[name], path) for name in clients}, 1.2)
    yield _balance(url, f"balance as of a past instant, p95, {sizes}", datetime.now(UTC))
    database.close()


def store(machine: Machine) -> tuple[str, Database]:
    """Return a store with a short and a long history, and its address: one for all of a run."""
    url = machine.kept.get("history")
    if url is None:
        url = machine.kept["history"] = machine.postgresql()
        database = Database(url)
        prepare_books(database)
        length = FULL if machine.full else LONG
        write_organizations(database, {"short": SHORT, "long": length}, datetime.now(UTC))
        with database.reading() as tx:
            faults = proof.ledger_faults(tx, "short")
        if faults:
            raise RuntimeError(f"the history is not as ingestion leaves it: {faults}")
        database.close()
    return url, Database(url)


def write_organizations(database: Database, lengths: Mapping[str, int], now: datetime) -> None:
    """Write organizations with so many events over the last days, as ingestion leaves them."""
    begun = now - timedelta(days=DAYS + 1)
    lots = GrantRequest(100_000_000 * MICRO, "adjustment", "bench")
    for name in lengths:
        onboarding.put_organization(database, name, OrganizationRequest(name), now=begun)
        onboarding.grant(database, name, lots, actor="bench", now=begun)
        onboarding.put_member(
            database, name, "ana", email="ana@bench.test", role="owner", now=begun
        )
    with database.transaction() as tx, in_bulk(tx, _LONG_TABLES):
        for name, length in lengths.items():
            values = _values(tx, name, length, now)
            for one in _SETS:
                tx.execute(text(one), values)
            tx.execute(text("DROP TABLE numbered"))
    settle(database)


def _values(tx: Connection, name: str, length: int, now: datetime) -> dict[str, object]:
    standing = tx.execute(
        text("SELECT transfers FROM wallets WHERE organization_id = :org"), {"org": name}
    ).scalar_one()
    lot = tx.execute(
        text("SELECT grant_id FROM grants WHERE organization_id = :org"), {"org": name}
    ).scalar_one()
    return {
        "org": name,
        "lot": lot,
        "transfers": standing,
        "events": length,
        "each": CREDITS_MICRO,
        "until": now,
        "span": timedelta(days=DAYS),
    }


def _signed_in(url: str, database: Database, name: str) -> FlaskClient:
    client = application(url).test_client()
    with database.transaction() as tx:
        token, _ = access.make_link(
            tx, now=datetime.now(UTC), organization_id=name, member_id="ana"
        )
    asked = client.get(f"/sign-in/{token}").text
    field = re.search(r'name="csrf_token" value="([^"]+)"', asked)
    if field is None:
        raise RuntimeError("the page that signs in has no form")
    client.post(f"/sign-in/{token}", data={"csrf_token": field[1]})
    return client


def _get(client: FlaskClient, path: str) -> Callable[[], None]:
    def act() -> None:
        answer = client.get(path)
        if answer.status_code != 200:
            raise RuntimeError(f"{path} answered {answer.status}: {answer.text[:200]}")

    act()
    return act


def _compared(what: str, acts: dict[str, Callable[[], None]], goal: float) -> Row:
    long, short = in_turns(lambda: _p95_ms(acts["long"]), lambda: _p95_ms(acts["short"]))
    return at_most(what, median(long), median(short), f"{SHORT:,} events", goal, "ms")


def _p95_ms(act: Callable[[], None]) -> float:
    took = []
    for _ in range(REQUESTS):
        started = time.perf_counter()
        act()
        took.append(time.perf_counter() - started)
    return percentile(took, 0.95) * 1000


def _balance(url: str, what: str, now: datetime) -> Found:
    client = application(url).test_client()
    headers = {"Authorization": f"Bearer {served.key_for(url)}"}
    hours = itertools.cycle(range(1, DAYS * 24, 37))

    def at(name: str) -> Callable[[], None]:
        def act() -> None:
            instant = (now - timedelta(hours=next(hours))).isoformat().replace("+00:00", "Z")
            path = f"/v1/organizations/{name}/balance?at={instant}"
            answer = client.get(path, headers=headers)
            if answer.status_code != 200:
                raise RuntimeError(f"{path} answered {answer.status}: {answer.text[:200]}")

        return act

    probe = f"/v1/organizations/short/balance?at={now.date()}T00:00:00Z"
    if client.get(probe, headers=headers).status_code == 422:
        return LeftOut(what, "The balance of a past instant is not offered yet.")
    return _compared(what, {name: at(name) for name in ("short", "long")}, 1.5)
