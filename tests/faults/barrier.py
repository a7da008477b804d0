"""The last credit, asked for by everybody at the same moment: who asks, and what they are told."""

from __future__ import annotations

from typing import Any

from tests.faults import soak
from tests.faults.crowd import Crowd
from tests.faults.money import PRICE_MICRO
from tests.faults.site import Company, Site

CLIENTS = 32
DOCUMENT = PRICE_MICRO["document"]

ONE = [201] + [402] * (CLIENTS - 1)
ALL = [201] * CLIENTS
NONE = [402] * CLIENTS


def authorize(crowd: Crowd, acme: Company, **more: Any) -> list[int]:
    """Have everybody authorize one document; return the statuses in order."""
    asked = acme.site.request("POST", "/v1/authorizations", acme.authorization(**more))
    return sorted(reply.status for reply in crowd.send_all(asked))


def rounds_on(site: Site, rounds: int) -> int:
    """Return fewer rounds for SQLite, which has one writer at a time; a soak has them all."""
    every = soak.SCALE or site.database.dialect == "postgresql"
    return rounds if every else max(1, rounds // 5)
