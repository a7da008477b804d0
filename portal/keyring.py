"""An organization's own keys, as its owners and admins keep them: each act is on record.

Such a key reads, or meters; what the operator's keys may do beyond that is not for them to give.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from portal import audit, keys
from portal.accounts import Member
from portal.core.errors import InvalidRequest, NotAllowed
from portal.db import Database
from portal.keys import KeyLine

#: What a key of an organization's may be for.
SCOPES = ("read", "meter")
LONGEST_NAME = 80
#: How long the key that is replaced may go on, by what is chosen.
OVERLAPS = {"now": timedelta(0), "day": timedelta(days=1), "week": timedelta(days=7)}
#: How many days a key may last; "" is until it is revoked.
LIFETIMES = {"": None, "30": 30, "90": 90, "365": 365}


def make(
    database: Database,
    organization_id: str,
    *,
    name: str,
    scopes: tuple[str, ...],
    lifetime: str,
    by: Member,
    now: datetime,
) -> str:
    """Make a key and return it; it is never shown again. Raises InvalidRequest, NotAllowed."""
    _check(by)
    name = " ".join(name.split())
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise InvalidRequest.at("/name", f"must have 1 to {LONGEST_NAME} characters")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise InvalidRequest.at("/scope", "must be one or both of the list")
    if lifetime not in LIFETIMES:
        raise InvalidRequest.at("/lifetime", "must be chosen from the list")
    days = LIFETIMES[lifetime]
    with database.transaction() as tx:
        key = keys.create(
            tx,
            name=name,
            organization_id=organization_id,
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            now=now,
            created_by=by.member_id,
            expires_at=None if days is None else now + timedelta(days=days),
        )
        detail = {"name": name, "scopes": " ".join(scopes)}
        _note(tx, organization_id, by, "key.made", keys.id_of(key), detail, now)
    return key


def replace(
    database: Database,
    organization_id: str,
    key_id: str,
    *,
    overlap: str,
    by: Member,
    now: datetime,
) -> tuple[str, KeyLine]:
    """Make a key that takes another's place, which goes on for a while; returns both.

    Raises NotFound where none such is in force, InvalidRequest, NotAllowed.
    """
    _check(by)
    if overlap not in OVERLAPS:
        raise InvalidRequest.at("/overlap", "must be chosen from the list")
    with database.transaction() as tx:
        old = keys.find(tx, organization_id, key_id, now=now)
        lasts = None if old.expires_at is None else old.expires_at - old.created_at
        key = keys.create(
            tx,
            name=old.name,
            organization_id=organization_id,
            scopes=tuple(old.scopes.split()),
            now=now,
            created_by=by.member_id,
            expires_at=None if lasts is None else now + lasts,
        )
        keys.end_at(tx, key_id, at=now + OVERLAPS[overlap])
        detail = {"name": old.name, "by": keys.id_of(key), "overlap": overlap}
        _note(tx, organization_id, by, "key.replaced", key_id, detail, now)
    return key, old


def revoke(
    database: Database, organization_id: str, key_id: str, *, by: Member, now: datetime
) -> KeyLine:
    """Take a key back from its next request on. Raises NotFound, NotAllowed."""
    _check(by)
    with database.transaction() as tx:
        found = keys.find(tx, organization_id, key_id, now=now)
        keys.revoke(tx, key_id, now=now)
        _note(tx, organization_id, by, "key.revoked", key_id, {"name": found.name}, now)
    return found


def _check(by: Member) -> None:
    if not by.may("manage_keys"):
        raise NotAllowed("Only an owner or an admin keeps the keys. Ask one of them.")


def _note(
    tx: Connection,
    organization_id: str,
    by: Member,
    act: str,
    key_id: str,
    detail: dict[str, str],
    now: datetime,
) -> None:
    audit.note(
        tx,
        organization_id,
        actor=by.member_id,
        act=act,
        target=key_id,
        detail=detail,
        now=now,
    )
