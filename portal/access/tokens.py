"""Secrets that work once: what a mail's links carry, invitations too. Owns ``tokens``.

Invariant: a token is 256 random bits of which only the hash is stored; it is bound to a purpose and
to an e-mail address, and used at most once, whoever tries at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from portal.core.errors import Unauthenticated
from portal.ids import hash_secret, new_secret
from portal.rows import insert_or_ignore
from portal.tables import tokens

#: What a token may be for. Of each purpose its own module says what it opens.
SIGN_IN, INVITATION = "sign-in", "invitation"
#: What is only ever spent, never made here: see ``spend``.
PROVIDER_STATE, PASSKEY_CHALLENGE = "provider-state", "passkey-challenge"
LONGEST_LIFETIME = timedelta(days=14)


@dataclass(frozen=True)
class UsedToken:
    """What a token was made with."""

    email: str
    organization_id: str | None
    data: dict[str, Any]
    created_at: datetime


def make_token(
    tx: Connection,
    *,
    purpose: str,
    email: str,
    lifetime: timedelta,
    now: datetime,
    organization_id: str | None = None,
    data: dict[str, Any] | None = None,
) -> tuple[str, datetime]:
    """Make a token for an address; returns it, to be sent there and nowhere else, and its end.

    ``data`` is kept in the clear beside its hash.
    """
    if lifetime > LONGEST_LIFETIME:
        raise AssertionError(f"a token lives for at most {LONGEST_LIFETIME}")
    token, expires_at = new_secret(), now + lifetime
    tx.execute(
        insert(tokens).values(
            token_hash=hash_secret(token),
            purpose=purpose,
            email=email,
            organization_id=organization_id,
            data=data or {},
            created_at=now,
            expires_at=expires_at,
        )
    )
    return token, expires_at


def find_token(tx: Connection, token: str, *, purpose: str, now: datetime) -> UsedToken | None:
    """Return what a token would give, where it can still be used; it stays unused."""
    row = tx.execute(
        select(tokens).where(
            tokens.c.token_hash == hash_secret(token),
            tokens.c.purpose == purpose,
            tokens.c.used_at.is_(None),
            tokens.c.expires_at > now,
        )
    ).first()
    if row is None:
        return None
    return UsedToken(row.email, row.organization_id, row.data, row.created_at)


def use_token(tx: Connection, token: str, *, purpose: str, now: datetime) -> UsedToken:
    """Use a token, once. Raises Unauthenticated where it is unknown, used, void or past its end."""
    found = find_token(tx, token, purpose=purpose, now=now)
    used = tx.execute(
        update(tokens)
        .where(
            tokens.c.token_hash == hash_secret(token),
            tokens.c.purpose == purpose,
            tokens.c.used_at.is_(None),
            tokens.c.expires_at > now,
        )
        .values(used_at=now)
    ).rowcount
    if found is None or used != 1:
        raise Unauthenticated("This link has been used or has ended. Ask for a new one.")
    return found


def count_unused(tx: Connection, email: str, *, purpose: str, since: datetime) -> int:
    """Return how many tokens an address was sent since then and has not used."""
    return tx.execute(
        select(func.count())
        .select_from(tokens)
        .where(
            tokens.c.email == email,
            tokens.c.purpose == purpose,
            tokens.c.used_at.is_(None),
            tokens.c.created_at > since,
        )
    ).scalar_one()


def void_tokens(tx: Connection, email: str, *, purpose: str) -> int:
    """End an address's unused tokens of a purpose; returns how many there were."""
    return tx.execute(
        delete(tokens).where(
            tokens.c.email == email, tokens.c.purpose == purpose, tokens.c.used_at.is_(None)
        )
    ).rowcount


def spend(
    tx: Connection, secret: str, *, purpose: str, expires_at: datetime, now: datetime
) -> None:
    """Note that a secret made elsewhere was used. Raises Unauthenticated where it was already.

    ``expires_at`` is until when it would be taken, and so how long this is remembered.
    """
    first = insert_or_ignore(
        tx,
        tokens,
        {
            "token_hash": hash_secret(f"{purpose} {secret}"),
            "purpose": purpose,
            "email": "",
            "data": {},
            "created_at": now,
            "expires_at": expires_at,
            "used_at": now,
        },
    )
    if not first or expires_at <= now:
        raise Unauthenticated("This took too long or was sent twice. Begin again.")


def forget_ended(tx: Connection, *, now: datetime) -> None:
    """Drop tokens a day past their end; nothing reads them any more."""
    tx.execute(delete(tokens).where(tokens.c.expires_at < now - timedelta(days=1)))
