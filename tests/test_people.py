"""The team page: who may do what to whom, what it says first, and what can be undone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask

from portal import accounts, team
from portal.db import Database
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.readers import Reader, enter

Enter = Callable[[str], Reader]


@pytest.fixture
def let(acme: Customer, application: Flask, database: Database, clock: Clock) -> Enter:
    """Sign anybody of Acme in; beside Ana, Ben and Cleo there are Fay and Gita."""
    for member, role in (("fay", "billing"), ("gita", "viewer")):
        body = {"email": f"{member}@acme.example", "name": member.title(), "role": role}
        ok(acme.api.put(f"{acme.path}/members/{member}", body), 201)
    return lambda member: enter(application, database, clock, member)


def _role(database: Database, member: str) -> str:
    with database.reading() as tx:
        found = [one.role for one in accounts.list_members(tx, "acme") if one.member_id == member]
    return found[0] if found else ""


def test_the_page_says_who_is_here_and_what_each_spent(acme: Customer, let: Enter) -> None:
    ok(acme.send(acme.event("document", quantity=2, member="cleo"), acme.event("image")))
    page = let("gita").client.get("/team").text
    row = re.search(r"<tr>\s*<th scope=\"row\"><b>Cleo</b>.*?</tr>", page, re.DOTALL)
    assert row is not None
    assert "Research" in row[0]
    assert "/usage/events?range=period&amp;member=cleo" in row[0]
    spent = ok(acme.api.get(f"{acme.path}/usage?member=cleo"))["totals"]["credits"]
    assert re.search(rf">{spent}<span", row[0])
    assert "Left since, or no one named" in page
    total = ok(acme.api.get(f"{acme.path}/usage"))["totals"]["credits"]
    assert re.search(rf"Together</th>.*?>{total}<", page, re.DOTALL)


def test_many_people_are_shown_a_page_at_a_time_and_found_by_name(
    let: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "PEOPLE_A_PAGE", 2)
    ana = let("ana").client
    pages = [ana.get(f"/team?page={number}").text for number in (1, 2, 3)]
    shown = [re.findall(r"<th scope=\"row\"><b>(\w+)</b>", page) for page in pages]
    assert shown == [["Ana", "Ben"], ["Cleo", "Fay"], ["Gita"]]
    assert all(re.search(r"All 5 together</th>", page) for page in pages)
    assert "Page 3 of 3, 5 people" in ana.get("/team?page=99").text
    found = ana.get("/team?find=FAY@").text
    assert re.findall(r"<th scope=\"row\"><b>(\w+)</b>", found) == ["Fay"]
    assert "Nobody is called “zoe”" in ana.get("/team?find=zoe").text


def test_somebody_is_last_seen_when_they_last_read_a_page(
    let: Enter, clock: Clock, database: Database
) -> None:
    cleo = let("cleo")
    clock.forward(timedelta(minutes=7))
    cleo.client.get("/")
    with database.reading() as tx:
        seen = {one.member_id: one.seen_at for one in accounts.list_members(tx, "acme")}
    assert seen["cleo"] == clock()
    assert seen["fay"] is None


def test_who_may_not_manage_people_is_shown_no_button(let: Enter) -> None:
    for member in ("fay", "gita"):
        page = let(member).client.get("/team").text
        main = page.partition("<main")[2].partition("</main>")[0]
        assert "<form" not in main, member
        assert "Change" not in main, member
    assert let("cleo").client.get("/team").status_code == 403
    assert 'href="/team"' not in let("cleo").client.get("/").text


def test_an_admin_changes_a_role_and_takes_it_back(let: Enter, database: Database) -> None:
    ben = let("ben")
    answer = ben.send("/team/members/cleo", "/team/members/cleo", role="viewer", team="")
    assert answer.status_code == 303
    assert _role(database, "cleo") == "viewer"
    page = ben.client.get("/team").text
    assert "Cleo is now a viewer." in page
    (undo,) = re.findall(r'name="role" value="(\w+)"><input type="hidden" name="team"', page)
    ben.send("/team/members/cleo", "/team/members/cleo", role=undo, team="research")
    assert _role(database, "cleo") == "member"
    ben.client.get("/team")
    assert "Undo" not in ben.client.get("/team").text, "it is offered once"


def test_a_change_of_role_is_in_force_with_the_next_request(let: Enter, acme: Customer) -> None:
    cleo = let("cleo")
    assert cleo.client.get("/team").status_code == 403
    body = {"email": "cleo@acme.example", "role": "viewer"}
    ok(acme.api.put(f"{acme.path}/members/cleo", body))
    assert cleo.client.get("/team").status_code == 200
    ok(acme.api.put(f"{acme.path}/members/cleo", body | {"role": "member"}))
    assert cleo.client.get("/team").status_code == 403


@pytest.mark.parametrize(
    ("whom", "fields"),
    [("ana", {"role": "admin"}), ("cleo", {"role": "owner"}), ("ben", {"role": "owner"})],
)
def test_an_admin_neither_makes_nor_unmakes_an_owner(
    let: Enter, database: Database, whom: str, fields: dict[str, str]
) -> None:
    before = _role(database, whom)
    answer = let("ben").send(f"/team/members/{whom}", "/account", team="", **fields)
    assert answer.status_code == 403
    assert _role(database, whom) == before
    assert let("ben").send(f"/team/members/{whom}/remove", "/account").status_code == (
        403 if whom == "ana" else 303
    )


def test_the_last_owner_stays_whoever_asks(let: Enter, database: Database) -> None:
    ana = let("ana")
    page = ana.client.get("/team/members/ana").text
    assert "The last owner stays owner" in page
    assert "Remove Ana" not in page
    for path, fields in (
        ("/team/members/ana", {"role": "admin", "team": ""}),
        ("/team/members/ana/remove", {}),
    ):
        assert ana.send(path, "/account", **fields).status_code == 303
        assert "owner" in ana.client.get("/team/members/ana").text
        assert _role(database, "ana") == "owner"
    ana.send("/team/members/ben", "/account", role="owner", team="")
    ana.send("/team/members/ana", "/account", role="admin", team="")
    assert (_role(database, "ana"), _role(database, "ben")) == ("admin", "owner")


def test_removing_says_first_what_becomes_of_work_in_progress(
    acme: Customer, let: Enter, database: Database
) -> None:
    hold, ben, cleo = acme.hold("analysis", 2, member="cleo"), let("ben"), let("cleo")
    said = ben.client.get("/team/members/cleo").text
    assert "1 piece of their work is in progress and holds 20 credits" in said
    assert ben.send("/team/members/cleo/remove", "/team").status_code == 303
    assert cleo.client.get("/").status_code == 302, "signed out at the next request"
    assert ok(acme.capture(hold))["credits"] == "20"
    assert acme.authorize(member="cleo").status_code == 422
    assert "Cleo is removed" in ben.client.get("/team").text
    assert ben.send("/team/members/cleo/restore", "/team").status_code == 303
    assert _role(database, "cleo") == "member"
    assert cleo.client.get("/").status_code == 302, "the old session stays ended"
    ok(acme.authorize(member="cleo"), 201)


def test_teams_are_made_renamed_and_joined(acme: Customer, let: Enter, database: Database) -> None:
    ben = let("ben")
    assert ben.send("/team/teams", "/team", name="  Night   shift ").status_code == 303
    with database.reading() as tx:
        teams = {one.name: one.team_id for one in accounts.list_teams(tx, "acme")}
    made = teams["Night shift"]
    ben.send("/team/members/cleo", "/team", role="member", team=made)
    ok(acme.send(acme.event("document", member="cleo")))
    assert ok(acme.api.get(f"{acme.path}/usage?team={made}"))["totals"]["events"] == 1
    assert ben.send(f"/team/teams/{made}", "/team", name="Days").status_code == 303
    assert "Days" in ben.client.get("/team").text
    for name in ("", " ", "x" * 81, "a\u202eb"):
        answer = ben.send("/team/teams", "/team", name=name)
        assert answer.status_code == 422
        assert 'aria-invalid="true"' in answer.text
    assert ben.send("/team/teams/none", "/team", name="X").status_code == 404
    assert ben.send("/team/members/cleo", "/team", role="member", team="none").status_code == 404


def test_a_member_sees_the_balance_only_where_the_admin_lets_them(
    acme: Customer, let: Enter
) -> None:
    acme.hold("analysis", member="cleo")
    cleo, ben = let("cleo"), let("ben")
    shown = cleo.client.get("/").text
    assert "Credits left" in shown
    fields = {"name": "Acme", "timezone": "UTC", "members_see_balance": "no"}
    assert ben.send("/settings/organization", "/settings", **fields).status_code == 303
    for path in ("/", "/spending", "/plans"):
        page = cleo.client.get(path).text
        assert not re.search(r"\b90\b", page.partition("<main")[2]), path
    assert "Your own use" in cleo.client.get("/").text
    assert "Credits left" in ben.client.get("/").text


def test_what_is_charged_is_for_who_sees_everybodys_use_also_on_spending(
    acme: Customer, let: Enter
) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "pro"}))
    terms = {"on_empty": "overage", "overage_limit": "321.00"}
    ok(acme.api.patch(f"{acme.path}/spending", terms))
    cleo, ben = let("cleo"), let("ben")
    assert "$321.00" in ben.client.get("/spending").text
    page = cleo.client.get("/spending").text
    assert "$" not in page.partition("<main")[2], "a member is told what happens, not what it costs"
    assert "Work goes on up to a limit" in page
    assert "A cap is a limit that an owner or admin sets" in page


def test_a_member_reads_of_themselves_as_you_on_every_page(acme: Customer, let: Enter) -> None:
    acme.cap(100, scope="member", target="cleo")
    ok(acme.send(acme.event("analysis", quantity=9, member="cleo")))
    cleo = let("cleo")
    for path in ("/", "/spending"):
        page = cleo.client.get(path).text.partition("<main")[2]
        assert "Your own cap" in page, path
        assert "Cleo" not in page, path
    assert "Cleo: 10 left of 100" in let("ben").client.get("/").text


def test_the_tightest_limit_is_named_as_the_middle_of_a_sentence_says_it(
    acme: Customer, let: Enter
) -> None:
    def told(reader: Reader) -> str:
        found = re.search(r"The tightest limit is (.+?): ", reader.client.get("/spending").text)
        return re.sub(r"<[^>]+>", "", found[1]) if found else ""

    cleo, ben = let("cleo"), let("ben")
    for limit, scope, target, action, says in (
        (90, "organization", "", "", "the cap for everyone"),
        (80, "project", "site", "", "the cap of the project site"),
        (70, "team", "design", "", "the cap of the design team"),
        (60, "member", "cleo", "", "the cap of Cleo"),
        (50, "member", "cleo", "analysis", "the cap of Cleo on analyses"),
    ):
        if scope in {"project", "team"}:
            ok(acme.api.put(f"{acme.path}/{scope}s/{target}", {"name": target}), 201)
        more = {"action": action} if action else {}
        acme.cap(limit, scope=scope, **({"target": target} if target else {}), **more)
        assert told(ben) == says
    assert told(cleo) == "your own cap on analyses"


def test_a_viewer_reads_everything_and_is_offered_nothing(let: Enter) -> None:
    gita = let("gita")
    for path in ("/", "/usage", "/spending", "/plans", "/billing", "/team", "/settings",
                 "/settings/activity"):  # fmt: skip
        answer = gita.client.get(path)
        assert answer.status_code == 200, path
        main = answer.text.partition("<main")[2].partition("</main>")[0]
        assert 'method="post"' not in main, path
