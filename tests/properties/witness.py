"""What has to hold beside the balance after every step: nothing twice, nobody else, no complaint.

``Posted`` counts what was put into the store from outside against what is there. ``Bystander``
is an organization with a row wherever Acme may get one, every byte of which stays what it was.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection

from portal import accounts, authorization, limits, metering, onboarding, raises
from portal.authorization import AuthorizeRequest, CaptureRequest
from portal.caps import CapRequest
from portal.core.events import StatedCost, UsageEvent
from portal.db import Database
from portal.metering import Sent
from portal.onboarding import GrantRequest, OrganizationRequest
from portal.tables import metadata
from tests.properties.journal import rows

#: Rows that only a running subscription has: its next period begins by itself.
_CHANGE_BY_THEMSELVES = {"subscriptions", "overage_periods"}
_OF_AN_ORGANIZATION = [table for table in metadata.sorted_tables if "organization_id" in table.c]
_COUNTED = {
    "events": "",
    "holds": "",
    "grants": " AND source NOT IN ('allowance', 'rollover')",
    "idempotency_keys": "",
    "audit_log": "",
}


_COUNT = "(SELECT count(*) FROM {} WHERE organization_id = ?{})"
_COUNTS = "SELECT " + ", ".join(_COUNT.format(*one) for one in _COUNTED.items())


@cache
def _every_byte(dialect: str) -> str:
    """Return the statement that reads every row of Bystander's as text, in one round trip."""
    parts = []
    for table in _OF_AN_ORGANIZATION:
        columns = " || ',' || ".join(f"quote({column.name})" for column in table.c)
        text = columns if dialect == "sqlite" else f"{table.name}::text"
        parts.append(
            f"SELECT '{table.name}', {text} FROM {table.name}"  # noqa: S608
            " WHERE organization_id = 'bystander'"
        )
    return " UNION ALL ".join(parts)


@dataclass
class Posted:
    """How many rows each kind of request from outside has to have made."""

    organization_id: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0))

    def add(self, *tables: str, times: int = 1) -> None:
        for table in tables:
            self.counts[table] += times

    def prove(self, tx: Connection) -> None:
        """Each event, hold, grant and key was taken once, and each privileged act noted once."""
        (found,) = rows(tx, _COUNTS, *[self.organization_id] * len(_COUNTED))
        assert dict(zip(_COUNTED, found, strict=True)) == self.counts


class Bystander:
    """Somebody whom nothing of Acme's may touch."""

    def __init__(self, database: Database, *, now: datetime) -> None:
        self._found(database, now)
        with database.reading() as tx:
            self._before = self._bytes(tx)

    def _found(self, database: Database, now: datetime) -> None:
        name = "bystander"
        onboarding.put_organization(database, name, OrganizationRequest("Bystander"), now=now)
        with database.transaction() as tx:
            accounts.put_team(tx, name, "research", name="Research")
            accounts.put_project(tx, name, "atlas", name="Atlas")
        onboarding.put_member(
            database, name, "dana", email="dana@bystander.example", team="research", now=now
        )
        with database.transaction() as tx:
            # They were on a plan once.
            accounts.unsubscribe(tx, name, since=now)
        gift = GrantRequest(20_000_000, "promotion", "a gift")
        onboarding.grant(database, name, gift, actor="tests", now=now)
        cap = CapRequest("member", "dana", "", "period", 10_000_000, "hard")
        made = limits.set_cap(database, name, cap, actor="tests", now=now)
        raises.ask(database, name, made.state.cap.cap_id, "dana", 1, now=now)
        asked = AuthorizeRequest(name, "document", 1_000_000, "dana", project="atlas")
        answer = authorization.authorize(database, asked, key="a key", now=now)
        hold = answer.body.split('"id":"', 1)[1].split('"', 1)[0]
        authorization.capture(database, hold, CaptureRequest(), key=None, now=now)
        cost = StatedCost("retrieval", 1_000)
        work = UsageEvent("tests", "e", name, "document", now, 2_000_000, "dana", costs=(cost,))
        wrong = UsageEvent("tests", "e", name, "image", now, 1, "dana")
        sent = [Sent(number, {}, event=one) for number, one in enumerate((work, wrong))]
        metering.ingest(database, sent, now=now + timedelta(seconds=1))

    @staticmethod
    def _bytes(tx: Connection) -> list[tuple[Any, ...]]:
        return sorted(rows(tx, _every_byte(tx.dialect.name)))

    def prove(self, tx: Connection) -> None:
        """Every byte is what it was."""
        assert self._bytes(tx) == self._before

    def prove_complete(self, tx: Connection) -> None:
        """There is something of theirs wherever there is something of Acme's."""
        mine = {name for name, _ in self._before}
        for table in _OF_AN_ORGANIZATION:
            if table.name not in mine | _CHANGE_BY_THEMSELVES:
                of_acme = f"SELECT count(*) FROM {table.name} WHERE organization_id = 'acme'"  # noqa: S608
                assert rows(tx, of_acme) == [(0,)], table.name


def prove_silence(said: Sequence[MutableMapping[str, Any]]) -> None:
    """Nobody logged anything that an operator would have to look at."""
    assert [one for one in said if one["log_level"] not in {"debug", "info"}] == []
