"""The record is a chain: whatever is done to it afterwards shows, at last against an anchor."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import Connection, delete, insert, select, update

from portal import audit
from portal.core.audit_chain import Link, hash_of, read_anchor
from portal.db import Database
from portal.tables import audit_heads, audit_log
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.conftest import SECRET_KEY
from tests.test_audit import unguarded

ACME = audit_log.c.organization_id == "acme"


@pytest.fixture
def record(acme: Customer, database: Database, clock: Clock) -> Customer:
    """Acme with seven acts on record at least, and something of the operator's own."""
    cap = acme.cap(50)
    ok(acme.api.patch(f"{acme.path}/caps/{cap}", {"mode": "soft"}))
    ok(acme.api.delete(f"{acme.path}/caps/{cap}"))
    with database.transaction() as tx:
        audit.note(tx, audit.OPERATOR, actor="olga", act="operator.added", now=clock())
    return acme


def _faults(database: Database, anchor: str | None = None) -> list[tuple[str, str]]:
    heads = read_anchor(anchor, secret=SECRET_KEY) if anchor else None
    with database.reading() as tx:
        return list(audit.verify(tx, heads))


def _anchor(database: Database, clock: Clock) -> str:
    with database.reading() as tx:
        return audit.anchor(tx, secret=SECRET_KEY, now=clock())


def _links(tx: Connection) -> list[Link]:
    rows = tx.execute(select(audit_log).where(ACME).order_by(audit_log.c.sequence)).mappings()
    return [Link(**row) for row in rows]


def test_acts_are_numbered_without_a_gap_and_each_carries_the_one_before(
    record: Customer, bystander: Customer, database: Database
) -> None:
    with database.reading() as tx:
        links = _links(tx)
    assert [one.sequence for one in links] == list(range(1, len(links) + 1))
    assert [one.previous_hash for one in links] == ["", *(one.hash for one in links[:-1])]
    assert len(links) >= 7
    assert _faults(database) == []


def _rechain(tx: Connection, links: list[Link]) -> None:
    """Write a chain anew from its beginning, its head too, as somebody thorough would."""
    tx.execute(delete(audit_log).where(ACME))
    before = ""
    for number, link in enumerate(links, 1):
        link = replace(link, sequence=number, previous_hash=before)
        before = hash_of(link)
        tx.execute(insert(audit_log).values(vars(replace(link, hash=before))))
    _head(tx, len(links), before)


def _head(tx: Connection, sequence: int, hash_: str) -> None:
    mine = audit_heads.c.organization_id == "acme"
    tx.execute(update(audit_heads).where(mine).values(sequence=sequence, hash=hash_))


def _set(**values: object) -> Callable[[Connection], object]:
    third = (ACME, audit_log.c.sequence == 3)
    return lambda tx: tx.execute(update(audit_log).where(*third).values(values))


def _put_in(tx: Connection) -> None:
    links = _links(tx)
    forged = replace(links[2], audit_id="act_forged", sequence=len(links) + 1)
    forged = replace(forged, previous_hash=links[-1].hash)
    tx.execute(insert(audit_log).values(vars(replace(forged, hash=hash_of(forged)))))


def _swap(tx: Connection) -> None:
    for old, new in ((2, 99), (3, 2), (99, 3)):
        mine = (ACME, audit_log.c.sequence == old)
        tx.execute(update(audit_log).where(*mine).values(sequence=new))


#: What is done to the record by somebody who can write the store, and what a chain alone shows.
SHOWS_BY_ITSELF: dict[str, Callable[[Connection], object]] = {
    "who": _set(actor="somebody else"),
    "what": _set(act="cap.removed"),
    "of what": _set(target="another"),
    "how": _set(detail={"credits": "1"}),
    "the id": _set(audit_id="act_another"),
    "the hash": _set(hash="0" * 64),
    "an act is deleted": lambda tx: tx.execute(
        delete(audit_log).where(ACME, audit_log.c.sequence == 3)
    ),
    "the first act is deleted": lambda tx: tx.execute(
        delete(audit_log).where(ACME, audit_log.c.sequence == 1)
    ),
    "two acts change places": _swap,
    "an act is put in": _put_in,
    "the last act is deleted": lambda tx: tx.execute(
        delete(audit_log).where(ACME, audit_log.c.sequence == len(_links(tx)))
    ),
    "all acts are deleted": lambda tx: tx.execute(delete(audit_log).where(ACME)),
}


def _cut(tx: Connection) -> None:
    links = _links(tx)
    tx.execute(delete(audit_log).where(ACME, audit_log.c.sequence > 4))
    _head(tx, 4, links[3].hash)


def _wipe(tx: Connection) -> None:
    tx.execute(delete(audit_log).where(ACME))
    tx.execute(delete(audit_heads).where(audit_heads.c.organization_id == "acme"))


#: What leaves a chain that is right by itself.
SHOWS_AGAINST_AN_ANCHOR: dict[str, Callable[[Connection], object]] = {
    "the tail is cut off with its head": _cut,
    "the whole chain is gone": _wipe,
    "the chain is made anew without an act": lambda tx: _rechain(
        tx, [one for one in _links(tx) if one.sequence != 3]
    ),
    "the chain is made anew with another actor": lambda tx: _rechain(
        tx, [replace(one, actor="nobody") for one in _links(tx)]
    ),
}


@pytest.mark.tampers
@pytest.mark.parametrize("what", SHOWS_BY_ITSELF)
def test_what_is_changed_put_in_or_taken_out_is_found(
    record: Customer, bystander: Customer, database: Database, clock: Clock, what: str
) -> None:
    anchor = _anchor(database, clock)
    with unguarded(database) as tx:
        SHOWS_BY_ITSELF[what](tx)
    assert {whose for whose, _ in _faults(database)} == {"acme"}
    assert {whose for whose, _ in _faults(database, anchor)} == {"acme"}


@pytest.mark.tampers
@pytest.mark.parametrize("what", SHOWS_AGAINST_AN_ANCHOR)
def test_what_a_chain_cannot_show_by_itself_shows_against_an_anchor(
    record: Customer, bystander: Customer, database: Database, clock: Clock, what: str
) -> None:
    anchor = _anchor(database, clock)
    with unguarded(database) as tx:
        SHOWS_AGAINST_AN_ANCHOR[what](tx)
    assert _faults(database) == []
    assert {whose for whose, _ in _faults(database, anchor)} == {"acme"}


def test_what_is_done_after_an_anchor_is_no_fault(
    record: Customer, database: Database, clock: Clock
) -> None:
    anchor = _anchor(database, clock)
    record.cap(10)
    assert _faults(database, anchor) == []


def test_an_anchor_that_was_rewritten_or_is_anothers_is_none(
    record: Customer, database: Database, clock: Clock
) -> None:
    anchor = _anchor(database, clock)
    document = json.loads(anchor)
    document["chains"]["acme"]["count"] -= 1
    for text, secret in (
        (json.dumps(document), SECRET_KEY),
        (anchor, "another key"),
        ("{}", SECRET_KEY),
        ("[1]", SECRET_KEY),
        ("", SECRET_KEY),
    ):
        with pytest.raises(ValueError, match="anchor"):
            read_anchor(text, secret=secret)
    assert read_anchor(anchor, secret=SECRET_KEY)["acme"].count >= 7


def test_thirty_two_who_write_at_once_never_fork_a_chain(
    acme: Customer, database: Database, clock: Clock
) -> None:
    def act(number: int) -> None:
        with database.transaction() as tx:
            whose = "acme" if number % 4 else audit.OPERATOR
            audit.note(tx, whose, actor=f"w{number}", act="key.made", now=clock())

    with database.reading() as tx:
        _, before = audit.count(tx)
    with ThreadPoolExecutor(32) as crowd:
        list(crowd.map(act, range(96)))
    with database.reading() as tx:
        assert audit.count(tx)[1] == before + 96
    assert _faults(database) == []


def test_a_transaction_that_fails_leaves_no_act_and_no_gap(
    record: Customer, database: Database, clock: Clock
) -> None:
    with suppress(RuntimeError), database.transaction() as tx:
        audit.note(tx, "acme", actor="ana", act="key.made", now=clock())
        raise RuntimeError
    record.cap(10)
    assert _faults(database) == []


def test_a_detail_is_given_back_as_it_was_written(
    record: Customer, database: Database, clock: Clock
) -> None:
    detail = {"z": 1, "a": [None, True, {"ü": "\u2028 \U0001f600"}], "big": 2**53 + 1, "n": -0}
    with database.transaction() as tx:
        audit.note(tx, "acme", actor="ana", act="key.made", detail=detail, now=clock())
        with pytest.raises(TypeError):
            audit.note(tx, "acme", actor="a", act="b", detail={"x": [0.1]}, now=clock())
    assert _faults(database) == []


def test_the_commands_write_an_anchor_and_verify_against_it(
    record: Customer, application: Flask, database: Database, tmp_path: Path
) -> None:
    run = application.test_cli_runner().invoke
    file = str(tmp_path / "anchor.json")
    assert "Keep" in run(args=["audit", "anchor", file]).output
    assert json.loads(run(args=["audit", "anchor"]).output)["chains"]["acme"]
    fine = run(args=["audit", "verify", "--anchor", file])
    assert (fine.exit_code, ": 0 faults." in fine.output) == (0, True)
    with unguarded(database) as tx:
        _cut(tx)
    assert run(args=["audit", "verify"]).exit_code == 0
    found = run(args=["audit", "verify", "--anchor", file])
    assert found.exit_code == 1
    assert found.output.startswith("acme: ")
    Path(file).write_text("nothing", encoding="utf-8")
    assert "not an anchor" in run(args=["audit", "verify", "--anchor", file]).output
