"""Sheets open safely: no spreadsheet runs a text of theirs, and every reader gets it back equal."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal

import pytest
from flask import Flask

from portal.db import Database
from portal.web.cells import line, safe_cell
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.readers import enter

#: What makes a spreadsheet calculate or call out, in every dress that one is known to see through.
DANGEROUS = (
    "=1+1",
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\rcmd",
    "\n=1",
    "\x00=1",
    ";=1",
    "|calc",
    "=cmd|' /C calc'!A0",
    'DDE("cmd";"/C calc";"x")',
    "dde (cmd)",
    "  =1+1",
    "\u00a0=1",
    "\u200b=1",
    "\ufeff=1",
    "＝1+1",
    "＋1",
    "－1",
    "＠SUM(A1)",
    " ﹣1",
)
HARMLESS = ("", "Acme", "a=1", "1-2", "Zoë & Co", "Dderby", "'quoted", "10", "O'Neil; Sons", "“Ω”")


@pytest.mark.parametrize("text", DANGEROUS)
def test_what_a_spreadsheet_would_run_is_a_text(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_it_would_not_run_stays_as_it_is(text: str) -> None:
    assert safe_cell(text) == text


def test_every_record_is_read_back_equal() -> None:
    nasty = ['a"b', "a,b", "a;b", "a|b", "a\tb", "a\r\nb", " a ", "", '"', *DANGEROUS]
    written = "".join(line([text, "-1.5"]) for text in nasty)
    assert list(csv.reader(io.StringIO(written, newline=""))) == [[text, "-1.5"] for text in nasty]
    # A program that splits at other signs finds none outside of quotes either.
    assert not re.search(r"[;|\t]", re.sub(r'"(?:[^"]|"")*"', "", written))


#: Those that a name may hold at all: NUL is refused long before.
NAMES = [text for text in DANGEROUS if "\x00" not in text]
#: A run's id holds no control characters.
RUNS = [name if name.isprintable() or name[0] > "\x7f" else f"={name.strip()}" for name in NAMES]


@pytest.fixture
def named(acme: Customer) -> Customer:
    """Acme, whose people, teams, projects and runs are all called dangerously."""
    for number, name in enumerate(NAMES):
        for kind in ("teams", "projects"):
            ok(acme.api.put(f"{acme.path}/{kind}/n{number}", {"name": name}), 201)
        member = {"email": f"m{number}@acme.example", "name": name, "team": f"n{number}"}
        ok(acme.api.put(f"{acme.path}/members/n{number}", member), 201)
    acme.grant(1000)
    made = [
        acme.event("image", member=f"n{number}", project=f"n{number}", run=run)
        for number, run in enumerate(RUNS)
    ]
    assert ok(acme.send(*made))["accepted"] == len(NAMES)
    return acme


def cells(sheet: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(sheet, newline="")))[1:]


def test_no_sheet_holds_anything_that_runs(
    named: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    ana = enter(application, database, clock, "ana").client
    for group in ("member", "team", "project"):
        rows = cells(ana.get(f"/usage.csv?group={group}").text)
        assert {row[0].removeprefix("'").strip() for row in rows} == {one.strip() for one in NAMES}
        assert all(row[0].startswith("'") for row in rows), group
    asked = named.api.get(f"{named.path}/usage?group_by=run", headers={"Accept": "text/csv"})
    assert {row[0] for row in cells(asked.get_data(as_text=True))} == {f"'{one}" for one in RUNS}


def test_numbers_stay_numbers_also_below_zero(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    ok(acme.send(acme.event("image", quantity=2)))
    ana = enter(application, database, clock, "ana").client
    answer = ana.get("/billing/statement.csv")
    assert answer.is_streamed
    (used,) = [one for one in csv.DictReader(io.StringIO(answer.text)) if one["kind"] == "used"]
    assert used["credits"] == "-4"
    assert Decimal(used["credits"]) == -4
    assert re.fullmatch(
        r"attachment; filename=statement-\d{4}-\d\d-\d\d\.csv",
        answer.headers["Content-Disposition"],
    )
