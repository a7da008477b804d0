"""What is put aside to be shown once, after a redirect: sealed for the one session that may see it.

Invariant: it stands nowhere in the clear. What opens it is made of the portal's own key, of the
session's secret, which only a cookie keeps, and of a salt of its own; it lasts a minute, and is
opened once, whoever loads the page at the same time.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from portal.access import tokens
from portal.core.errors import Unauthenticated
from portal.ids import new_secret

ASIDE_LIFETIME = timedelta(minutes=1)
#: What its salt is spent as.
_SHOWN = "shown-once"


@dataclass(frozen=True)
class Safe:
    """What seals for one session: the portal's key, and the secret of the session's cookie."""

    portal_key: str
    session_secret: str

    def _key(self, about: str, salt: str) -> bytes:
        said = f"shown once\n{about}\n{salt}\n{self.session_secret}"
        return hmac.digest(self.portal_key.encode(), said.encode(), "sha256")

    def seal(self, text: str, *, about: str, now: datetime) -> dict[str, str]:
        """Return a text as it may be stored; ``about`` is what it is, which opens it too."""
        salt, clear = new_secret(), text.encode()
        key = self._key(about, salt)
        sealed = _covered(clear, key)
        return {
            "about": about,
            "salt": salt,
            "sealed": b64encode(sealed).decode(),
            "proof": hmac.digest(key, sealed, "sha256").hex(),
            "until": (now + ASIDE_LIFETIME).isoformat(),
        }

    def open_once(self, tx: Connection, kept: dict[str, Any], *, now: datetime) -> str:
        """Return what was sealed, the first time. Raises Unauthenticated: late, or not for us."""
        key = self._key(kept["about"], kept["salt"])
        sealed = b64decode(kept["sealed"])
        if not hmac.compare_digest(hmac.digest(key, sealed, "sha256").hex(), kept["proof"]):
            raise Unauthenticated("This was put aside for another session.")
        until = datetime.fromisoformat(kept["until"])
        tokens.spend(tx, kept["salt"], purpose=_SHOWN, expires_at=until, now=now)
        return _covered(sealed, key).decode()


def _covered(given: bytes, key: bytes) -> bytes:
    """Cover a text by a pad as long as itself, or uncover it; no pad is used for a second text."""
    pad = hashlib.shake_256(b"pad" + key).digest(len(given))
    return bytes(one ^ other for one, other in zip(given, pad, strict=True))
