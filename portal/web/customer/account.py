"""The reader's own account: who they are here, and all that lets them in."""

from __future__ import annotations

from flask import current_app, flash, jsonify, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import access, accounts, profile
from portal.access import StoredSession, passkeys
from portal.accounts import Member
from portal.core import roles
from portal.core.devices import device_name
from portal.core.errors import InvalidRequest, NotFound, Unauthenticated
from portal.notices.mail import Mail
from portal.profile import NewPassword
from portal.web.auth import sites
from portal.web.auth.passkeys import (
    answer_of_device,
    keep_challenge,
    site,
    take_challenge,
    told,
)
from portal.web.customer.shell import blueprint, current_session, reader
from portal.web.security import limiter
from portal.web.services import services

#: What a challenge was given for; one that was given for signing in adds no passkey.
ADDING = "add a passkey"


def _who() -> str:
    organization, member = reader()
    return f"password:{organization.organization_id}:{member.member_id}"


def _stored() -> StoredSession:
    found = current_session().stored
    if found is None:
        raise Unauthenticated("You have been signed out. Sign in again.")
    return found


@blueprint.get("/account")
def account() -> str:
    """Show the account."""
    return _page({})


@blueprint.post("/account")
@limiter.limit("10 per 15 minutes", key_func=_who)
def change_account() -> Response | tuple[str, int]:
    """Set or change the password; every other session ends, and this one gets a new secret."""
    _, member = reader()
    form, parts, session = request.form, services(), current_session()
    asked = NewPassword(form.get("current", ""), form.get("password", ""), form.get("again", ""))
    try:
        session.new_secret = profile.change_password(
            parts.database, member, asked, _stored(), now=parts.clock()
        )
    except InvalidRequest as error:
        return _page(
            {one["pointer"].strip("/"): one["detail"] for one in error.fields["errors"]}
        ), 422
    _tell(member, "Your password was changed.")
    return _say("Your password is set. Everywhere else you are signed out.")


@blueprint.post("/account/sessions/<session_id>/end")
def end_session(session_id: str) -> Response:
    """End one of the reader's sessions; this one too, where it is the one."""
    _, member = reader()
    parts, mine = services(), _stored()
    with parts.database.transaction() as tx:
        ended = access.end_session_named(tx, member, session_id)
        if ended:
            profile.note(tx, member, "session.ended", target=session_id, now=parts.clock())
    if ended and session_id == mine.session_id:
        current_session().ended = True
        return redirect(url_for("auth.sign_in"), 303)
    return _say("That session has ended.")


@blueprint.post("/account/sessions/end-others")
def end_other_sessions() -> Response:
    """End every session of the reader but this one."""
    _, member = reader()
    parts, mine = services(), _stored()
    with parts.database.transaction() as tx:
        count = access.end_sessions_of(
            tx, member.organization_id, member.member_id, but=mine.session_hash
        )
        if count:
            profile.note(
                tx, member, "session.ended", now=parts.clock(), count=str(count), which="others"
            )
    return _say("Everywhere else you are signed out.")


@blueprint.post("/account/passkeys/challenge")
@limiter.limit("30 per 15 minutes", key_func=_who)
def ask_to_add_passkey() -> Response | tuple[Response, int]:
    """Ask the reader's browser to make a passkey."""
    organization, member = reader()
    parts = services()
    try:
        with parts.database.reading() as tx:
            options, challenge = passkeys.ask_to_add(
                tx, site(), member, organization.name, now=parts.clock()
            )
    except InvalidRequest as error:
        return told(error)
    keep_challenge(current_session(), ADDING, challenge)
    return jsonify(options)


@blueprint.post("/account/passkeys")
@limiter.limit("30 per 15 minutes", key_func=_who)
def add_passkey() -> Response | tuple[Response, int]:
    """Keep the passkey that the reader's browser made."""
    _, member = reader()
    parts = services()
    try:
        answer = dict(answer_of_device())
        name = str(answer.pop("name", "") or device_name(request.user_agent.string))
        passkey_id = passkeys.add(
            parts.database,
            site(),
            member,
            take_challenge(current_session(), ADDING),
            answer,
            name=name,
            now=parts.clock(),
        )
    except (Unauthenticated, InvalidRequest) as error:
        return told(error)
    with parts.database.transaction() as tx:
        profile.note(tx, member, "passkey.added", target=passkey_id, now=parts.clock(), name=name)
    _tell(member, "A passkey was added to your account.")
    flash("Your passkey is ready. Next time, sign in with it.")
    return jsonify(goal=url_for(".account", _anchor="passkeys-title"))


@blueprint.post("/account/passkeys/<passkey_id>/remove")
def remove_passkey(passkey_id: str) -> Response:
    """Remove a passkey: it signs nobody in any more."""
    _, member = reader()
    parts = services()
    try:
        with parts.database.transaction() as tx:
            name = passkeys.remove(tx, member, passkey_id)
            profile.note(
                tx, member, "passkey.removed", target=passkey_id, now=parts.clock(), name=name
            )
    except NotFound:
        return _say("That passkey was removed already.")
    _tell(member, "A passkey was removed from your account.")
    return _say(f"“{name}” no longer signs you in here. Remove it on the device as well.")


def _say(words: str) -> Response:
    flash(words)
    return redirect(url_for(".account"), 303)


def _tell(member: Member, sentence: str) -> None:
    """Tell somebody by mail of what may have been somebody else."""
    parts, jinja = services(), current_app.jinja_env
    words = {
        "brand": parts.settings.brand,
        "sentence": sentence,
        "device": device_name(request.user_agent.string),
        "account": parts.settings.portal_base_url + url_for(".account"),
    }
    mail = Mail(
        member.email,
        f"{sentence.rstrip('.')}: {parts.settings.brand.name}",
        jinja.get_template("auth/mail_changed.txt").render(words),
        jinja.get_template("auth/mail_changed.html").render(words),
    )
    if parts.mailer.reaches:
        parts.errands.run("tell of a change", lambda: parts.mailer.send(mail))


def _page(errors: dict[str, str]) -> str:
    organization, member = reader()
    parts, stored = services(), _stored()
    now = parts.clock()
    with parts.database.reading() as tx:
        has_password = profile.has_password(tx, member)
        must_know = profile.must_know_password(tx, member, stored, now=now)
        teams = accounts.names(tx, organization.organization_id, "team")
        keys = passkeys.passkeys_of(tx, member)
        open_sessions = access.sessions_of(tx, member, now=now)
    return render_template(
        "customer/account.html",
        member=member,
        role_words=roles.SUMMARIES,
        organization=organization,
        team=teams.get(member.team_id, ""),
        has_password=has_password,
        must_know=must_know,
        passkeys=keys,
        takes_passkeys=sites.here() is not None,
        sessions=open_sessions,
        this_session=stored.session_id,
        device_name=device_name,
        now=now,
        errors=errors,
    )
