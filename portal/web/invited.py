"""Where an invitation's link leads: joining, and asking for a fresh link when it has ended.

Opening a link only asks; the form on its page joins. What a stranger learns here is nothing.
"""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import access, invitations
from portal.core.errors import InvalidRequest, Unauthenticated, Unavailable
from portal.invitations import Fresh
from portal.notices.mail import Mail
from portal.web.auth.door import current_session
from portal.web.security import limiter, sign_in
from portal.web.services import services

blueprint = Blueprint("invited", __name__)


def _link() -> str:
    return request.path.rpartition("/")[0] if request.path.endswith("/again") else request.path


@blueprint.get("/invitations/<token>")
@limiter.limit("60 per minute")
def invitation(token: str) -> str | tuple[str, int]:
    """Say who invites whom, and as what."""
    return _page(token)


def _page(token: str, error: str = "") -> str | tuple[str, int]:
    parts = services()
    try:
        with parts.database.reading() as tx:
            asked = invitations.look(tx, token, now=parts.clock())
    except Unauthenticated as refusal:
        return render_template("auth/invited.html", asked=None, words=refusal.detail), 404
    page = render_template("auth/invited.html", asked=asked, token=token, error=error)
    return page, 422 if error else 200 if asked.usable else 410


@blueprint.post("/invitations/<token>")
@limiter.limit("60 per minute")
def join(token: str) -> Response | str | tuple[str, int]:
    """Become a member, and begin a session as one."""
    parts = services()
    try:
        member = invitations.accept(
            parts.database, token, name=request.form.get("name", ""), now=parts.clock()
        )
    except Unauthenticated:
        return _page(token)
    except InvalidRequest as refusal:
        return _page(token, refusal.fields["errors"][0]["detail"])
    sign_in(
        current_session(),
        organization_id=member.organization_id,
        member_id=member.member_id,
        operator=None,
        method=access.BY_MAIL,
        proven_email=member.email,
    )
    flash("Welcome. Under Account you choose how you sign in from now on.")
    return redirect(url_for("customer.overview"), 303)


@blueprint.post("/invitations/<token>/again")
@limiter.limit("5 per hour", key_func=_link)
@limiter.limit("30 per hour")
def ask_again(token: str) -> str | tuple[str, int]:
    """Mail a fresh link, to the address that was invited and to no other."""
    parts = services()
    try:
        fresh = invitations.renew_by_link(parts.database, token, now=parts.clock())
    except Unauthenticated as refusal:
        return render_template("auth/invited.html", asked=None, words=refusal.detail), 404
    sent = send(fresh)
    words = (
        "A fresh link is in your mail. It lasts an hour."
        if sent
        else "No mail could be sent at the moment. Try it again in a while."
    )
    return render_template("auth/invited.html", asked=None, words=words, sent=sent)


def send(fresh: Fresh) -> bool:
    """Mail an invitation's link; tells whether the mail was taken."""
    parts = services()
    # Not from the request: a hostile Host must not decide where a mail's link leads.
    link = f"{parts.settings.portal_base_url}{url_for('invited.invitation', token=fresh.token)}"
    shown = {"fresh": fresh, "link": link, "brand": parts.settings.brand}
    mail = Mail(
        fresh.invitation.email,
        f"Join {fresh.organization.name} on {parts.settings.brand.name}",
        render_template("mail/invitation.txt", **shown),
        render_template("mail/invitation.html", **shown),
    )
    if not parts.mailer.reaches:
        return False
    try:
        parts.mailer.send(mail)
    except Unavailable:
        return False
    invitations.mailed(parts.database, fresh.invitation, now=parts.clock())
    return True
