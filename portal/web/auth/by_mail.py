"""A link by mail: asking for one, and coming back with it."""

from __future__ import annotations

from flask import current_app, redirect, render_template, request, url_for
from flask_limiter.util import get_remote_address
from jinja2 import Environment
from werkzeug.wrappers import Response

from portal import access
from portal.access import by_mail
from portal.config import Settings
from portal.core.errors import InvalidRequest, Unauthenticated
from portal.notices.mail import Mail
from portal.web.auth.door import blueprint, current_session, door, let_in, refuse, typed_email
from portal.web.security import limiter
from portal.web.services import services


def _who() -> str:
    return f"{typed_email()} {get_remote_address()}"


@blueprint.get("/sign-in/mail")
def back_to_the_door() -> Response:
    """Lead whoever reloads the page that asks for a link back to where they ask."""
    return redirect(url_for("auth.sign_in"))


@blueprint.post("/sign-in/mail")
@limiter.limit("5 per 15 minutes", key_func=_who)
@limiter.limit("30 per 15 minutes")
def mail_link() -> Response | str:
    """Send a link to an address, and answer the same whether it is known or not."""
    parts, email = services(), typed_email()
    if not parts.mailer.reaches:
        raise InvalidRequest("No mail can be sent from here. Sign in another way.")
    if not email or email.count("@") != 1 or any(one.isspace() for one in email):
        return door("Type your mail address first, such as ana@example.com.", 422)
    now, jinja = parts.clock(), current_app.jinja_env
    # Beside this request, which takes as long for an address that nobody has.
    parts.errands.run(
        "mail a link",
        lambda: by_mail.send_link(
            parts.database,
            parts.mailer,
            email,
            compose=lambda to, token: letter(jinja, parts.settings, to, token),
            now=now,
        ),
    )
    return render_template("auth/sent.html")


def letter(jinja: Environment, settings: Settings, to: str, token: str) -> Mail:
    """Return the mail that holds a link."""
    words = {
        "brand": settings.brand,
        "email": to,
        "link": f"{settings.portal_base_url}/sign-in/mail/{token}",
        "minutes": int(by_mail.LIFETIME.total_seconds() // 60),
    }
    return Mail(
        to,
        f"Sign in to {settings.brand.name}",
        jinja.get_template("auth/mail_link.txt").render(words),
        jinja.get_template("auth/mail_link.html").render(words),
    )


@blueprint.get("/sign-in/mail/<token>")
@limiter.limit("60 per minute")
def ask_before_signing_in(token: str) -> str:
    """Ask whoever opens a link from the mail to go on: scanners open links too, and run scripts."""
    return render_template("auth/from_mail.html", token=token)


@blueprint.post("/sign-in/mail/<token>")
@limiter.limit("60 per minute")
def sign_in_by_mail(token: str) -> Response:
    """Sign in by a link from the mail, once."""
    parts = services()
    try:
        with parts.database.transaction() as tx:
            email, places = by_mail.use_mail_link(tx, token, now=parts.clock())
    except Unauthenticated as error:
        return refuse(access.BY_MAIL, error)
    response = let_in(places, method=access.BY_MAIL, email=email, proven=True)
    wants_password = request.form.get("then") == "password" and len(places) == 1
    if wants_password and current_session().new_secret and places[0].organization_id:
        return redirect(url_for("customer.account", _anchor="password-title"))
    return response
