"""How long what is not kept forever is kept, and taking away what is past that.

Owns the keeping times, once. Invariant: money, the ledger, usage and the record of acts are never
taken away, nor anything that is still to be told; what is taken away is of one organization at a
time, few rows to a transaction, and so is read again in the very statement that deletes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from portal import idempotency, invitations
from portal.db import Database
from portal.notices import outgrown

#: How many are looked for at once, and how many are taken away in one transaction.
A_LOOK, A_BATCH = 10_000, 500


@dataclass(frozen=True)
class Kept:
    """One kind of thing that is kept for a time, counted from when it was over."""

    name: str
    time: timedelta
    #: Which organizations have such from before an instant.
    organizations: Callable[[Connection, datetime], Sequence[str]]
    #: The keys of an organization's from before an instant, some at a time.
    find: Callable[[Connection, str, datetime, int], Sequence[Any]]
    #: Take away those of some keys that are still from before an instant; returns how many.
    forget: Callable[[Connection, str, Sequence[Any], datetime], int]


KEPT = (
    Kept(
        "answers to idempotency keys",
        # The API promises 30 days; a day more for clocks that differ.
        timedelta(days=31),
        idempotency.organizations_with_old,
        idempotency.find_old,
        idempotency.forget,
    ),
    Kept(
        "what was told, and its deliveries",
        timedelta(days=90),
        outgrown.organizations_with_old,
        outgrown.find_old,
        outgrown.forget,
    ),
    Kept(
        "invitations that were accepted or withdrawn",
        timedelta(days=90),
        invitations.organizations_with_old,
        invitations.find_old,
        invitations.forget,
    ),
)


def take_away(database: Database, *, now: datetime) -> int:
    """Take away what is past its time, and return how many rows that were."""
    taken = 0
    for one in KEPT:
        before = now - one.time
        with database.reading(patient=True) as tx:
            found = one.organizations(tx, before)
        taken += sum(_of(database, one, organization_id, before) for organization_id in found)
    return taken


def _of(database: Database, kept: Kept, organization_id: str, before: datetime) -> int:
    taken = 0
    while True:
        with database.reading(patient=True) as tx:
            found = kept.find(tx, organization_id, before, A_LOOK)
        for start in range(0, len(found), A_BATCH):
            batch = found[start : start + A_BATCH]
            with database.transaction() as tx:
                taken += kept.forget(tx, organization_id, batch, before)
        if len(found) < A_LOOK:
            return taken
