"""Signing in and out: a link from the operator's product, or a password."""

from __future__ import annotations

from http import HTTPStatus
from typing import cast

from flask import Blueprint, redirect, render_template, request, url_for
from flask import session as flask_session
from flask_limiter.util import get_remote_address
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length

from portal import access
from portal.core.errors import Unauthenticated
from portal.web.security import GOAL, Session, limiter
from portal.web.security import sign_in as begin
from portal.web.security import sign_out as end
from portal.web.services import services

blueprint = Blueprint("auth", __name__)


class SignInForm(FlaskForm):  # type: ignore[misc] # flask_wtf has no types
    """An address and a password."""

    email = StringField("Email", validators=[InputRequired(), Length(max=254)])
    password = PasswordField(
        "Password", validators=[InputRequired(), Length(max=access.LONGEST_PASSWORD)]
    )


def current_session() -> Session:
    """Return the visitor's session."""
    return cast(Session, flask_session._get_current_object())  # type: ignore[attr-defined] # a proxy


def _address() -> str:
    # With the visitor's own address: a stranger's failures must not shut the owner out.
    return f"{request.form.get('email', '').strip().lower()[:254]} {get_remote_address()}"


def _failed(response: Response) -> bool:
    return response.status_code == HTTPStatus.UNAUTHORIZED


@blueprint.route("/sign-in", methods=["GET", "POST"])
@limiter.limit("10 per 15 minutes", methods=["POST"], key_func=_address, deduct_when=_failed)
@limiter.limit("50 per 15 minutes", methods=["POST"], deduct_when=_failed)
def sign_in() -> Response | str | tuple[str, int]:
    """Sign in by address and password."""
    form = SignInForm()
    if not form.validate_on_submit():
        return render_template("auth/sign_in.html", form=form, refused=False)
    with services().database.reading() as tx:
        email = (form.email.data or "").strip().lower()
        found = access.members_by_password(tx, email, form.password.data or "")
    if not found:
        return render_template("auth/sign_in.html", form=form, refused=True), 401
    organization_id, member_id = found[0]
    goal = current_session().get(GOAL) or url_for("customer.overview")
    begin(current_session(), organization_id=organization_id, member_id=member_id, operator=None)
    return redirect(goal)


@blueprint.route("/sign-in/<token>", methods=["GET", "POST"])
@limiter.limit("60 per minute")
def sign_in_by_link(token: str) -> Response | str | tuple[str, int]:
    """Sign in by a single-use link. Opening it only asks: mail scanners open links too."""
    if request.method != "POST":
        return render_template("auth/continue.html", token=token)
    parts = services()
    try:
        with parts.database.transaction() as tx:
            used = access.use_link(tx, token, now=parts.clock())
    except Unauthenticated as error:
        return render_template("auth/sign_in.html", form=SignInForm(), refused=error.detail), 401
    begin(
        current_session(),
        organization_id=used.organization_id,
        member_id=used.member_id,
        operator=used.operator_email,
        carried={"return_url": used.return_url} if used.return_url else {},
    )
    if used.operator_email:
        return redirect(url_for("operator.margin"))
    return redirect(url_for(f"customer.{used.page}"))


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """Sign out everywhere this session's cookie was copied to."""
    end(current_session())
    response = redirect(url_for("auth.sign_in"))
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response
