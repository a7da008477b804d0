"""A link by mail: it comes to whoever has the address, works once, and gives nobody away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from portal import access, accounts
from portal.access import by_mail
from portal.config import Settings
from portal.db import Database
from portal.tables import operators, tokens
from portal.web.security import limiter
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.conftest import settings_for
from tests.doors import (
    PASSWORD,
    acts,
    ask_for_link,
    asked_of,
    give_password,
    mailed,
    opened,
    path_of,
)
from tests.post import PostOffice, post_office, text_of
from tests.readers import Reader

TICK = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def only_office() -> Iterator[PostOffice]:
    with post_office() as office:
        yield office


@pytest.fixture
def office(only_office: PostOffice) -> PostOffice:
    only_office.came.clear()
    only_office.refusing = False
    return only_office


@pytest.fixture
def application(
    store: str, clock: Clock, built: Callable[[Settings], Flask], office: PostOffice
) -> Iterator[Flask]:
    settings = settings_for(store, mail_url=office.url, mail_from="hello@scribe.example")
    with opened(built, settings, clock) as application:
        yield application


@pytest.fixture
def reader(application: Flask) -> Reader:
    return Reader(application.test_client())


def finish(application: Flask) -> None:
    application.extensions["clearmeter"].errands.finish()


def test_a_link_from_the_mail_signs_in_whoever_goes_on(
    acme: Customer, application: Flask, office: PostOffice, database: Database, reader: Reader
) -> None:
    assert "Look in your mail" in ask_for_link(reader, " Ana@ACME.example ").text
    path = path_of(office)
    assert office.came[0]["To"] == "ana@acme.example"
    assert office.came[0]["From"] == "Clearmeter <hello@scribe.example>"
    assert "15 minutes" in text_of(office.came[0])
    scanner = application.test_client()
    for method in ("HEAD", "GET", "OPTIONS"):
        answer = scanner.open(path, method=method)
        assert answer.status_code == 200
        assert "continue.js" not in answer.text
    assert reader.send(path, path).headers["Location"] == "/"
    assert reader.client.get("/").status_code == 200
    assert acts(database) == [("ana", "session.begun")]


def test_it_works_once(
    acme: Customer, application: Flask, office: PostOffice, reader: Reader
) -> None:
    ask_for_link(reader, "ana@acme.example")
    path = path_of(office)
    assert reader.send(path, path).status_code == 302
    thief = Reader(application.test_client())
    answer = thief.send(path, path)
    assert answer.status_code == 401
    assert "has been used" in answer.text


def test_it_ends_after_a_quarter_of_an_hour(
    acme: Customer, office: PostOffice, reader: Reader, clock: Clock
) -> None:
    ask_for_link(reader, "ana@acme.example")
    path = path_of(office)
    clock.forward(timedelta(minutes=15) - TICK)
    ask_for_link(reader, "ben@acme.example")
    other = path_of(office, 2)
    assert reader.send(path, path).status_code == 302
    clock.forward(timedelta(minutes=15))
    assert reader.send(other, other).status_code == 401


def test_only_its_hash_is_stored(
    acme: Customer, office: PostOffice, reader: Reader, database: Database
) -> None:
    ask_for_link(reader, "ana@acme.example")
    token = path_of(office).rpartition("/")[2]
    assert len(token) == 43
    with database.reading() as tx:
        stored = tx.execute(select(tokens)).one()
    assert token not in repr(stored)
    assert stored.email == "ana@acme.example"


def test_a_password_change_voids_links_sent_before(
    acme: Customer, office: PostOffice, reader: Reader, database: Database
) -> None:
    ask_for_link(reader, "ana@acme.example")
    ask_for_link(reader, "ben@acme.example")
    office.one(2)
    paths = {one["To"]: re.findall(r"/sign-in/mail/\S+", text_of(one))[0] for one in office.came}
    give_password(database, "ana")
    assert reader.send(paths["ana@acme.example"], "/sign-in").status_code == 401
    assert reader.send(paths["ben@acme.example"], "/sign-in").status_code == 302


def test_it_is_bound_to_the_address_not_to_who_had_it(
    acme: Customer, office: PostOffice, reader: Reader
) -> None:
    ask_for_link(reader, "cleo@acme.example")
    path = path_of(office)
    body = {"email": "cleo@elsewhere.example", "name": "Cleo", "role": "member"}
    ok(acme.api.put(f"{acme.path}/members/cleo", body))
    assert reader.send(path, path).status_code == 401


def test_whoever_was_removed_is_not_let_in(
    acme: Customer, office: PostOffice, reader: Reader
) -> None:
    ask_for_link(reader, "cleo@acme.example")
    path = path_of(office)
    ok(acme.api.delete(f"{acme.path}/members/cleo"))
    assert reader.send(path, path).status_code == 401


def _plain(page: str) -> str:
    return re.sub(r'name="csrf_token" value="[^"]+"', "", page)


def test_nobody_can_tell_who_is_known(
    acme: Customer, application: Flask, office: PostOffice, reader: Reader
) -> None:
    known = ask_for_link(reader, "ana@acme.example")
    unknown = ask_for_link(reader, "nobody@acme.example")
    finish(application)
    assert known.status_code == unknown.status_code == 200
    assert _plain(known.text) == _plain(unknown.text)
    names = [sorted(one.headers.keys()) for one in (known, unknown)]
    assert names[0] == names[1]
    assert [one["To"] for one in office.came] == ["ana@acme.example"]


def test_the_answer_waits_neither_for_the_store_nor_for_the_mail(
    acme: Customer, application: Flask, office: PostOffice, reader: Reader
) -> None:
    """What is done before the answer is the same to the statement, whoever has the address."""
    form = {"csrf_token": reader.token("/sign-in")}
    asked: dict[str, list[list[str]]] = {"ana@acme.example": [], "nobody@acme.example": []}
    engine = application.extensions["clearmeter"].database.engine
    for turn in range(8):
        for email, statements in sorted(asked.items(), reverse=bool(turn % 2)):
            limiter.reset()
            with asked_of(engine) as before_the_answer:
                answer = reader.client.post("/sign-in/mail", data=form | {"email": email})
            statements.append(list(before_the_answer))
            assert answer.status_code == 200
            finish(application)
    known, unknown = asked.values()
    assert known == unknown
    # And nobody's mailbox is flooded.
    assert len(office.came) == by_mail.MOST_UNUSED


def test_a_mail_that_does_not_go_out_is_told_to_nobody_but_the_log(
    acme: Customer,
    application: Flask,
    office: PostOffice,
    reader: Reader,
    capfd: pytest.CaptureFixture[str],
) -> None:
    office.refusing = True
    assert ask_for_link(reader, "ana@acme.example").status_code == 200
    finish(application)
    said = capfd.readouterr().err
    assert "errand failed" in said
    assert "/sign-in/mail/" not in said


@pytest.mark.parametrize("typed", ["", "ana", "a@b@c", "ana @acme.example"])
def test_what_is_no_address_is_told_at_once(reader: Reader, typed: str) -> None:
    answer = ask_for_link(reader, typed)
    assert answer.status_code == 422
    assert "mail address" in answer.text


def test_asking_again_and_again_is_stopped(reader: Reader) -> None:
    statuses = [ask_for_link(reader, "x@y.example").status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]


def test_whoever_belongs_to_several_chooses_and_can_switch(
    acme: Customer, bystander: Customer, application: Flask, office: PostOffice, database: Database
) -> None:
    acme.api.put("/v1/organizations/zenith", {"name": "Zenith"})
    body = {"email": "ana@acme.example", "name": "Ana Z", "role": "viewer"}
    ok(acme.api.put("/v1/organizations/zenith/members/az", body), 201)
    reader = mailed(application, office)
    # Signed in, but nowhere yet.
    for page in ("/", "/usage", "/account", "/operator/"):
        assert reader.client.get(page).status_code in {302, 404}
    choice = reader.client.get("/sign-in/choose").text
    assert "Acme" in choice
    assert "Zenith" in choice
    assert "Bystander" not in choice
    went = reader.send("/sign-in/choose", "/sign-in/choose", organization="zenith", member="az")
    assert went.headers["Location"] == "/"
    assert "Ana Z" in reader.client.get("/account").text
    assert "Switch organization" in reader.client.get("/").text
    reader.send("/sign-in/choose", "/sign-in/choose", organization="acme", member="ana")
    assert "Ana Z" not in reader.client.get("/account").text
    assert acts(database, "zenith") == [("az", "session.begun"), ("az", "session.ended")]
    assert acts(database) == [("ana", "session.begun")]


def test_nobody_switches_to_where_they_do_not_belong(
    acme: Customer, bystander: Customer, application: Flask, office: PostOffice
) -> None:
    ok(acme.api.put("/v1/organizations/zenith", {"name": "Zenith"}), 201)
    body = {"email": "ana@acme.example", "role": "viewer"}
    ok(acme.api.put("/v1/organizations/zenith/members/az", body), 201)
    reader = mailed(application, office)
    for organization, member in (("bystander", "dana"), ("acme", "ben"), ("", "ana"), ("x", "y")):
        answer = reader.send(
            "/sign-in/choose", "/sign-in/choose", organization=organization, member=member
        )
        assert answer.status_code == 404
    # A link from the operator's product says nothing about the address: it opens its one place.
    by_link = Reader(application.test_client())
    sent = ok(
        acme.api.post(
            "/v1/portal_sessions",
            {"organization": "acme", "member": {"id": "ana", "email": "ana@acme.example"}},
        ),
        201,
    )
    path = sent["url"].removeprefix("http://127.0.0.1:8000")
    assert by_link.send(path, path).status_code == 302
    answer = by_link.send("/sign-in/choose", "/account", organization="zenith", member="az")
    assert answer.status_code == 404


def test_an_operator_signs_in_by_mail_too(
    application: Flask, office: PostOffice, database: Database, clock: Clock
) -> None:
    with database.transaction() as tx:
        access.put_operator(tx, "olga@op.example", "Olga", now=clock())
    reader = mailed(application, office, "olga@op.example")
    assert reader.client.get("/operator/").status_code == 200
    with database.reading() as tx:
        assert tx.execute(select(operators)).one().email == "olga@op.example"
    assert acts(database, "") == [("operator:olga@op.example", "session.begun")]


def test_an_operator_who_is_a_member_too_chooses(
    acme: Customer, application: Flask, office: PostOffice, database: Database, clock: Clock
) -> None:
    with database.transaction() as tx:
        access.put_operator(tx, "ana@acme.example", "Ana", now=clock())
    reader = mailed(application, office)
    assert "All customers" in reader.client.get("/sign-in/choose").text
    sent = {"organization": "", "member": "ana@acme.example"}
    answer = reader.send("/sign-in/choose", "/sign-in/choose", **sent)
    assert answer.headers["Location"] == "/operator/"
    assert reader.client.get("/operator/").status_code == 200
    reader.send("/sign-in/choose", "/sign-in/choose", organization="acme", member="ana")
    assert reader.client.get("/operator/").status_code == 404
    assert reader.client.get("/").status_code == 200


def test_a_forgotten_password_is_set_anew_within_ten_minutes(
    acme: Customer, application: Flask, office: PostOffice, database: Database, clock: Clock
) -> None:
    give_password(database, "ana")
    elsewhere = mailed(application, office)
    reader = mailed(application, office)
    page = reader.client.get("/account").text
    assert 'name="current"' not in page
    clock.forward(timedelta(minutes=10) - TICK)
    new = {"password": "another good password", "again": "another good password"}
    answer = reader.send("/account", "/account", **new)
    assert answer.status_code == 303
    assert reader.client.get("/").status_code == 200
    assert elsewhere.client.get("/").status_code == 302
    with database.reading() as tx:
        assert access.members_by_password(tx, "ana@acme.example", new["password"])
        assert not access.members_by_password(tx, "ana@acme.example", PASSWORD)
    # From now on this session must know it as well.
    assert reader.send("/account", "/account", **new).status_code == 422


def test_whoever_came_for_a_new_password_is_led_to_where_it_is_set(
    acme: Customer, office: PostOffice, reader: Reader
) -> None:
    ask_for_link(reader, "ana@acme.example")
    path = path_of(office)
    answer = reader.send(path, path, then="password")
    assert answer.headers["Location"] == "/account#password-title"
    assert reader.client.get("/account").status_code == 200


def test_after_ten_minutes_the_old_password_is_asked_for_again(
    acme: Customer, application: Flask, office: PostOffice, database: Database, clock: Clock
) -> None:
    give_password(database, "ana")
    reader = mailed(application, office)
    clock.forward(timedelta(minutes=10))
    assert 'name="current"' in reader.client.get("/account").text
    new = {"password": "another good password", "again": "another good password"}
    assert reader.send("/account", "/account", **new).status_code == 422


def test_the_owner_is_told_by_mail_when_their_password_changes(
    acme: Customer, application: Flask, office: PostOffice
) -> None:
    reader = mailed(application, office)
    new = {"password": "another good password", "again": "another good password"}
    assert reader.send("/account", "/account", **new).status_code == 303
    told = office.one(2)
    assert told["Subject"] == "Your password was changed: Clearmeter"
    assert "another good" not in text_of(told)


def test_several_places_by_one_password_are_chosen_among(
    acme: Customer, bystander: Customer, application: Flask, database: Database, reader: Reader
) -> None:
    ok(acme.api.put("/v1/organizations/zenith", {"name": "Zenith"}), 201)
    body = {"email": "ana@acme.example", "name": "Ana Z", "role": "viewer"}
    ok(acme.api.put("/v1/organizations/zenith/members/az", body), 201)
    give_password(database, "ana")
    sent = {"email": "ana@acme.example", "password": PASSWORD}
    assert reader.send("/sign-in", "/sign-in", **sent).headers["Location"] == "/"
    with database.transaction() as tx:
        access.set_password(tx, accounts.find_member(tx, "zenith", "az"), PASSWORD)
    again = Reader(application.test_client())
    assert again.send("/sign-in", "/sign-in", **sent).headers["Location"] == "/sign-in/choose"
    again.send("/sign-in/choose", "/sign-in/choose", organization="zenith", member="az")
    assert "Ana Z" in again.client.get("/account").text


def test_joining_elsewhere_by_somebody_elses_hand_opens_nothing(
    acme: Customer, bystander: Customer, application: Flask, database: Database, reader: Reader
) -> None:
    """Whoever adds Ana's address to theirs gains no way into Acme."""
    give_password(database, "ana")
    ok(acme.api.put("/v1/organizations/evil", {"name": "Evil"}), 201)
    body = {"email": "ana@acme.example", "role": "owner"}
    ok(acme.api.put("/v1/organizations/evil/members/mallory", body), 201)
    with database.transaction() as tx:
        access.set_password(tx, accounts.find_member(tx, "evil", "mallory"), "mallory's own words")
    sent = {"email": "ana@acme.example", "password": "mallory's own words"}
    reader.send("/sign-in", "/sign-in", **sent)
    assert "Evil" in reader.client.get("/account").text
    answer = reader.send("/sign-in/choose", "/account", organization="acme", member="ana")
    assert answer.status_code == 404
