"""The outbox: one row for each thing to tell, written in the transaction of what it tells of.

Owns ``outbox``. Invariant: what happened and what there is to tell of it are committed together,
and an organization's messages are numbered without a gap in the order they were committed: the
number is counted on the wallet's row, which stays locked until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from portal.ids import new_id
from portal.tables import outbox, wallets

#: Something stands, is over, or happened and neither stands nor ends.
BEGUN, OVER, ONCE = "begun", "over", "once"


@dataclass(frozen=True)
class Message:
    """One thing to tell; ``facts`` are its figures as they were ``at`` that instant."""

    organization_id: str
    sequence: int
    message_id: str
    kind: str
    subject: str
    state: str
    facts: dict[str, Any]
    at: datetime


_TURN = (
    select(wallets.c.told).where(wallets.c.organization_id == bindparam("org")).with_for_update()
)
_NEXT = (
    update(wallets)
    .where(wallets.c.organization_id == bindparam("org"))
    .values(told=wallets.c.told + 1)
    .returning(wallets.c.told)
)


def wait_turn(tx: Connection, organization_id: str) -> None:
    """Take the organization's turn before writing what will be told of.

    Whoever holds it already goes on; who does not must not make those wait who do.
    """
    tx.execute(_TURN, {"org": organization_id})


def tell(
    tx: Connection,
    organization_id: str,
    kind: str,
    *,
    state: str = ONCE,
    subject: str = "",
    facts: dict[str, Any] | None = None,
    now: datetime,
) -> None:
    """Write down one thing to tell, with what happened and or not at all."""
    sequence = tx.execute(_NEXT, {"org": organization_id}).scalar_one()
    tx.execute(
        insert(outbox).values(
            organization_id=organization_id,
            sequence=sequence,
            message_id=new_id("msg"),
            kind=kind,
            subject=subject,
            state=state,
            facts=facts or {},
            at=now,
        )
    )


def message_of(row: RowMapping) -> Message:
    """Return the message of an outbox row, however it was found."""
    return Message(
        row["organization_id"],
        row["sequence"],
        row["message_id"],
        row["kind"],
        row["subject"],
        row["state"],
        row["facts"],
        row["at"],
    )


def unspread(tx: Connection, organization_id: str, *, limit: int) -> list[Message]:
    """Return what nobody was chosen for yet, in its order."""
    query = (
        select(outbox)
        .where(outbox.c.organization_id == organization_id, outbox.c.spread_at.is_(None))
        .order_by(outbox.c.sequence)
        .limit(limit)
    )
    return [message_of(row) for row in tx.execute(query).mappings()]


def organizations_with_unspread(tx: Connection) -> list[str]:
    """Return the organizations of which there is something to tell."""
    query = select(outbox.c.organization_id).where(outbox.c.spread_at.is_(None)).distinct()
    return list(tx.execute(query).scalars())


def mark_spread(tx: Connection, messages: Sequence[Message], *, now: datetime) -> None:
    """Say that it is known to whom these go; all of one organization."""
    if not messages:
        return
    tx.execute(
        update(outbox)
        .where(
            outbox.c.organization_id == messages[0].organization_id,
            outbox.c.sequence.in_([one.sequence for one in messages]),
        )
        .values(spread_at=now)
    )


def latest(tx: Connection, organization_id: str, *, limit: int) -> list[Message]:
    """Return the last things there were to tell, the newest first."""
    query = (
        select(outbox)
        .where(outbox.c.organization_id == organization_id)
        .order_by(outbox.c.sequence.desc())
        .limit(limit)
    )
    return [message_of(row) for row in tx.execute(query).mappings()]


def find(tx: Connection, organization_id: str, sequence: int) -> Message:
    """Return one message that is known to be there."""
    query = select(outbox).where(
        outbox.c.organization_id == organization_id, outbox.c.sequence == sequence
    )
    return message_of(tx.execute(query).mappings().one())
