"""Everybody asks for the last credit at the same moment: exactly one gets it, every time.

A crowd that merely drains a balance hardly ever meets the moment at which a missing lock shows; a
crowd released together on the last unit meets it every round. Refusing who should have been served
is as much a failure as serving one too many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults import soak
from tests.faults.crowd import Crowd
from tests.faults.money import PRICE_MICRO
from tests.faults.site import Company, Site

pytestmark = pytest.mark.soak

CLIENTS = 32
#: Enough to meet the moment many times. A naive check fails nearly every round.
ROUNDS = soak.rounds(200, 500)
ROUNDS_OF_EACH_CAP = soak.rounds(20, 500)
DOCUMENT = PRICE_MICRO["document"]

ONE = [201] + [402] * (CLIENTS - 1)
ALL = [201] * CLIENTS
NONE = [402] * CLIENTS

#: What each cap is on; everybody's work counts in all of them.
CAPS: dict[str, dict[str, str]] = {
    "member": {"scope": "member", "target": "cleo"},
    "team": {"scope": "team", "target": "research"},
    "project": {"scope": "project", "target": "atlas"},
    "action": {"action": "document"},
    "day": {"window": "day"},
}


@pytest.fixture
def acme(site: Site) -> Company:
    return site.found()


@pytest.fixture
def crowd(site: Site) -> Iterator[Crowd]:
    with site.crowd(CLIENTS) as crowd:
        yield crowd


def authorize(crowd: Crowd, acme: Company, **more: Any) -> list[int]:
    """Have everybody authorize one document; return the statuses in order."""
    asked = acme.site.request("POST", "/v1/authorizations", acme.authorization(**more))
    return sorted(reply.status for reply in crowd.send_all(asked))


def rounds_on(site: Site, rounds: int) -> int:
    """Return fewer rounds for SQLite, which has one writer at a time whoever asks."""
    return rounds if site.database.dialect == "postgresql" else max(1, rounds // 5)


def test_the_last_credits_of_a_balance_go_to_exactly_one_of_many(
    site: Site, acme: Company, crowd: Crowd
) -> None:
    rounds = rounds_on(site, ROUNDS)
    for _ in range(rounds):
        acme.grant(DOCUMENT)
        assert authorize(crowd, acme) == ONE
    assert acme.standing == (0, rounds * DOCUMENT)


def test_nobody_is_refused_while_there_is_enough_for_all(
    site: Site, acme: Company, crowd: Crowd
) -> None:
    rounds = rounds_on(site, ROUNDS // 20)
    for _ in range(rounds):
        acme.grant(CLIENTS * DOCUMENT)
        assert authorize(crowd, acme) == ALL
    assert acme.standing == (0, rounds * CLIENTS * DOCUMENT)


@pytest.mark.parametrize("on", CAPS)
def test_the_last_room_under_a_cap_goes_to_exactly_one_of_many(
    site: Site, acme: Company, crowd: Crowd, on: str
) -> None:
    rounds = ROUNDS if on == "member" else ROUNDS_OF_EACH_CAP
    rounds = rounds_on(site, rounds)
    acme.grant((rounds + 2 * CLIENTS) * DOCUMENT)
    # What was spent before the cap was made counts in it.
    acme.hold(member="cleo", project="atlas")
    cap = acme.cap(0, **CAPS[on])
    for turn in range(1, rounds + 1):
        acme.change_cap(cap, (1 + turn) * DOCUMENT)
        assert authorize(crowd, acme, member="cleo", project="atlas") == ONE
    acme.change_cap(cap, (1 + rounds + CLIENTS) * DOCUMENT)
    assert authorize(crowd, acme, member="cleo", project="atlas") == ALL
    assert authorize(crowd, acme, member="cleo", project="atlas") == NONE
    held = 1 + rounds + CLIENTS
    assert acme.standing == ((CLIENTS - 1) * DOCUMENT, held * DOCUMENT)
