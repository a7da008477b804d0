"""Invitations: a row that waits, links that last an hour, and nobody who is overwritten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from portal import access, accounts, invitations
from portal.core.errors import InvalidRequest, NotAllowed, Unauthenticated
from portal.db import Database
from portal.notices.mail import Mailer
from portal.tables import audit_log, invitation_links, members
from portal.web.services import Services
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.post import PostOffice, post_office, text_of
from tests.readers import Reader, enter

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def open_office() -> Iterator[PostOffice]:
    with post_office() as office:
        yield office


@pytest.fixture
def office(
    open_office: PostOffice, application: Flask, monkeypatch: pytest.MonkeyPatch
) -> PostOffice:
    """A mail server that the product sends by."""
    open_office.came.clear()
    open_office.refusing = False
    parts: Services = application.extensions["clearmeter"]
    mailer = Mailer(open_office.url, "hello@scribe.example", "Scribe")
    monkeypatch.setitem(application.extensions, "clearmeter", _with(parts, mailer))
    return open_office


def _with(parts: Services, mailer: Mailer) -> Services:
    return replace(parts, mailer=mailer)


@pytest.fixture
def ben(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    return enter(application, database, clock, "ben")


def _invite(reader: Reader, email: str = "ivy@acme.example", role: str = "member") -> int:
    fields = {"email": email, "role": role, "team": "research"}
    return reader.send("/team/invitations", "/team", **fields).status_code


def _path(office: PostOffice, number: int = 1) -> str:
    found = re.search(r"http://127.0.0.1:8000(/invitations/\S+)", text_of(office.one(number)))
    assert found is not None
    return found[1]


def _stranger(application: Flask, path: str, **fields: str) -> tuple[Reader, int]:
    reader = Reader(application.test_client())
    return reader, reader.send(path, path, **fields).status_code


def test_who_is_invited_joins_by_the_link_in_their_mail(
    ben: Reader, application: Flask, office: PostOffice, database: Database
) -> None:
    assert _invite(ben, " Ivy@ACME.example ") == 303
    mail = office.one()
    assert mail["To"] == "ivy@acme.example"
    path = _path(office)
    for method in ("GET", "HEAD"):
        assert application.test_client().open(path, method=method).status_code == 200
    ivy, status = _stranger(application, path, name="Ivy  Green")
    assert status == 303
    assert "Welcome. Under Account" in ivy.client.get("/").text
    with database.reading() as tx:
        known = accounts.member_of_address(tx, "acme", "ivy@acme.example")
        acts = tx.execute(select(audit_log.c.act).where(audit_log.c.organization_id == "acme"))
        noted = [one.act for one in acts]
    assert known is not None
    assert (known[0].name, known[0].role, known[0].team_id) == ("Ivy Green", "member", "research")
    assert {"invitation.made", "invitation.accepted"} <= set(noted)
    assert application.test_client().get(path).status_code == 404, "it works once"


def test_a_link_ends_after_an_hour_and_a_fresh_one_goes_to_the_same_address(
    ben: Reader, application: Flask, office: PostOffice, clock: Clock, database: Database
) -> None:
    _invite(ben)
    old = _path(office)
    clock.forward(HOUR)
    page = application.test_client().get(old)
    assert page.status_code == 410
    assert "ivy@" not in page.text
    assert "still stands" in page.text
    reader = Reader(application.test_client())
    assert reader.send(f"{old}/again", old).status_code == 200
    assert office.one(2)["To"] == "ivy@acme.example"
    fresh = _path(office, 2)
    assert fresh != old
    assert _stranger(application, old, name="Ivy")[1] == 410, "the old one stays ended"
    assert _stranger(application, fresh, name="Ivy")[1] == 303
    with database.reading() as tx:
        assert old.rpartition("/")[2] not in repr(tx.execute(select(invitation_links)).all())


def test_sending_again_makes_the_last_link_worth_nothing(
    ben: Reader, application: Flask, office: PostOffice, database: Database
) -> None:
    _invite(ben)
    with database.reading() as tx:
        (waiting,) = invitations.waiting(tx, "acme")
    ben.send(f"/team/invitations/{waiting.invitation_id}/send", "/team")
    first, second = _path(office, 2), ""
    office.came.pop()
    second, first = first, _path(office, 1)
    assert _stranger(application, first, name="Ivy")[1] == 410
    assert _stranger(application, second, name="Ivy")[1] == 303


def test_what_is_withdrawn_leads_nowhere(
    ben: Reader, application: Flask, office: PostOffice, database: Database
) -> None:
    _invite(ben)
    path = _path(office)
    with database.reading() as tx:
        (waiting,) = invitations.waiting(tx, "acme")
    ben.send(f"/team/invitations/{waiting.invitation_id}/withdraw", "/team")
    unknown = application.test_client().get(f"/invitations/{'x' * 43}")
    withdrawn = application.test_client().get(path)
    assert withdrawn.status_code == unknown.status_code == 404
    assert "ivy@" not in withdrawn.text
    assert len(office.came) == 1
    assert _invite(ben) == 303, "and they can be invited anew"


def test_an_invitation_ends_with_the_right_of_who_made_it(
    acme: Customer, ben: Reader, application: Flask, office: PostOffice
) -> None:
    _invite(ben)
    ok(acme.api.delete(f"{acme.path}/members/ben"))
    assert application.test_client().get(_path(office)).status_code == 404


def test_accepting_changes_nothing_of_somebody_who_is_here_already(
    acme: Customer, ben: Reader, application: Flask, office: PostOffice, database: Database
) -> None:
    _invite(ben, role="viewer")
    body = {"email": "ivy@acme.example", "name": "Ivy", "role": "admin"}
    ok(acme.api.put(f"{acme.path}/members/ivy", body), 201)
    with database.transaction() as tx:
        access.set_password(tx, accounts.find_member(tx, "acme", "ivy"), "her own password")
    before = _row(database, "ivy")
    assert _stranger(application, _path(office), name="Mallory")[1] == 303
    assert _row(database, "ivy") == before


def _row(database: Database, member: str) -> tuple[object, ...]:
    with database.reading() as tx:
        columns = (one for one in members.c if one.name != "seen_at")
        return tuple(tx.execute(select(*columns).where(members.c.member_id == member)).one())


def test_somebody_who_left_comes_back_under_their_own_name_without_their_old_password(
    acme: Customer, ben: Reader, application: Flask, office: PostOffice, database: Database
) -> None:
    with database.transaction() as tx:
        access.set_password(tx, accounts.find_member(tx, "acme", "cleo"), "her own password")
    ok(acme.api.delete(f"{acme.path}/members/cleo"))
    _invite(ben, "cleo@acme.example", "viewer")
    assert "known here as <b>Cleo</b>" in application.test_client().get(_path(office)).text
    assert _stranger(application, _path(office), name="Mallory")[1] == 303
    with database.reading() as tx:
        cleo = accounts.find_member(tx, "acme", "cleo")
        assert (cleo.name, cleo.role) == ("Cleo", "viewer")
        assert access.members_by_password(tx, "cleo@acme.example", "her own password") == []


@pytest.mark.parametrize(
    "email", ["", "nobody", "a@b", "a b@c.example", "x" * 250 + "@c.example", "cleo@acme.example"]
)
def test_an_address_that_cannot_be_invited_is_told_and_kept_in_the_form(
    ben: Reader, office: PostOffice, email: str
) -> None:
    answer = ben.send("/team/invitations", "/team", email=email, role="member", team="")
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text
    assert office.came == []


def test_nobody_is_invited_twice_at_once(ben: Reader, office: PostOffice) -> None:
    assert [_invite(ben), _invite(ben)] == [303, 422]
    assert len(office.came) == 1


def test_a_mail_that_is_not_taken_leaves_the_invitation_to_be_sent_again(
    ben: Reader, office: PostOffice
) -> None:
    office.refusing = True
    _invite(ben)
    page = ben.client.get("/team").text
    assert "no mail could be sent" in page
    assert "Send again" in page


def test_an_admin_invites_no_owner_and_a_member_nobody(
    acme: Customer, database: Database, clock: Clock
) -> None:
    with database.reading() as tx:
        people = {one.member_id: one for one in accounts.list_members(tx, "acme")}
    for who, role in (("ben", "owner"), ("cleo", "viewer")):
        with pytest.raises(NotAllowed):
            invitations.invite(
                database, "acme", email="x@y.example", role=role, team_id="", by=people[who],
                now=clock(),
            )  # fmt: skip


def test_a_link_is_used_once_under_any_haste(
    acme: Customer, database: Database, clock: Clock
) -> None:
    with database.reading() as tx:
        ana = accounts.find_member(tx, "acme", "ana")
    fresh = invitations.invite(
        database, "acme", email="x@y.example", role="member", team_id="", by=ana, now=clock()
    )

    def join(number: int) -> bool:
        try:
            invitations.accept(database, fresh.token, name=f"N{number}", now=clock())
        except (Unauthenticated, InvalidRequest):
            return False
        return True

    with ThreadPoolExecutor(8) as crowd:
        assert sum(crowd.map(join, range(16))) == 1
    with database.reading() as tx:
        assert len(accounts.list_members(tx, "acme")) == 4
