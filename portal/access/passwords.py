"""Passwords: slow hashes of a membership's own. Owns ``members.password_hash``."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import Connection, select, update

from portal.access import links, tokens
from portal.accounts import Member
from portal.core.errors import InvalidRequest
from portal.tables import members

SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
#: The ones of this length that are guessed first, without their digits at the end.
GUESSED_FIRST = frozenset(
    {
        *("password", "passwort", "passw0rd", "p@ssword", "p@ssw0rd", "mypassword", "yourpassword"),
        *("qwerty", "qwertyuiop", "qwertyuiopasdfghjkl", "qwertz", "qwertzuiop", "asdfghjkl"),
        *("zxcvbnm", "1q2w3e4r5t", "1q2w3e4r", "1qaz2wsx", "1qaz2wsx3edc", "q1w2e3r4t5", "abc"),
        *("iloveyou", "letmein", "welcome", "administrator", "superman", "basketball", "football"),
        *("baseball", "liverpool", "manchester", "michael", "changeme", "default", "unknown", ""),
    }
)

_hasher = PasswordHasher()
#: Verified where nobody has that address, so that an unknown one takes as long as a known one.
_NOBODY = _hasher.hash("a password nobody has")


def set_password(tx: Connection, member: Member, password: str) -> None:
    """Set a member's password; links sent to them before end.

    Raises InvalidRequest where it is too short, too long or among the first anybody tries.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidRequest.at(
            "/password", f"must have {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters"
        )
    if is_guessed_first(password, member.email):
        raise InvalidRequest.at("/password", "is among the first that anybody tries")
    tx.execute(
        update(members)
        .where(
            members.c.organization_id == member.organization_id,
            members.c.member_id == member.member_id,
        )
        .values(password_hash=_hasher.hash(password))
    )
    tokens.void_tokens(tx, member.email, purpose=tokens.SIGN_IN)
    links.void_links_of(tx, member.organization_id, member.member_id)


def is_guessed_first(password: str, email: str) -> bool:
    """Tell whether a password is one of those that are tried before all others."""
    plain = password.casefold()
    stem = plain.rstrip("0123456789!.?*#-_")
    return len(set(plain)) < 4 or stem in GUESSED_FIRST or plain == email.casefold()


def members_by_password(tx: Connection, email: str, password: str) -> list[tuple[str, str]]:
    """Return (organization, member) of everybody with this address and this password.

    A password belongs to one membership, so an organization that adds somebody's address gains
    nothing in any other. Takes as long for an address nobody has.
    """
    rows = tx.execute(
        select(members.c.organization_id, members.c.member_id, members.c.password_hash)
        .where(
            members.c.email.in_({email, email.lower()}),
            members.c.removed_at.is_(None),
            members.c.password_hash.is_not(None),
        )
        .order_by(members.c.organization_id)
        .limit(5)
    ).all()
    if not rows:
        _verified(_NOBODY, password)
    return [
        (row.organization_id, row.member_id)
        for row in rows
        if _verified(row.password_hash, password)
    ]


def _verified(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password[:LONGEST_PASSWORD])
    except (VerifyMismatchError, InvalidHashError):
        return False
