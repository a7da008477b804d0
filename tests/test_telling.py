"""Telling: one row for each thing, in its transaction; to each their own, once, and no storm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import pytest
from flask import Flask
from sqlalchemy import select

from portal import accounts, jobs, lookout, notices, tiers
from portal.billing.gateway import Gateway
from portal.core.periods import Zone
from portal.core.units import MICRO
from portal.db import Database
from portal.desk import open_desk
from portal.jobs import Workshop
from portal.lookout import Threshold
from portal.notices import mailing, outbox
from portal.notices.delivering import Post
from portal.notices.kinds import KINDS
from portal.notices.mail import Mailer
from portal.notices.outbox import Message
from portal.notices.words import WORDED, Names, describe, moment
from portal.tables import deliveries
from portal.tables import outbox as outbox_table
from portal.top_ups import standing
from portal.top_ups.terms import TopUpRequest
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.post import PostOffice, post_office, text_of

HOUR = timedelta(hours=1)
BASE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def opened() -> Iterator[PostOffice]:
    with post_office() as office:
        yield office


@pytest.fixture
def office(opened: PostOffice) -> PostOffice:
    opened.came.clear()
    opened.refusing = False
    return opened


@pytest.fixture
def shop(application: Flask, database: Database, clock: Clock, office: PostOffice) -> Workshop:
    """A worker that sends real mail."""
    mailer = Mailer(office.url, "billing@portal.example", "Portal")
    secret = application.extensions["clearmeter"].settings.secret_key
    return Workshop(
        database, Gateway(""), clock, Post(mailer, BASE, secret, "Portal", loopback=True)
    )


def told(database: Database, organization: str = "acme") -> list[tuple[int, str, str]]:
    """Return what there was to tell: its number, kind and state."""
    with database.reading() as tx:
        rows = tx.execute(
            select(outbox_table.c.sequence, outbox_table.c.kind, outbox_table.c.state)
            .where(outbox_table.c.organization_id == organization)
            .order_by(outbox_table.c.sequence)
        )
        return [tuple(row) for row in rows]


def to(office: PostOffice, member: str) -> list[EmailMessage]:
    return [one for one in office.came if one["To"] == f"{member}@acme.example"]


def test_every_kind_that_is_told_has_its_words() -> None:
    assert set(KINDS) == WORDED


def test_a_kind_that_nobody_named_is_told_to_who_pays_as_it_was_written(
    acme: Customer, database: Database, shop: Workshop, office: PostOffice, clock: Clock
) -> None:
    with database.transaction() as tx:
        notices.raise_notice(tx, "acme", "new-and-odd", "It is odd.", url="/billing", now=clock())
    jobs.tell(shop)
    assert {str(one["To"]) for one in office.came} == {"ana@acme.example", "ben@acme.example"}
    assert "It is odd." in text_of(office.came[0])


def test_an_instant_is_written_as_the_organizations_clocks_show_it() -> None:
    instant = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    assert moment(instant, Zone("Europe/Berlin")) == "1 Dec, 00:30, Berlin time"


def test_what_is_rolled_back_is_not_told(acme: Customer, database: Database, clock: Clock) -> None:
    def fail() -> None:
        with database.transaction() as tx:
            outbox.tell(tx, "acme", "overrun", now=clock())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert told(database) == []
    with database.transaction() as tx:
        outbox.tell(tx, "acme", "overrun", now=clock())
    assert told(database) == [(1, "overrun", "once")]


def test_thresholds_passed_in_one_go_are_told_as_one_and_each_once(
    acme: Customer, bystander: Customer, database: Database
) -> None:
    acme.cap(20, mode="soft")
    ok(acme.capture(acme.hold("analysis")))
    ok(acme.send(acme.event("document", quantity="1.6")))
    ok(acme.send(acme.event("image")))
    ok(acme.send(acme.event("image")))
    assert told(database) == [
        (1, "cap-near", "begun"), (2, "cap-near", "begun"), (3, "cap-reached", "begun"),
    ]  # fmt: skip


def test_a_cap_that_is_raised_or_corrected_is_told_to_have_room_again(
    acme: Customer, database: Database
) -> None:
    cap = acme.cap(10)
    ok(acme.capture(acme.hold("analysis")))
    ok(acme.api.patch(f"{acme.path}/caps/{cap}", {"limit": {"credits": "100"}}))
    assert told(database) == [(1, "cap-reached", "begun"), (2, "cap-reached", "over")]


def test_a_cap_that_starts_again_is_told_once(
    acme: Customer, database: Database, shop: Workshop, clock: Clock
) -> None:
    acme.cap(10, window="day")
    ok(acme.capture(acme.hold("analysis")))
    clock.forward(timedelta(days=1))
    for _ in range(2):
        jobs.look_around(shop)
    assert told(database) == [(1, "cap-reached", "begun"), (2, "cap-reached", "over")]


def test_a_low_balance_is_told_once_and_again_after_it_recovered(
    acme: Customer, database: Database, shop: Workshop
) -> None:
    with database.transaction() as tx:
        lookout.set_threshold(tx, "acme", Threshold(None, 50_000_000))

    def spend(quantity: int) -> None:
        ok(acme.send(acme.event("analysis", quantity=quantity)))
        for _ in range(2):
            jobs.look_around(shop)

    spend(6)
    assert told(database) == [(1, "credits-low", "begun")]
    acme.grant(100)
    spend(1)
    assert told(database)[1:] == [(2, "credits-low", "over")]
    spend(9)
    assert told(database)[2:] == [(3, "credits-low", "begun")]
    spend(4)
    assert told(database)[3:] == [(4, "credits-out", "begun")]
    acme.grant(500)
    jobs.look_around(shop)
    assert told(database)[4:] == [(5, "credits-out", "over")]


def test_a_part_of_the_allowance_is_low_unless_an_admin_says_so(
    acme: Customer, database: Database, shop: Workshop
) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    ok(acme.send(acme.event("analysis", quantity=54)))
    jobs.look_around(shop)
    assert told(database) == []
    ok(acme.send(acme.event("analysis", quantity=2)))
    jobs.look_around(shop)
    assert [kind for _, kind, _ in told(database)] == ["credits-low"]


def test_credits_that_expire_are_told_a_month_and_a_week_before(
    acme: Customer, database: Database, shop: Workshop, clock: Clock
) -> None:
    acme.grant(40, expires_at=(clock() + timedelta(days=60)).isoformat())
    jobs.look_around(shop)
    assert told(database) == []
    for days, count in ((30, 1), (12, 1), (11, 2), (6, 2)):
        clock.forward(timedelta(days=days))
        shop.lookout.last = None
        jobs.look_around(shop)
        assert [one for one in told(database) if one[1] == "credits-expiring"] == [
            (number + 1, "credits-expiring", "begun") for number in range(count)
        ], days


def test_that_a_bank_did_not_pay_for_a_pack_is_old_news_after_two_weeks(
    acme: Customer, database: Database, shop: Workshop, clock: Clock
) -> None:
    with database.transaction() as tx:
        notices.raise_notice(tx, "acme", "pack-failed", "No.", subject="co_1", now=clock())
    for days, stands in ((13, ["co_1"]), (1, [])):
        clock.forward(timedelta(days=days))
        shop.lookout.last_at_all = None
        jobs.look_around(shop)
        with database.reading() as tx:
            left = [one for one in notices.standing(tx, "acme") if one.kind == "pack-failed"]
        assert [one.subject for one in left] == stands


def test_work_past_a_limit_is_told_once_in_a_period(
    acme: Customer, database: Database, shop: Workshop, clock: Clock
) -> None:
    for _ in range(2):
        ok(acme.send(acme.event("analysis", quantity=30)))
        jobs.look_around(shop)
    kinds = [kind for _, kind, _ in told(database)]
    assert kinds.count("overrun") == 1
    clock.set(datetime(2026, 12, 2, tzinfo=UTC))
    jobs.look_around(shop)
    ok(acme.send(acme.event("analysis", quantity=30)))
    jobs.look_around(shop)
    assert [kind for _, kind, _ in told(database)].count("overrun") == 2


def test_going_on_beyond_the_credits_is_told_once_and_when_it_is_over(
    acme: Customer, database: Database, shop: Workshop
) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    ok(acme.api.patch(f"{acme.path}/spending", {"on_empty": "overage", "overage_limit": "50"}))
    ok(acme.send(acme.event("analysis", quantity=61)))
    for _ in range(2):
        jobs.look_around(shop)
    assert [one[1:] for one in told(database)] == [
        ("credits-out", "begun"), ("overage-begun", "begun"),
    ]  # fmt: skip
    acme.grant(100)
    jobs.look_around(shop)
    assert [one[1:] for one in told(database)[2:]] == [
        ("credits-out", "over"), ("overage-begun", "over"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "what", ["in force", "its plan has ended", "its limit is reached", "its card was declined"]
)
def test_whoever_is_out_of_credits_is_told_that_work_goes_on_only_where_it_does(
    acme: Customer,
    database: Database,
    shop: Workshop,
    office: PostOffice,
    clock: Clock,
    what: str,
) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    limit = "0.10" if what == "its limit is reached" else "50"
    ok(acme.api.patch(f"{acme.path}/spending", {"on_empty": "overage", "overage_limit": limit}))
    if what == "its plan has ended":
        with database.transaction() as tx:
            desk = open_desk(tx, "acme", now=clock())
            tiers.end(tx, desk.wallet, desk.organization, at=clock())
            desk.wallet.write()
    if what == "its card was declined":
        with database.transaction() as tx:
            accounts.set_spending(tx, "acme", on_empty="top_up", overage_limit_minor=None)
            asked = TopUpRequest(1, "small", 10_000)
            standing.keep(tx, "acme", asked, actor="ana", now=clock())
            standing.declined(tx, "acme", method_id="pm_1")
    ok(acme.send(acme.event("analysis", quantity=65)))
    jobs.look_around(shop)
    jobs.tell(shop)
    (said,) = {text_of(one) for one in to(office, "ana") if "No credits" in text_of(one)}
    goes_on = acme.authorize("document").status_code == 201
    assert goes_on == (what == "in force")
    assert ("Work goes on beyond the plan" in said) == goes_on
    assert ("New work waits until credits are added." in said) == (not goes_on)


def test_a_limit_below_what_is_used_is_told_as_passed_and_not_as_kept(
    acme: Customer, database: Database, shop: Workshop, office: PostOffice
) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    ok(acme.api.patch(f"{acme.path}/spending", {"on_empty": "overage", "overage_limit": "50"}))
    ok(acme.send(acme.event("analysis", quantity=65)))
    ok(acme.api.patch(f"{acme.path}/spending", {"on_empty": "overage", "overage_limit": "1"}))
    jobs.look_around(shop)
    jobs.tell(shop)
    (said,) = {text_of(one) for one in to(office, "ana") if "this period" in text_of(one)}
    assert "$4.00 so far this period" in said
    assert "past $1.00, the limit set now: nothing more is charged" in said
    assert not re.search("never more than|goes on beyond", said)


def test_what_was_bought_by_itself_is_told_as_it_was_then() -> None:
    facts = {
        "pack": "500 credits",
        "credits_micro": 500 * MICRO,
        "amount_minor": 3900,
        "currency": "usd",
        "available_micro": 500 * MICRO,
    }
    told_of = Message(
        "acme", 1, "msg_1", "top-up-made", "top_1", "once", facts, datetime(2026, 11, 9, tzinfo=UTC)
    )
    assert describe(told_of, Names(Zone("UTC"), {}, {}, {}, {})).says == (
        "$39.00 was paid for 500 credits, as you chose for when credits run low. "
        "With them there were 500 credits."
    )


def test_a_cap_that_the_forecast_passes_is_told_once_in_its_window(
    acme: Customer, database: Database, shop: Workshop, clock: Clock
) -> None:
    acme.grant(1000)
    clock.set(datetime(2026, 11, 1, 12, tzinfo=UTC))
    clock.set(datetime(2026, 11, 12, 12, tzinfo=UTC))
    cap = acme.cap(250, "team", target="research")
    for back in range(1, 11):
        when = clock() - timedelta(days=back)
        ok(acme.send(acme.event("analysis", member="cleo", time=when)))
    for _ in range(2):
        jobs.look_around(shop)
    assert told(database) == [(1, "cap-projected", "begun")]
    ok(acme.api.patch(f"{acme.path}/caps/{cap}", {"limit": {"credits": "900"}}))
    jobs.look_around(shop)
    assert told(database)[1:] == [(2, "cap-projected", "over")]


def test_a_letter_says_what_happened_as_of_when_and_the_one_act(
    acme: Customer, shop: Workshop, office: PostOffice
) -> None:
    cap = acme.cap(10, "team", target="research")
    ok(acme.capture(acme.hold("analysis", member="cleo")))
    jobs.tell(shop)
    assert sorted(str(one["To"]) for one in office.came) == ["ana@acme.example", "ben@acme.example"]
    (mail,) = to(office, "ana")
    assert mail["Subject"] == "Research team: cap reached · Acme"
    for kind in ("plain", "html"):
        words = text_of(mail, kind)
        assert "10 of 10 credits are used this period" in words
        assert "As of 9 Nov, 12:00, UTC." in words
        assert f"{BASE}/limit/{cap}" in words
        assert f"{BASE}/unsubscribe/" in words
    assert str(mail["List-Unsubscribe"]).startswith(f"<{BASE}/unsubscribe/")
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    jobs.tell(shop)
    assert len(office.came) == 2


def test_a_burst_is_one_letter_and_the_next_comes_an_hour_later(
    acme: Customer, shop: Workshop, office: PostOffice, clock: Clock
) -> None:
    acme.grant(1000)
    caps = [acme.cap(10, window=window, mode=mode)
            for window in ("day", "week", "period") for mode in ("hard", "soft")]  # fmt: skip
    ok(acme.capture(acme.hold("analysis")))
    jobs.tell(shop)
    (mail,) = to(office, "ana")
    assert mail["Subject"] == f"Everyone: cap reached, and {len(caps) - 1} more · Acme"
    acme.cap(5, action="analysis")
    for minutes in (0, 30, 29):
        clock.forward(timedelta(minutes=minutes))
        jobs.tell(shop)
        assert len(to(office, "ana")) == 1
    clock.forward(timedelta(minutes=1))
    jobs.tell(shop)
    assert len(to(office, "ana")) == 2


def test_a_thousand_members_at_once_are_one_letter_to_each_admin(
    acme: Customer, database: Database, shop: Workshop, office: PostOffice, clock: Clock
) -> None:
    with database.transaction() as tx:
        for number in range(1000):
            facts = {
                "cap": f"cap_{number}", "scope": "member", "target": f"m{number}", "action": "",
                "window": "period", "mode": "hard", "limit_micro": 10, "spent_micro": 10,
                "held_micro": 0, "remaining_micro": 0, "thresholds": [100],
                "resets_at": clock().isoformat(),
            }  # fmt: skip
            outbox.tell(
                tx, "acme", "cap-reached", state="begun", subject=f"cap_{number}", facts=facts,
                now=clock(),
            )  # fmt: skip
    for _ in range(3):
        jobs.tell(shop)
        clock.forward(timedelta(minutes=10))
    assert len(office.came) == 2
    (mail,) = to(office, "ben")
    assert "and 999 more" in mail["Subject"]
    assert "And 990 more like these" in text_of(mail)
    assert len(mail.as_bytes()) < 30_000


def test_what_waits_for_an_answer_does_not_wait_an_hour(
    acme: Customer, database: Database, shop: Workshop, office: PostOffice, clock: Clock
) -> None:
    with database.transaction() as tx:
        notices.raise_notice(tx, "acme", "plan-ended", "It ended.", now=clock())
    jobs.tell(shop)
    clock.forward(timedelta(minutes=5))
    with database.transaction() as tx:
        notices.raise_notice(tx, "acme", "payment-failed", "Pay it.", now=clock())
    jobs.tell(shop)
    assert [one["Subject"] for one in to(office, "ana")] == [
        "Your plan has ended · Acme", "A payment for your plan failed · Acme",
    ]  # fmt: skip


def test_people_hear_what_they_chose_and_members_hear_of_themselves(
    acme: Customer, database: Database, shop: Workshop, office: PostOffice
) -> None:
    with database.transaction() as tx:
        mailing.choose(tx, "acme", "ana", {"caps": "page"})
    acme.cap(10, "member", target="cleo")
    ok(acme.capture(acme.hold("analysis", member="cleo")))
    jobs.tell(shop)
    assert {str(one["To"]) for one in office.came} == {"ben@acme.example", "cleo@acme.example"}


def test_who_changes_their_mind_or_is_removed_before_it_leaves_hears_nothing(
    acme: Customer, database: Database, shop: Workshop, office: PostOffice
) -> None:
    acme.cap(10)
    ok(acme.capture(acme.hold("analysis")))
    jobs.tell(replace(shop, post=None))
    with database.transaction() as tx:
        mailing.choose(tx, "acme", "ana", {"caps": "page"})
    ok(acme.api.delete(f"{acme.path}/members/ben"))
    jobs.tell(shop)
    assert office.came == []
    with database.reading() as tx:
        assert set(tx.execute(select(deliveries.c.status)).scalars()) == {"dropped"}


def test_a_mail_that_is_not_taken_is_sent_later_and_given_up_after_three_days(
    acme: Customer, database: Database, shop: Workshop, office: PostOffice, clock: Clock
) -> None:
    ok(acme.api.delete(f"{acme.path}/members/ben"))
    acme.cap(10)
    ok(acme.capture(acme.hold("analysis")))
    office.refusing = True
    jobs.tell(shop)
    office.refusing = False
    jobs.tell(shop)
    assert office.came == []
    clock.forward(timedelta(seconds=5))
    jobs.tell(shop)
    assert len(office.came) == 1
    acme.cap(5, window="day")
    office.refusing = True
    for _ in range(100):
        clock.forward(HOUR)
        jobs.tell(shop)
    with database.reading() as tx:
        statuses = list(tx.execute(select(deliveries.c.status).order_by(deliveries.c.sequence)))
    assert [row[0] for row in statuses] == ["done", "dead"]


def test_what_may_have_left_when_a_worker_died_is_sent_again_under_the_same_id(
    acme: Customer,
    database: Database,
    shop: Workshop,
    office: PostOffice,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ok(acme.api.delete(f"{acme.path}/members/ben"))
    acme.cap(10)
    ok(acme.capture(acme.hold("analysis")))
    with monkeypatch.context() as patch:
        patch.setattr(mailing, "_ended", _die)
        with pytest.raises(KeyboardInterrupt):
            jobs.tell(shop)
    acme.cap(10, window="day")
    jobs.tell(shop)
    assert len(office.came) == 1
    clock.forward(mailing.LEASE)
    jobs.tell(shop)
    first, second = office.came
    assert (first["Message-ID"], first["Subject"]) == (second["Message-ID"], second["Subject"])


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_without_anybody_who_hears_of_it_nothing_waits(
    bystander: Customer, database: Database, shop: Workshop, clock: Clock
) -> None:
    jobs.tell(shop)
    with database.reading() as tx:
        assert outbox.organizations_with_unspread(tx) == []
