"""The record of privileged acts: who did what to whom. Owns ``audit_log`` (append only)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

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
