"""What keeps the portal closed: sessions kept in the store, CSRF, headers, guards for all routes.

Invariant: every route belongs to an audience, and a route without one is refused at start.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Flask, Request, Response, abort, g, request, session, url_for
from flask.sessions import SessionInterface, SessionMixin
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_wtf.csrf import CSRFProtect
from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import Connection
from werkzeug.routing import BuildError

from portal import access, accounts, audit
from portal.access import StoredSession, Visitor
from portal.core.devices import device_name
from portal.core.errors import InvalidRequest, NotAllowed, Unauthenticated
from portal.ids import hash_secret, new_id
from portal.web.brand import version
from portal.web.counters import Counters
from portal.web.services import Services, services

#: Paths that carry a key or nothing, never a session.
WITHOUT_SESSION = (
    *("/v1/", "/webhooks/", "/static/", "/brand.css", "/brand/"),
    *("/healthz", "/readyz", "/metrics"),
)
ANONYMOUS = "anonymous."
#: Where a visitor wanted to go before signing in: a page of ours by name, never an address.
GOAL = "goal"
LONGEST_GOAL = 500
#: Whether whoever is signed in belongs elsewhere too.
ELSEWHERE = "elsewhere"
#: Names of this machine: nothing a visitor sees is ever made from the host of a request.
HERE = frozenset({"localhost", "127.0.0.1", "::1"})
LARGEST_FORM_BYTES = 64 * 1024

csrf = CSRFProtect()
limiter = Limiter(get_remote_address, headers_enabled=True, default_limits=[])

#: Endpoints that answer anybody. Everything else needs a key, a member or an operator.
OPEN = frozenset(
    {
        "static",
        "auth.sign_in",
        "auth.sign_in_by_password",
        "auth.sign_in_by_link",
        "auth.back_to_the_door",
        "auth.mail_link",
        "auth.ask_before_signing_in",
        "auth.sign_in_by_mail",
        "auth.depart",
        "auth.arrive",
        "auth.ask_for_passkey",
        "auth.sign_in_by_passkey",
        "auth.choose",
        "auth.go_there",
        "auth.sign_out",
        "auth.unsubscribe",
    }
)
OPEN_BLUEPRINTS = frozenset({"brand", "health", "webhooks", "invited"})


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


def register(app: Flask, parts: Services) -> None:
    """Set up sessions, CSRF, limits, sizes and headers."""
    settings = parts.settings
    app.config.update(
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=6 * 1024 * 1024,
        MAX_FORM_MEMORY_SIZE=LARGEST_FORM_BYTES,
        WTF_CSRF_TIME_LIMIT=None,
        RATELIMIT_HEADER_LIMIT="RateLimit-Limit",
        RATELIMIT_HEADER_REMAINING="RateLimit-Remaining",
        RATELIMIT_HEADER_RESET="RateLimit-Reset",
        RATELIMIT_STORAGE_URI=f"{Counters.STORAGE_SCHEME[0]}://",
    )
    app.session_interface = StoreSessions(parts)
    # Before the limiter and the forms' guard, so that what those refuse has its name too; what is
    # registered first is asked last about an answer.
    app.before_request(_name_request)
    app.before_request(look_only)
    app.after_request(_headers(parts))
    csrf.init_app(app)
    limiter.init_app(app)
    app.before_request(_refuse_other_hosts(parts))
    app.before_request(_refuse_odd_text)
    app.context_processor(
        lambda: {
            "brand": settings.brand,
            "brand_version": version(settings.brand),
            "visitor": _visitor(),
            "demo": settings.demo,
            "payable": parts.payments.configured,
            "belongs_elsewhere": bool(session.get(ELSEWHERE)),
        }
    )


def _visitor() -> Visitor:
    found = getattr(session, "visitor", None)
    return found if isinstance(found, Visitor) else Visitor()


def _name_request() -> None:
    g.request_id = new_id("req")


def _refuse_other_hosts(parts: Services) -> Callable[[], None]:
    """Refuse pages asked for under a name that is not the portal's, whoever says that name."""
    known = HERE | {urlsplit(parts.settings.portal_base_url).hostname}

    def refuse() -> None:
        if request.path.startswith(WITHOUT_SESSION):
            return
        asked = request.headers.get("Host") or request.host
        said = [asked, *request.headers.get("X-Forwarded-Host", "").split(",")]
        if any(_hostname(one) not in known for one in said if one.strip()):
            abort(400, "This portal is not reached by that name.")

    return refuse


def _hostname(host: str) -> str | None:
    if not re.fullmatch(r"[\w.\-]+(:\d+)?|\[[\da-fA-F:]+\](:\d+)?", host.strip(), re.ASCII):
        return None
    return urlsplit(f"//{host.strip()}").hostname


#: What an operator who looks on as a member may still send: the way out.
WAYS_OUT = frozenset({"operator.end_view", "auth.sign_out"})
#: Pages that do something by being looked at: where people come back to from paying.
ACT_ON_LOOKING = frozenset({"customer.thanks", "customer.returned_from_stripe", "customer.change"})


def look_only() -> None:
    """Refuse everything but looking to an operator who looks on as a member. Raises NotAllowed."""
    if not _visitor().watched_by or request.endpoint in WAYS_OUT:
        return
    if request.method not in {"GET", "HEAD", "OPTIONS"} or request.endpoint in ACT_ON_LOOKING:
        raise NotAllowed(
            "You look on as somebody else: nothing can be changed. End the view first."
        )


def _refuse_odd_text() -> None:
    """Refuse bytes that are no text, which have been read as U+FFFD, so that two names would be
    one, and NUL, which one store would cut short and the other choke on. Raises InvalidRequest.
    """
    for name, value in (*request.args.items(multi=True), *(request.view_args or {}).items()):
        text = f"{name}{value}"
        if "\x00" in text:
            raise InvalidRequest.at(f"/{name}".replace("\x00", ""), "contains NUL")
        if "\ufffd" in text:
            raise InvalidRequest.at(f"/{name}", "is not UTF-8")


def _headers(parts: Services) -> Callable[[Response], Response]:
    # Forms that lead to where people pay, and to where they keep their cards.
    paying = sorted({parts.payments.checkout_origin, parts.payments.portal_origin})
    policy = "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            "connect-src 'self'",
            "manifest-src 'self'",
            "base-uri 'none'",
            "object-src 'none'",
            "frame-ancestors 'none'",
            " ".join(["form-action 'self'", *paying]),
        ]
    )

    def add(response: Response) -> Response:
        headers = response.headers
        headers["Request-Id"] = g.get("request_id") or new_id("req")
        headers["Content-Security-Policy"] = policy
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
        if parts.settings.secure_cookies:
            headers["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains"
        if "RateLimit-Reset" in headers:
            # The limiter names an instant there, and in Retry-After the seconds until then.
            headers["RateLimit-Reset"] = headers.get("Retry-After", "1")
        if response.status_code not in {429, 503}:
            headers.pop("Retry-After", None)
        if not request.path.startswith("/static/"):
            headers.setdefault("Cache-Control", "no-store")
        return response

    return add


def close_by_default(app: Flask) -> None:
    """Refuse to start with a route that no audience guards."""
    guarded = {"api", "customer", "operator"} | OPEN_BLUEPRINTS
    for rule in app.url_map.iter_rules():
        owner = rule.endpoint.partition(".")[0]
        if rule.endpoint not in OPEN and owner not in guarded and owner != "auth":
            raise AssertionError(f"{rule} has no audience")


def remember_goal(session: Session) -> None:
    """Remember the page a visitor asked for, to lead there once they are signed in."""
    goal = {
        "endpoint": request.endpoint or "",
        "place": {name: str(value) for name, value in (request.view_args or {}).items()},
        "query": urlencode(list(request.args.items(multi=True))),
    }
    if len(str(goal)) <= LONGEST_GOAL:
        session[GOAL] = goal


def goal_of(session: Session, otherwise: str) -> str:
    """Return where somebody who has signed in wanted to go: one of our own pages, or ``otherwise``.

    Built by name, so that no address of anybody else's can come of it.
    """
    goal = session.get(GOAL)
    if not isinstance(goal, dict) or not str(goal.get("endpoint", "")).startswith("customer."):
        return url_for(otherwise)
    try:
        page = url_for(goal["endpoint"], **goal.get("place", {}))
    except (BuildError, TypeError):
        return url_for(otherwise)
    return f"{page}?{goal['query']}" if goal.get("query") else page


@dataclass(frozen=True)
class _Act:
    """A session's beginning or end, for the audit log of whose it is."""

    organization_id: str
    actor: str
    act: str
    target: str = ""
    detail: dict[str, str] = field(default_factory=dict)
    #: By when it was over anyway.
    latest: datetime | None = None


def _begun(place: access.Place, method: str, session_id: str = "") -> list[_Act]:
    if not place.member_id:
        return []
    actor = place.member_id if place.organization_id else f"operator:{place.member_id}"
    detail = {"by": method, "device": device_name(request.user_agent.string)}
    return [_Act(place.organization_id, actor, "session.begun", session_id, detail)]


def _ended(stored: StoredSession | None) -> list[_Act]:
    if stored is None or not stored.owner:
        return []
    return [_Act(stored.organization_id, stored.owner, "session.ended", stored.session_id)]


def _looked(session: Session) -> list[_Act]:
    """Return the end of the view that a session is in: it ends with the session."""
    view, visitor = session.get(access.VIEW), session.visitor
    if view is None:
        return []
    actor = f"operator:{visitor.watched_by or visitor.operator_email}"
    latest = datetime.fromisoformat(view["until"])
    return [_Act(view["organization"], actor, "view.ended", view["member"], latest=latest)]


def _note(tx: Connection, acts: list[_Act], *, now: datetime) -> None:
    # In one order for everybody, so that no two wait for each other.
    for one in sorted(acts, key=lambda one: one.organization_id):
        audit.note(
            tx,
            one.organization_id,
            actor=one.actor,
            act=one.act,
            target=one.target,
            detail=dict(one.detail),
            now=min(now, one.latest or now),
        )


def sign_in(
    session: Session,
    *,
    organization_id: str | None,
    member_id: str | None,
    operator: str | None,
    carried: dict[str, Any] | None = None,
    method: str = access.BY_LINK,
    proven_email: str = "",
    link_id: str = "",
) -> None:
    """Begin a new session for somebody; the one they had before ends.

    With nobody named they are signed in as the owner of ``proven_email`` and choose where.
    """
    parts, stored = services(), session.stored
    with parts.database.transaction() as tx:
        if organization_id is not None and member_id is not None:
            accounts.saw(tx, organization_id, member_id, now=parts.clock())
        if stored is not None:
            access.end_session(tx, stored.session_hash)
        secret = access.begin_session(
            tx,
            organization_id=organization_id,
            member_id=member_id,
            operator_email=operator,
            data=carried,
            method=method,
            proven_email=proven_email,
            device=request.user_agent.string,
            link_id=link_id,
            now=parts.clock(),
        )
        place = access.Place(organization_id or "", member_id=member_id or operator or "")
        acts = _looked(session) + _ended(stored) + _begun(place, method)
        _note(tx, acts, now=parts.clock())
    session.go_on_as(secret, carried or {})


def move(session: Session, place: access.Place) -> None:
    """Lead a session to another place its person belongs to; it gets a new secret.

    What it carried of the last place stays behind. Raises Unauthenticated where it has ended.
    """
    parts, stored = services(), session.stored
    if stored is None:
        raise Unauthenticated("You have been signed out. Sign in again.")
    operates = not place.organization_id
    kept = {name: session[name] for name in (access.CHOICES, ELSEWHERE) if name in session}
    with parts.database.transaction() as tx:
        if not operates:
            accounts.saw(tx, place.organization_id, place.member_id, now=parts.clock())
        secret = access.renew_session(
            tx,
            stored.session_hash,
            organization_id=place.organization_id or None,
            member_id=None if operates else place.member_id,
            operator_email=place.member_id if operates else None,
            data=kept,
            now=parts.clock(),
        )
        acts = [*_looked(session), *_ended(stored)]
        acts += _begun(place, stored.method, stored.session_id)
        _note(tx, acts, now=parts.clock())
    session.go_on_as(secret, kept)


def sign_out(session: Session) -> None:
    """End the session, for every copy of its cookie."""
    stored, parts = session.stored, services()
    if stored is not None:
        with parts.database.transaction() as tx:
            access.end_session(tx, stored.session_hash)
            _note(tx, _looked(session) + _ended(stored), now=parts.clock())
    session.ended = True
    session.clear()
