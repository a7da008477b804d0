"""Webhooks that were given up, as the operator sees them and sends them again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from portal import jobs
from portal.billing.gateway import Gateway
from portal.db import Database
from portal.tables import audit_log, deliveries
from tests.cast import Customer
from tests.clock import Clock
from tests.console import OLGA, enter_olga
from tests.readers import Reader
from tests.test_webhooks_out import listen, reach_a_cap

PAGE = "/operator/events/undelivered"


@pytest.fixture
def olga(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    """Her own endpoint and Acme's were each to hear of a cap, and did not for three days."""
    for owner in ("acme", None):
        listen(database, clock, f"https://{owner or 'our'}.example/hooks", of=owner)
    reach_a_cap(acme)
    jobs.tell(jobs.Workshop(database, Gateway(""), clock))
    clock.forward(timedelta(days=3))
    with database.transaction() as tx:
        tx.execute(
            update(deliveries)
            .where(deliveries.c.channel == "webhook")
            .values(status="dead", detail="It answered 500.", attempts=9, done_at=clock())
        )
    return enter_olga(application, database, clock)


def standing(database: Database) -> list[Any]:
    with database.reading() as tx:
        query = select(deliveries).where(deliveries.c.channel == "webhook")
        return list(tx.execute(query.order_by(deliveries.c.delivery_id)).all())


def test_what_was_given_up_is_told_with_where_and_why(olga: Reader) -> None:
    page = olga.client.get(PAGE).text
    assert "https://acme.example/hooks" in page
    assert "https://our.example/hooks" in page
    assert page.count("It answered 500.") == 2
    assert page.count("9 tries") == 2


def test_the_chosen_are_sent_again_once_and_that_is_on_record_with_whose_they_are(
    olga: Reader, database: Database, clock: Clock
) -> None:
    before = standing(database)
    chosen = [one.delivery_id for one in before]
    for _ in range(2):
        for one in chosen:
            assert olga.send(PAGE, PAGE, delivery=one, back=PAGE).status_code == 303
    after = standing(database)
    assert [one.status for one in after] == ["due", "due"]
    assert [one.delivery_id for one in after] == chosen
    assert {one.due_at for one in after} == {clock()}
    assert "Everything was delivered" in olga.client.get(PAGE).text
    with database.reading() as tx:
        acts = tx.execute(select(audit_log).where(audit_log.c.act == "webhook.replayed")).all()
    assert sorted(one.organization_id for one in acts) == ["", "acme"]
    assert {one.actor for one in acts} == {f"operator:{OLGA}"}


def test_nothing_chosen_or_of_a_removed_endpoint_sends_nothing(
    olga: Reader, database: Database
) -> None:
    assert olga.send(PAGE, PAGE, back=PAGE).headers["Location"] == PAGE
    assert olga.send(PAGE, PAGE, delivery="nobody", back=PAGE).status_code == 303
    assert [one.status for one in standing(database)] == ["dead", "dead"]


def test_it_is_not_there_for_a_key_or_a_stranger(olga: Reader, application: Flask) -> None:
    assert application.test_client().get(PAGE).status_code == 404
