"""A share by time is rounded by the store exactly as it is by the rule."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import literal, select

from portal.core.margin.recognition import share
from portal.db import Database
from portal.margin.sums import share_of
from portal.tables import Whole

#: Halves on both sides of zero among them; a dollar amount of any size in billionths.
wholes = st.one_of(st.integers(-9, 9), st.integers(-(10**15), 10**15))
steps = st.integers(1, 400).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(wholes, steps), min_size=20, max_size=20))
def test_the_store_rounds_a_share_as_the_rule_does(
    database: Database, shares: list[tuple[int, tuple[int, int]]]
) -> None:
    columns = [
        share_of(*(literal(number, Whole) for number in (whole, done, of)))
        for whole, (done, of) in shares
    ]
    with database.reading() as tx:
        found = tx.execute(select(*columns)).one()
    assert list(found) == [share(whole, done, of) for whole, (done, of) in shares]
