"""The same request from many at once, or again after a crash: one effect, one answer."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.faults import soak
from tests.faults.crowd import Crowd
from tests.faults.deeds import (
    CALLS,
    CREDITS_MICRO,
    GRANT,
    ask_again,
    ask_all,
    books,
    changed,
    deeds,
)
from tests.faults.site import Company, Site
from tests.faults.wire import Reply
from tests.servers import Server

pytestmark = pytest.mark.soak

CLIENTS = 20
ROUNDS = soak.rounds(5, 200)
KILLS = soak.rounds(2, 100)
#: On a machine that is busy with other things a store may not answer in time.
AGAIN = 20


@pytest.fixture
def acme(site: Site) -> Company:
    acme = site.found()
    acme.grant(CREDITS_MICRO)
    return acme


@pytest.fixture
def crowd(site: Site) -> Iterator[Crowd]:
    with site.crowd(CLIENTS) as crowd:
        yield crowd


def problem_of(reply: Reply) -> str:
    return str(reply.json["type"].removeprefix("/problems/"))


@pytest.mark.parametrize("name", CALLS)
def test_many_with_one_key_have_one_effect_and_one_answer_to_the_byte(
    acme: Company, crowd: Crowd, name: str
) -> None:
    call, site = CALLS[name], acme.site
    for turn in range(ROUNDS):
        path = call.path(acme, acme.hold(quantity=5))
        before, key = books(acme), f"{name} {turn}"
        replies = crowd.send_all(site.request("POST", path, call.body(acme), key=key), again=AGAIN)
        assert replies[0].status in {200, 201}, replies[0]
        assert replies == [replies[0]] * CLIENTS
        after = changed(before, call.effect)
        assert books(acme) == after
        if call.other is not None:
            refused = site.call("POST", path, call.other(acme), key=key)
            assert (refused.status, problem_of(refused)) == (409, "idempotency-conflict")
        assert site.call("POST", path, call.body(acme), key=key) == replies[0]
        assert books(acme) == after


def test_of_many_bodies_with_one_key_one_has_an_effect(acme: Company, crowd: Crowd) -> None:
    for turn in range(ROUNDS):
        before = books(acme)
        replies = crowd.send(
            [
                acme.site.request(
                    "POST", "/v1/authorizations", acme.authorization(quantity=1 + client),
                    key=f"turn {turn}",
                )
                for client in range(CLIENTS)
            ],
            again=AGAIN,
        )  # fmt: skip
        (won,) = (client for client, reply in enumerate(replies) if reply.status == 201)
        lost = [reply for client, reply in enumerate(replies) if client != won]
        assert {problem_of(reply) for reply in lost} == {"idempotency-conflict"}
        assert books(acme) == changed(before, (-1 - won, 1 + won, 0))


def test_a_key_is_its_organizations_and_its_calls_alone(
    site: Site, acme: Company, crowd: Crowd
) -> None:
    other = site.found()
    other.grant(CREDITS_MICRO)
    for turn in range(ROUNDS):
        key, asked = f"turn {turn}", []
        before = [books(one) for one in (acme, other)]
        for one in (acme, other):
            hold, more = one.hold(), one.hold()
            asked += [
                site.request("POST", "/v1/authorizations", one.authorization(), key=key),
                site.request("POST", f"{one.path}/grants", GRANT, key=key),
                site.request("POST", f"/v1/authorizations/{hold}/capture", {}, key=key),
                site.request("POST", f"/v1/authorizations/{more}/release", {}, key=key),
                site.request("POST", f"/v1/authorizations/{more}/capture", {}, key="else"),
            ]
        replies = crowd.send(asked * (CLIENTS // len(asked)), again=AGAIN)
        settled = [reply for reply in replies if reply.status == 409]
        assert {problem_of(reply) for reply in settled} <= {"authorization-settled"}
        # Each pair of a release and a capture ends its hold one way, whichever came first.
        for place, one in enumerate((acme, other)):
            mine = replies[5 * place : 5 * place + 5]
            assert [reply.status for reply in mine[:3]] == [201, 201, 200]
            assert sorted(reply.status for reply in mine[3:]) == [200, 409]
            released = mine[3].status == 200
            effect = (-2 + 3, 1, 1) if released else (-3 + 3, 1, 2)
            assert books(one) == changed(before[place], effect)
        assert replies[10:] == replies[:10]


def test_the_same_event_from_many_at_once_counts_once(acme: Company, crowd: Crowd) -> None:
    for turn in range(ROUNDS):
        before = books(acme)
        event = {
            "specversion": "1.0", "id": f"event {turn}", "source": "tests", "subject": acme.id,
            "type": "document", "data": {"quantity": 2},
        }  # fmt: skip
        others = event | {"data": {"quantity": 3}}
        one = acme.site.request("POST", "/v1/events", event)
        two = acme.site.request("POST", "/v1/events", others)
        replies = crowd.send([one, two] * (CLIENTS // 2), again=AGAIN)
        answers = [reply.json for reply in replies]
        (first,) = (place for place, answer in enumerate(answers) if answer["accepted"])
        for place, answer in enumerate(answers):
            same = place % 2 == first % 2
            assert answer["duplicates"] == (same and place != first)
            codes = [rejected["code"] for rejected in answer["rejected"]]
            assert codes == ([] if same else ["event-conflict"])
        spent = 2 if first % 2 == 0 else 3
        assert books(acme) == changed(before, (-spent, 0, spent))


def test_a_server_that_is_killed_leaves_every_key_usable_at_once(site: Site, acme: Company) -> None:
    chance = random.Random(1)
    cut = 0
    for turn in range(KILLS):
        victim = Server(site.url)
        victim.start()
        asked = deeds(acme, f"turn {turn}")
        start = books(acme)
        after = chance.randrange(len(asked) - 2)
        replies = ask_all(asked, [victim.port], after=after, then=victim.kill)
        cut += replies.count(None)
        # Another process is asked without a pause; what was answered is answered the same again.
        for deed, first in zip(asked, replies, strict=True):
            again = ask_again(deed, site.ports[0])
            assert deed.done(again), again
            assert first is None or deed.agree(first, again)
        assert books(acme) == changed(start, *(deed.effect for deed in asked))
    assert cut, "no server was killed in the middle"
