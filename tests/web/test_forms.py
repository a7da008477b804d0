"""What a browser may do: a form carries its own session's token, and looking writes nothing."""

from __future__ import annotations

import pytest

from tests.web import table
from tests.web.house import House

#: What programs post, by key or signature: there is no session to be abused.
PROGRAMS = ("/v1/", "/webhooks/")
#: What a mail program posts, with a link that is signed for one person and does one thing.
SIGNED = {"auth.unsubscribe"}


def _forms(house: House) -> list[tuple[str, str, str]]:
    """Return each form: its endpoint, its address and who may send it."""
    return [
        (
            rule.endpoint,
            house.path(rule),
            "operator" if rule.rule.startswith("/operator") else "owner",
        )
        for rule, method in house.routes()
        if method != "GET" and not rule.rule.startswith(PROGRAMS) and rule.endpoint not in SIGNED
    ]


@pytest.mark.parametrize("whose", ["missing", "another session's", "made up", "a visitor's"])
def test_no_form_is_taken_without_the_token_of_its_own_session(house: House, whose: str) -> None:
    house.restore()
    token = {
        "missing": "",
        "another session's": house.forms["admin"],
        "made up": "IjAwMDAi.abcdef.xyz",
        "a visitor's": house.forms["nobody"],
    }[whose]
    forms, before = _forms(house), house.digest()
    assert len(forms) >= 30
    for endpoint, path, actor in forms:
        carried = table.CARRIED.get(endpoint, {})
        for sent in (carried, {}):
            answer = house.ask(actor, "POST", path, form=sent, token=token)
            assert answer.status_code == 400, (endpoint, answer.status_code)
    assert house.digest() == before
    assert house.ask("owner", "GET", "/account").status_code == 200, "they are still signed in"


def test_a_body_that_is_no_form_is_not_taken_either(house: House) -> None:
    house.restore()
    before = house.digest()
    for endpoint, path, actor in _forms(house):
        for kind in ("text/plain", "application/json", "multipart/form-data"):
            client = house.application.test_client(use_cookies=False)
            headers = {"Cookie": f"clearmeter={house.cookies[actor]}", "Content-Type": kind}
            headers["X-HTTP-Method-Override"] = "GET"
            answer = client.post(path, data=b'{"csrf_token": ""}', headers=headers)
            assert answer.status_code == 400, (endpoint, kind, answer.status_code)
    assert house.digest() == before


@pytest.mark.parametrize(
    ("actor", "method"),
    [
        *((actor, "GET") for actor in ("owner", "member", "viewer", "operator", "k-manage")),
        ("owner", "HEAD"),
        ("owner", "OPTIONS"),
        ("s-all", "HEAD"),
    ],
)
def test_looking_writes_nothing(house: House, actor: str, method: str) -> None:
    house.restore()
    before = house.digest()
    for rule, known in house.routes():
        if known == "GET":
            answer = house.ask(actor, method, house.path(rule))
            assert answer.status_code < 500 or method == "OPTIONS", (rule.rule, answer.status_code)
    assert house.digest() == before


def test_a_session_opens_no_call_and_a_key_no_page(house: House) -> None:
    client = house.application.test_client(use_cookies=False)
    headers = {
        "Cookie": f"clearmeter={house.cookies['owner']}",
        "Authorization": f"Bearer {house.secrets['k-read']}",
    }
    assert client.get("/v1/organizations/acme/balance", headers=headers).status_code == 200
    del headers["Authorization"]
    assert client.get("/v1/organizations/acme/balance", headers=headers).status_code == 401
