"""Mail: what goes out, over real SMTP, and what happens where it cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from portal.config import Settings
from portal.core.errors import Unavailable
from portal.db import Database
from portal.notices.mail import Mail, Mailer
from tests.clock import START
from tests.conftest import settings_for
from tests.post import PostOffice, post_office, text_of
from tests.postgresql import free_port
from tests.servers import environment

GREETING = Mail("ana@acme.example", "Grüße", "Hello, Ana.", "<p>Hello, Ana.</p>")


@pytest.fixture(scope="module")
def opened() -> Iterator[PostOffice]:
    with post_office() as office:
        yield office


@pytest.fixture
def office(opened: PostOffice) -> PostOffice:
    opened.came.clear()
    opened.refusing = False
    return opened


def mailer(office: PostOffice) -> Mailer:
    return Mailer(office.url, "billing@scribe.example", "Scribe, Inc.", clock=lambda: START)


def test_a_mail_arrives_as_text_and_as_html_from_the_brand(office: PostOffice) -> None:
    mailer(office).send(GREETING)
    came = office.one()
    assert (came["To"], came["Subject"]) == ("ana@acme.example", "Grüße")
    assert came["From"] == '"Scribe, Inc." <billing@scribe.example>'
    assert came["Date"].datetime == START
    assert re.fullmatch(r"<mail_\w+@scribe\.example>", came["Message-ID"])
    assert came["Auto-Submitted"] == "auto-generated"
    assert text_of(came).strip() == GREETING.text
    assert text_of(came, "html").strip() == GREETING.html


def test_it_signs_in_at_the_server_where_the_setting_says_how(office: PostOffice) -> None:
    signed = office.url.replace("//", "//mailer:p%40ss%20word@")
    replace(mailer(office), url=signed).send(GREETING)
    office.one()
    with pytest.raises(Unavailable):
        replace(mailer(office), url=signed.replace("word", "wood")).send(GREETING)


def test_what_the_server_does_not_take_is_told_in_our_words(office: PostOffice) -> None:
    office.refusing = True
    with pytest.raises(Unavailable, match="not sent"):
        mailer(office).send(GREETING)
    nobody = replace(mailer(office), url=f"smtp://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match="not sent"):
        nobody.send(GREETING)
    encrypted = replace(mailer(office), url=office.url.replace("smtp:", "smtps:"))
    with pytest.raises(Unavailable, match="not sent"):
        encrypted.send(GREETING)


@pytest.mark.parametrize("field", ["to", "subject"])
def test_a_line_break_cannot_smuggle_a_header_in(office: PostOffice, field: str) -> None:
    smuggled = replace(GREETING, **{field: "x@y.example\r\nBcc: all@y.example"})
    with pytest.raises(Unavailable):
        mailer(office).send(smuggled)
    assert office.came == []


@pytest.mark.parametrize("to", ["a,victim@y.example", "Eve <eve@y.example>", "nobody", "a@b@c", ""])
def test_it_goes_to_one_address_or_nowhere(office: PostOffice, to: str) -> None:
    with pytest.raises(Unavailable):
        mailer(office).send(replace(GREETING, to=to))
    assert office.came == []


def test_mail_never_waits_inside_a_transaction(database: Database, office: PostOffice) -> None:
    with pytest.raises(AssertionError, match="while a transaction"), database.reading():
        mailer(office).send(GREETING)


def test_without_a_server_its_text_is_in_the_log_of_a_portal_on_this_machine_only(
    capfd: pytest.CaptureFixture[str],
) -> None:
    here = settings_for("sqlite://")
    Mailer.of(here).send(GREETING)
    assert GREETING.text in capfd.readouterr().err
    away = Mailer.of(replace(here, portal_base_url="https://billing.example.com"))
    away.send(GREETING)
    said = capfd.readouterr().err
    assert "MAIL_URL is missing" in said
    assert GREETING.text not in said
    assert not away.reaches


def test_mail_comes_from_the_portals_own_host_unless_a_setting_says_otherwise() -> None:
    given = environment("sqlite:////tmp/never.db", 1) | {
        "PORTAL_BASE_URL": "https://billing.example.com",
        "MAIL_URL": "smtps://u:p%40@mail.example.com:465",
    }
    settings = Settings.from_env(given)
    assert settings.mail_from == "no-reply@billing.example.com"
    assert Mailer.of(settings).url == given["MAIL_URL"]
    assert Settings.from_env(given | {"MAIL_FROM": "hi@example.com"}).mail_from == "hi@example.com"
