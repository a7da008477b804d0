"""Team: who is here, as what, what each spent; and for admins who comes, goes and may do what."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import invitations, people
from portal import team as read
from portal.accounts import Member, Organization
from portal.core import roles
from portal.core.errors import InvalidRequest, NotFound
from portal.invitations import Fresh
from portal.web import invited
from portal.web.customer.shell import blueprint, current_session, entitled, reader
from portal.web.security import limiter
from portal.web.services import services

#: What can be undone, kept with the session until the page was shown once.
_UNDO = "undo"
_ROLE_WORDS = {"admin": "an admin", "owner": "an owner", "billing": "a billing member"}


@blueprint.get("/team")
def team() -> str:
    """Show the people."""
    return _page(*entitled("see_people"))


def _page(organization: Organization, member: Member, refused: dict[str, Any] | None = None) -> str:
    parts = services()
    with parts.database.reading() as tx:
        page = read.team_page(tx, organization, member, now=parts.clock())
    return render_template(
        "customer/team.html",
        page=page,
        listed=read.listed(
            page,
            search=request.args.get("find", "")[:100],
            number=request.args.get("page", 1, type=int),
        ),
        organization=organization,
        member=member,
        role_words=roles.SUMMARIES,
        refused=refused,
        undo=None if refused else current_session().pop(_UNDO, None),
    )


def _again(error: InvalidRequest, form: str) -> tuple[str, int]:
    """Show the page with a form that was not taken, and what is wrong with it."""
    listed = error.fields.get("errors", [])
    errors = {one["pointer"].strip("/"): one["detail"] for one in listed} or {"": error.detail}
    refused = {"form": form, "errors": errors, "typed": request.form}
    return _page(*reader(), refused=refused), 422


@blueprint.get("/team/members/<member_id>")
def person(member_id: str) -> str:
    """Show one member, with what may be changed of them."""
    organization, member = entitled("see_people")
    return _person(organization, member, member_id)


def _person(organization: Organization, member: Member, member_id: str) -> str:
    parts = services()
    with parts.database.reading() as tx:
        page = read.team_page(tx, organization, member, now=parts.clock())
    found = next((one for one in page.people if one.member.member_id == member_id), None)
    if found is None:
        raise NotFound("member", member_id)
    return render_template(
        "customer/person.html",
        page=page,
        person=found,
        organization=organization,
        member=member,
        role_words=roles.SUMMARIES,
    )


@blueprint.post("/team/members/<member_id>")
def change_member(member_id: str) -> Response:
    """Give a member another role or team."""
    organization, member = entitled("manage_people")
    parts = services()
    try:
        before, after = people.change(
            parts.database,
            organization.organization_id,
            member_id,
            role=request.form.get("role", ""),
            team_id=request.form.get("team", ""),
            by=member,
            now=parts.clock(),
        )
    except InvalidRequest as error:
        flash(_in_words(error), "bad")
        return redirect(url_for(".person", member_id=member_id), 303)
    changed = (before.role, before.team_id) != (after.role, after.team_id)
    # Who changed their own role may not be able to undo it.
    if changed and after.member_id != member.member_id:
        words = f"{after.name} is now {_ROLE_WORDS.get(after.role, f'a {after.role}')}."
        if before.role == after.role:
            words = f"{after.name} has another team now. What they used before stays with the old."
        current_session()[_UNDO] = {
            "words": words,
            "path": url_for(".change_member", member_id=member_id),
            "fields": {"role": before.role, "team": before.team_id},
        }
    return redirect(url_for(".team"), 303)


def _in_words(error: InvalidRequest) -> str:
    listed = error.fields.get("errors", [])
    return (
        f"The {listed[0]['pointer'].strip('/')} {listed[0]['detail']}."
        if listed
        else (error.detail)
    )


@blueprint.post("/team/members/<member_id>/remove")
def remove_member(member_id: str) -> Response:
    """Remove a member."""
    organization, member = entitled("manage_people")
    parts = services()
    try:
        found = people.remove(
            parts.database,
            organization.organization_id,
            member_id,
            by=member,
            now=parts.clock(),
        )
    except InvalidRequest as error:
        flash(_in_words(error), "bad")
        return redirect(url_for(".person", member_id=member_id), 303)
    current_session()[_UNDO] = {
        "words": f"{found.name} is removed and signed out.",
        "path": url_for(".restore_member", member_id=member_id),
        "fields": {},
    }
    return redirect(url_for(".team"), 303)


@blueprint.post("/team/members/<member_id>/restore")
def restore_member(member_id: str) -> Response:
    """Take a removed member back."""
    organization, member = entitled("manage_people")
    parts = services()
    found = people.restore(
        parts.database, organization.organization_id, member_id, by=member, now=parts.clock()
    )
    flash(f"{found.name} is back, with the role and team they had. They sign in anew.")
    return redirect(url_for(".team"), 303)


@blueprint.post("/team/teams")
def make_team() -> Response | tuple[str, int]:
    """Make a team."""
    organization, member = entitled("manage_people")
    parts = services()
    name = request.form.get("name", "")
    try:
        people.make_team(
            parts.database, organization.organization_id, name=name, by=member, now=parts.clock()
        )
    except InvalidRequest as error:
        return _again(error, "team")
    flash("The team is made. Move people into it, and give it a cap under Spending.")
    return redirect(url_for(".team", _anchor="teams"), 303)


@blueprint.post("/team/teams/<team_id>")
def rename_team(team_id: str) -> Response | tuple[str, int]:
    """Give a team another name."""
    organization, member = entitled("manage_people")
    parts = services()
    try:
        people.rename_team(
            parts.database,
            organization.organization_id,
            team_id,
            name=request.form.get("name", ""),
            by=member,
            now=parts.clock(),
        )
    except InvalidRequest as error:
        return _again(error, team_id)
    flash("The team has its new name, everywhere and for its past too.")
    return redirect(url_for(".team", _anchor="teams"), 303)


def _inviter() -> str:
    organization, _ = reader()
    return f"invitations:{organization.organization_id}"


_MAILS = limiter.shared_limit("60 per hour", scope="invitations", key_func=_inviter)


@blueprint.post("/team/invitations")
@_MAILS
def invite() -> Response | tuple[str, int]:
    """Invite somebody by mail."""
    organization, member = entitled("manage_people")
    parts = services()
    try:
        fresh = invitations.invite(
            parts.database,
            organization.organization_id,
            email=request.form.get("email", ""),
            role=request.form.get("role", ""),
            team_id=request.form.get("team", ""),
            by=member,
            now=parts.clock(),
        )
    except InvalidRequest as error:
        return _again(error, "invitation")
    return _mailed(fresh)


@blueprint.post("/team/invitations/<invitation_id>/send")
@_MAILS
def send_invitation(invitation_id: str) -> Response:
    """Mail an invitation again, with a new link."""
    organization, member = entitled("manage_people")
    parts = services()
    fresh = invitations.renew(
        parts.database,
        organization.organization_id,
        invitation_id,
        by=member,
        now=parts.clock(),
    )
    return _mailed(fresh)


def _mailed(fresh: Fresh) -> Response:
    email = fresh.invitation.email
    if invited.send(fresh):
        flash(
            f"{email} is invited. The link in the mail lasts an hour; a fresh one can be asked for."
        )
    else:
        flash(f"{email} is invited, but no mail could be sent. Try it again in a while.", "bad")
    return redirect(url_for(".team", _anchor="invitations"), 303)


@blueprint.post("/team/invitations/<invitation_id>/withdraw")
def withdraw_invitation(invitation_id: str) -> Response:
    """Take an invitation back."""
    organization, member = entitled("manage_people")
    parts = services()
    found = invitations.withdraw(
        parts.database,
        organization.organization_id,
        invitation_id,
        by=member,
        now=parts.clock(),
    )
    flash(f"The invitation of {found.email} is withdrawn. Its links lead nowhere now.")
    return redirect(url_for(".team", _anchor="invitations"), 303)


@blueprint.get("/team/teams")
@blueprint.get("/team/teams/<team_id>")
@blueprint.get("/team/invitations")
def forms_are_on_team(team_id: str = "") -> Response:  # noqa: ARG001 # the address's
    """Lead back whoever loads the address a form was sent to."""
    return redirect(url_for(".team"))
