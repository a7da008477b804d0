"""Looking on as a member: seen as they see it, nothing changed, both ends on record."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from portal import access, jobs
from portal.billing.gateway import Gateway
from portal.db import Database
from portal.tables import audit_log
from tests import digest
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.console import OLGA, enter_olga
from tests.readers import Reader, enter

VIEW = "/operator/customers/acme/view"
#: What an operator who looks on may still send: the way out.
WAYS_OUT = {"operator.end_view", "auth.sign_out"}


@pytest.fixture
def olga(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    return enter_olga(application, database, clock)


def begin(olga: Reader, member: str = "ana", reason: str = "A question of theirs") -> None:
    answer = olga.send(VIEW, VIEW, member=member, reason=reason)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def on_record(database: Database) -> list[Any]:
    with database.reading() as tx:
        query = select(audit_log).where(audit_log.c.act.startswith("view."))
        return list(tx.execute(query.order_by(audit_log.c.at)).all())


def test_the_pages_are_those_of_the_member_with_a_banner(
    olga: Reader, acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    ok(acme.send(acme.event("document", member="cleo")))
    theirs = enter(application, database, clock, "cleo").client.get("/usage").text
    begin(olga, "cleo")
    seen = olga.client.get("/usage").text
    assert "You see what <b>Cleo</b> of <b>Acme</b> sees" in seen
    assert "You see what" not in theirs
    assert _without_tokens(theirs) in _without_tokens(seen)


def _without_tokens(page: str) -> str:
    main = page.partition('<main id="main"')[2].partition("</main>")[0]
    return re.sub(r'value="[^"]{40,}"', "", main)


def test_a_view_refuses_everything_but_looking_on_every_route(
    olga: Reader, application: Flask, database: Database, subtests: pytest.Subtests
) -> None:
    begin(olga)
    token = olga.token("/")
    before = digest.counts(database, but=["sessions"])
    refused = 0
    for rule in application.url_map.iter_rules():
        if rule.endpoint in WAYS_OUT or rule.rule.startswith(("/v1/", "/webhooks/")):
            continue
        path = re.sub(r"<[^>]+>", "1", rule.rule)
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}:
            with subtests.test(route=f"{method} {rule.rule}"):
                answer = olga.client.open(
                    path, method=method, data={"csrf_token": token},
                    headers={"Referer": "http://localhost"},
                )  # fmt: skip
                assert answer.status_code == 403
                refused += 1
    assert refused > 25
    assert digest.counts(database, but=["sessions"]) == before


def test_a_view_refuses_pages_that_act_by_being_looked_at(olga: Reader) -> None:
    begin(olga)
    for path in ("/billing/returned", "/plans/thanks?session_id=cs_1", "/plans/changes/x"):
        assert olga.client.get(path).status_code == 403


def test_a_view_is_no_way_to_the_operators_pages_nor_to_another_customer(
    olga: Reader, acme: Customer, bystander: Customer, application: Flask
) -> None:
    begin(olga)
    for rule in application.url_map.iter_rules():
        if rule.endpoint.startswith("operator.") and "GET" in (rule.methods or set()):
            path = re.sub(r"<[^>]+>", "bystander", re.sub("<int:[^>]+>", "1", rule.rule))
            answer = olga.client.get(path)
            assert (answer.status_code, answer.headers.get("Location")) == (302, "/"), path
    for path in ("/", "/usage", "/usage/events", "/spending", "/plans", "/billing", "/account",
                 "/usage?organization=bystander", "/usage?member=dana"):  # fmt: skip
        page = olga.client.get(path).text
        assert "Bystander" not in page
        assert "dana@" not in page


def test_a_view_ends_when_it_is_ended_and_both_ends_are_on_record(
    olga: Reader, database: Database, clock: Clock
) -> None:
    begin(olga)
    clock.forward(timedelta(minutes=4))
    answer = olga.send("/operator/view/end", "/")
    assert answer.headers["Location"] == "/operator/customers/acme"
    began, ended = on_record(database)
    assert (began.act, ended.act) == ("view.began", "view.ended")
    assert began.organization_id == ended.organization_id == "acme"
    assert (began.actor, began.target) == (f"operator:{OLGA}", "ana")
    assert began.detail["reason"] == "A question of theirs"
    assert ended.at - began.at == timedelta(minutes=4)
    assert olga.client.get("/usage").status_code == 302
    assert olga.client.get("/operator/customers").status_code == 200


def test_a_view_ends_by_itself_after_half_an_hour(
    olga: Reader, database: Database, clock: Clock
) -> None:
    begin(olga)
    for _ in range(2):
        clock.forward(timedelta(minutes=14))
        assert olga.client.get("/usage").status_code == 200
    clock.forward(timedelta(minutes=2))
    assert olga.client.get("/usage").headers["Location"] == "/operator/"
    assert olga.client.get("/operator/customers").status_code == 200
    began, ended = on_record(database)
    assert ended.at - began.at == timedelta(minutes=30)
    assert len(on_record(database)) == 2


def test_the_end_of_a_view_nobody_came_back_from_is_put_on_record(
    olga: Reader, database: Database, clock: Clock, application: Flask
) -> None:
    begin(olga)
    clock.forward(timedelta(hours=1))
    payments: Gateway = application.extensions["clearmeter"].payments
    for _ in range(2):
        jobs.forget_sessions(jobs.Workshop(database, payments, clock))
    began, ended = on_record(database)
    assert ended.at - began.at == timedelta(minutes=30)


def test_signing_out_ends_the_view_on_record(
    olga: Reader, database: Database, clock: Clock
) -> None:
    begin(olga)
    clock.forward(timedelta(minutes=2))
    assert olga.send("/sign-out", "/").status_code == 302
    began, ended = on_record(database)
    assert (ended.act, ended.target, ended.actor) == ("view.ended", "ana", f"operator:{OLGA}")
    assert ended.at - began.at == timedelta(minutes=2)


def test_a_view_that_outlives_its_session_ends_on_record_before_the_session_is_forgotten(
    olga: Reader, database: Database, clock: Clock, application: Flask
) -> None:
    for _ in range(40):
        clock.forward(access.SESSION_LIFETIME / 40 - timedelta(seconds=1))
        assert olga.client.get("/operator/keys").status_code == 200
    begin(olga)
    clock.forward(timedelta(minutes=5))
    payments: Gateway = application.extensions["clearmeter"].payments
    jobs.forget_sessions(jobs.Workshop(database, payments, clock))
    assert [one.act for one in on_record(database)] == ["view.began", "view.ended"]


@pytest.mark.parametrize(("member", "reason", "status"), [("ana", " ", 303), ("dana", "x", 404)])
def test_a_view_needs_a_reason_and_a_member_of_that_customer(
    olga: Reader, bystander: Customer, database: Database, member: str, reason: str, status: int
) -> None:
    assert olga.send(VIEW, VIEW, member=member, reason=reason, back=VIEW).status_code == status
    assert on_record(database) == []
    assert olga.client.get("/operator/customers").status_code == 200


def test_a_member_who_is_removed_meanwhile_is_looked_on_no_longer(
    olga: Reader, acme: Customer
) -> None:
    begin(olga, "cleo")
    ok(acme.api.delete(f"{acme.path}/members/cleo"))
    assert olga.client.get("/usage").headers["Location"] == "/operator/"


def test_no_member_can_look_on_as_another(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    cleo = enter(application, database, clock, "cleo")
    token = cleo.token("/account")
    answer = cleo.client.post(
        VIEW, data={"csrf_token": token, "member": "ana", "reason": "x"},
        headers={"Referer": "http://localhost"},
    )  # fmt: skip
    assert answer.status_code == 404
    assert "<b>Cleo</b>" in cleo.client.get("/account").text
