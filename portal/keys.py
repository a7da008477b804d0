"""API keys: shown once, stored as a hash, found by their public part.

A service key is the operator's and sees every organization; an organization key sees its own.
Looked up at every request, so that one that was revoked or has run out is refused at the next, in
every process.
"""

from __future__ import annotations

import hmac
import json
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, insert, select, update

from portal import accounts, express
from portal.core.actors import of_key, of_service
from portal.core.errors import InvalidRequest, NotFound, Unauthenticated
from portal.db import Database
from portal.ids import hash_secret, new_id, new_secret
from portal.tables import Instant, api_keys

SCOPES = ("read", "meter", "manage", "backfill")
DEFAULT_SERVICE_SCOPES = ("read", "meter", "manage")
DEFAULT_ORGANIZATION_SCOPES = ("read",)
#: How often the last use of a key is written down at most.
USED_EVERY = timedelta(minutes=5)
_CHECKSUM_LENGTH = 6
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: Made before keys had a checksum.
_LENGTH_WITHOUT = 43


@dataclass(frozen=True)
class KeyLine:
    """A key as its list tells of it: all but the secret."""

    key_id: str
    name: str
    organization_id: str | None
    scopes: str
    created_at: datetime
    revoked_at: datetime | None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    #: The member who made it, or "" where the operator did.
    created_by: str = ""

    @property
    def prefix(self) -> str:
        """How the key begins: enough to know it by, and worth nothing."""
        return f"cm_{self.key_id.removeprefix('key_')[:8]}"

    def in_force(self, now: datetime) -> bool:
        """Tell whether it opens anything at ``now``."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


@dataclass(frozen=True)
class Caller:
    """Who holds a key: ``organization_id`` is None for the operator's backend."""

    key_id: str
    name: str
    organization_id: str | None
    scopes: frozenset[str]
    #: Whether its last use was written down some time ago, or never.
    unseen: bool = False

    @property
    def is_service(self) -> bool:
        """Whether this is the operator's."""
        return self.organization_id is None

    @property
    def actor(self) -> str:
        """How what is done with it stands on record."""
        return of_service(self.name) if self.is_service else of_key(self.name)


def create(
    tx: Connection,
    *,
    name: str,
    organization_id: str | None,
    scopes: tuple[str, ...],
    key_id: str | None = None,
    now: datetime,
    created_by: str = "",
    expires_at: datetime | None = None,
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
    key_id, random = key_id or new_id("key"), new_secret()
    public = key_id.removeprefix("key_")
    secret = random + _checksum(f"cm_{public}_{random}")
    tx.execute(
        insert(api_keys).values(
            key_id=key_id,
            secret_hash=hash_secret(secret),
            organization_id=organization_id,
            name=name,
            scopes=" ".join(scopes),
            created_at=now,
            created_by=created_by,
            expires_at=expires_at,
        )
    )
    return f"cm_{public}_{secret}"


def _checksum(text: str) -> str:
    """Return six characters by which a key that was mistyped or cut is known without the store."""
    rest, found = zlib.crc32(text.encode("utf-8", "replace")), ""
    for _ in range(_CHECKSUM_LENGTH):
        rest, place = divmod(rest, len(_ALPHABET))
        found = _ALPHABET[place] + found
    return found


def is_well_formed(key: str) -> bool:
    """Tell whether a text has the form of a key, its checksum among it."""
    prefix, _, rest = key.partition("_")
    public, _, secret = rest.partition("_")
    if prefix != "cm" or not (public.isascii() and public.isalnum() and len(public) <= 40):
        return False
    if len(secret) == _LENGTH_WITHOUT:
        return True
    return secret[-_CHECKSUM_LENGTH:] == _checksum(key[:-_CHECKSUM_LENGTH])


def id_of(key: str) -> str:
    """Return the id of a key, which is its public part."""
    return f"key_{key.split('_')[1]}"


#: Asked at every request: built once.
_IN_FORCE = select(api_keys).where(
    api_keys.c.key_id == bindparam("key_"),
    api_keys.c.revoked_at.is_(None),
    api_keys.c.expires_at.is_(None) | (api_keys.c.expires_at > bindparam("now_", type_=Instant)),
)


#: The same where it is asked past SQLAlchemy, which takes longer over it than the store does.
_IN_FORCE_AT_ONCE = """
SELECT json_build_array(secret_hash, key_id, name, organization_id, scopes,
    coalesce(last_used_at <= $3, true))
  FROM api_keys
  WHERE key_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
"""


def caller_of(database: Database, key: str, *, now: datetime) -> Caller:
    """Return the caller of a key in force, by the shortest way. Raises Unauthenticated."""
    if not express.offered(database):
        with database.glance() as tx:
            return recognize(tx, key, now=now)
    found = None
    if is_well_formed(key):
        found = database.call(_IN_FORCE_AT_ONCE, (id_of(key), now, now - USED_EVERY))
    if found is None:
        return _proven(key, None, None)
    secret_hash, key_id, name, organization_id, scopes, unseen = json.loads(found)
    caller = Caller(key_id, name, organization_id, frozenset(scopes.split()), unseen)
    return _proven(key, secret_hash, caller)


def recognize(tx: Connection, key: str, *, now: datetime) -> Caller:
    """Return the caller of a key in force. Raises Unauthenticated."""
    row = None
    if is_well_formed(key):
        row = tx.execute(_IN_FORCE, {"key_": id_of(key), "now_": now}).first()
    if row is None:
        return _proven(key, None, None)
    unseen = row.last_used_at is None or row.last_used_at <= now - USED_EVERY
    scopes = frozenset(row.scopes.split())
    caller = Caller(row.key_id, row.name, row.organization_id, scopes, unseen)
    return _proven(key, row.secret_hash, caller)


def _proven(key: str, secret_hash: str | None, caller: Caller | None) -> Caller:
    """Return the caller where the key's secret is theirs, in the same time where there is none."""
    secret = key.partition("_")[2].partition("_")[2]
    given = hash_secret(secret.encode("utf-8", "replace").decode())
    expected = secret_hash or hash_secret("nobody's key")
    if not hmac.compare_digest(expected, given) or caller is None:
        raise Unauthenticated("Send Authorization: Bearer with a key that is in force.")
    return caller


def used(tx: Connection, key_id: str, *, now: datetime) -> None:
    """Write down that a key was used."""
    tx.execute(update(api_keys).where(api_keys.c.key_id == key_id).values(last_used_at=now))


_LINES = select(
    api_keys.c.key_id,
    api_keys.c.name,
    api_keys.c.organization_id,
    api_keys.c.scopes,
    api_keys.c.created_at,
    api_keys.c.revoked_at,
    api_keys.c.expires_at,
    api_keys.c.last_used_at,
    api_keys.c.created_by,
)


def every(tx: Connection) -> list[KeyLine]:
    """Return all keys there are or were, oldest first."""
    rows = tx.execute(_LINES.order_by(api_keys.c.created_at, api_keys.c.key_id))
    return [KeyLine(*row) for row in rows]


def of_organization(tx: Connection, organization_id: str) -> list[KeyLine]:
    """Return an organization's keys, those that were revoked too, the latest first."""
    query = _LINES.where(api_keys.c.organization_id == organization_id)
    rows = tx.execute(query.order_by(api_keys.c.created_at.desc(), api_keys.c.key_id))
    return [KeyLine(*row) for row in rows]


def find(tx: Connection, organization_id: str, key_id: str, *, now: datetime) -> KeyLine:
    """Return an organization's key that is in force. Raises NotFound."""
    row = tx.execute(
        _LINES.where(api_keys.c.organization_id == organization_id, api_keys.c.key_id == key_id)
    ).first()
    found = KeyLine(*row) if row is not None else None
    if found is None or not found.in_force(now):
        raise NotFound("key", key_id)
    return found


def end_at(tx: Connection, key_id: str, *, at: datetime) -> None:
    """Let a key end at an instant, where it does not end before."""
    tx.execute(
        update(api_keys)
        .where(
            api_keys.c.key_id == key_id,
            api_keys.c.expires_at.is_(None) | (api_keys.c.expires_at > at),
        )
        .values(expires_at=at)
    )


def revoke(tx: Connection, key_id: str, *, now: datetime) -> KeyLine:
    """Take a key back from the next request on. Raises InvalidRequest where none is in force."""
    taken = tx.execute(
        update(api_keys)
        .where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    if taken.rowcount != 1:
        # Not repeated: whoever mistakes the key for its id would see it in a log.
        raise InvalidRequest("No key in force has that id; `keys list` shows them.")
    return KeyLine(*tx.execute(_LINES.where(api_keys.c.key_id == key_id)).one())
