"""To whom a message goes: a delivery for each person who hears of it by mail and each endpoint.

The only maker of ``deliveries``. Invariant: for one message at most one delivery to each target,
however many workers spread it; people's choices are asked again when it leaves.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from portal import accounts
from portal.db import Database
from portal.ids import new_id
from portal.notices import endpoints, kinds, outbox
from portal.notices.outbox import Message
from portal.rows import insert_new_rows
from portal.tables import deliveries, mailboxes

MAIL, WEBHOOK = "mail", "webhook"
#: How many messages are spread in one transaction.
AT_ONCE = 200


def spread(database: Database, *, now: datetime) -> int:
    """Choose for every new message to whom it goes; returns how many there were."""
    with database.reading() as tx:
        found = outbox.organizations_with_unspread(tx)
    return sum(_spread_all(database, organization_id, now) for organization_id in found)


def _spread_all(database: Database, organization_id: str, now: datetime) -> int:
    done = 0
    while True:
        with database.transaction() as tx:
            messages = outbox.unspread(tx, organization_id, limit=AT_ONCE)
            insert_new_rows(tx, deliveries, _deliveries(tx, organization_id, messages, now))
            outbox.mark_spread(tx, messages, now=now)
        done += len(messages)
        if len(messages) < AT_ONCE:
            return done


def _deliveries(
    tx: Connection, organization_id: str, messages: list[Message], now: datetime
) -> list[dict[str, Any]]:
    people = [one for one in accounts.list_members(tx, organization_id) if one.email]
    chosen = choices(tx, organization_id)
    listening = endpoints.listening(tx, organization_id)
    rows = []
    for message in messages:
        targets = [
            (MAIL, member.member_id)
            for member in people
            if kinds.hears(message, member)
            and kinds.by_mail(message.kind, member, chosen.get(member.member_id, {}))
        ]
        targets += [(WEBHOOK, one.endpoint_id) for one in listening if one.wants(message.kind)]
        rows += [
            {
                "organization_id": organization_id,
                "delivery_id": new_id("del"),
                "sequence": message.sequence,
                "channel": channel,
                "target": target,
                "status": "due",
                "due_at": now,
                "created_at": now,
            }
            for channel, target in targets
        ]
    return rows


def audience(tx: Connection, organization_id: str) -> list[tuple[kinds.Group, list[str]]]:
    """Return for each group the names of those it is mailed to, whomever its news are about."""
    people = [one for one in accounts.list_members(tx, organization_id) if one.email]
    chosen = choices(tx, organization_id)
    return [
        (
            group,
            [one.name for one in people if kinds.mailed(group, one, chosen.get(one.member_id, {}))],
        )
        for group in kinds.GROUPS
    ]


def choices(tx: Connection, organization_id: str) -> dict[str, dict[str, str]]:
    """Return by member what they chose to hear, and how, where they chose."""
    rows = tx.execute(
        select(mailboxes.c.member_id, mailboxes.c.choices).where(
            mailboxes.c.organization_id == organization_id
        )
    )
    return {row.member_id: row.choices for row in rows}
