"""The ledger is append only, and the audit finds what was changed behind its back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy.exc import DBAPIError

from portal import cost_books, proof
from portal.db import Database
from portal.tables import APPEND_ONLY, audit_log, entries, metadata, transfers, wallets
from tests import digest
from tests.cast import Customer, ok
from tests.clock import Clock


@pytest.fixture
def history(acme: Customer, clock: Clock, database: Database) -> Customer:
    """Acme, after a bit of everything."""
    with database.transaction() as tx:
        cost_books.load(tx, cost_books.EXAMPLE_FILE.read_text(encoding="utf-8"), now=clock())
    acme.grant(200)
    acme.grant(20, priority=1, expires_at=(clock() + timedelta(minutes=5)).isoformat())
    acme.cap(150)
    ok(acme.capture(acme.hold("document", 5), quantity=3))
    ok(acme.release(acme.hold("image")))
    acme.hold("analysis")
    cost = {"layer": "retrieval", "amount_usd": "0.004"}
    ok(acme.send(acme.event("document", costs=[cost]), acme.event("analysis", quantity=9)))
    clock.forward(timedelta(minutes=6))
    acme.hold("image", expires_in=60)
    clock.forward(timedelta(minutes=6))
    return acme


@contextmanager
def unguarded(database: Database) -> Iterator[Connection]:
    """Write with the triggers out of the way, as somebody with the keys to the store could."""
    with database.transaction() as tx:
        if database.dialect == "sqlite":
            tx.execute(text("PRAGMA defer_foreign_keys = ON"))
            triggers = tx.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
            for (name,) in triggers.all():
                tx.execute(text(f"DROP TRIGGER {name}"))
        else:
            tx.execute(text("SET LOCAL session_replication_role = replica"))
        yield tx


def test_a_ledger_with_a_history_has_no_faults(
    history: Customer, bystander: Customer, database: Database
) -> None:
    assert digest.faults(database) == []


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("act", ["UPDATE", "DELETE"])
def test_the_store_refuses_to_change_or_delete_what_was_written(
    history: Customer, database: Database, table: str, act: str
) -> None:
    before = digest.counts(database)
    assert before[table] > 0
    column = {
        "price_books": "document",
        "cost_books": "document",
        "audit_log": "actor",
        "transfers": "kind",
    }
    name = column.get(table, "account")
    statement = {
        "UPDATE": update(metadata.tables[table]).values({name: name}),
        "DELETE": delete(metadata.tables[table]),
    }[act]
    with pytest.raises(DBAPIError, match="append-only"), database.transaction() as tx:
        tx.execute(statement)
    assert digest.counts(database) == before


@pytest.mark.postgresql
def test_postgresql_refuses_to_empty_what_was_written(postgresql_store: str) -> None:
    database = Database(postgresql_store)
    with pytest.raises(DBAPIError, match="append-only"), database.transaction() as tx:
        tx.execute(text("TRUNCATE entries"))
    database.close()


TAMPERED: dict[str, Callable[[Connection], object]] = {
    "an entry's amount was changed": lambda tx: tx.execute(
        text(
            "UPDATE entries SET amount_micro = amount_micro + 1, after_micro = after_micro + 1 "
            "WHERE organization_id = 'acme' AND account = 'captured' AND version = 1"
        )
    ),
    "an entry was deleted": lambda tx: tx.execute(
        text("DELETE FROM entries WHERE organization_id = 'acme' AND account = 'held'")
    ),
    "the last entry was deleted": lambda tx: tx.execute(
        text(
            "DELETE FROM entries WHERE organization_id = 'acme' AND transfer_id ="
            " (SELECT max(transfer_id) FROM transfers WHERE organization_id = 'acme')"
        )
    ),
    "a transfer was deleted with its entries": lambda tx: [
        tx.execute(delete(table).where(table.c.organization_id == "acme", table.c.transfer_id == 2))
        for table in (entries, transfers)
    ],
    "the last transfer was deleted with its entries": lambda tx: [
        tx.execute(
            delete(table).where(
                table.c.organization_id == "acme",
                table.c.transfer_id
                == select(wallets.c.transfers)
                .where(wallets.c.organization_id == "acme")
                .scalar_subquery(),
            )
        )
        for table in (entries, transfers)
    ],
    "a transfer's amount was changed": lambda tx: tx.execute(
        text(
            "UPDATE transfers SET amount_micro = 1"
            " WHERE organization_id = 'acme' AND transfer_id = 1"
        )
    ),
    "a transfer was inserted": lambda tx: tx.execute(
        text(
            "INSERT INTO transfers (organization_id, transfer_id, kind, from_account, to_account,"
            " amount_micro, at, reference) SELECT organization_id, 99999, kind, from_account,"
            " to_account, amount_micro, at, '' FROM transfers"
            " WHERE organization_id = 'acme' AND transfer_id = 1"
        )
    ),
    "an entry was inserted": lambda tx: tx.execute(
        text(
            "INSERT INTO entries (organization_id, account, version, transfer_id, amount_micro,"
            " before_micro, after_micro, at) SELECT organization_id, account, 99999, transfer_id,"
            " amount_micro, before_micro, after_micro, at FROM entries"
            " WHERE organization_id = 'acme' AND account = 'issued' AND version = 1"
        )
    ),
    "a balance was changed": lambda tx: tx.execute(
        text(
            "UPDATE accounts SET balance_micro = balance_micro + 1000000"
            " WHERE organization_id = 'acme' AND account = 'captured'"
        )
    ),
    "a grant was enlarged": lambda tx: tx.execute(
        text("UPDATE grants SET granted_micro = granted_micro + 1 WHERE organization_id = 'acme'")
    ),
    "a debit was deleted": lambda tx: tx.execute(
        text("DELETE FROM event_debits WHERE organization_id = 'acme'")
    ),
    "an event's price was changed": lambda tx: tx.execute(
        text("UPDATE events SET credits_micro = credits_micro + 1 WHERE organization_id = 'acme'")
    ),
    "a hold was ended behind the ledger's back": lambda tx: tx.execute(
        text(
            "UPDATE holds SET status = 'released', ended_at = authorized_at"
            " WHERE organization_id = 'acme' AND status = 'authorized'"
        )
    ),
    "a transfer was turned round": lambda tx: tx.execute(
        text(
            "UPDATE transfers SET from_account = to_account, to_account = from_account"
            " WHERE organization_id = 'acme' AND kind = 'hold'"
        )
    ),
    "one event paid for another": lambda tx: tx.execute(
        text(
            "UPDATE event_debits SET amount_micro = amount_micro + CASE WHEN event_id ="
            " (SELECT min(event_id) FROM event_debits WHERE organization_id = 'acme')"
            " THEN 1 ELSE -1 END WHERE organization_id = 'acme' AND event_id IN"
            " (SELECT min(event_id) FROM event_debits WHERE organization_id = 'acme'"
            " UNION SELECT max(event_id) FROM event_debits WHERE organization_id = 'acme')"
        )
    ),
    "a day's usage was changed": lambda tx: tx.execute(
        text(
            "UPDATE usage_daily SET credits_micro = credits_micro + 1"
            " WHERE organization_id = 'acme'"
        )
    ),
    "a day's usage was deleted": lambda tx: tx.execute(
        text("DELETE FROM usage_daily WHERE organization_id = 'acme' AND action = 'analysis'")
    ),
    "a day's usage was made up": lambda tx: tx.execute(
        text(
            "INSERT INTO usage_daily SELECT organization_id, day, action, 'nobody', team_id,"
            " project_id, model, quantity_micro, credits_micro, uncollected_micro, events"
            " FROM usage_daily WHERE organization_id = 'acme' AND action = 'analysis'"
        )
    ),
    "a day's cost was changed": lambda tx: tx.execute(
        text(
            "UPDATE cost_daily SET cost_nano_usd = cost_nano_usd - 1 WHERE organization_id = 'acme'"
        )
    ),
    "what a cap has counted was changed": lambda tx: tx.execute(
        text("UPDATE cap_windows SET spent_micro = spent_micro - 1 WHERE organization_id = 'acme'")
    ),
    "what a cap holds was changed": lambda tx: tx.execute(
        text("UPDATE cap_windows SET held_micro = 0 WHERE organization_id = 'acme'")
    ),
    "overage was made up": lambda tx: tx.execute(
        text(
            "INSERT INTO overage_periods (organization_id, period_start, price_micro_minor,"
            " period_end, spent_micro, held_micro) SELECT organization_id, window_start, 8000000,"
            " window_end, 1, 0 FROM cap_windows WHERE organization_id = 'acme'"
        )
    ),
    "a pin was enlarged": lambda tx: tx.execute(
        text(
            "UPDATE hold_pins SET amount_micro = amount_micro + 1 WHERE organization_id = 'acme'"
            " AND hold_id IN (SELECT hold_id FROM holds WHERE status = 'authorized')"
        )
    ),
}


@pytest.mark.tampers
@pytest.mark.parametrize("what", TAMPERED)
def test_the_audit_finds_whose_ledger_was_tampered_with(
    history: Customer, bystander: Customer, database: Database, what: str
) -> None:
    before = digest.of_organization(database, "acme")
    with unguarded(database) as tx:
        TAMPERED[what](tx)
    assert digest.of_organization(database, "acme") != before, "nothing was tampered with"
    with database.reading() as tx:
        assert proof.ledger_faults(tx, "acme") != []
        assert proof.ledger_faults(tx, bystander.id) == []


def test_privileged_acts_are_written_down_with_who_did_them(
    acme: Customer, database: Database
) -> None:
    cap = acme.cap(50)
    ok(acme.api.patch(f"{acme.path}/caps/{cap}", {"mode": "soft"}))
    ok(acme.api.delete(f"{acme.path}/caps/{cap}"))
    ok(acme.api.delete(f"{acme.path}/members/cleo"))
    with database.reading() as tx:
        rows = tx.execute(select(audit_log).where(audit_log.c.organization_id == "acme")).all()
    found = {(row.act, row.target) for row in rows}
    assert {("cap.set", cap), ("cap.changed", cap), ("cap.removed", cap)} <= found
    assert ("member.removed", "cleo") in found
    assert "grant.made" in {act for act, _ in found}
    assert {row.actor for row in rows} == {"operator:tests"}
