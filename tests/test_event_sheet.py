"""Events as CSV: what the list says, each once, however many there are, and nothing that runs."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portal import event_sheet
from portal.db import Database
from portal.web.cells import line, safe_cell, safe_records
from tests.cast import Api, Customer, make_key, ok, refused
from tests.clock import Clock

CSV = {"Accept": "text/csv"}


def sheet(acme: Customer, query: str = "", api: Api | None = None) -> list[dict[str, str]]:
    answer = (api or acme.api).get(f"{acme.path}/events{query}", headers=CSV)
    assert answer.status_code == 200
    assert answer.content_type == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def listed(acme: Customer, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok(acme.api.get(f"{acme.path}/events?limit=100{query}"))["data"]
    return found


@pytest.fixture
def busy(acme: Customer, clock: Clock) -> Customer:
    """A customer with work of all kinds, some of it named by somebody who means harm."""
    acme.grant(100)
    made = [
        acme.event("document", quantity="1.25", member="cleo", run="=1+1"),
        acme.event("image", member='b"en', project="Größe; M", time=_ago(clock, 3)),
        acme.event("document", quantity=30, team="a,b", time=_ago(clock, 3)),
        acme.event("document", quantity="0.000001", time=_ago(clock, 50)),
        acme.event("cost.external", costs=[{"layer": "external", "amount_usd": "0.1"}]),
    ]
    assert ok(acme.send(*made))["rejected"] == []
    return acme


def _ago(clock: Clock, minutes: int) -> str:
    return (clock() - timedelta(minutes=minutes)).isoformat()


def test_the_sheet_has_what_the_list_has_in_its_order(busy: Customer) -> None:
    rows = sheet(busy)
    assert [tuple(row) for row in rows[:1]] == [event_sheet.COLUMNS]
    expected = listed(busy)
    assert len(rows) == len(expected) == 5
    for row, one in zip(rows, expected, strict=True):
        assert datetime.fromisoformat(row.pop("time")) == datetime.fromisoformat(one["time"])
        assert row == {name: safe_cell(one[name] or "") for name in row}


@pytest.mark.parametrize("query", ["?action=document", "?member=cleo", "?end=2026-11-09"])
def test_the_sheet_is_filtered_as_the_list_is(busy: Customer, query: str) -> None:
    expected = listed(busy, query.replace("?", "&"))
    assert [row["id"] for row in sheet(busy, query)] == [one["id"] for one in expected]


@pytest.mark.parametrize("part", [1, 2, 4, 5, 6])
def test_parts_of_any_size_are_the_same_events(
    busy: Customer, database: Database, part: int
) -> None:
    def whole(size: int) -> list[list[str]]:
        read = event_sheet.parts(database, busy.id, with_costs=True, part=size)
        return list(csv.reader(io.StringIO(b"".join(read).decode(), newline="")))

    assert len(whole(part)) == 5
    assert whole(part) == whole(1_000)


def test_an_organizations_key_sees_no_event_that_only_costs(
    busy: Customer, database: Database, clock: Clock
) -> None:
    theirs = busy.api.holding(make_key(database, clock, organization="acme", scopes=["read"]))
    assert {row["type"] for row in sheet(busy, api=theirs)} == {"document", "image"}
    refused(theirs.get(f"{busy.path}/events?model=gpt-4o", headers=CSV), 403, "not-allowed")


def test_nothing_that_a_spreadsheet_would_run_stands_in_a_cell(busy: Customer) -> None:
    assert {row["run"] for row in sheet(busy)} == {"", "'=1+1"}


_CELLS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6),
    st.sampled_from(
        ["=1", "dde", "DDE x", "d\uff44e", "\uff1d1", " =1", "a\u200b", "a-b", "a ", "", "é"]
    ),
)


@given(st.lists(st.tuples(_CELLS, _CELLS), max_size=4))
@example([("a ", "b"), ("", "\r")])
@example([("a", "b\u2003"), ("d\u2003", "\x0b")])
def test_many_records_are_written_as_each_is_by_itself(rows: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([*one, "-1.5"] for one in rows)
    records = out.getvalue()
    if '"' not in records:
        records = records.replace("\r\n", "\n")
    expected = "".join(line([*map(safe_cell, one), "-1.5"]) for one in rows)
    assert safe_records(records.encode(), numbers=1) == expected.encode()
