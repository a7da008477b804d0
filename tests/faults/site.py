"""A store that several processes of the production server serve, and organizations on it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from portal import catalog
from portal.db import Database
from tests import digest
from tests.cast import make_key
from tests.faults.crowd import Crowd
from tests.faults.money import credits_of, micro_of
from tests.faults.wire import Line, Reply, request
from tests.servers import serving


def now() -> datetime:
    return datetime.now(UTC)


def where_it_is_noon() -> str:
    """Return a time zone whose day, week and month do not end while a test runs."""
    ahead = 12 - now().hour
    return f"Etc/GMT{-ahead:+}" if ahead else "Etc/GMT"


@dataclass
class Site:
    """Servers of one store, the key to them, and the store itself."""

    url: str
    database: Database
    ports: list[int]
    secret: str
    _names: Iterator[int]

    def request(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> bytes:
        return request(method, path, self.secret, body, key=key)

    def call(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Reply:
        with Line(self.ports[0]) as line:
            return line.exchange(self.request(method, path, body, key=key))

    def ok(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Any:
        reply = self.call(method, path, body, key=key)
        assert reply.status in {200, 201}, reply
        return reply.json

    @contextmanager
    def crowd(self, size: int) -> Iterator[Crowd]:
        crowd = Crowd(self.ports, size=size)
        try:
            yield crowd
        finally:
            crowd.close()

    def found(self) -> Company:
        """Make an organization where it is noon, with a member of a team, and a project."""
        company = Company(self, f"acme-{next(self._names)}")
        self.ok("PUT", company.path, {"name": "Acme", "timezone": where_it_is_noon()})
        self.ok("PUT", f"{company.path}/teams/research", {"name": "Research"})
        self.ok("PUT", f"{company.path}/projects/atlas", {"name": "Atlas"})
        cleo = {"email": "cleo@acme.example", "role": "member", "team": "research"}
        self.ok("PUT", f"{company.path}/members/cleo", cleo)
        return company


@dataclass(frozen=True)
class Company:
    """An organization of a site."""

    site: Site
    id: str

    @property
    def path(self) -> str:
        return f"/v1/organizations/{self.id}"

    def grant(self, micro: int, **more: Any) -> None:
        body = {"credits": credits_of(micro), "source": "promotion", "reason": "a test"} | more
        self.site.ok("POST", f"{self.path}/grants", body)

    def authorization(self, action: str = "document", **more: Any) -> dict[str, Any]:
        """Return the body of an authorization."""
        return {"organization": self.id, "action": action} | more

    def hold(self, action: str = "document", **more: Any) -> str:
        body = self.authorization(action, **more)
        return str(self.site.ok("POST", "/v1/authorizations", body)["id"])

    def cap(self, micro: int, **more: Any) -> str:
        body = {"scope": "organization", "limit": {"credits": credits_of(micro)}} | more
        return str(self.site.ok("POST", f"{self.path}/caps", body)["id"])

    def change_cap(self, cap: str, micro: int) -> Any:
        body = {"limit": {"credits": credits_of(micro)}}
        return self.site.ok("PATCH", f"{self.path}/caps/{cap}", body)

    @property
    def standing(self) -> tuple[int, int]:
        """What is available and what is held, in millionths."""
        found = self.site.ok("GET", f"{self.path}/balance")
        return micro_of(found["available"]), micro_of(found["held"])

    def accounts(self) -> dict[str, int]:
        """Return what stands on each account of the ledger, in millionths."""
        return {
            account: balance
            for (organization, account), balance in digest.balances(self.site.database).items()
            if organization == self.id
        }


@contextmanager
def opened(url: str, *, processes: int) -> Iterator[Site]:
    """Load the price book into a migrated store and serve it from several processes."""
    with ExitStack() as stack:
        database = Database(url)
        stack.callback(database.close)
        with database.transaction() as tx:
            catalog.load(tx, catalog.DEFAULT_FILE.read_text(encoding="utf-8"), now=now())
        secret = make_key(database, now)
        ports = [stack.enter_context(serving(url)) for _ in range(processes)]
        yield Site(url, database, ports, secret, itertools.count(1))
