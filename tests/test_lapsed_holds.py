"""Work that is authorized and never reported: booked at its deadline, however much there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import event

from portal import authorization, desk, proof
from portal.authorization import AuthorizeRequest
from portal.db import Database
from tests.cast import Customer
from tests.clock import Clock


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """Note every statement that is sent meanwhile."""
    said: list[str] = []

    def heard(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        said.append(statement)

    event.listen(database.engine, "before_cursor_execute", heard)
    try:
        yield said
    finally:
        event.remove(database.engine, "before_cursor_execute", heard)


def abandon(database: Database, acme: Customer, number: int, *, now: datetime) -> None:
    for one in range(number):
        request = AuthorizeRequest(acme.id, "image", 10_000, member="cleo" if one % 2 else "")
        authorization.authorize(database, request, key=None, now=now)


def test_many_holds_lapse_in_as_many_statements_as_two(
    acme: Customer, database: Database, clock: Clock
) -> None:
    caps_ = [acme.cap(50), acme.cap(20, "member", target="cleo")]
    statements = []
    for number in (2, 60):
        abandon(database, acme, number, now=clock())
        clock.forward(timedelta(hours=1))
        with counted(database) as said:
            desk.book_due(database, acme.id, now=clock())
        statements.append(len(said))
    assert statements[0] == statements[1]
    assert acme.standing == ("100", "0")
    assert [acme.caps()[one]["held"] for one in caps_] == ["0", "0"]
    with database.reading() as tx:
        assert proof.ledger_faults(tx, acme.id) == []
