"""Mailing: what is due to a person leaves as one letter, and not more often than they can bear.

Owns ``mailboxes``. Invariant: a mailbox is leased before its letter leaves, so that a person gets
one letter at a time; what is not urgent waits until an hour after the last one. What may have left
when a worker died is sent again as it was, under the same id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, and_, or_, select, update

from portal import accounts, catalog
from portal.accounts import Member, Organization
from portal.clock import Clock
from portal.core.errors import CatalogError, NotFound, Unavailable
from portal.db import Database
from portal.ids import new_id
from portal.notices import kinds
from portal.notices.delivering import DEAD_AFTER, LEASE, Post, due, next_try
from portal.notices.letters import Sender, letter
from portal.notices.outbox import Message, message_of
from portal.notices.words import Names
from portal.rows import insert_or_ignore
from portal.tables import deliveries, mailboxes, outbox

log = structlog.get_logger()

#: A letter follows the last one after this long at the soonest; an urgent one after less.
BETWEEN = timedelta(hours=1)
BETWEEN_URGENT = timedelta(minutes=5)
AT_ONCE = 500
#: After so many letters that were not taken the mail server is left alone for this round.
MOST_FAILURES = 3


@dataclass(frozen=True)
class _Due:
    delivery_id: str
    attempts: int
    created_at: datetime
    batch: str
    message: Message


@dataclass(frozen=True)
class _Letter:
    """What is ours to send to somebody."""

    organization: Organization
    member: Member
    due: Sequence[_Due]
    batch: str
    names: Names


def deliver_mail(database: Database, post: Post, *, clock: Clock) -> int:
    """Send the letters that are due; returns how many."""
    with database.reading() as tx:
        people = tx.execute(
            select(deliveries.c.organization_id, deliveries.c.target)
            .where(due("mail", clock()))
            .distinct()
            .order_by(deliveries.c.organization_id, deliveries.c.target)
            .limit(AT_ONCE)
        ).all()
    sent = failed = 0
    for row in people:
        if failed == MOST_FAILURES:
            break
        with database.transaction() as tx:
            taken = _take(tx, row.organization_id, row.target, now=clock())
        if taken is not None:
            left = _send(database, post, taken, clock)
            sent, failed = sent + left, failed + (not left)
    return sent


def _take(tx: Connection, organization_id: str, member_id: str, *, now: datetime) -> _Letter | None:
    """Lease somebody's mailbox and choose what leaves now; None where nothing does."""
    box = {"organization_id": organization_id, "member_id": member_id}
    insert_or_ignore(tx, mailboxes, {**box, "choices": {}})
    mine = [mailboxes.c[name] == value for name, value in box.items()]
    leased = tx.execute(
        update(mailboxes)
        .where(*mine, or_(mailboxes.c.leased_until.is_(None), mailboxes.c.leased_until <= now))
        .values(leased_until=now + LEASE)
        .returning(mailboxes.c.choices, mailboxes.c.mailed_at)
    ).first()
    if leased is None:
        return None
    letter_ = _letter(tx, organization_id, member_id, leased.choices, leased.mailed_at, now)
    if letter_ is None:
        tx.execute(update(mailboxes).where(*mine).values(leased_until=None))
    return letter_


def _letter(
    tx: Connection,
    organization_id: str,
    member_id: str,
    choices: Mapping[str, str],
    mailed_at: datetime | None,
    now: datetime,
) -> _Letter | None:
    waiting = _waiting(tx, organization_id, member_id)
    try:
        member = accounts.find_member(tx, organization_id, member_id)
    except NotFound:
        _mark(tx, organization_id, waiting, status="dropped", done_at=now)
        return None
    wanted = [one for one in waiting if _wanted(one.message, member, choices)]
    _mark(
        tx,
        organization_id,
        [one for one in waiting if one not in wanted],
        status="dropped",
        done_at=now,
    )
    begun = [one for one in wanted if one.batch]
    if begun:
        wanted = [one for one in begun if one.batch == begun[0].batch]
    elif wanted and mailed_at is not None:
        urgent = any(kinds.kind_of(one.message.kind).urgent for one in wanted)
        earliest = mailed_at + (BETWEEN_URGENT if urgent else BETWEEN)
        if now < earliest:
            _mark(tx, organization_id, wanted, due_at=earliest)
            return None
    if not wanted:
        return None
    batch = wanted[0].batch or new_id("mail")
    _mark(tx, organization_id, wanted, batch=batch)
    organization = accounts.find_organization(tx, organization_id)
    return _Letter(organization, member, wanted, batch, names_of(tx, organization, now=now))


def _wanted(message: Message, member: Member, choices: Mapping[str, str]) -> bool:
    return bool(member.email) and kinds.by_mail(message.kind, member, choices)


def _waiting(tx: Connection, organization_id: str, member_id: str) -> list[_Due]:
    of_message = and_(
        outbox.c.organization_id == deliveries.c.organization_id,
        outbox.c.sequence == deliveries.c.sequence,
    )
    rows = tx.execute(
        select(
            outbox,
            deliveries.c.delivery_id,
            deliveries.c.attempts,
            deliveries.c.created_at,
            deliveries.c.batch,
        )
        .join(deliveries, of_message)
        .where(
            deliveries.c.organization_id == organization_id,
            deliveries.c.channel == "mail",
            deliveries.c.target == member_id,
            deliveries.c.status == "due",
        )
        .order_by(deliveries.c.sequence)
    ).mappings()
    return [
        _Due(row["delivery_id"], row["attempts"], row["created_at"], row["batch"], message_of(row))
        for row in rows
    ]


def names_of(tx: Connection, organization: Organization, *, now: datetime) -> Names:
    """Return how everything of an organization is called."""
    try:
        actions = catalog.in_force(tx, at=now).actions
    except CatalogError:
        actions = {}
    of = {
        scope: accounts.names(tx, organization.organization_id, scope)
        for scope in ("team", "member", "project")
    }
    return Names(
        organization.zone,
        of["team"],
        of["member"],
        of["project"],
        {key: one.plural for key, one in actions.items()},
    )


def _send(database: Database, post: Post, taken: _Letter, clock: Clock) -> bool:
    """Send a letter and mark what became of it; tells whether it left."""
    mail = letter(
        Sender(post.base_url, post.secret_key, post.brand),
        taken.organization,
        taken.member,
        [one.message for one in taken.due],
        taken.names,
        batch=taken.batch,
    )
    try:
        post.mailer.send(mail)
        failure = ""
    except Unavailable as error:
        failure = error.detail
    now = clock()
    box = [
        mailboxes.c.organization_id == taken.member.organization_id,
        mailboxes.c.member_id == taken.member.member_id,
    ]
    with database.transaction() as tx:
        if not failure:
            _ended(tx, taken, "done", "", now)
            tx.execute(update(mailboxes).where(*box).values(leased_until=None, mailed_at=now))
            return True
        later = next_try(max(one.attempts for one in taken.due) + 1, now=now)
        if later >= min(one.created_at for one in taken.due) + DEAD_AFTER:
            _ended(tx, taken, "dead", failure, now)
            log.error("mail given up", organization=taken.member.organization_id, reason=failure)
        else:
            # It has not left: what comes until then may go out with it.
            _mark(
                tx,
                taken.member.organization_id,
                taken.due,
                batch="",
                detail=failure,
                attempts=deliveries.c.attempts + 1,
                due_at=later,
            )
        tx.execute(update(mailboxes).where(*box).values(leased_until=None))
    return False


def _ended(tx: Connection, taken: _Letter, status: str, detail: str, now: datetime) -> None:
    _mark(
        tx,
        taken.member.organization_id,
        taken.due,
        status=status,
        detail=detail,
        attempts=deliveries.c.attempts + 1,
        done_at=now,
    )


def _mark(tx: Connection, organization_id: str, due_: Sequence[_Due], **values: Any) -> None:
    ids = [one.delivery_id for one in due_]
    for start in range(0, len(ids), AT_ONCE):
        tx.execute(
            update(deliveries)
            .where(
                deliveries.c.organization_id == organization_id,
                deliveries.c.delivery_id.in_(ids[start : start + AT_ONCE]),
                deliveries.c.status == "due",
            )
            .values(**values)
        )


def choose(
    tx: Connection, organization_id: str, member_id: str, choices: Mapping[str, str]
) -> None:
    """Keep what somebody chose to hear by mail or only on the page, by group."""
    box = {"organization_id": organization_id, "member_id": member_id}
    insert_or_ignore(tx, mailboxes, {**box, "choices": {}})
    mine = [mailboxes.c[name] == value for name, value in box.items()]
    before = tx.execute(select(mailboxes.c.choices).where(*mine)).scalar_one()
    tx.execute(update(mailboxes).where(*mine).values(choices={**before, **choices}))


def chosen(tx: Connection, organization_id: str, member_id: str) -> dict[str, str]:
    """Return what somebody chose, by group; what they did not is as their role has it."""
    found = tx.execute(
        select(mailboxes.c.choices).where(
            mailboxes.c.organization_id == organization_id, mailboxes.c.member_id == member_id
        )
    ).scalar()
    return dict(found or {})
