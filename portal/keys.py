"""API keys: shown once, stored as a hash, found by their public part.

A service key is the operator's and sees every organization; an organization key sees its own.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from portal import accounts
from portal.core.errors import InvalidRequest, Unauthenticated
from portal.ids import hash_secret, new_id, new_secret
from portal.tables import api_keys

SCOPES = ("read", "meter", "manage", "backfill")
DEFAULT_SERVICE_SCOPES = ("read", "meter", "manage")
DEFAULT_ORGANIZATION_SCOPES = ("read",)


@dataclass(frozen=True)
class KeyLine:
    """A key as its list tells of it: all but the secret."""

    key_id: str
    name: str
    organization_id: str | None
    scopes: str
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True)
class Caller:
    """Who holds a key: ``organization_id`` is None for the operator's backend."""

    key_id: str
    name: str
    organization_id: str | None
    scopes: frozenset[str]

    @property
    def is_service(self) -> bool:
        """Whether this is the operator's."""
        return self.organization_id is None


def create(
    tx: Connection,
    *,
    name: str,
    organization_id: str | None,
    scopes: tuple[str, ...],
    key_id: str | None = None,
    now: datetime,
) -> str:
    """Make a key and return it; it is never shown again. Raises NotFound, InvalidRequest.

    ``key_id`` is what it is to be known by, where whoever asks makes sure that it asks once.
    """
    if organization_id is not None:
        accounts.find_organization(tx, organization_id)
    if not scopes:
        scopes = DEFAULT_SERVICE_SCOPES if organization_id is None else DEFAULT_ORGANIZATION_SCOPES
    for scope in scopes:
        if scope not in SCOPES:
            raise InvalidRequest.at("/scope", f"is not one of {', '.join(SCOPES)}")
    key_id, secret = key_id or new_id("key"), new_secret()
    tx.execute(
        insert(api_keys).values(
            key_id=key_id,
            secret_hash=hash_secret(secret),
            organization_id=organization_id,
            name=name,
            scopes=" ".join(scopes),
            created_at=now,
        )
    )
    return f"cm_{key_id.removeprefix('key_')}_{secret}"


def recognize(tx: Connection, key: str) -> Caller:
    """Return the caller of a key in force. Raises Unauthenticated."""
    prefix, _, rest = key.partition("_")
    public, _, secret = rest.partition("_")
    row = None
    if prefix == "cm" and public.isascii() and len(public) <= 40:
        row = tx.execute(
            select(api_keys).where(
                api_keys.c.key_id == f"key_{public}", api_keys.c.revoked_at.is_(None)
            )
        ).first()
    expected = row.secret_hash if row is not None else hash_secret("nobody's key")
    given = hash_secret(secret.encode("utf-8", "replace").decode())
    if not hmac.compare_digest(expected, given) or row is None:
        raise Unauthenticated("Send Authorization: Bearer with a key that is in force.")
    return Caller(row.key_id, row.name, row.organization_id, frozenset(row.scopes.split()))


def every(tx: Connection) -> list[KeyLine]:
    """Return all keys there are or were, oldest first."""
    rows = tx.execute(
        select(
            api_keys.c.key_id,
            api_keys.c.name,
            api_keys.c.organization_id,
            api_keys.c.scopes,
            api_keys.c.created_at,
            api_keys.c.revoked_at,
        ).order_by(api_keys.c.created_at, api_keys.c.key_id)
    )
    return [KeyLine(*row) for row in rows]


def revoke(tx: Connection, key_id: str, *, now: datetime) -> None:
    """Take a key back from the next request on. Raises InvalidRequest where none is in force."""
    taken = tx.execute(
        update(api_keys)
        .where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    if taken.rowcount != 1:
        # Not repeated: whoever mistakes the key for its id would see it in a log.
        raise InvalidRequest("No key in force has that id; `keys list` shows them.")
