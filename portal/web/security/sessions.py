"""Sessions kept in the store: what a visitor carries, and who they are.

Invariant: looking writes nothing, and a cookie copied before signing out is worth nothing after it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from flask import Flask, Request, Response, request, session
from flask.sessions import SessionInterface, SessionMixin
from itsdangerous import BadData, URLSafeTimedSerializer

from portal import access, accounts
from portal.access import StoredSession, Visitor
from portal.core.errors import Unauthenticated
from portal.ids import hash_secret
from portal.web.services import Services

#: Paths that carry a key or nothing, never a session.
WITHOUT_SESSION = (
    *("/v1/", "/webhooks/", "/static/", "/brand.css", "/brand/"),
    *("/healthz", "/readyz", "/metrics"),
)
ANONYMOUS = "anonymous."


class Session(dict[str, Any], SessionMixin):
    """What a visitor carries from request to request, and who they are."""

    def __init__(
        self,
        stored: StoredSession | None,
        carried: dict[str, Any] | None = None,
        *,
        secret: str = "",
    ) -> None:
        super().__init__(stored.data if stored else carried or {})
        self.stored = stored
        #: The cookie's, which no store has: what is sealed for this session needs it.
        self.secret = secret
        self.visitor = stored.visitor if stored else Visitor()
        self.before = dict(self)
        self.new_secret: str | None = None
        self.ended = False

    @property
    def changed(self) -> bool:
        """Whether there is something to write."""
        return dict(self) != self.before

    def go_on_as(self, secret: str, carried: dict[str, Any]) -> None:
        """Go on under another secret, whose row carries this and nothing of before."""
        self.clear()
        self.update(carried)
        self.before = dict(self)
        self.new_secret = secret


class StoreSessions(SessionInterface):
    """Sessions as rows: a cookie copied before signing out is worth nothing after it.

    Before anybody signs in there is no row: the little that a visitor carries (the secret behind
    the form's CSRF field) is signed into the cookie itself, so that looking writes nothing.
    """

    def __init__(self, parts: Services) -> None:
        self.parts = parts
        self.secure = parts.settings.secure_cookies
        self.cookie = "__Host-clearmeter" if self.secure else "clearmeter"
        self.signer = URLSafeTimedSerializer(parts.settings.secret_key, salt="not signed in")

    def open_session(self, app: Flask, request: Request) -> Session:  # noqa: ARG002  # Flask's
        """Find the visitor of a request."""
        value = request.cookies.get(self.cookie, "")
        if not value or request.path.startswith(WITHOUT_SESSION):
            return Session(None)
        if value.startswith(ANONYMOUS):
            return Session(None, self._unsigned(value.removeprefix(ANONYMOUS)))
        with self.parts.database.reading() as tx:
            found = access.find_session(tx, value, now=self.parts.clock())
            return Session(found, secret=value)

    def _unsigned(self, value: str) -> dict[str, Any]:
        lifetime = int(access.SESSION_LIFETIME.total_seconds())
        try:
            found = self.signer.loads(value, max_age=lifetime)
        except BadData:
            return {}
        return found if isinstance(found, dict) else {}

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:  # noqa: ARG002
        """Write what changed, and now and then that the session is still used."""
        if not isinstance(session, Session) or request.path.startswith(WITHOUT_SESSION):
            return
        if session.ended:
            response.delete_cookie(
                self.cookie, path="/", secure=self.secure, httponly=True, samesite="Lax"
            )
        elif session.new_secret is not None:
            if session.changed:
                with self.parts.database.transaction() as tx:
                    stored = hash_secret(session.new_secret)
                    access.keep_session(tx, stored, dict(session), now=self.parts.clock())
            self._set_cookie(response, session.new_secret)
        elif session.stored is not None:
            renewed = self._keep(session, session.stored)
            if renewed is not None:
                self._set_cookie(response, renewed)
        elif session.changed:
            self._set_cookie(response, ANONYMOUS + str(self.signer.dumps(dict(session))))

    def _keep(self, session: Session, stored: StoredSession) -> str | None:
        """Write down what it carries and that it lives; returns its new secret where it has one."""
        now = self.parts.clock()
        if not (session.changed or stored.is_outdated or now - stored.seen_at > access.SEEN_EVERY):
            return None
        with self.parts.database.transaction() as tx:
            access.keep_session(tx, stored.session_hash, dict(session), now=now)
            member = session.visitor.member
            if member is not None and not session.visitor.watched_by:
                accounts.saw(tx, member.organization_id, member.member_id, now=now)
            if stored.is_outdated:
                # Where a request beside this one renewed or ended it, that one's answer counts.
                with suppress(Unauthenticated):
                    return access.renew_session(tx, stored.session_hash, now=now)
        return None

    def _set_cookie(self, response: Response, value: str) -> None:
        response.set_cookie(
            self.cookie,
            value,
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="Lax",
            max_age=int(access.SESSION_LIFETIME.total_seconds()),
        )


def visitor_here() -> Visitor:
    """Return who asks, or nobody."""
    found = getattr(session, "visitor", None)
    return found if isinstance(found, Visitor) else Visitor()
