"""A portal that mails: what its doors let through, and what they say."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Flask
from sqlalchemy import Engine, event, select
from werkzeug.test import TestResponse

from portal import access, accounts
from portal.config import Settings
from portal.db import Database
from portal.tables import audit_log
from portal.web.security import limiter
from tests import digest, remembered
from tests.clock import Clock
from tests.post import PostOffice, text_of
from tests.readers import Reader

PASSWORD = "a long enough password"
BASE = "http://127.0.0.1:8000"


@contextmanager
def opened(built: Callable[[Settings], Flask], settings: Settings, clock: Clock) -> Iterator[Flask]:
    """Open a portal with the price book that ships; its ledgers are proven at the end."""
    application = built(settings)
    limiter.reset()
    database: Database = application.extensions["clearmeter"].database
    remembered.price_book(database, clock)
    yield application
    application.extensions["clearmeter"].errands.finish()
    found = digest.faults(database)
    database.close()
    assert found == []


def ask_for_link(reader: Reader, email: str) -> TestResponse:
    """Ask for a link by mail."""
    return reader.send("/sign-in/mail", "/sign-in", email=email)


def path_of(office: PostOffice, number: int = 1) -> str:
    """Return where the link of a mail leads, which text and HTML agree on."""
    mail = office.one(number)
    (path,) = re.findall(rf"{BASE}(/sign-in/mail/\S+)", text_of(mail))
    assert f'href="{BASE}{path}"' in text_of(mail, "html")
    return str(path)


def mailed(application: Flask, office: PostOffice, email: str = "ana@acme.example") -> Reader:
    """Sign somebody in by a link from the mail."""
    reader = Reader(application.test_client())
    asked = len(office.came)
    assert ask_for_link(reader, email).status_code == 200
    path = path_of(office, asked + 1)
    assert reader.send(path, path).status_code in {302, 303}
    return reader


def give_password(database: Database, member: str, password: str = PASSWORD) -> None:
    """Set a password of a member of Acme."""
    with database.transaction() as tx:
        access.set_password(tx, accounts.find_member(tx, "acme", member), password)


def acts(database: Database, organization: str = "acme") -> list[tuple[str, str]]:
    """Return who did what about signing in, by the audit log."""
    with database.reading() as tx:
        rows = tx.execute(
            select(audit_log)
            .where(audit_log.c.organization_id == organization)
            .order_by(audit_log.c.at, audit_log.c.audit_id)
        ).all()
    kinds = ("session.", "password.", "passkey.")
    return sorted((row.actor, row.act) for row in rows if row.act.startswith(kinds))


@contextmanager
def asked_of(engine: Engine) -> Iterator[list[str]]:
    """Collect the statements that this thread has a store run."""
    mine, found = threading.get_ident(), []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if threading.get_ident() == mine:
            found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)
