"""The reader's own account: who they are here, and their password."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import accounts, profile
from portal.accounts import Member
from portal.core import roles
from portal.core.errors import InvalidRequest
from portal.profile import NewPassword
from portal.web.customer.shell import blueprint, current_session, reader
from portal.web.security import limiter, sign_in
from portal.web.services import services


def _who() -> str:
    organization, member = reader()
    return f"password:{organization.organization_id}:{member.member_id}"


@blueprint.get("/account")
def account() -> str:
    """Show the account."""
    return _page({})


@blueprint.post("/account")
@limiter.limit("10 per 15 minutes", key_func=_who)
def change_account() -> Response | tuple[str, int]:
    """Set or change the password; every session ends, and this visitor gets a new one."""
    _, member = reader()
    form = request.form
    asked = NewPassword(form.get("current", ""), form.get("password", ""), form.get("again", ""))
    try:
        profile.change_password(services().database, member, asked)
    except InvalidRequest as error:
        return _page(
            {one["pointer"].strip("/"): one["detail"] for one in error.fields["errors"]}
        ), 422
    _begin_again(member)
    flash("Your password is set. Everywhere else you are signed out.")
    return redirect(url_for(".account"), 303)


def _begin_again(member: Member) -> None:
    sign_in(
        current_session(),
        organization_id=member.organization_id,
        member_id=member.member_id,
        operator=None,
    )


def _page(errors: dict[str, str]) -> str:
    organization, member = reader()
    with services().database.reading() as tx:
        has_password = profile.has_password(tx, member)
        teams = accounts.names(tx, organization.organization_id, "team")
    return render_template(
        "customer/account.html",
        member=member,
        role_words=roles.SUMMARIES,
        organization=organization,
        team=teams.get(member.team_id, ""),
        has_password=has_password,
        errors=errors,
    )
