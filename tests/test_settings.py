"""Settings: the name and the zone, keys that are shown once, and the log of what was done."""

from __future__ import annotations

import csv
import io
import re
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from app import create_app
from portal import access, accounts, audit, keys, raises
from portal.core.units import MICRO
from portal.db import Database
from portal.tables import metadata, sessions
from portal.web import record
from tests.cast import Api, Customer, ok, refused
from tests.clock import Clock
from tests.conftest import settings_for
from tests.readers import Reader, enter


@pytest.fixture
def ana(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    return enter(application, database, clock, "ana")


def _make(reader: Reader, **fields: str) -> str:
    fields = {"name": "n", "scope": "read"} | fields
    return _key_on(reader.send_and_follow("/settings/keys", "/settings", **fields))


def _key_on(page: str) -> str:
    (key,) = re.findall(r'value="(cm_[^"]+)"', page)
    return str(key)


def test_another_time_zone_begins_with_the_next_period_and_says_when(
    acme: Customer, ana: Reader, database: Database
) -> None:
    fields = {"name": " Acme  & Co ", "timezone": "Asia/Tokyo", "members_see_balance": "yes"}
    assert ana.send("/settings/organization", "/settings", **fields).status_code == 303
    page = ana.client.get("/settings").text
    assert "UTC until 30 Nov, Asia/Tokyo from then on." in page
    with database.reading() as tx:
        assert accounts.find_organization(tx, "acme").name == "Acme & Co"
    ana.send("/settings/organization", "/settings", **(fields | {"timezone": "UTC"}))
    assert "Tokyo from then on" not in ana.client.get("/settings").text


@pytest.mark.parametrize(("field", "value"), [("timezone", "Mars/Olympus"), ("name", " ")])
def test_a_setting_that_cannot_be_names_its_field_and_changes_nothing(
    ana: Reader, database: Database, field: str, value: str
) -> None:
    with database.reading() as tx:
        before = accounts.find_organization(tx, "acme")
    fields = {"name": "New", "timezone": "UTC", "members_see_balance": "no"} | {field: value}
    answer = ana.send("/settings/organization", "/settings", **fields)
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    with database.reading() as tx:
        assert accounts.find_organization(tx, "acme") == before


def test_a_key_is_shown_once_and_works(acme: Customer, ana: Reader) -> None:
    key = _make(ana)
    assert key not in ana.client.get("/settings").text
    ok(acme.api.holding(key).get(f"{acme.path}/balance"))
    refused(acme.api.holding(key).post("/v1/events", acme.event()), 403, "not-allowed")
    page = ana.client.get("/settings").text
    assert key.rpartition("_")[0][:11] in page
    assert "<dd>never</dd>" not in page


def test_a_page_with_a_new_key_that_is_loaded_again_makes_no_second_one(
    ana: Reader, database: Database
) -> None:
    page = ana.send_and_follow("/settings/keys", "/settings", name="n", scope="read")
    assert "Copy this key now." in page
    for _ in range(2):
        assert "Copy this key now." not in ana.client.get("/settings").text
    with database.reading() as tx:
        assert len(keys.of_organization(tx, "acme")) == 1


def test_a_key_that_waits_to_be_shown_is_nowhere_in_the_clear(
    ana: Reader, database: Database
) -> None:
    answer = ana.send("/settings/keys", "/settings", name="n", scope="read")
    told = [answer.text, str(answer.headers)]
    with database.reading() as tx:
        told += [repr(row) for one in metadata.sorted_tables for row in tx.execute(select(one))]
    key = _key_on(ana.client.get(answer.location).text)
    secret = key.rpartition("_")[2]
    written = (secret, b64encode(key.encode()).decode(), key.encode().hex())
    assert not [line for line in told for text in written if text in line]


def test_a_key_is_shown_to_one_of_two_that_load_its_page_at_once(
    ana: Reader, database: Database, clock: Clock
) -> None:
    """A page that began before another showed it brings what it carried of it back."""
    answer = ana.send("/settings/keys", "/settings", name="n", scope="read")
    with database.reading() as tx:
        before = tx.execute(select(sessions.c.session_hash, sessions.c.data)).one()
    assert "Copy this key now." in ana.client.get(answer.location).text
    with database.transaction() as tx:
        access.keep_session(tx, before.session_hash, before.data, now=clock())
    again = ana.client.get(answer.location).text
    assert "cm_" not in "".join(re.findall(r'value="[^"]*"', again))
    assert "can no longer be shown" in again


def test_a_key_that_nobody_looked_at_within_a_minute_is_not_shown_but_replaced(
    ana: Reader, clock: Clock
) -> None:
    answer = ana.send("/settings/keys", "/settings", name="n", scope="read")
    clock.forward(timedelta(minutes=1))
    page = ana.client.get(answer.location).text
    assert 'value="cm_' not in page
    assert "Replace it below" in page


@pytest.mark.parametrize("scope", ["manage", "backfill", "", "everything"])
def test_an_organization_makes_no_key_that_does_more_than_read_and_meter(
    ana: Reader, database: Database, scope: str
) -> None:
    answer = ana.send("/settings/keys", "/settings", name="n", scope=scope)
    assert answer.status_code == 422
    with database.reading() as tx:
        assert keys.of_organization(tx, "acme") == []


def test_a_key_ends_when_it_should(acme: Customer, ana: Reader, clock: Clock) -> None:
    client = acme.api.holding(_make(ana, lifetime="30"))
    clock.forward(timedelta(days=30) - timedelta(microseconds=1))
    ok(client.get("/v1/catalog"))
    clock.forward(timedelta(microseconds=1))
    refused(client.get("/v1/catalog"), 401, "unauthenticated")


def test_a_key_that_is_replaced_goes_on_for_as_long_as_was_chosen(
    acme: Customer, ana: Reader, clock: Clock
) -> None:
    old = _make(ana, name="nightly")
    path = f"/settings/keys/{keys.id_of(old)}"
    new = _key_on(ana.send_and_follow(f"{path}/replace", "/settings", overlap="day"))
    for key in (old, new):
        ok(acme.api.holding(key).get("/v1/catalog"))
    clock.forward(timedelta(days=1))
    refused(acme.api.holding(old).get("/v1/catalog"), 401, "unauthenticated")
    ok(acme.api.holding(new).get("/v1/catalog"))


def test_a_revoked_key_is_refused_at_the_next_request_in_every_process(
    acme: Customer, ana: Reader, store: str, clock: Clock
) -> None:
    key = _make(ana)
    elsewhere = create_app(settings_for(store), clock=clock)
    there = Api(elsewhere, key)
    ok(there.get("/v1/catalog"))
    path = f"/settings/keys/{keys.id_of(key)}/revoke"
    assert ana.send(path, "/settings").status_code == 303
    for client in (there, acme.api.holding(key)):
        refused(client.get("/v1/catalog"), 401, "unauthenticated")
    assert ana.send(path, "/settings").status_code == 404
    elsewhere.extensions["clearmeter"].database.close()


def test_a_key_outlives_who_made_it(acme: Customer, ana: Reader) -> None:
    """It is the organization's: a program must not stop because a person left."""
    ben = {"email": "ben@acme.example", "role": "owner"}
    ok(acme.api.put(f"{acme.path}/members/ben", ben))
    key = _make(ana)
    ok(acme.api.delete(f"{acme.path}/members/ana"))
    ok(acme.api.holding(key).get("/v1/catalog"))


def test_a_key_that_was_cut_or_mistyped_is_known_without_the_store() -> None:
    good = "cm_abc_" + "x" * 43
    good += keys._checksum(good)
    assert keys.is_well_formed(good)
    for wrong in (good[:-1], good + "x", good.replace("x", "y", 1), good.upper(), "cm_abc_"):
        assert not keys.is_well_formed(wrong)


def test_no_secret_is_anywhere_in_the_store(
    acme: Customer, ana: Reader, database: Database
) -> None:
    secrets = [_make(ana), _make(ana, scope="meter"), acme.api.secret]
    with database.reading() as tx:
        everything = repr([tx.execute(select(one)).all() for one in metadata.sorted_tables])
    for secret in secrets:
        assert secret not in everything
        assert secret.split("_", 2)[2] not in everything


def test_the_log_says_who_did_what_and_can_be_narrowed(acme: Customer, ana: Reader) -> None:
    _make(ana, name="nightly")
    acme.cap(20)
    page = ana.client.get("/settings/activity").text
    assert "Made an API key" in page
    assert 'Made an API key<span class="below id">nightly</span>' in page
    assert "Set a cap" in page
    only = ana.client.get("/settings/activity?about=key&who=ana").text
    assert "Made an API key" in only
    assert "Set a cap" not in only.partition("<tbody>")[2]
    later = ana.client.get("/settings/activity?since=2999-01-01").text
    assert "Nothing like that" in later
    for odd in ("since=yesterday", "before=x", "about=%27", "who=%25", "since=9999-12-31"):
        assert ana.client.get(f"/settings/activity?{odd}").status_code == 200, odd


def test_the_log_is_paged_and_the_sheet_has_all_of_it(
    acme: Customer, ana: Reader, database: Database, clock: Clock
) -> None:
    with database.transaction() as tx:
        for number in range(120):
            audit.note(tx, "acme", actor="ana", act="cap.set", target=f"=c{number}", now=clock())
    met, address = 0, "/settings/activity?about=cap"
    while address:
        page = ana.client.get(address).text
        met += page.partition("<tbody>")[2].count("<tr>")
        further = re.search(r'href="(/settings/activity\?before=[^"]+)">Earlier', page)
        address = further[1].replace("&amp;", "&") if further else ""
    assert met == 120
    rows = list(csv.reader(io.StringIO(ana.client.get("/settings/activity.csv?about=cap").text)))
    assert len(rows) == 121
    assert {row[3][:3] for row in rows[1:]} == {"'=c"}, "no cell is a formula"


def test_what_is_the_operators_own_is_on_no_customers_log(
    acme: Customer, ana: Reader, database: Database, clock: Clock
) -> None:
    with database.transaction() as tx:
        detail = {"stated_usd": "0.5", "reason": "because"}
        audit.note(tx, "acme", actor="op", act="cost.accepted", detail=detail, now=clock())
        audit.note(tx, "acme", actor="op", act="grant.made", detail=detail, now=clock())
    for path in ("/settings/activity", "/settings/activity.csv", "/settings"):
        text = ana.client.get(path).text
        assert "stated" not in text
        assert "because" not in text
        assert "accepted" not in text
        assert "cost." not in text


def test_every_act_that_is_written_down_is_told_in_words() -> None:
    written = {
        found
        for path in Path("portal").rglob("*.py")
        if "note(" in (code := path.read_text(encoding="utf-8"))
        for found in re.findall(r'"([a-z_]+\.[a-z_]+)"', code)
        if found.partition(".")[0] in record.ABOUT
    }
    assert {"raise.asked", "webhook.made", "view.began", "alerts.low_balance"} <= written
    assert written <= set(record.CALLED)
    assert {"raise.allowed", "raise.declined", "member.restored"} <= set(record.CALLED)
    assert {act.partition(".")[0] for act in record.CALLED} <= set(record.ABOUT)


def test_who_of_the_operators_did_it_is_the_operators_name_and_no_address(
    acme: Customer, ana: Reader, database: Database, clock: Clock
) -> None:
    with database.transaction() as tx:
        for actor, act in (("operator", "grant.made"), ("operator:olga@op.test", "view.began")):
            audit.note(tx, "acme", actor=actor, act=act, target="cleo", now=clock())
    page = ana.client.get("/settings/activity").text
    assert "olga" not in page
    assert "Looked at the pages as a member" in page
    rows = page.partition("<tbody>")[2]
    assert rows.count("<td>Clearmeter</td>") >= 2
    assert page.count(">Clearmeter</option>") == 1
    only = ana.client.get("/settings/activity?who=operator").text.partition("<tbody>")[2]
    assert only.count("<tr>") == only.count("<td>Clearmeter</td>") > 2
    assert "olga" not in ana.client.get("/settings/activity.csv").text


def test_a_cap_on_record_says_whose_it_is_and_a_request_who_asked(
    acme: Customer, ana: Reader, database: Database, clock: Clock
) -> None:
    cap = acme.cap(50, scope="member", target="cleo")
    ok(acme.api.patch(f"{acme.path}/caps/{cap}", {"mode": "soft"}))
    raises.ask(database, "acme", cap, "cleo", 5 * MICRO, now=clock())
    ok(acme.api.delete(f"{acme.path}/caps/{cap}"))
    page = ana.client.get("/settings/activity").text.partition("<tbody>")[2]
    told = re.findall(r'</td><td>([A-Z][^<]+)<span class="below id">([^<]+)</span>', page)
    for what in ("Set a cap", "Changed a cap", "Removed a cap", "Asked for more"):
        assert (what, "Cleo") in told, what
