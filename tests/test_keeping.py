"""Keeping: what is past its stated time goes; money, the record and what is to be told never do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from portal import invitations, jobs, keeping
from portal.accounts import find_member
from portal.billing.gateway import Gateway
from portal.db import Database
from portal.jobs import Workshop
from portal.notices import delivered, endpoints, outbox
from portal.notices.spread import spread
from portal.tables import deliveries, idempotency_keys, invitation_links
from portal.tables import invitations as invitations_table
from portal.tables import outbox as outbox_table
from tests import digest
from tests.cast import Customer, ok
from tests.clock import Clock

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


@pytest.fixture
def shop(database: Database, clock: Clock) -> Workshop:
    return Workshop(database, Gateway(""), clock)


def _kept(database: Database, organization: str = "acme") -> dict[str, int]:
    """Return how many rows of each kind are kept of an organization."""
    with database.reading() as tx:
        return {
            one.name: len(
                tx.execute(select(one).where(one.c.organization_id == organization)).all()
            )
            for one in (idempotency_keys, outbox_table, deliveries, invitations_table)
        }


def _tell(database: Database, clock: Clock, *, spreading: bool = True) -> None:
    with database.transaction() as tx:
        outbox.tell(tx, "acme", "overrun", now=clock())
    if spreading:
        spread(database, now=clock())


def _end(database: Database, clock: Clock, channel: str, status: str) -> list[str]:
    """End the deliveries of a way that are due; returns their ids."""
    with database.transaction() as tx:
        ended = (
            update(deliveries)
            .where(deliveries.c.channel == channel, deliveries.c.status == "due")
            .values(status=status, done_at=clock())
            .returning(deliveries.c.delivery_id)
        )
        return list(tx.execute(ended).scalars())


def _listen(database: Database, clock: Clock) -> str:
    with database.transaction() as tx:
        made = endpoints.create(tx, "acme", "https://acme.example/", (), actor="ana", now=clock())
    return made.endpoint_id


def test_an_answer_is_kept_for_thirty_days_and_a_day_and_then_taken_away(
    acme: Customer, bystander: Customer, shop: Workshop, database: Database, clock: Clock
) -> None:
    first = acme.authorize("document", key="k")
    clock.forward(30 * DAY)
    jobs.take_away_old(shop)
    assert acme.authorize("document", key="k").data == first.data
    acme.hold("document", key="young")
    clock.forward(DAY)
    jobs.take_away_old(shop)
    assert acme.authorize("document", key="k").data == first.data
    clock.forward(TICK)
    jobs.take_away_old(shop)
    ok(acme.authorize("document", 2, key="k"), 201)
    assert _kept(database)["idempotency_keys"] == 2


def test_what_was_told_goes_with_its_deliveries_ninety_days_after_the_last_ended(
    acme: Customer, bystander: Customer, shop: Workshop, database: Database, clock: Clock
) -> None:
    _listen(database, clock)
    _tell(database, clock)
    _end(database, clock, "mail", "done")
    clock.forward(DAY)
    _end(database, clock, "webhook", "done")
    clock.forward(90 * DAY)
    assert jobs.take_away_old(shop) == 0
    clock.forward(TICK)
    jobs.take_away_old(shop)
    assert (_kept(database)["outbox"], _kept(database)["deliveries"]) == (0, 0)
    _tell(database, clock)
    with database.reading() as tx:
        assert [one.sequence for one in outbox.latest(tx, "acme", limit=9)] == [2]


def test_nothing_that_is_still_to_be_told_ever_goes(
    acme: Customer, shop: Workshop, database: Database, clock: Clock
) -> None:
    """What nobody was chosen for yet, what is on its way, and what its endpoint could yet have."""
    _listen(database, clock)
    _tell(database, clock)
    _end(database, clock, "mail", "done")
    _end(database, clock, "webhook", "dead")
    _tell(database, clock)
    _end(database, clock, "mail", "done")
    _tell(database, clock, spreading=False)
    before = _kept(database)
    clock.forward(400 * DAY)
    assert jobs.take_away_old(shop) == 0
    assert _kept(database) == before


def test_what_an_endpoint_did_not_take_goes_once_the_endpoint_is_gone(
    acme: Customer, shop: Workshop, database: Database, clock: Clock
) -> None:
    endpoint = _listen(database, clock)
    _tell(database, clock)
    _end(database, clock, "mail", "dead")
    _end(database, clock, "webhook", "dead")
    clock.forward(91 * DAY)
    assert jobs.take_away_old(shop) == 0
    with database.transaction() as tx:
        endpoints.remove(tx, "acme", endpoint, now=clock())
    jobs.take_away_old(shop)
    assert (_kept(database)["outbox"], _kept(database)["deliveries"]) == (0, 0)


def test_what_is_sent_again_between_the_look_and_the_deed_stays(
    acme: Customer, database: Database, clock: Clock
) -> None:
    endpoint = _listen(database, clock)
    _tell(database, clock)
    _end(database, clock, "mail", "done")
    (delivery,) = _end(database, clock, "webhook", "done")
    clock.forward(91 * DAY)
    (told,) = (one for one in keeping.KEPT if "deliveries" in one.name)
    before = clock() - told.time
    with database.reading() as tx:
        found = told.find(tx, "acme", before, 9)
    with database.transaction() as tx:
        delivered.replay(tx, endpoint, delivery, now=clock())
    with database.transaction() as tx:
        told.forget(tx, "acme", found, before)
    with database.reading() as tx:
        assert len(delivered.to_endpoint(tx, endpoint, limit=9)) == 1


def test_an_invitation_goes_ninety_days_after_it_was_over_and_never_while_it_waits(
    acme: Customer, shop: Workshop, database: Database, clock: Clock
) -> None:
    with database.reading() as tx:
        ana = find_member(tx, "acme", "ana")
    over, _ = (
        invitations.invite(
            database, "acme", email=email, role="member", team_id="", by=ana, now=clock()
        ).invitation
        for email in ("ivy@acme.example", "jo@acme.example")
    )
    invitations.withdraw(database, "acme", over.invitation_id, by=ana, now=clock())
    clock.forward(90 * DAY + TICK)
    jobs.take_away_old(shop)
    with database.reading() as tx:
        assert [one.email for one in invitations.waiting(tx, "acme")] == ["jo@acme.example"]
        assert len(tx.execute(select(invitation_links)).all()) == 1
    assert _kept(database)["invitations"] == 1


def test_money_usage_and_the_record_are_never_taken_away(
    acme: Customer, bystander: Customer, shop: Workshop, database: Database, clock: Clock
) -> None:
    ok(acme.capture(acme.hold("document", key="a"), key="b"))
    ok(acme.send(acme.event("image")))
    jobs.end_lapsed_holds(shop)
    clock.forward(3 * 366 * DAY)
    before, kept = digest.balances(database), digest.counts(database)
    jobs.take_away_old(shop)
    left = digest.counts(database)
    assert digest.balances(database) == before
    assert {name for name in kept if kept[name] != left[name]} <= {
        "idempotency_keys", "outbox", "deliveries", "invitations", "invitation_links",
    }  # fmt: skip


def test_more_than_one_batch_goes_in_one_night(
    acme: Customer,
    shop: Workshop,
    database: Database,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeping, "A_LOOK", 4)
    monkeypatch.setattr(keeping, "A_BATCH", 3)
    for number in range(9):
        acme.hold("document", key=f"k{number}")
    clock.forward(32 * DAY)
    assert jobs.take_away_old(shop) == 9
    assert jobs.take_away_old(shop) == 0
