"""The record of privileged acts: who did what to whom, each organization's in a chain of its own.

Owns ``audit_log`` (append only) and ``audit_heads``. Invariant: the acts of an organization are
numbered without a gap and each carries the hash of the one before it, whoever writes at once: the
row where the chain ends is locked until the transaction of the act ends, and is the last thing such
a transaction locks. Acts of the operator's that are about no organization are in a chain named "".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, insert, or_, select, update

from portal.core import audit_chain
from portal.core.actors import OPERATORS, is_operators
from portal.core.audit_chain import NOTHING, Head, Link
from portal.ids import new_id
from portal.rows import insert_or_ignore
from portal.tables import audit_heads, audit_log

#: The chain of what is about no organization.
OPERATOR = ""
#: Acts that are the operator's business, and on no customer's page.
OPERATORS_ACTS = ("cost.", "margin.", "operator.", "routing.", "signal.")
_ROWS_AT_ONCE = 1_000


def note(
    tx: Connection,
    organization_id: str,
    *,
    actor: str,
    act: str,
    target: str = "",
    detail: dict[str, Any] | None = None,
    now: datetime,
) -> None:
    """Write down who did what, in the transaction that does it."""
    head = _locked_head(tx, organization_id)
    link = Link(
        organization_id=organization_id,
        audit_id=new_id("act"),
        sequence=head.count + 1,
        previous_hash=head.hash,
        at=now,
        actor=actor,
        act=act,
        target=target,
        # As the store will give it back: tuples are lists there, and all keys are texts.
        detail=json.loads(json.dumps(detail or {})),
    )
    link = replace(link, hash=audit_chain.hash_of(link))
    tx.execute(insert(audit_log).values(vars(link)))
    tx.execute(
        update(audit_heads)
        .where(
            audit_heads.c.organization_id == organization_id,
            audit_heads.c.sequence == head.count,
        )
        .values(sequence=link.sequence, hash=link.hash)
    )


def _locked_head(tx: Connection, organization_id: str) -> Head:
    query = (
        select(audit_heads.c.sequence, audit_heads.c.hash)
        .where(audit_heads.c.organization_id == organization_id)
        .with_for_update()
    )
    found = tx.execute(query).first()
    if found is None:
        # Made with the first act; who makes it at the same time waits here for the other.
        first = {"organization_id": organization_id, "sequence": 0, "hash": NOTHING}
        insert_or_ignore(tx, audit_heads, first)
        found = tx.execute(query).one()
    return Head(found.sequence, found.hash)


@dataclass(frozen=True)
class Act:
    """One act on record; ``organization_id`` is "" for one that is about no single customer."""

    organization_id: str
    audit_id: str
    sequence: int
    at: datetime
    actor: str
    act: str
    target: str
    detail: Mapping[str, Any]


_ACTS = select(*(audit_log.c[field.name] for field in fields(Act)))


@dataclass(frozen=True)
class Wanted:
    """Which acts are asked for; what is empty asks for all. ``before`` is a sequence."""

    #: ``OPERATORS`` asks for everybody who acts for the operator.
    actor: str = ""
    #: The part of an act's name before its dot, such as ``cap``.
    about: str = ""
    since: datetime | None = None
    before: int | None = None


def acts(tx: Connection, organization_id: str, wanted: Wanted, *, limit: int) -> list[Act]:
    """Return an organization's acts that a customer may see, the latest first."""
    query = _ACTS.where(
        audit_log.c.organization_id == organization_id,
        *(audit_log.c.act.not_like(f"{prefix}%") for prefix in OPERATORS_ACTS),
    )
    if wanted.actor:
        by = audit_log.c.actor == wanted.actor
        if wanted.actor == OPERATORS:
            by = or_(by, audit_log.c.actor.startswith(f"{OPERATORS}:"))
        query = query.where(by)
    if wanted.about:
        query = query.where(audit_log.c.act.startswith(f"{wanted.about}.", autoescape=True))
    if wanted.since is not None:
        query = query.where(audit_log.c.at >= wanted.since)
    if wanted.before is not None:
        query = query.where(audit_log.c.sequence < wanted.before)
    rows = tx.execute(query.order_by(audit_log.c.sequence.desc()).limit(limit))
    return [Act(*row) for row in rows]


def actors(tx: Connection, organization_id: str) -> list[str]:
    """Return everybody who is in an organization's log, all of the operator's as one."""
    rows = tx.execute(
        select(audit_log.c.actor)
        .where(
            audit_log.c.organization_id == organization_id,
            *(audit_log.c.act.not_like(f"{prefix}%") for prefix in OPERATORS_ACTS),
        )
        .distinct()
        .order_by(audit_log.c.actor)
    )
    return sorted({OPERATORS if is_operators(row.actor) else row.actor for row in rows})


def listed(
    tx: Connection,
    *,
    organization_id: str | None = None,
    actor: str = "",
    act: str = "",
    before: tuple[datetime, str] | None = None,
    limit: int,
) -> Sequence[Act]:
    """Return acts, the latest first: of one organization or of all, those that begin as asked."""
    conditions: list[ColumnElement[bool]] = []
    if organization_id is not None:
        conditions.append(audit_log.c.organization_id == organization_id)
    if actor:
        conditions.append(audit_log.c.actor.contains(actor, autoescape=True))
    if act:
        conditions.append(audit_log.c.act.startswith(act, autoescape=True))
    if before is not None:
        at, audit_id = before
        earlier = and_(audit_log.c.at == at, audit_log.c.audit_id < audit_id)
        conditions.append(or_(audit_log.c.at < at, earlier))
    rows = tx.execute(
        _ACTS.where(*conditions)
        .order_by(audit_log.c.at.desc(), audit_log.c.audit_id.desc())
        .limit(limit)
    )
    return [Act(*row) for row in rows]


def kinds(tx: Connection) -> list[str]:
    """Return the kinds of act there are on record."""
    return sorted(tx.execute(select(audit_log.c.act).distinct()).scalars())


def anchor(tx: Connection, *, secret: str, now: datetime) -> str:
    """Return a signed note of where every chain stands, to be kept away from the store."""
    return audit_chain.anchor(_heads(tx), secret=secret, at=now)


def verify(tx: Connection, anchored: Mapping[str, Head] | None = None) -> Iterator[tuple[str, str]]:
    """Tell what is wrong with any chain: whose it is, and what.

    Without an anchor what was cut off the end, and what was made anew, is not told from the truth
    where the head was rewritten with it.
    """
    heads, notes = _heads(tx), anchored or {}
    known = {row.organization_id for row in tx.execute(_EVERYBODY)}
    for organization_id in sorted(known | set(heads) | set(notes)):
        found = audit_chain.faults(
            _links(tx, organization_id),
            heads.get(organization_id, Head()),
            notes.get(organization_id),
        )
        for fault in found:
            yield organization_id, fault


def count(tx: Connection) -> tuple[int, int]:
    """Return how many chains there are, and how many acts they say they have."""
    heads = _heads(tx)
    return len(heads), sum(head.count for head in heads.values())


_EVERYBODY = select(audit_log.c.organization_id).distinct()


def _heads(tx: Connection) -> dict[str, Head]:
    rows = tx.execute(select(audit_heads).order_by(audit_heads.c.organization_id))
    return {row.organization_id: Head(row.sequence, row.hash) for row in rows}


def _links(tx: Connection, organization_id: str) -> Iterator[Link]:
    after = -1
    while True:
        rows = tx.execute(
            select(audit_log)
            .where(
                audit_log.c.organization_id == organization_id,
                audit_log.c.sequence > after,
            )
            .order_by(audit_log.c.sequence)
            .limit(_ROWS_AT_ONCE)
        ).all()
        yield from (_link(row) for row in rows)
        if len(rows) < _ROWS_AT_ONCE:
            return
        after = rows[-1].sequence


def _link(row: Row[Any]) -> Link:
    return Link(**{name: getattr(row, name) for name in _FIELDS})


_FIELDS = tuple(Link.__dataclass_fields__)
