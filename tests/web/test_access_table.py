"""Every route, method and actor: what each gets stands in ``access.table``, and nowhere else.

A route that has no line there fails here, with the line it would have: read it, judge it, and put
it into the table where it is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import median
from time import thread_time
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.doors import asked_of
from tests.faults import soak
from tests.web import table
from tests.web.house import ACTORS, DEAD, KEYS, House, open_house


def test_every_route_gives_everybody_what_the_table_says(house: House) -> None:
    known, wrong, met = table.read(), [], set()
    for rule, method in house.routes():
        cells = []
        for actor in ACTORS:
            answer = table.ask(house, actor, rule, method, house.path(rule))
            cells.append(table.cell(answer))
            if method != "GET" and answer.status_code < 400:
                house.restore()
        house.restore()
        met.add((method, rule.rule))
        if known.get((method, rule.rule)) != dict(zip(ACTORS, cells, strict=True)):
            wrong.append(table.line(method, rule, cells))
    assert wrong == [], "\n" + "\n".join([table.header(), *wrong])
    assert set(known) - met == set(), "these routes are gone"


def test_the_table_lets_nobody_in_who_is_not_of_the_house() -> None:
    known = table.read()
    open_to_all = (
        "/static/",
        "/brand",
        "/docs",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
    )
    doors = ("/sign-in", "/sign-out", "/invitations/", "/webhooks/", "/unsubscribe/")
    for (method, route), cells in known.items():
        if route.startswith((*open_to_all, *doors)):
            continue
        for actor in DEAD:
            assert cells[actor] in {"in", "400", "401", "404"}, (method, route, actor)
        if not route.startswith("/v1/"):
            # A key opens no page, and a session no call: each is a stranger to the other.
            assert {cells[key] for key in KEYS} <= {"in", "400", "404"}, (method, route)
        else:
            people = [one for one in ACTORS if one not in KEYS]
            assert {cells[one] for one in people} == {"401"}, (method, route)
        if route.startswith("/v1/") and "<organization_id>" in route:
            assert cells["k-other"] in {"403", "404"}, (method, route)
        if route.startswith("/operator"):
            # What lacks a form's field is refused before it is asked who sent it.
            closed = {"404"} if method == "GET" else {"400", "404"}
            strangers = set(ACTORS) - {"operator", "looking"}
            assert {cells[one] for one in strangers} <= closed, (method, route)


def test_who_looks_on_changes_nothing_and_is_no_operator_meanwhile() -> None:
    for (method, route), cells in table.read().items():
        if route.startswith("/v1/"):
            continue
        if method == "POST" and route not in {"/sign-out", "/operator/view/end"}:
            assert cells["looking"] in {"400", "403", "404", "405"}, (method, route)
        if method == "GET" and route.startswith("/operator"):
            assert cells["looking"] != "200", (method, route)


def test_a_member_of_another_team_is_given_no_more_than_any_member() -> None:
    for (method, route), cells in table.read().items():
        refused = {"403", "404"}
        assert cells["peer"] == cells["member"] or cells["peer"] in refused, (method, route)


def test_the_table_has_every_cell_that_was_promised() -> None:
    assert sum(len(cells) for cells in table.read().values()) >= 5_000


def test_a_viewer_changes_nothing_and_a_member_reads_no_more_than_their_own() -> None:
    own = ("/account", "/sign-out", "/sign-in", "/unsubscribe", "/settings/notifications")
    others = ("/v1/", "/webhooks/", "/invitations/", "/operator")
    for (method, route), cells in table.read().items():
        if route.startswith((*own, *others)):
            continue
        if method == "POST":
            assert cells["viewer"] == "403", (method, route)
            # A member may ask for more of the cap in their way.
            asks = route == "/limit/<cap_id>"
            assert cells["member"] == ("303" if asks else "403"), (method, route)
        if route.startswith(("/team", "/settings", "/billing")) and cells["owner"] == "200":
            assert cells["member"] == "403", (method, route)


def _same(answer: TestResponse, *values: str) -> tuple[Any, ...]:
    """Return an answer without what chance chose, and without the id that was asked for."""
    text = answer.get_data(as_text=True)
    for value in values:
        text = text.replace(value, "@")
    text = re.sub(r'value="[A-Za-z0-9_.-]{60,}"', "", text)
    text = re.sub(r"\b[a-z]+_[0-9a-hjkmnp-tv-z]{20}\b", "#", text)
    dull = {"Request-Id", "Set-Cookie", "Content-Length", "RateLimit-Remaining", "RateLimit-Reset"}
    headers = {
        name: value.replace(values[0], "@") for name, value in answer.headers if name not in dull
    }
    return answer.status_code, headers, text


RANDOM = "zz9plural"


def _elsewhere(ids: dict[str, str]) -> dict[str, str]:
    """Return ids of the same kinds that name nothing."""
    public = {"filename", "tier", "pack", "token", "which", "number"}
    return {name: value if name in public else f"{RANDOM}-{name}" for name, value in ids.items()}


#: How often each is asked for where time is taken.
TRIES = soak.rounds(1, 200)


@pytest.mark.soak
def test_how_long_the_answers_take_is_told(house: House) -> None:
    """In time of the processor, which is the same however much else this machine does."""
    house.restore()
    random, found = _elsewhere(house.ids), []
    for rule, method in house.routes():
        named = [one for one in rule.arguments if house.ids.get(one) != random.get(one)]
        if method != "GET" or not named or not rule.rule.startswith("/v1/"):
            continue
        took: tuple[list[float], list[float]] = ([], [])
        for _ in range(TRIES):
            for times, ids in zip(took, (house.ids, random), strict=True):
                path, begun = house.path(rule, ids), thread_time()
                house.ask("k-other", method, path)
                times.append(thread_time() - begun)
        found.append((abs(median(took[0]) - median(took[1])) * 1000, rule.rule))
    assert len(found) >= 10
    print(f"\nanother's and nobody's, {TRIES} times each: medians differ by at most "
          f"{max(found)[0]:.2f} ms ({max(found)[1]})")  # fmt: skip


@pytest.mark.parametrize("actor", ["other", "wrong", "k-other"])
def test_what_is_anothers_is_answered_as_what_is_nobodys(house: House, actor: str) -> None:
    house.restore()
    random, compared = _elsewhere(house.ids), 0
    before = _of_acme(house)
    for rule, method in house.routes():
        named = [one for one in rule.arguments if house.ids.get(one) != random.get(one)]
        if not named or rule.rule.startswith("/v1/") != (actor in KEYS):
            continue
        answers, work = [], []
        for ids in (house.ids, random):
            # What the last form had to say waits in the session for the next page.
            house.restore()
            path = house.path(rule, ids)
            with asked_of(house.database.engine) as statements:
                answer = table.ask(house, actor, rule, method, path)
            both = [known[name] for name in named for known in (ids, house.ids, random)]
            answers.append(_same(answer, *both))
            work.append(statements)
        assert answers[0] == answers[1], (method, rule.rule)
        # Nor does it take longer, which would tell: the store is asked the same.
        assert work[0] == work[1], (method, rule.rule)
        compared += 1
    assert compared >= 15
    assert _of_acme(house) == before
    house.restore()


def _of_acme(house: House) -> dict[str, list[str]]:
    return {
        name: [row for row in rows if row.startswith("('acme'")]
        for name, rows in house.digest().items()
    }


#: Other places where an id can stand: who asks, how, where, and the form or body with it.
PLACES: list[tuple[str, str, str, str, Any]] = [
    *(
        (actor, "GET", f"{page}{name}={{{id_}}}", id_, None)
        for actor in ("other", "wrong")
        for page in ("/usage?", "/usage.csv?", "/usage/events?")
        for name, id_ in (("member", "member_id"), ("team", "team_id"), ("project", "project_id"))
    ),
    ("other", "GET", "/usage/events?run={run}", "run", None),
    ("other", "GET", "/usage/events/e-nothing?source={source}", "source", None),
    ("other", "GET", "/settings/activity?who={member_id}", "member_id", None),
    ("other", "GET", "/settings/activity.csv?who={member_id}", "member_id", None),
    ("other", "POST", "/spending/caps", "member_id", {
        "subject": "member:{member_id}", "window": "day", "mode": "hard", "limit": "5"}),
    ("other", "POST", "/spending/caps", "team_id", {
        "subject": "team:{team_id}", "window": "day", "mode": "hard", "limit": "5"}),
    ("other", "POST", "/team/members/ana", "team_id", {"role": "owner", "team": "{team_id}"}),
    ("other", "POST", "/team/invitations", "team_id", {
        "email": "x@y.example", "role": "member", "team": "{team_id}"}),
    ("k-other", "POST", "/v1/authorizations", "organization_id", {
        "organization": "{organization_id}", "action": "document"}),
    ("k-other", "POST", "/v1/events", "organization_id", {
        "specversion": "1.0", "id": "n-1", "source": "tests", "subject": "{organization_id}",
        "type": "document", "data": {}}),
    ("k-other", "POST", "/v1/events", "hold_id", {
        "specversion": "1.0", "id": "n-2", "source": "tests", "subject": "bystander",
        "type": "document", "data": {"authorization": "{hold_id}"}}),
    ("k-other", "POST", "/v1/organizations/bystander/caps", "member_id", {
        "scope": "member", "target": "{member_id}", "limit": {"credits": "5"}}),
    ("k-other", "PUT", "/v1/organizations/bystander/members/eve", "team_id", {
        "email": "eve@bystander.example", "team": "{team_id}"}),
    ("k-other", "POST", "/v1/organizations/bystander/caps", "cap_id", {
        "scope": "member", "target": "{cap_id}", "limit": {"credits": "5"}}),
    ("k-other", "POST", "/v1/authorizations", "member_id", {
        "organization": "bystander", "action": "document", "member": "{member_id}"}),
    ("k-other", "POST", "/v1/authorizations", "project_id", {
        "organization": "bystander", "action": "document", "project": "{project_id}"}),
    ("k-other", "POST", "/v1/portal_sessions", "member_id", {
        "organization": "bystander", "member": {"id": "{member_id}"}}),
    ("s-all", "POST", "/v1/portal_sessions", "organization_id", {
        "organization": "bystander", "member": {"id": "{organization_id}"}}),
    ("other", "POST", "/sign-in/choose", "organization_id", {"organization": "{organization_id}"}),
    ("other", "POST", "/settings/notifications", "cap_id", {"mail": "{cap_id}"}),
    *(
        ("k-other", "GET", f"/v1/organizations/bystander/{what}?cursor={{{id_}}}", id_, None)
        for what in ("events", "statement", "usage")
        for id_ in ("event_id", "grant_id")
    ),
    *(
        (actor, "GET", f"/usage/events?{name}={{event_id}}", "event_id", None)
        for actor in ("other", "wrong")
        for name in ("before", "after", "cursor")
    ),
    *(
        ("k-other", "GET", f"/v1/organizations/bystander/{what}?{name}={{{id_}}}", id_, None)
        for what in ("usage", "events")
        for name, id_ in (("member", "member_id"), ("team", "team_id"), ("project", "project_id"))
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("actor", "method", "path", "place", "body"), PLACES, ids=lambda one: str(one)[:60]
)
def test_an_id_of_acmes_means_nothing_wherever_it_stands(
    house: House, actor: str, method: str, path: str, place: str, body: Any
) -> None:
    before, answers = _of_acme(house), []
    known = {**house.ids, "run": "r-1", "source": "tests"}
    for value in (known[place], RANDOM):
        house.restore()
        sent = _filled(body, place, value)
        where = path.replace(f"{{{place}}}", value)
        carried = {"body": sent} if where.startswith("/v1/") else {"form": sent}
        answers.append(_same(house.ask(actor, method, where, **carried), value))
        assert _of_acme(house) == before
    assert answers[0] == answers[1]
    house.restore()


def _filled(body: Any, place: str, value: str) -> Any:
    if isinstance(body, dict):
        return {name: _filled(one, place, value) for name, one in body.items()}
    return body.replace(f"{{{place}}}", value) if isinstance(body, str) else body


def test_the_key_of_a_call_is_each_organizations_own(house: House) -> None:
    house.restore()
    asked = {"action": "document", "quantity": "1"}
    first, second = (
        house.ask(actor, "POST", "/v1/authorizations", body=asked | {"organization": whose},
                  headers={"Idempotency-Key": "the same"})
        for actor, whose in (("k-manage", "acme"), ("k-other", "bystander"))
    )  # fmt: skip
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json["id"] != second.json["id"]
    house.restore()


@pytest.fixture(scope="module")
def other_store(request: pytest.FixtureRequest) -> Iterator[House]:
    """The same house on PostgreSQL."""
    server = request.getfixturevalue("postgresql_server")
    name = request.getfixturevalue("migrated_postgresql")
    server.empty(name)
    with open_house(server.url(name)) as made:
        yield made


@pytest.mark.postgresql
def test_the_table_holds_on_postgresql_wherever_nothing_is_changed(other_store: House) -> None:
    known, wrong = table.read(), []
    sampled = (
        "member",
        "viewer",
        "wrong",
        "k-read",
        "k-other",
        "nobody",
        "peer",
        "looking",
        "undecided",
        "k-forged",
    )
    for rule, method in other_store.routes():
        if rule.rule.startswith(("/static", "/docs", "/openapi", "/metrics", "/readyz", "/sign-")):
            continue
        for actor in sampled:
            expected = known[method, rule.rule][actor]
            if method == "GET" or expected in {"401", "403", "404", "in"}:
                answer = table.ask(other_store, actor, rule, method, other_store.path(rule))
                if table.cell(answer) != expected:
                    wrong.append((method, rule.rule, actor, expected, table.cell(answer)))
    assert wrong == []
