"""The one way to write: whoever reads before writing still loses nothing to another process."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Thread

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, func, literal, select
from sqlalchemy.exc import DBAPIError

from portal.core.errors import Unavailable
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
    with both[0].transaction() as tx:
        TALLY.drop(tx)
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


def test_figures_that_take_too_long_are_given_up_and_their_connection_goes_on(
    processes: list[Database],
) -> None:
    ours, _ = processes
    endless = select(literal(0).label("number")).cte("numbers", recursive=True)
    endless = endless.union_all(select(endless.c.number + 1))
    with (
        pytest.raises(Unavailable, match="took longer than 1 seconds"),
        ours.figures(within_s=1) as tx,
    ):
        tx.execute(select(func.count()).select_from(endless)).scalar_one()
    # What comes after is bound by nothing of it, and other faults are what they are.
    with ours.reading(patient=True) as tx:
        assert list(tx.scalars(select(TALLY.c.number))) == []
    with pytest.raises(DBAPIError), ours.figures() as tx:
        tx.exec_driver_sql("SELECT nothing FROM nowhere")


def test_figures_that_are_quick_are_those_of_any_reading(processes: list[Database]) -> None:
    ours, _ = processes
    with ours.transaction() as tx:
        _write(tx, 7)
    with ours.figures() as tx:
        assert list(tx.scalars(select(TALLY.c.number))) == [7]
