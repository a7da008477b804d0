"""The record of privileged acts: who did what to whom. Owns ``audit_log`` (append only)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, insert, or_, select

from portal.ids import new_id
from portal.tables import audit_log


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
    tx.execute(
        insert(audit_log).values(
            organization_id=organization_id,
            audit_id=new_id("act"),
            at=now,
            actor=actor,
            act=act,
            target=target,
            detail=detail or {},
        )
    )


@dataclass(frozen=True)
class Act:
    """One act on record; ``organization_id`` is "" for one that is about no single customer."""

    organization_id: str
    audit_id: str
    at: datetime
    actor: str
    act: str
    target: str
    detail: Mapping[str, Any]


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
        select(audit_log)
        .where(*conditions)
        .order_by(audit_log.c.at.desc(), audit_log.c.audit_id.desc())
        .limit(limit)
    )
    return [Act(**row) for row in rows.mappings()]


def kinds(tx: Connection) -> list[str]:
    """Return the kinds of act there are on record."""
    return sorted(tx.execute(select(audit_log.c.act).distinct()).scalars())
