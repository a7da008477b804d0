"""The pages of telling: asking and answering, what people hear by mail, endpoints of their own."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlalchemy import select

from portal import telling
from portal.db import Database
from portal.notices import links, mailing
from portal.notices.links import EVERYTHING, Unsubscribing
from portal.tables import audit_log, outbox
from tests.cast import Customer, ok, refused
from tests.clock import Clock
from tests.conftest import SECRET_KEY
from tests.readers import Reader, enter


@pytest.fixture
def ana(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    return enter(application, database, clock, "ana")


@pytest.fixture
def ben(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    return enter(application, database, clock, "ben")


@pytest.fixture
def cleo(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    return enter(application, database, clock, "cleo")


def asked(database: Database) -> str:
    with database.reading() as tx:
        kinds = select(outbox.c.subject).where(outbox.c.kind == "raise-asked")
        return str(tx.execute(kinds.order_by(outbox.c.sequence.desc())).scalars().first())


def full(acme: Customer) -> str:
    """Set Cleo's team a cap and have her use it up."""
    cap = acme.cap(10, "team", target="research")
    ok(acme.capture(acme.hold("analysis", member="cleo")))
    return cap


def test_a_limit_says_which_whose_what_is_left_when_it_resets_and_the_next_step(
    acme: Customer, cleo: Reader
) -> None:
    cap = full(acme)
    problem = refused(acme.authorize("document", member="cleo"), 402, "cap-reached")
    page = cleo.client.get(problem["options"][0]["page"])
    assert page.status_code == 200
    for words in ("A limit is reached", "Research team", "left of 10", "30 Nov", "Ask for more"):
        assert words in page.text, words
    assert problem["options"][0]["cap"] == cap


def test_a_member_asks_and_an_admin_allows_it_from_the_overview(
    acme: Customer, database: Database, ben: Reader, cleo: Reader
) -> None:
    cap = full(acme)
    assert "Ask for more" in cleo.client.get("/").text
    answer = cleo.send(f"/limit/{cap}", f"/limit/{cap}", credits="200", reason="The Miller report")
    assert answer.status_code == 303
    assert "You asked for 200 more" in cleo.client.get(f"/limit/{cap}").text
    overview = ben.client.get("/").text
    assert "Cleo asks for 200 more credits" in overview
    assert "The Miller report" in overview
    path = f"/spending/raises/{asked(database)}"
    assert path in overview
    done = ben.send(path, "/", answer="allow", credits="200", back="overview")
    assert done.headers["Location"] == "/"
    assert acme.caps()[cap]["raised"] == "200"
    assert "asks for" not in ben.client.get("/").text
    assert "200 more were allowed" in cleo.client.get(f"/limit/{cap}").text


def test_another_amount_or_none_is_answered_from_spending(
    acme: Customer, database: Database, ben: Reader, cleo: Reader
) -> None:
    cap = full(acme)
    cleo.send(f"/limit/{cap}", f"/limit/{cap}", credits="200", reason="")
    path = f"/spending/raises/{asked(database)}"
    assert path in ben.client.get("/spending").text
    assert ben.send(path, path, answer="allow", credits="0").status_code == 422
    assert ben.send(path, path, answer="allow", credits="5").status_code == 303
    assert acme.caps()[cap]["raised"] == "5"
    assert ben.send(path, path, answer="allow", credits="5").status_code == 303
    assert acme.caps()[cap]["raised"] == "5"
    assert "5 more were allowed" in ben.client.get(path).text


def test_opening_the_link_of_a_mail_only_asks_and_only_for_those_who_are_signed_in(
    acme: Customer, application: Flask, database: Database, ben: Reader, cleo: Reader
) -> None:
    cap = full(acme)
    cleo.send(f"/limit/{cap}", f"/limit/{cap}", credits="20", reason="")
    signed = links.answer(SECRET_KEY, "acme", asked(database))
    path = f"/spending/raises/from-mail/{signed}"
    stranger = application.test_client()
    assert stranger.get(path).headers["Location"] == "/sign-in"
    found = ben.client.get(path, follow_redirects=True)
    assert "Cleo asks for 20 more credits" in found.text
    assert acme.caps()[cap]["raised"] == "0"
    assert ben.client.get(path[:-3] + "abc").status_code == 404
    others = links.answer(SECRET_KEY, "bystander", asked(database))
    assert ben.client.get(f"/spending/raises/from-mail/{others}").status_code == 403


def test_who_may_not_answer_does_not_and_sees_no_request_of_others(
    acme: Customer, database: Database, cleo: Reader, application: Flask, clock: Clock
) -> None:
    ok(
        acme.api.put(f"{acme.path}/members/dan", {"email": "dan@acme.example", "team": "research"}),
        201,
    )
    cap = full(acme)
    cleo.send(f"/limit/{cap}", f"/limit/{cap}", credits="20", reason="")
    path = f"/spending/raises/{asked(database)}"
    assert "It waits for an owner or an admin" in cleo.client.get(path).text
    assert cleo.send(path, f"/limit/{cap}", answer="allow", credits="20").status_code == 403
    dan = enter(application, database, clock, "dan")
    assert dan.client.get(path).status_code == 404
    assert acme.caps()[cap]["raised"] == "0"


@pytest.mark.parametrize("typed", ["", "-5", "0", "abc", "1e9", "99999999999999"])
def test_what_is_asked_for_is_an_amount(acme: Customer, cleo: Reader, typed: str) -> None:
    cap = full(acme)
    answer = cleo.send(f"/limit/{cap}", f"/limit/{cap}", credits=typed, reason="")
    assert answer.status_code == 422
    assert "The credits " in answer.text


def test_a_cap_that_is_not_theirs_is_not_there(acme: Customer, cleo: Reader) -> None:
    cap = acme.cap(10, "member", target="ana")
    assert cleo.client.get(f"/limit/{cap}").status_code == 404


def test_a_member_sees_their_caps_and_not_the_organizations_money(
    acme: Customer, cleo: Reader
) -> None:
    full(acme)
    page = cleo.client.get("/").text
    assert "Your own use" in page
    assert "Research team" in page
    assert "Most you can be charged" not in page
    assert "Buy credits" not in page


def test_people_choose_what_they_hear(acme: Customer, database: Database, ana: Reader) -> None:
    page = ana.client.get("/settings/notifications").text
    assert page.count(" checked>") == 7
    answer = ana.send("/settings/notifications", "/settings/notifications", mail="payments")
    assert answer.status_code == 303
    with database.reading() as tx:
        chosen = mailing.chosen(tx, "acme", "ana")
    assert {key for key, how in chosen.items() if how == "mail"} == {"payments"}
    assert ana.client.get("/settings/notifications").text.count(" checked>") == 2


def test_the_spending_page_says_who_gets_which_alert(
    acme: Customer, ana: Reader, ben: Reader, cleo: Reader
) -> None:
    def told(reader: Reader) -> dict[str, str]:
        found = reader.client.get("/spending").text.partition('id="told"')[2]
        rows = re.findall(r'row">([^<]+)<.*?<td>(.*?)</td>', found.partition("</table>")[0])
        return {name: re.sub(r"<[^>]+>", "", who) for name, who in rows}

    assert "Ana" in told(ana)["Caps reached"]
    assert "Ben" in told(ana)["Caps reached"]
    assert "Cleo" not in " ".join(told(ana).values())
    ben.send("/settings/notifications", "/settings/notifications", mail="near")
    assert "Ben" not in told(ana)["Caps reached"]
    assert "Ben" in told(ana)["Caps on their way"]
    assert told(cleo) == {}


def test_a_member_chooses_among_what_a_member_hears(acme: Customer, cleo: Reader) -> None:
    page = cleo.client.get("/settings/notifications").text
    assert 'value="requests"' in page
    assert 'value="payments"' not in page
    assert "When the balance is low" not in page
    path = "/settings/notifications/low-balance"
    assert cleo.send(path, "/settings/notifications", by="percent", low="5").status_code == 403


@pytest.mark.parametrize(
    ("by", "low", "status"),
    [("percent", "25", 303), ("credits", "1,200", 303), ("percent", "101", 422),
     ("percent", "x", 422), ("credits", "-1", 422)],
)  # fmt: skip
def test_an_admin_says_when_the_balance_is_low(
    acme: Customer, database: Database, ana: Reader, by: str, low: str, status: int
) -> None:
    path = "/settings/notifications/low-balance"
    assert ana.send(path, "/settings/notifications", by=by, low=low).status_code == status
    with database.reading() as tx:
        acts = list(tx.execute(select(audit_log.c.act)).scalars())
    assert ("alerts.low_balance" in acts) is (status == 303)


@pytest.mark.parametrize(("group", "left"), [("caps", 5), (EVERYTHING, 0)])
def test_the_link_of_a_mail_asks_before_it_stops_it(
    acme: Customer, application: Flask, database: Database, group: str, left: int
) -> None:
    signed = links.unsubscribe(SECRET_KEY, Unsubscribing("acme", "ana", group))
    stranger = application.test_client()

    def mailed() -> int:
        with database.reading() as tx:
            chosen = mailing.chosen(tx, "acme", "ana")
        return 6 - sum(how == "page" for how in chosen.values())

    assert "Hear no more" in stranger.get(f"/unsubscribe/{signed}").text
    assert mailed() == 6
    answer = stranger.post(f"/unsubscribe/{signed}", data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    assert mailed() == left
    assert stranger.get(f"/unsubscribe/{signed[:-2]}xx").status_code == 404


def test_an_admin_keeps_endpoints_and_sees_a_secret_once(
    acme: Customer, database: Database, ana: Reader, cleo: Reader
) -> None:
    path = "/settings/webhooks"
    page = ana.send_and_follow(path, path, url="https://example.com/hooks", type="cap.reached")
    (secret,) = set(re.findall(r"whsec_[\w+/=]+", page))
    assert "whsec_" not in ana.client.get(path).text
    with database.reading() as tx:
        (endpoint,) = telling.listening(tx, "acme").endpoints
    assert endpoint.kinds == ("cap.reached",)
    one = f"{path}/{endpoint.endpoint_id}"
    (new,) = set(re.findall(r"whsec_[\w+/=]+", ana.send_and_follow(f"{one}/rotate", path)))
    assert "whsec_" not in ana.client.get(path).text
    assert new != secret
    assert ana.send(f"{one}/switch", path, on="0").status_code == 303
    assert "Off: Switched off here." in ana.client.get(path).text
    assert ana.send(f"{one}/remove", path).status_code == 303
    assert "No endpoints" in ana.client.get(path).text
    assert cleo.client.get(path).status_code == 403
    with database.reading() as tx:
        acts = tx.execute(select(audit_log.c.act).where(audit_log.c.act.like("webhook.%")))
        assert set(acts.scalars()) == {
            "webhook.made", "webhook.rotated", "webhook.off", "webhook.removed",
        }  # fmt: skip


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://127.0.0.1/", "https://2130706433/", "nonsense", ""]
)
def test_an_endpoint_that_is_not_public_is_refused_where_it_is_typed(
    acme: Customer, ana: Reader, url: str
) -> None:
    answer = ana.send("/settings/webhooks", "/settings/webhooks", url=url)
    assert answer.status_code == 422
    assert "The address " in answer.text


def test_a_page_that_is_loaded_again_makes_no_second_endpoint(
    acme: Customer, ana: Reader, database: Database
) -> None:
    path = "/settings/webhooks"
    for status in (303, 422):
        answer = ana.send(path, path, url="https://example.com/hooks", type="cap.reached")
        assert answer.status_code == status
    assert "is told the same already" in answer.text
    assert ana.send(path, path, url="https://example.com/hooks", type="dispute").status_code == 303
    with database.reading() as tx:
        assert len(telling.listening(tx, "acme").endpoints) == 2


def test_another_organizations_endpoint_is_not_there(
    acme: Customer, bystander: Customer, database: Database, ana: Reader, clock: Clock
) -> None:
    keeper = telling.Keeper(None, "operator", SECRET_KEY)
    made, _ = telling.make_endpoint(database, keeper, "https://example.com/", [], now=clock())
    for act in ("rotate", "switch", "remove", "deliveries/del_x"):
        path = f"/settings/webhooks/{made.endpoint_id}/{act}"
        assert ana.send(path, "/settings/webhooks").status_code == 404
