"""Passwords that did not fit, counted in the store for all processes. Owns ``sign_in_attempts``.

Invariant: an attempt is counted before its password is looked at, so that many at once are many.
Sessions in force are never touched by it, nor are the other ways to sign in.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select

from portal.core.errors import RateLimited
from portal.db import Database
from portal.ids import hash_secret, new_id
from portal.tables import sign_in_attempts

WINDOW = timedelta(minutes=15)
#: Failures in the window that are let be, of one account and from one network address.
MOST_FAILURES = 10
#: With more than that an account is still open to addresses that have not failed at it, so that a
#: stranger cannot shut its owner out; up to this many.
MOST_OF_AN_ACCOUNT = 50


def begin_attempt(database: Database, account: str, address: str, *, now: datetime) -> str:
    """Count an attempt and return its name, to forget it by where the password fits.

    Raises RateLimited. What people type is kept as a hash: it may be the password.
    """
    attempt, account, address = new_id("try"), _hidden("account", account), _hidden("at", address)
    with database.transaction() as tx:
        tx.execute(
            insert(sign_in_attempts).values(
                attempt_id=attempt, account_hash=account, address_hash=address, at=now
            )
        )
    with database.reading() as tx:
        since = now - WINDOW
        of_account = _failures(tx, since, attempt, account=account)
        from_address = _failures(tx, since, attempt, address=address)
        of_both = _failures(tx, since, attempt, account=account, address=address)
    if (
        from_address >= MOST_FAILURES
        or of_account >= MOST_OF_AN_ACCOUNT
        or (of_account >= MOST_FAILURES and of_both)
    ):
        forget_attempt(database, attempt)
        raise RateLimited(
            "Too many passwords that do not fit. Wait a quarter of an hour, or sign in another way."
        )
    return attempt


def forget_attempt(database: Database, attempt: str) -> None:
    """Uncount an attempt that was none."""
    with database.transaction() as tx:
        tx.execute(delete(sign_in_attempts).where(sign_in_attempts.c.attempt_id == attempt))


def forget_old(tx: Connection, *, now: datetime) -> None:
    """Drop attempts that no longer count."""
    tx.execute(delete(sign_in_attempts).where(sign_in_attempts.c.at < now - WINDOW))


def _hidden(kind: str, value: str) -> str:
    return hash_secret(f"{kind} {value}")


def _failures(
    tx: Connection,
    since: datetime,
    attempt: str,
    *,
    account: str | None = None,
    address: str | None = None,
) -> int:
    counted = select(func.count()).select_from(sign_in_attempts)
    counted = counted.where(sign_in_attempts.c.at > since, sign_in_attempts.c.attempt_id != attempt)
    if account is not None:
        counted = counted.where(sign_in_attempts.c.account_hash == account)
    if address is not None:
        counted = counted.where(sign_in_attempts.c.address_hash == address)
    return tx.execute(counted).scalar_one()
