"""Dated versions of a document, stored once and never changed: how each kind of book is kept.

Invariant: versions count 1, 2, 3 …, each begins later than the one before, and only the first may
begin in the past. Whoever owns a table of documents calls this with it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from portal.core.errors import CatalogError


def store_version(
    tx: Connection,
    table: Table,
    document: str,
    *,
    effective_at: datetime | None,
    now: datetime,
    **more: Any,
) -> tuple[int, datetime, bool]:
    """Store a document as the next version: its number, when it begins, and whether it is new.

    It is not new where the newest version says the same; then that one is returned. ``more`` are
    further columns. Raises CatalogError for a date that would change what is already in force.
    """
    rows = tx.execute(select(table).order_by(table.c.version)).all()
    if rows and rows[-1].document == document:
        return rows[-1].version, rows[-1].effective_at, False
    begins = effective_at or now
    if rows:
        # A file that ships with an old date and is loaded again with new prices starts now.
        begins = max(begins, now)
        latest = max(row.effective_at for row in rows)
        if begins <= latest:
            raise CatalogError(
                "Key effective_at: must be later than the version already stored, "
                f"which begins at {latest.isoformat()}."
            )
    version = rows[-1].version + 1 if rows else 1
    tx.execute(
        insert(table).values(
            version=version, effective_at=begins, loaded_at=now, document=document, **more
        )
    )
    return version, begins, True
