"""What is put aside to be shown once, after a redirect: sealed for the one session that may see it.

Invariant: it stands nowhere in the clear. What opens it is made of the portal's own key, of the
session's secret, which only a cookie keeps, and of a salt of its own; it lasts a minute, and is
opened once, whoever loads the page at the same time.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
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

    def _lock(self, about: str, salt: str) -> Fernet:
        said = f"shown once\n{about}\n{salt}\n{self.session_secret}"
        key = hmac.digest(self.portal_key.encode(), said.encode(), "sha256")
        return Fernet(urlsafe_b64encode(key))

    def seal(self, text: str, *, about: str, now: datetime) -> dict[str, str]:
        """Return a text as it may be stored; ``about`` is what it is, which opens it too."""
        salt = new_secret()
        sealed = self._lock(about, salt).encrypt_at_time(text.encode(), int(now.timestamp()))
        return {
            "about": about,
            "salt": salt,
            "sealed": sealed.decode(),
            "until": (now + ASIDE_LIFETIME).isoformat(),
        }

    def open_once(self, tx: Connection, kept: dict[str, Any], *, now: datetime) -> str:
        """Return what was sealed, the first time. Raises Unauthenticated: late, or not for us."""
        try:
            text = self._lock(kept["about"], kept["salt"]).decrypt(kept["sealed"].encode())
        except InvalidToken:
            raise Unauthenticated("This was put aside for another session.") from None
        until = datetime.fromisoformat(kept["until"])
        tokens.spend(tx, kept["salt"], purpose=_SHOWN, expires_at=until, now=now)
        return text.decode()
