"""Signing in to the portal: links, mail, passwords, passkeys, a provider; the sessions they begin.

Invariant: only hashes of secrets are stored; a session is a row, so signing out, removing a member
or revoking ends it for every copy of its cookie at the next request.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete

from portal.access import attempts, tokens
from portal.access.aside import ASIDE_LIFETIME, Safe
from portal.access.links import (
    LINK_LIFETIME,
    PAGES,
    UsedLink,
    make_link,
    new_link_id,
    revoke_link,
    use_link,
)
from portal.access.passwords import (
    LONGEST_PASSWORD,
    SHORTEST_PASSWORD,
    members_by_password,
    set_password,
)
from portal.access.people import (
    Place,
    choices_of,
    operators_of,
    places_of,
    put_operator,
    shut_out,
)
from portal.access.sessions import (
    BY_LINK,
    BY_MAIL,
    BY_PASSKEY,
    BY_PASSWORD,
    BY_PROVIDER,
    CHOICES,
    SEEN_EVERY,
    SESSION_IDLE,
    SESSION_LIFETIME,
    VIEW,
    SessionLine,
    StoredSession,
    Visitor,
    begin_session,
    end_session,
    end_session_named,
    end_sessions_of,
    find_session,
    keep_session,
    renew_session,
    sessions_of,
)
from portal.access.tokens import INVITATION, find_token, make_token, use_token, void_tokens
from portal.access.views import VIEW_LIFETIME, forget_view, lapsed_views
from portal.tables import portal_links, sessions

__all__ = [
    "ASIDE_LIFETIME",
    "BY_LINK",
    "BY_MAIL",
    "BY_PASSKEY",
    "BY_PASSWORD",
    "BY_PROVIDER",
    "CHOICES",
    "INVITATION",
    "LINK_LIFETIME",
    "LONGEST_PASSWORD",
    "PAGES",
    "SEEN_EVERY",
    "SESSION_IDLE",
    "SESSION_LIFETIME",
    "SHORTEST_PASSWORD",
    "VIEW",
    "VIEW_LIFETIME",
    "Place",
    "Safe",
    "SessionLine",
    "StoredSession",
    "UsedLink",
    "Visitor",
    "begin_session",
    "choices_of",
    "end_session",
    "end_session_named",
    "end_sessions_of",
    "find_session",
    "find_token",
    "forget_ended",
    "forget_view",
    "keep_session",
    "lapsed_views",
    "make_link",
    "make_token",
    "members_by_password",
    "new_link_id",
    "operators_of",
    "places_of",
    "put_operator",
    "renew_session",
    "revoke_link",
    "sessions_of",
    "set_password",
    "shut_out",
    "use_link",
    "use_token",
    "void_tokens",
]


def forget_ended(tx: Connection, *, now: datetime) -> None:
    """Drop links, tokens, sessions and attempts that ended; nothing reads them any more."""
    tx.execute(delete(portal_links).where(portal_links.c.expires_at < now - timedelta(days=1)))
    tx.execute(delete(sessions).where(sessions.c.expires_at < now))
    tokens.forget_ended(tx, now=now)
    attempts.forget_old(tx, now=now)
