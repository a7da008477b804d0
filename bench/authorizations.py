"""Authorize then capture on one organization with three caps, against a bare guarded UPDATE."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from sqlalchemy import Column, MetaData, Table, Text, insert, update

from portal import accounts, authorization, limits, onboarding
from portal.authorization import AuthorizeRequest, CaptureRequest
from portal.caps import CapRequest
from portal.core.units import MICRO
from portal.db import Database
from portal.onboarding import GrantRequest, OrganizationRequest
from portal.tables import Whole

PAIRS = 50
_peer = Table(
    "bench_wallets",
    MetaData(),
    Column("organization_id", Text, primary_key=True),
    Column("balance_micro", Whole, nullable=False),
)


def pairs(
    database: Database,
) -> Iterator[tuple[str, str, Callable[[], int], Callable[[], int]]]:
    """Yield (name, goal, ours, peer) of each benchmark."""
    now = datetime.now(UTC)
    onboarding.put_organization(database, "hot", OrganizationRequest(name="Hot"), now=now)
    onboarding.grant(
        database,
        "hot",
        GrantRequest(10_000_000 * MICRO, "adjustment", "bench"),
        actor="bench",
        now=now,
    )
    with database.transaction() as tx:
        accounts.put_team(tx, "hot", "team", name="Team")
    onboarding.put_member(
        database,
        "hot",
        "ana",
        email="ana@hot.test",
        name="Ana",
        role="member",
        team="team",
        now=now,
    )
    for scope, target in (("organization", ""), ("team", "team"), ("member", "ana")):
        cap = CapRequest(scope, target, "", "period", 9_000_000 * MICRO, "hard")
        limits.set_cap(database, "hot", cap, actor="bench", now=now)
    _peer.metadata.create_all(database.engine)
    with database.transaction() as tx:
        tx.execute(insert(_peer).values(organization_id="hot", balance_micro=10**15))
    numbers = itertools.count()

    def ours() -> int:
        for _ in range(PAIRS):
            key = f"key-{next(numbers)}"
            request = AuthorizeRequest("hot", "document", member="ana")
            answer = authorization.authorize(database, request, key=key, now=now)
            hold_id = answer.body.split('"', 4)[3]
            authorization.capture(database, hold_id, CaptureRequest(), key=key, now=now)
        return PAIRS

    def peer() -> int:
        for _ in range(PAIRS):
            with database.transaction() as tx:
                tx.execute(
                    update(_peer)
                    .where(_peer.c.organization_id == "hot", _peer.c.balance_micro >= MICRO)
                    .values(balance_micro=_peer.c.balance_micro - MICRO)
                )
        return PAIRS

    yield "authorize and capture, one client, three caps", "none yet", ours, peer
