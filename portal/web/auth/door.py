"""The door: the page with the ways in, the password, the product's link, and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import structlog
from flask import Blueprint, make_response, redirect, render_template, request, url_for
from flask import session as flask_session
from flask_limiter.util import get_remote_address
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length

from portal import access
from portal.access import attempts
from portal.core.errors import RateLimited, Unauthenticated, Unavailable
from portal.web.auth import sites
from portal.web.security import ELSEWHERE, Session, goal_of, limiter
from portal.web.security import sign_in as begin
from portal.web.security import sign_out as end
from portal.web.services import services

blueprint = Blueprint("auth", __name__)
log = structlog.get_logger()

#: Where an operator begins.
OPERATORS_PAGE = "operator.customers"
LONGEST_EMAIL = 254
#: Of what a library says was wrong.
LONGEST_REASON = 200


class SignInForm(FlaskForm):  # type: ignore[misc] # flask_wtf has no types
    """An address and a password."""

    email = StringField("Email", validators=[InputRequired(), Length(max=LONGEST_EMAIL)])
    password = PasswordField(
        "Password", validators=[InputRequired(), Length(max=access.LONGEST_PASSWORD)]
    )


def current_session() -> Session:
    """Return the visitor's session."""
    return cast(Session, flask_session._get_current_object())  # type: ignore[attr-defined] # a proxy


def typed_email() -> str:
    """Return the address in a form, as addresses are compared."""
    return request.form.get("email", "").strip().lower()[:LONGEST_EMAIL]


def door(refused: str | bool = False, status: int = 200) -> Response:
    """Show the ways in, and what was wrong with the last try."""
    parts = services()
    page = render_template(
        "auth/sign_in.html",
        form=SignInForm(),
        refused=refused,
        mails=parts.mailer.reaches,
        provider=parts.provider.configured,
        passkeys=sites.here() is not None,
    )
    response = make_response(page, status)
    if status == RateLimited.status:
        response.headers["Retry-After"] = str(int(attempts.WINDOW.total_seconds()))
    return response


def refuse(method: str, error: Unauthenticated) -> Response:
    """Show the ways in to somebody who did not get in, and write down why."""
    why = {"why": str(error.__cause__)[:LONGEST_REASON]} if error.__cause__ else {}
    log.warning("sign-in refused", method=method, address=get_remote_address(), **why)
    return door(error.detail, error.status)


def let_in(
    places: Sequence[access.Place], *, method: str, email: str = "", proven: bool = False
) -> Response:
    """Sign somebody in where they belong; where that is several, they choose."""
    session = current_session()
    several = len(places) > 1
    carried: dict[str, object] = {ELSEWHERE: True} if several else {}
    if several and not proven:
        carried[access.CHOICES] = [[one.organization_id, one.member_id] for one in places]
    first = access.Place() if several else places[0]
    goal = goal_of(session, "customer.overview")
    operates = not several and not first.organization_id
    begin(
        session,
        organization_id=first.organization_id or None,
        member_id=None if operates else first.member_id or None,
        operator=first.member_id if operates else None,
        carried=carried,
        method=method,
        proven_email=email if proven else "",
    )
    if several:
        return redirect(url_for("auth.choose"), 303)
    return redirect(url_for(OPERATORS_PAGE) if operates else goal)


def cannot(error: Unavailable) -> Response:
    """Show the other ways in where one does not work now, and write down why."""
    log.error("sign-in unavailable", why=str(error.__cause__ or error.detail)[:LONGEST_REASON])
    return door(error.detail, error.status)


@blueprint.get("/sign-in")
def sign_in() -> Response:
    """Show the ways in; whoever is in already is led to their own pages."""
    visitor = current_session().visitor
    if visitor.is_undecided:
        return redirect(url_for("auth.choose"))
    if visitor.member is not None:
        return redirect(url_for("customer.overview"))
    if visitor.operator_email:
        return redirect(url_for(OPERATORS_PAGE))
    return door()


@blueprint.post("/sign-in")
@limiter.limit("60 per minute")
def sign_in_by_password() -> Response:
    """Sign in by address and password."""
    if not SignInForm().validate_on_submit():
        return door()
    parts, email = services(), typed_email()
    try:
        attempt = attempts.begin_attempt(
            parts.database, email, get_remote_address(), now=parts.clock()
        )
    except RateLimited as error:
        return door(error.detail, error.status)
    with parts.database.reading() as tx:
        found = access.members_by_password(tx, email, request.form.get("password", ""))
    if not found:
        log.warning("sign-in refused", method=access.BY_PASSWORD, address=get_remote_address())
        return door(refused=True, status=401)
    attempts.forget_attempt(parts.database, attempt)
    places = [access.Place(organization, "", member) for organization, member in found]
    return let_in(places, method=access.BY_PASSWORD, email=email)


@blueprint.route("/sign-in/<token>", methods=["GET", "POST"])
@limiter.limit("60 per minute")
def sign_in_by_link(token: str) -> Response | str:
    """Sign in by a single-use link. Opening it only asks: mail scanners open links too."""
    if request.method != "POST":
        return render_template("auth/continue.html", token=token)
    parts = services()
    try:
        with parts.database.transaction() as tx:
            used = access.use_link(tx, token, now=parts.clock())
    except Unauthenticated as error:
        return refuse(access.BY_LINK, error)
    begin(
        current_session(),
        organization_id=used.organization_id,
        member_id=used.member_id,
        operator=used.operator_email,
        carried={"return_url": used.return_url} if used.return_url else {},
        link_id=used.link_id,
    )
    if used.operator_email:
        return redirect(url_for(OPERATORS_PAGE))
    return redirect(url_for(f"customer.{used.page}"))


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """Sign out everywhere this session's cookie was copied to."""
    end(current_session())
    response = redirect(url_for("auth.sign_in"))
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response
