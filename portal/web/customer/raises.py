"""Asking for more of a cap, and answering: from the limit that stopped somebody, page or mail."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import balances, raises
from portal import spending as read
from portal.accounts import Member, Organization
from portal.core import actors
from portal.core.errors import InvalidRequest, NotAllowed, NotFound
from portal.core.units import format_micro
from portal.notices import links
from portal.spending import Spending
from portal.web.customer.shell import blueprint, reader
from portal.web.customer.spending import credits_typed
from portal.web.services import services


def _seen(organization: Organization, member: Member) -> Spending:
    """Return the caps the reader may see, with what waits for their answer."""
    parts = services()
    now = parts.clock()
    with parts.database.reading() as tx:
        known = read.choices(tx, organization.organization_id, read.book_at(tx, now))
        left = balances.balance(tx, organization.organization_id, now=now).available_micro
        return read.spending(tx, organization, member, known, available_micro=left, now=now)


@blueprint.get("/limit/<cap_id>")
def limit(cap_id: str) -> str:
    """Show somebody who was stopped which limit it is, what is left, and what they can do."""
    return _limit(cap_id, {})


def _limit(cap_id: str, errors: dict[str, str]) -> str:
    organization, member = reader()
    page = _seen(organization, member)
    line = next((one for one in page.lines if one.cap.cap_id == cap_id), None)
    if line is None:
        raise NotFound("cap", cap_id)
    return render_template(
        "customer/limit.html",
        page=page,
        line=line,
        organization=organization,
        member=member,
        errors=errors,
        typed=request.form,
    )


@blueprint.post("/limit/<cap_id>")
def ask_for_more(cap_id: str) -> Response | tuple[str, int]:
    """Ask for more of a cap until it starts again."""
    organization, member = reader()
    parts = services()
    try:
        asked = raises.ask(
            parts.database,
            organization.organization_id,
            cap_id,
            member.member_id,
            credits_typed(request.form.get("credits", ""), "/credits"),
            reason=request.form.get("reason", "").strip(),
            now=parts.clock(),
        )
    except InvalidRequest as error:
        listed = error.fields["errors"][0]
        return _limit(cap_id, {listed["pointer"].strip("/"): listed["detail"]}), 422
    flash(f"You asked for {format_micro(asked.asked_micro)} more credits. You are told the answer.")
    return redirect(url_for(".limit", cap_id=cap_id), 303)


@blueprint.get("/spending/raises/from-mail/<signed>")
def raise_from_mail(signed: str) -> Response:
    """Lead from the mail to the request, which only asks; who is not signed in does so first."""
    organization, _ = reader()
    of, request_id = links.answering(services().settings.secret_key, signed)
    if of != organization.organization_id:
        raise NotAllowed("This request is another organization's. Sign in there to answer it.")
    return redirect(url_for(".raise_request", request_id=request_id))


@blueprint.get("/spending/raises/<request_id>")
def raise_request(request_id: str) -> str:
    """Show a request for more, to be allowed or declined."""
    return _request(request_id, {})


def _request(request_id: str, errors: dict[str, str]) -> str:
    organization, member = reader()
    parts = services()
    now = parts.clock()
    with parts.database.reading() as tx:
        found = raises.find(tx, organization.organization_id, request_id)
    if not member.may_manage and found.member_id != member.member_id:
        raise NotFound("request", request_id)
    page = _seen(organization, member)
    return render_template(
        "customer/raise.html",
        page=page,
        asked=found,
        answered_by=actors.called(
            found.answered_by, page.choices.members, parts.settings.brand.name
        ),
        line=next((one for one in page.lines if one.cap.cap_id == found.cap_id), None),
        waits=found.open_at(now),
        organization=organization,
        member=member,
        errors=errors,
        typed=request.form,
    )


@blueprint.post("/spending/raises/<request_id>")
def answer_raise(request_id: str) -> Response | tuple[str, int]:
    """Allow so much more until the cap starts again, or decline."""
    organization, member = reader()
    if not member.may_manage:
        raise NotAllowed("Only an owner or an admin may allow more. Ask one of them.")
    parts = services()
    try:
        if request.form.get("answer") not in {"allow", "decline"}:
            raise InvalidRequest.at("/answer", "must be chosen")
        granted = None
        if request.form["answer"] == "allow":
            granted = credits_typed(request.form.get("credits", ""), "/credits")
        done = raises.answer(
            parts.database,
            organization.organization_id,
            request_id,
            granted_micro=granted,
            actor=member.member_id,
            now=parts.clock(),
        )
    except InvalidRequest as error:
        listed = error.fields.get("errors")
        if listed:
            return _request(request_id, {listed[0]["pointer"].strip("/"): listed[0]["detail"]}), 422
        flash(error.detail, "bad")
        return redirect(url_for(".raise_request", request_id=request_id), 303)
    if done.granted_micro is None:
        flash("Declined. They are told.")
    else:
        flash(f"Allowed: {format_micro(done.granted_micro)} more credits. They are told.")
    return redirect(url_for(_back()), 303)


def _back() -> str:
    return ".overview" if request.form.get("back") == "overview" else ".spending"
