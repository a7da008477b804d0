"""Names and secrets nobody can guess. Ids say what they name; order never depends on them."""

from __future__ import annotations

import hashlib
import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """Return an id such as ``auth_7k3…``: 100 random bits after the prefix."""
    # Each letter is five bits, and 256 is a whole number of alphabets: no letter is likelier.
    return prefix + "_" + "".join(_ALPHABET[byte & 31] for byte in secrets.token_bytes(20))


def new_secret() -> str:
    """Return 256 random bits, safe in a URL."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """Return what is stored of a random secret, which needs no slow hash: nobody can guess it."""
    return hashlib.sha256(secret.encode()).hexdigest()
