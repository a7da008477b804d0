"""The pages as their readers meet them, without a browser: who gets in, what is taken, what not."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from portal import access, accounts
from portal.db import Database
from portal.tables import sessions
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.readers import Reader, enter, link

PASSWORD = "a long enough password"


@pytest.fixture
def ana(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    return enter(application, database, clock, "ana")


@pytest.fixture
def cleo(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    return enter(application, database, clock, "cleo")


def test_looking_at_a_link_leaves_it_unused(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    path = link(database, clock, "ana")
    scanner = application.test_client()
    for method in ("HEAD", "GET", "OPTIONS"):
        assert scanner.open(path, method=method).status_code == 200
    reader = Reader(application.test_client())
    assert reader.send(path, path).status_code == 302
    assert "https://x.test/" in reader.client.get("/").text


def test_whoever_was_sent_to_sign_in_gets_where_they_wanted(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    _password(database, "ana")
    reader = Reader(application.test_client())
    assert reader.client.get("/usage?range=30-days").headers["Location"] == "/sign-in"
    answer = reader.send("/sign-in", "/sign-in", email="ana@acme.example", password=PASSWORD)
    assert answer.headers["Location"] == "/usage?range=30-days"


def _password(database: Database, member: str) -> None:
    with database.transaction() as tx:
        access.set_password(tx, accounts.find_member(tx, "acme", member), PASSWORD)


def test_a_strangers_failures_do_not_shut_the_owner_out(
    acme: Customer, application: Flask, database: Database
) -> None:
    _password(database, "ana")
    stranger = Reader(application.test_client())
    stranger.client.environ_base["REMOTE_ADDR"] = "192.0.2.7"
    statuses = [
        stranger.send(
            "/sign-in", "/sign-in", email="ana@acme.example", password="guess"
        ).status_code
        for _ in range(11)
    ]
    assert statuses == [401] * 10 + [429]
    owner = Reader(application.test_client())
    answer = owner.send("/sign-in", "/sign-in", email="ana@acme.example", password=PASSWORD)
    assert answer.status_code == 302


@pytest.mark.parametrize("typed", ["1,5", "12,34", "1.234,5", "1e3", "-1", "", "９"])
def test_a_limit_that_could_be_misread_is_refused(ana: Reader, acme: Customer, typed: str) -> None:
    answer = _set_cap(ana, typed)
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text
    assert ok(acme.api.get(f"{acme.path}/caps"))["data"] == []


def test_thousands_may_be_grouped(ana: Reader, acme: Customer) -> None:
    assert _set_cap(ana, "1,234.5").status_code == 303
    (cap,) = ok(acme.api.get(f"{acme.path}/caps"))["data"]
    assert cap["limit"] == {"credits": "1234.5"}


@pytest.mark.parametrize("typed", ["$200", "200 usd", "USD 200.00", " $200.00 "])
def test_a_limit_may_be_stated_in_money_and_stays_so(
    ana: Reader, acme: Customer, typed: str
) -> None:
    assert _set_cap(ana, typed).status_code == 303
    (cap,) = ok(acme.api.get(f"{acme.path}/caps"))["data"]
    assert (cap["limit"]["amount"], cap["limit"]["currency"]) == ("200", "usd")
    page = ana.client.get("/spending").text
    assert "at $200.00 each period" in re.sub(r"\s+", " ", page)
    assert 'value="$200.00"' in page


def _set_cap(reader: Reader, limit: str) -> TestResponse:
    return reader.send(
        "/spending/caps",
        "/spending",
        subject="organization",
        action="",
        window="period",
        mode="hard",
        limit=limit,
    )


def test_a_cap_removed_in_another_tab_leads_back(ana: Reader, acme: Customer) -> None:
    cap = acme.cap(10)
    ok(acme.api.delete(f"{acme.path}/caps/{cap}"))
    answer = ana.send(f"/spending/caps/{cap}/remove", "/spending")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/spending")
    assert ana.client.get("/spending/caps").headers["Location"] == "/spending"


@pytest.mark.parametrize("page", ["/usage", "/usage.csv", "/usage/events"])
@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01", "tomorrow"])
def test_days_no_calendar_has_are_told_and_break_nothing(ana: Reader, page: str, day: str) -> None:
    answer = ana.client.get(f"{page}?range=own&from={day}&to={day}")
    assert answer.status_code in {200, 422}


def test_a_member_is_told_of_every_cap_that_can_stop_them(cleo: Reader, acme: Customer) -> None:
    ok(acme.api.put(f"{acme.path}/projects/site", {"name": "The site"}), 201)
    acme.cap(10, scope="project", target="site")
    acme.cap(10, scope="member", target="ana")
    page = cleo.client.get("/spending").text
    assert "The site" in page
    assert "No cap limits your work" not in page
    assert "Ana" not in page


def test_what_was_not_charged_is_not_in_the_figures(ana: Reader, acme: Customer) -> None:
    ok(acme.send(acme.event("analysis", quantity="12.5")))
    assert acme.standing == ("0", "0")
    usage = ok(acme.api.get(f"{acme.path}/usage"))["totals"]
    assert (usage["credits"], usage["uncollected"]) == ("100", "25")
    assert '<b class="num">100</b> credits for 12.5 pieces of work' in ana.client.get("/usage").text


def test_an_address_that_takes_a_form_alone_says_so_in_words(ana: Reader) -> None:
    answer = ana.client.get("/billing/details")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "OPTIONS, POST"
    assert "There is no page here" in answer.text
    assert "method" not in answer.text.partition("<main")[2].partition("</main>")[0].lower()


def test_a_form_without_its_token_changes_nothing(ana: Reader, acme: Customer) -> None:
    answer = ana.client.post("/spending/caps", data={"subject": "organization", "limit": "5"})
    assert answer.status_code == 400
    assert ok(acme.api.get(f"{acme.path}/caps"))["data"] == []


def test_a_session_sleeps_after_half_an_hour_and_ends_after_twelve(
    ana: Reader, clock: Clock, database: Database
) -> None:
    for _ in range(5):
        clock.forward(timedelta(minutes=29))
        assert ana.client.get("/").status_code == 200
    clock.forward(timedelta(minutes=31))
    assert ana.client.get("/").status_code == 302
    with database.reading() as tx:
        assert len(tx.execute(sessions.select()).all()) == 1


def test_every_answer_carries_its_headers(ana: Reader) -> None:
    for path in ("/", "/sign-in", "/nothing", "/static/clearmeter.css", "/v1/catalog"):
        with ana.client.get(path) as answer:
            headers = answer.headers
        assert "default-src 'none'" in headers["Content-Security-Policy"], path
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Request-Id"].startswith("req_")
