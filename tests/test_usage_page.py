"""The usage page and its sheet: what is compared, what is filtered, what opens into what."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from flask import Flask

from portal.db import Database
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.readers import enter


@pytest.fixture
def read(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> Callable[..., str]:
    """Read a page of Acme's as one of its members, signed in anew."""

    def as_member(address: str, member: str = "ana") -> str:
        return enter(application, database, clock, member).client.get(address).text

    return as_member


def table(page: str, name: str) -> list[list[str]]:
    """Return the cells of a table's body, amounts with all their decimals."""
    body = page.partition(f'class="figures {name}"')[2].partition("<tbody>")[2]
    rows = re.findall(r"<tr>(.*?)</tr>", body.partition("</tbody>")[0], re.S)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", _exactly(row), re.S) for row in rows]


def _exactly(row: str) -> str:
    """Put the exact value in the place of the one that is shown, and leave the links' words."""
    row = re.sub(r'<span class="exact"[^>]*data-exact="([^"]*)">.*?</span></span>', r"\1", row)
    return re.sub(r"\s*</?(a|span|svg|rect|small)\b[^>]*>\s*", "", row)


def lines(page: str) -> list[str]:
    """Return the lines of a page's list of work, without their markup."""
    (table,) = re.findall(r'id="work">(.*?)</table>', page, re.S)
    found = re.findall(r"<tr>(.*?)</tr>", table.partition("</thead>")[2], re.S)
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", one)).strip() for one in found]


def test_each_group_says_its_change_on_the_range_before(
    read: Callable[..., str], acme: Customer, clock: Clock
) -> None:
    ok(acme.send(acme.event("image", quantity=4), acme.event("document")))
    clock.forward(timedelta(days=7))
    ok(acme.send(acme.event("image", quantity=6), acme.event("analysis")))
    page = read("/usage?range=7-days")
    assert table(page, "usage") == [
        ["Images", "6", "12", "55%", "+50%"],
        ["Analyses", "1", "10", "45%", "new"],
    ]
    assert '<b class="num">+69%</b> on' in page


def test_a_period_that_runs_is_compared_with_as_many_days_of_the_last(
    read: Callable[..., str], acme: Customer, clock: Clock
) -> None:
    ok(acme.send(acme.event("image", quantity=2)))
    clock.forward(timedelta(days=11))
    ok(acme.send(acme.event("image", quantity=30)))
    clock.set(datetime(2026, 12, 10, 12, tzinfo=UTC))
    ok(acme.send(acme.event("image", quantity=3)))
    page = read("/usage")
    assert table(page, "usage") == [["Images", "3", "6", "100%", "+50%"]]
    assert "+50%</b> on 1 Nov – 10 Nov" in page
    assert table(read("/usage?range=last-period"), "usage") == [
        ["Images", "32", "64", "100%", "new"]
    ]


def test_filters_stand_in_the_address_and_each_can_be_taken_away(
    read: Callable[..., str], acme: Customer
) -> None:
    ok(acme.send(acme.event("image", member="cleo", project="atlas")))
    page = read("/usage?group=member&team=research&project=atlas")
    chips = re.findall(r'class="chip" href="([^"]+)".*?</span> ([^<]+)<svg', page)
    assert chips == [
        ("/usage?range=period&amp;group=member&amp;project=atlas", "Research"),
        ("/usage?range=period&amp;group=member&amp;team=research", "Atlas"),
    ]
    assert "Remove all" in page
    assert 'class="chip"' not in read("/usage")


def test_a_member_cannot_take_away_that_they_see_their_own(
    read: Callable[..., str], acme: Customer
) -> None:
    ok(acme.send(acme.event("image", member="cleo"), acme.event("document", member="ana")))
    page = read("/usage?member=ana", "cleo")
    assert 'class="chip"' not in page
    assert '<b class="num">2</b> credits' in page


def test_one_document_made_by_fourteen_events_is_one_line_that_opens(
    read: Callable[..., str], acme: Customer
) -> None:
    made = [acme.event("image", quantity="0.5", run="doc/1", member="ana") for _ in range(13)]
    ok(acme.send(*made, acme.event("document", run="doc/1", member="ben"), acme.event("image")))
    page = read("/usage/events")
    assert len(lines(page)) == 2
    (line,) = [one for one in lines(page) if "14 pieces, one run" in one]
    assert "2 people" in line
    assert line.endswith("7.5 18")
    assert 'aria-expanded="false"' in page
    opened = read("/usage/events?open=doc/1")
    assert 'aria-expanded="true"' in opened
    assert len(lines(opened)) == 2 + 14
    whole = read("/usage/events?run=doc/1")
    assert len(lines(whole)) == 14
    assert "for 14 pieces of work" in whole
    assert "/usage/events/" in whole


def test_a_run_that_spans_pages_is_listed_once_and_nothing_is_left_out(
    read: Callable[..., str], acme: Customer, clock: Clock
) -> None:
    sent = []
    for number in range(130):
        clock.forward(timedelta(minutes=1))
        run = {"run": "long"} if number % 2 else {}
        sent.append(acme.event("image", quantity="0.1", time=clock(), **run))
    ok(acme.send(*sent))
    seen, address = [], "/usage/events?range=30-days"
    while address:
        page = read(address)
        seen += lines(page)
        older = re.search(r'id="older">.*?href="([^"]+)"', page)
        address = older[1].replace("&amp;", "&") if older else ""
        seen = [one for one in seen if "Show more" not in one]
    assert len(seen) == 66
    assert sum("65 pieces, one run" in one for one in seen) == 1
    assert sum("pieces" in one for one in seen) == 1


def test_a_member_reads_only_their_own_part_of_a_run(
    read: Callable[..., str], acme: Customer
) -> None:
    parts = [acme.event("image", run="shared", member=who) for who in ("cleo", "cleo", "ana")]
    ok(acme.send(*parts))
    (line,) = lines(read("/usage/events", "cleo"))
    assert "2 pieces, one run" in line
    assert len(lines(read("/usage/events?run=shared", "cleo"))) == 2


def test_the_sheet_has_exactly_what_the_table_shows(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    ok(acme.send(acme.event("image", quantity="0.25", member="cleo")))
    clock.forward(timedelta(days=30))
    ok(acme.send(acme.event("image", quantity="12.345678", member="cleo"), acme.event("analysis")))
    ana = enter(application, database, clock, "ana")
    for group in ("action", "member", "team", "project", "day"):
        address = f"range=30-days&group={group}"
        answer = ana.client.get(f"/usage.csv?{address}")
        rows = list(csv.reader(io.StringIO(answer.text, newline="")))[1:]
        shown = table(ana.client.get(f"/usage?{address}").text, "usage")
        assert len(rows) == len(shown) > 0
        for row, cells in zip(rows, shown, strict=True):
            assert row[1:3] == cells[1:3]
            if group != "day":
                assert [row[0], f"{row[3]}%"] == [cells[0], cells[3]]
                assert cells[4] == (f"{int(row[4]):+,}%".replace("-", "−") if row[4] else "new")
        assert sum(Decimal(row[2]) for row in rows) == Decimal("34.691356")
        disposition = answer.headers["Content-Disposition"]
        assert re.fullmatch(r"attachment; filename=[a-z0-9-]+\.csv", disposition)
