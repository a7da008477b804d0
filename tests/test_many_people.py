"""Choosing one person where there are too many to list: by a name, a part of it, or an address."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from portal import accounts
from portal.db import Database
from portal.spending import MOST_LISTED, Choices
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.readers import Reader, enter

Crowd = Callable[[], Reader]


@pytest.fixture
def ana(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    """Ana, of an organization with more people than are listed."""
    people = [f"Person {number:02}" for number in range(MOST_LISTED)]
    with database.transaction() as tx:
        for name in (*people, "Mara Hill", "Mara Stone", "Tamara Voss"):
            key = name.lower().replace(" ", "-")
            accounts.put_member(
                tx,
                "acme",
                key,
                email=f"{key}@acme.example",
                name=name,
                role="member",
                team_id="",
                now=clock(),
            )
        accounts.remove_member(tx, "acme", "tamara-voss", now=clock())
    return enter(application, database, clock, "ana")


def _main(page: str) -> str:
    return page.partition("<main")[2].partition("</main>")[0]


def test_a_whole_name_means_its_bearer_and_a_part_all_who_have_it() -> None:
    known = Choices({}, {"a": "Ann", "b": "Anna", "c": "anna  Bell", "d": "Joann"}, {}, {})
    assert known.members_called(" ANN ") == ["a"]
    assert known.members_called("nna") == ["b", "c"]
    assert known.members_called("zoe") == known.members_called(" ") == []


def test_a_page_stays_small_however_many_people_there_are(ana: Reader) -> None:
    for path in ("/usage", "/spending"):
        page = _main(ana.client.get(path).text)
        assert "Person 07" not in page, path
        assert 'type="search"' in page, path


def test_a_name_in_the_address_shows_whose_use_it_is(acme: Customer, ana: Reader) -> None:
    ok(acme.send(acme.event("image", member="mara-hill")))
    for asked in ("mara-hill", "Mara+Hill", "hill", "mara-hill%40acme.example"):
        page = _main(ana.client.get(f"/usage?member={asked}").text)
        assert 'value="Mara Hill"' in page, asked
        assert "member=mara-hill" in page, "what is reached from here is by the one person"
        assert "Whom do you mean?" not in page
    rows = ana.client.get("/usage.csv?member=hill").text
    assert "Images" in rows


def test_a_name_of_several_asks_whom_with_a_link_for_each(ana: Reader) -> None:
    page = _main(ana.client.get("/usage?range=30-days&member=mara").text)
    assert "may be 3 people" in page
    links = re.findall(r'<a href="(/usage\?[^"]+)">(\w+ \w+)</a> <small>([^<]+)', page)
    assert [(name, email) for _, name, email in links] == [
        ("Mara Hill", "mara-hill@acme.example"),
        ("Mara Stone", "mara-stone@acme.example"),
        ("Tamara Voss", "tamara-voss@acme.example"),
    ]
    chosen = _main(ana.client.get(links[1][0].replace("&amp;", "&")).text)
    assert 'value="Mara Stone"' in chosen
    many = _main(ana.client.get("/usage?member=person").text)
    assert many.count("<small>person-") == 8
    assert f"{MOST_LISTED - 8} more: write more of the name" in many
    assert "Nothing was used" not in many
    nobody = _main(ana.client.get("/usage?member=%3Cb%3Ezoe").text)
    assert "Nobody here is called “&lt;b&gt;zoe”" in nobody


def test_a_member_who_sees_their_own_use_alone_looks_for_nobody(
    ana: Reader, application: Flask, database: Database, clock: Clock
) -> None:
    page = _main(enter(application, database, clock, "cleo").client.get("/usage?member=mara").text)
    assert "Whom do you mean?" not in page
    assert "mara-" not in page


def _ask(ana: Reader, person: str) -> tuple[int, str]:
    fields = {"subject": "member:", "person": person, "action": "", "window": "day",
              "limit": "5", "mode": "hard"}  # fmt: skip
    answer = ana.send("/spending/caps", "/spending", **fields)
    return answer.status_code, _main(answer.text)


@pytest.mark.parametrize("typed", ["Mara Hill", "hill", "MARA-HILL@acme.example "])
def test_a_cap_is_set_for_the_person_who_was_named(acme: Customer, ana: Reader, typed: str) -> None:
    assert _ask(ana, typed)[0] == 303
    (cap,) = acme.caps().values()
    assert (cap["scope"], cap["target"]) == ("member", "mara-hill")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "must be the name or the address of somebody here"),
        ("nobody", "must be the name or the address of somebody here"),
        ("nobody@else.example", "must be the name or the address of somebody here"),
        ("mara", "may be Mara Hill, Mara Stone, Tamara Voss; write all of it, or the address"),
        ("person", "may be Person 00, Person 01, Person 02 and 47 more; write all of it"),
    ],
)
def test_a_cap_for_nobody_or_for_several_says_what_to_write_and_keeps_the_form(
    acme: Customer, ana: Reader, typed: str, says: str
) -> None:
    status, page = _ask(ana, typed)
    assert status == 422
    assert says in page
    assert f'value="{typed}" aria-invalid="true"' in page
    assert '<option value="member:" selected>' in page
    assert not acme.caps()
