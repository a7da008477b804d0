"""Looking on as a member: what an operator's session carries of it, and when that is over."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from portal.access.sessions import VIEW
from portal.tables import sessions

VIEW_LIFETIME = timedelta(minutes=30)


def lapsed_views(tx: Connection, *, now: datetime) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the session, the operator and what they carry, of views whose time is over.

    It is over with the session at the latest.
    """
    rows = tx.execute(select(sessions).where(sessions.c.operator_email.is_not(None)))
    return [
        (row.session_hash, row.operator_email, row.data)
        for row in rows
        if VIEW in row.data
        and (row.expires_at < now or datetime.fromisoformat(row.data[VIEW]["until"]) <= now)
    ]


def forget_view(tx: Connection, session_hash: str, data: dict[str, Any]) -> None:
    """Take the view out of what a session carries; it is not used by that."""
    kept = {name: value for name, value in data.items() if name != VIEW}
    tx.execute(update(sessions).where(sessions.c.session_hash == session_hash).values(data=kept))
