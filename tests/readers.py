"""Readers of the pages: somebody who signs in, reads and posts forms, without a browser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from portal import access
from portal.db import Database
from tests.clock import Clock

_addresses = IPv4Network("10.0.0.0/8").hosts()


@dataclass
class Reader:
    """Somebody with a browser of their own."""

    client: FlaskClient

    def token(self, path: str) -> str:
        """Return the token of a page's forms."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.client.get(path).text)
        assert found is not None
        return found[1]

    def send(self, path: str, seen_on: str, **fields: str) -> TestResponse:
        """Post a form as it stands on a page."""
        fields["csrf_token"] = self.token(seen_on)
        return self.client.post(path, data=fields, headers={"Referer": "http://localhost"})

    def send_and_follow(self, path: str, seen_on: str, **fields: str) -> str:
        """Post a form that leads on to a page; returns that page."""
        answer = self.send(path, seen_on, **fields)
        assert answer.status_code == 303, answer.text[:2000]
        return self.client.get(answer.location).text


def link(database: Database, clock: Clock, member: str) -> str:
    """Make a link that signs a member of Acme in."""
    with database.transaction() as tx:
        token, _ = access.make_link(
            tx, now=clock(), organization_id="acme", member_id=member, return_url="https://x.test/"
        )
    return f"/sign-in/{token}"


def enter(application: Flask, database: Database, clock: Clock, member: str) -> Reader:
    """Sign a member of Acme in."""
    return sign_in(application, link(database, clock, member))


def sign_in(application: Flask, path: str) -> Reader:
    """Follow a link that signs somebody in, each from an address of their own."""
    reader = Reader(application.test_client())
    reader.client.environ_base["REMOTE_ADDR"] = str(next(_addresses))
    assert reader.send(path, path).status_code == 302
    return reader
