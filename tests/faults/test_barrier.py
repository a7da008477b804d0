"""Everybody asks for the last credit at the same moment: exactly one gets it, every time.

A crowd that merely drains a balance hardly ever meets the moment at which a missing lock shows; a
crowd released together on the last unit meets it every round. Refusing who should have been served
is as much a failure as serving one too many.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import soak
from tests.faults.barrier import ALL, CLIENTS, DOCUMENT, ONE, authorize, rounds_on
from tests.faults.crowd import Crowd
from tests.faults.site import Company, Site

pytestmark = pytest.mark.soak

#: Enough to meet the moment many times. A naive check fails nearly every round.
ROUNDS = soak.rounds(200, 500)


@pytest.fixture
def acme(site: Site) -> Company:
    return site.found()


@pytest.fixture
def crowd(site: Site) -> Iterator[Crowd]:
    with site.crowd(CLIENTS) as crowd:
        yield crowd


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
