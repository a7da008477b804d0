"""Sessions: their owner sees and ends them, and they never outlive what they stand for."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlalchemy import select

from app import create_app
from portal import access, accounts
from portal.core.devices import device_name
from portal.db import Database
from portal.tables import sessions
from tests.cast import Api, Customer, make_key, ok, refused
from tests.clock import Clock
from tests.conftest import settings_for
from tests.doors import PASSWORD, acts
from tests.readers import Reader, enter, sign_in

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture
def ana(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    return enter(application, database, clock, "ana")


@pytest.fixture
def elsewhere(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    """Ana on another device."""
    return enter(application, database, clock, "ana")


def is_in(reader: Reader) -> bool:
    return reader.client.get("/").status_code == 200


def secret(reader: Reader) -> str:
    cookie = reader.client.get_cookie("clearmeter")
    assert cookie is not None
    return str(cookie.value)


def names(reader: Reader) -> list[str]:
    """Return the ids of the sessions that can be ended from here: all but this one."""
    return re.findall(r"/account/sessions/(se_\w+)/end", reader.client.get("/account").text)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (FIREFOX, "Firefox on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Macintosh; Intel) Chrome/140.0.0.0 Safari/537.36 Edg/140.0", "Edge on Mac"),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/140.0 Safari/537.36", "Chrome on Android"),
        ("curl/8.0", "an unknown browser"),
        ("", "an unknown browser"),
    ],
)  # fmt: skip
def test_a_device_is_named_in_plain_words(sent: str, words: str) -> None:
    assert device_name(sent) == words


def test_the_list_says_where_by_what_and_which_is_this_one(
    acme: Customer, application: Flask, database: Database, clock: Clock, ana: Reader
) -> None:
    with database.transaction() as tx:
        access.begin_session(
            tx,
            organization_id="acme",
            member_id="ana",
            operator_email=None,
            method=access.BY_PASSKEY,
            device=FIREFOX,
            now=clock(),
        )
    page = ana.client.get("/account").text
    assert "Firefox on Windows" in page
    assert "Signed in by passkey today, 12:00" in page
    assert page.count("This device") == 1
    assert len(names(ana)) == 1


def test_one_is_ended_and_the_others_stay(
    ana: Reader, elsewhere: Reader, acme: Customer, database: Database
) -> None:
    (other,) = names(ana)
    assert ana.send(f"/account/sessions/{other}/end", "/account").status_code == 303
    assert not is_in(elsewhere)
    assert is_in(ana)
    assert acts(database).count(("ana", "session.ended")) == 1


def test_all_others_are_ended_at_once(
    ana: Reader, elsewhere: Reader, acme: Customer, application: Flask, database: Database,
    clock: Clock,
) -> None:  # fmt: skip
    ben = enter(application, database, clock, "ben")
    third = enter(application, database, clock, "ana")
    assert ana.send("/account/sessions/end-others", "/account").status_code == 303
    assert [is_in(one) for one in (ana, elsewhere, third, ben)] == [True, False, False, True]


def test_nobody_ends_anybody_elses(
    ana: Reader, acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    ben = enter(application, database, clock, "ben")
    with database.reading() as tx:
        named = tx.execute(
            select(sessions.c.session_id).where(sessions.c.member_id == "ben")
        ).scalar_one()
    assert names(ana) == []
    ana.send(f"/account/sessions/{named}/end", "/account")
    assert is_in(ben)


def test_ending_this_one_by_its_name_signs_out(
    ana: Reader, acme: Customer, database: Database
) -> None:
    with database.reading() as tx:
        named = tx.execute(select(sessions.c.session_id)).scalar_one()
    answer = ana.send(f"/account/sessions/{named}/end", "/account")
    assert answer.headers["Location"] == "/sign-in"
    assert not is_in(ana)


def test_signing_in_gives_a_new_secret_and_ends_the_old(
    acme: Customer, application: Flask, database: Database, clock: Clock, ana: Reader
) -> None:
    before = secret(ana)
    with database.transaction() as tx:
        token, _ = access.make_link(tx, now=clock(), organization_id="acme", member_id="ben")
    ana.send(f"/sign-in/{token}", f"/sign-in/{token}")
    assert secret(ana) != before
    assert not _lets_in(application, before)


def _lets_in(application: Flask, value: str) -> bool:
    client = application.test_client()
    client.set_cookie("clearmeter", value)
    return client.get("/").status_code == 200


def test_a_secret_given_to_somebody_before_they_sign_in_is_worth_nothing(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    planted = Reader(application.test_client())
    planted.token("/sign-in")
    before = secret(planted)
    with database.transaction() as tx:
        token, _ = access.make_link(tx, now=clock(), organization_id="acme", member_id="ana")
    planted.send(f"/sign-in/{token}", f"/sign-in/{token}")
    assert is_in(planted)
    assert not _lets_in(application, before)


def test_a_change_of_role_takes_effect_at_once_with_a_new_secret(
    ana: Reader, acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    ben = enter(application, database, clock, "ben")
    before = secret(ben)
    assert ben.client.get("/billing").status_code == 200
    assert secret(ben) == before
    body = {"email": "ben@acme.example", "name": "Ben", "role": "member"}
    ok(acme.api.put(f"{acme.path}/members/ben", body))
    assert ben.client.get("/billing").status_code == 403
    assert secret(ben) != before
    assert is_in(ben)
    assert not _lets_in(application, before)
    kept = secret(ben)
    ben.client.get("/usage")
    assert secret(ben) == kept


def test_two_requests_at_the_change_of_a_role_leave_one_session(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    ben = enter(application, database, clock, "ben")
    before = secret(ben)
    body = {"email": "ben@acme.example", "name": "Ben", "role": "viewer"}
    ok(acme.api.put(f"{acme.path}/members/ben", body))
    with database.reading() as tx:
        found = access.find_session(tx, before, now=clock())
    assert found is not None
    with database.transaction() as tx:
        access.renew_session(tx, found.session_hash, now=clock())
    with database.reading() as tx:
        assert access.find_session(tx, before, now=clock()) is None
        assert len(tx.execute(select(sessions)).all()) == 1


def test_a_password_change_gives_this_session_a_new_secret_and_ends_the_others(
    ana: Reader, elsewhere: Reader, acme: Customer, application: Flask
) -> None:
    before = secret(ana)
    answer = ana.send("/account", "/account", password=PASSWORD, again=PASSWORD)
    assert answer.status_code == 303
    assert secret(ana) != before
    assert "Your password is set" in ana.client.get("/account").text
    assert not is_in(elsewhere)
    assert not _lets_in(application, before)


def test_a_new_secret_is_no_new_lease(ana: Reader, acme: Customer, database: Database) -> None:
    with database.reading() as tx:
        ends = tx.execute(select(sessions.c.expires_at)).scalar_one()
    ana.send("/account", "/account", password=PASSWORD, again=PASSWORD)
    with database.reading() as tx:
        assert tx.execute(select(sessions.c.expires_at)).scalar_one() == ends


def test_removing_somebody_takes_their_links_passkeys_and_sessions(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    cleo = enter(application, database, clock, "cleo")
    body = {"organization": "acme", "member": {"id": "cleo", "email": "cleo@acme.example"}}
    path = ok(acme.api.post("/v1/portal_sessions", body), 201)["url"].partition("8000")[2]
    ok(acme.api.delete(f"{acme.path}/members/cleo"))
    assert not is_in(cleo)
    visitor = Reader(application.test_client())
    assert visitor.send(path, "/sign-in").status_code == 401
    with database.reading() as tx:
        assert len(accounts.list_members(tx, "acme")) == 2


def test_what_ends_in_one_process_has_ended_in_every_other(
    ana: Reader, acme: Customer, application: Flask, store: str, clock: Clock, database: Database
) -> None:
    another = create_app(settings_for(store), clock=clock)
    mine, bens = secret(ana), secret(enter(application, database, clock, "ben"))
    assert _lets_in(another, mine)
    assert _lets_in(another, bens)
    ana.send("/sign-out", "/account")
    ok(acme.api.delete(f"{acme.path}/members/ben"))
    assert not _lets_in(another, mine)
    assert not _lets_in(another, bens)
    another.extensions["clearmeter"].database.close()


def portal_session(api: Api, member: str = "ana") -> tuple[str, str]:
    """Make a link for a member of Acme; returns its id and its path."""
    body = {"organization": "acme", "member": {"id": member, "email": f"{member}@acme.example"}}
    made = ok(api.post("/v1/portal_sessions", body), 201)
    return made["id"], made["url"].removeprefix("http://127.0.0.1:8000")


def test_an_unused_portal_link_is_taken_back(acme: Customer, application: Flask) -> None:
    named, path = portal_session(acme.api)
    assert named.startswith("ps_")
    assert ok(acme.api.delete(f"/v1/portal_sessions/{named}")) == {"id": named, "ended": True}
    assert Reader(application.test_client()).send(path, path).status_code == 401
    refused(acme.api.delete(f"/v1/portal_sessions/{named}"), 404, "unknown-portal-session")


def test_the_session_that_a_portal_link_became_is_ended(
    acme: Customer, application: Flask, database: Database, ana: Reader
) -> None:
    named, path = portal_session(acme.api)
    reader = sign_in(application, path)
    assert is_in(reader)
    # Another secret keeps its name.
    assert reader.send("/account", "/account", password=PASSWORD, again=PASSWORD).status_code == 303
    ok(acme.api.delete(f"/v1/portal_sessions/{named}"))
    assert not is_in(reader)


def test_only_the_operators_backend_takes_links_back(
    acme: Customer, database: Database, clock: Clock
) -> None:
    named, _ = portal_session(acme.api)
    mine = acme.api.holding(make_key(database, clock, organization="acme", scopes=["manage"]))
    refused(mine.delete(f"/v1/portal_sessions/{named}"), 403, "not-allowed")
    refused(acme.api.delete("/v1/portal_sessions/ps_none"), 404, "unknown-portal-session")
    refused(acme.api.holding("").delete(f"/v1/portal_sessions/{named}"), 401, "unauthenticated")
    ok(acme.api.delete(f"/v1/portal_sessions/{named}"))
