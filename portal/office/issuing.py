"""Keys as the operator issues and revokes them, each with its line on record.

Invariant: a key is told once, to whoever made it; the same form sent again makes no second one.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from portal import audit, keys
from portal.core.errors import InvalidRequest
from portal.db import Database
from portal.tables import api_keys

LONGEST_NAME = 100


def issue(
    database: Database,
    *,
    name: str,
    organization_id: str | None,
    scopes: tuple[str, ...],
    form: str,
    actor: str,
    now: datetime,
) -> str:
    """Make a key and return it, the only time it is told.

    ``form`` is the key of the form that asks. Raises InvalidRequest for a name that says nothing
    and for a form that made its key already, NotFound for an organization that is not there.
    """
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidRequest.at(
            "/name", f"must say in 1 to {LONGEST_NAME} characters what it is for"
        )
    key_id = f"key_{form.removeprefix('form_')}"
    with database.transaction() as tx:
        if tx.execute(select(api_keys.c.key_id).where(api_keys.c.key_id == key_id)).first():
            raise InvalidRequest(
                "This form has made its key already, and a key is shown once. "
                "Revoke it below and make another if you did not keep it."
            )
        secret = keys.create(
            tx,
            name=name,
            organization_id=organization_id,
            scopes=scopes,
            key_id=key_id,
            now=now,
        )
        detail = {"name": name, "scopes": " ".join(scopes)}
        audit.note(
            tx,
            organization_id or "",
            actor=actor,
            act="key.issued",
            target=key_id,
            detail=detail,
            now=now,
        )
    return secret


def revoke(database: Database, key_id: str, *, reason: str, actor: str, now: datetime) -> None:
    """Take a key back. Raises InvalidRequest where none of that id is in force."""
    with database.transaction() as tx:
        owner = tx.execute(
            select(api_keys.c.organization_id).where(api_keys.c.key_id == key_id)
        ).scalar()
        keys.revoke(tx, key_id, now=now)
        detail = {"reason": reason}
        audit.note(
            tx, owner or "", actor=actor, act="key.revoked", target=key_id, detail=detail, now=now
        )
