"""Everybody asks for the last room under a cap at the same moment: exactly one gets it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import soak
from tests.faults.barrier import ALL, CLIENTS, DOCUMENT, NONE, ONE, authorize, rounds_on
from tests.faults.crowd import Crowd
from tests.faults.site import Company, Site

pytestmark = pytest.mark.soak

ROUNDS = soak.rounds(200, 500)
ROUNDS_OF_EACH_OTHER = soak.rounds(20, 500)

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


@pytest.mark.parametrize("on", CAPS)
def test_the_last_room_under_a_cap_goes_to_exactly_one_of_many(
    site: Site, acme: Company, crowd: Crowd, on: str
) -> None:
    rounds = ROUNDS if on == "member" else ROUNDS_OF_EACH_OTHER
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
