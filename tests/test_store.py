"""The one way to write: whoever reads before writing still loses nothing to another process."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Thread

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, func, select

from portal.db import Database

#: Time enough for the other to read the same, were it let.
HEAD_START_S = 0.5

TALLY = Table("tally", MetaData(), Column("number", Integer, primary_key=True))


@pytest.fixture
def processes(store: str) -> Iterator[list[Database]]:
    """Two that know nothing of each other but the store, as two processes do."""
    both = [Database(store), Database(store)]
    with both[0].transaction() as tx:
        TALLY.create(tx)
    yield both
    for one in both:
        one.close()


def test_what_is_read_in_a_transaction_that_writes_is_still_true_when_it_writes(
    processes: list[Database],
) -> None:
    ours, theirs = processes
    they_have_read = Event()

    def they_count_on() -> None:
        with theirs.transaction() as tx:
            last = _last(tx)
            they_have_read.set()
            _write(tx, last + 1)

    other = Thread(target=they_count_on)
    with ours.transaction() as tx:
        last = _last(tx)
        other.start()
        assert not they_have_read.wait(timeout=HEAD_START_S)
        _write(tx, last + 1)
    other.join()
    with ours.reading() as tx:
        assert list(tx.scalars(select(TALLY.c.number))) == [1, 2]


def _last(tx: Connection) -> int:
    if tx.dialect.name == "postgresql":
        # As every use case takes its wallet first; SQLite has one lock for all.
        tx.exec_driver_sql("LOCK TABLE tally IN EXCLUSIVE MODE")
    return tx.scalar(select(func.coalesce(func.max(TALLY.c.number), 0))) or 0


def _write(tx: Connection, number: int) -> None:
    tx.execute(TALLY.insert().values(number=number))
