"""Asking for more: who may, what is allowed holds for one window, and every answer is on record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from portal import notices, raises
from portal.core.errors import InvalidRequest, NotAllowed, NotFound
from portal.db import Database
from portal.raises import RaiseRequest
from portal.tables import audit_log, outbox
from tests.cast import Customer, ok, refused
from tests.clock import Clock

TEN = 10_000_000


def ask(
    database: Database, clock: Clock, cap: str, *, member: str = "cleo", credits_: int = TEN
) -> RaiseRequest:
    return raises.ask(
        database, "acme", cap, member, credits_, reason="The Miller report", now=clock()
    )


def answer(
    database: Database, clock: Clock, request: RaiseRequest, credits_: int | None = TEN
) -> RaiseRequest:
    return raises.answer(
        database, "acme", request.request_id, granted_micro=credits_, actor="ben", now=clock()
    )


def told(database: Database) -> list[tuple[str, str]]:
    with database.reading() as tx:
        rows = tx.execute(select(outbox.c.kind, outbox.c.state).order_by(outbox.c.sequence))
        return [tuple(row) for row in rows]


def test_what_is_allowed_admits_exactly_so_much_more(
    acme: Customer, bystander: Customer, database: Database, clock: Clock
) -> None:
    cap = acme.cap(10, "team", target="research")
    acme.hold("analysis", member="cleo")
    refused(acme.authorize("image", "0.000001", member="cleo"), 402, "cap-reached")
    answer(database, clock, ask(database, clock, cap))
    problem = refused(acme.authorize("image", "5.000001", member="cleo"), 402, "cap-reached")
    assert (problem["limit"]["limit"], problem["limit"]["remaining"]) == ("20", "10")
    acme.hold("image", 5, member="cleo")
    refused(acme.authorize("image", "0.000001", member="cleo"), 402, "cap-reached")
    found = acme.caps()[cap]
    assert (found["limit"]["credits"], found["raised"], found["held"]) == ("10", "10", "20")


def test_what_was_foretold_of_the_limit_before_stands_no_more(
    acme: Customer, database: Database, clock: Clock
) -> None:
    cap = acme.cap(10, "member", target="cleo")
    asked = ask(database, clock, cap)
    subject = f"{cap} {asked.window_start.isoformat()}"
    with database.transaction() as tx:
        notices.raise_notice(
            tx, "acme", "cap-projected", "About 15 of 10.", subject=subject, now=clock()
        )
    answer(database, clock, asked)
    with database.reading() as tx:
        assert notices.standing(tx, "acme") == []


def test_a_raise_ends_with_its_window_with_no_job_running(
    acme: Customer, database: Database, clock: Clock
) -> None:
    cap = acme.cap(10, "member", target="cleo", window="day")
    answer(database, clock, ask(database, clock, cap))
    acme.hold("analysis", 2, member="cleo")
    midnight = datetime(2026, 11, 10, tzinfo=UTC)
    clock.set(midnight - timedelta(microseconds=1))
    assert acme.caps()[cap]["raised"] == "10"
    clock.set(midnight)
    assert acme.caps()[cap]["raised"] == "0"
    acme.hold("analysis", member="cleo")
    refused(acme.authorize("image", "0.000001", member="cleo"), 402, "cap-reached")


def test_two_raises_of_one_window_add_up_and_changing_the_cap_keeps_them(
    acme: Customer, database: Database, clock: Clock
) -> None:
    cap = acme.cap(10)
    for member in ("cleo", "ben"):
        answer(database, clock, ask(database, clock, cap, member=member))
    ok(acme.api.patch(f"{acme.path}/caps/{cap}", {"limit": {"credits": "5"}}))
    found = acme.caps()[cap]
    assert (found["limit"]["credits"], found["raised"], found["remaining"]) == ("5", "20", "25")


def test_the_thresholds_are_those_of_the_raised_limit(
    acme: Customer, database: Database, clock: Clock
) -> None:
    cap = acme.cap(20)
    ok(acme.capture(acme.hold("analysis", 2)))
    assert told(database) == [("cap-reached", "begun")]
    answer(database, clock, ask(database, clock, cap, credits_=2 * TEN))
    standing = [one["threshold"] for one in acme.caps()[cap]["alerts"] if not one["ended_at"]]
    assert standing == [50]
    assert told(database)[1:] == [
        ("raise-asked", "once"), ("cap-reached", "over"), ("raise-answered", "once"),
    ]  # fmt: skip


def test_a_request_is_answered_once(acme: Customer, database: Database, clock: Clock) -> None:
    request = ask(database, clock, acme.cap(10))
    assert answer(database, clock, request, None).status == "declined"
    with pytest.raises(InvalidRequest, match="answered already"):
        answer(database, clock, request)
    assert acme.caps()[request.cap_id]["raised"] == "0"
    again = ask(database, clock, request.cap_id)
    assert again.request_id != request.request_id


def test_a_request_ends_with_its_window(acme: Customer, database: Database, clock: Clock) -> None:
    request = ask(database, clock, acme.cap(10, window="day"))
    clock.forward(timedelta(days=1))
    with database.reading() as tx:
        assert raises.waiting(tx, "acme", at=clock()) == []
    with pytest.raises(InvalidRequest, match="started again"):
        answer(database, clock, request)


def test_asking_again_changes_what_is_asked_and_tells_nobody_twice(
    acme: Customer, database: Database, clock: Clock
) -> None:
    cap = acme.cap(10)
    first, second = ask(database, clock, cap), ask(database, clock, cap, credits_=3 * TEN)
    assert first.request_id == second.request_id
    with database.reading() as tx:
        (waiting,) = raises.waiting(tx, "acme", at=clock())
    assert (waiting.asked_micro, waiting.reason) == (3 * TEN, "The Miller report")
    assert told(database) == [("raise-asked", "once")]


@pytest.mark.parametrize(
    ("scope", "target"), [("member", "ben"), ("team", "research")], ids=["another's", "a team's"]
)
def test_nobody_asks_for_more_of_a_cap_that_is_not_in_their_way(
    acme: Customer, database: Database, clock: Clock, scope: str, target: str
) -> None:
    cap = acme.cap(10, scope, target=target)
    with pytest.raises(NotAllowed):
        ask(database, clock, cap, member="ana")


def test_another_organizations_cap_and_request_are_not_there(
    acme: Customer, bystander: Customer, database: Database, clock: Clock
) -> None:
    with database.reading() as tx:
        theirs = next(iter(bystander.caps()))
        assert raises.waiting(tx, "bystander", at=clock()) == []
    with pytest.raises(NotFound):
        ask(database, clock, theirs)
    request = ask(database, clock, acme.cap(10))
    with pytest.raises(NotFound):
        raises.answer(
            database, "bystander", request.request_id, granted_micro=1, actor="x", now=clock()
        )


@pytest.mark.parametrize("credits_", [0, -1, 10**17])
def test_nothing_and_too_much_are_not_to_be_had(
    acme: Customer, database: Database, clock: Clock, credits_: int
) -> None:
    cap = acme.cap(10)
    with pytest.raises(InvalidRequest):
        ask(database, clock, cap, credits_=credits_)
    request = ask(database, clock, cap)
    with pytest.raises(InvalidRequest):
        answer(database, clock, request, credits_)


def test_asking_and_answering_are_on_record(
    acme: Customer, database: Database, clock: Clock
) -> None:
    answer(database, clock, ask(database, clock, acme.cap(10)))
    with database.reading() as tx:
        acts = tx.execute(
            select(audit_log.c.actor, audit_log.c.act).where(audit_log.c.act.like("raise.%"))
        )
        assert {tuple(row) for row in acts} == {("cleo", "raise.asked"), ("ben", "raise.allowed")}
