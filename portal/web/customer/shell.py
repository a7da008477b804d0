"""What every customer page stands in: the blueprint, and the guard that lets members in only."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from flask import Blueprint, Response, redirect, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from portal import desk, tiers
from portal.access import Visitor
from portal.accounts import Member, Organization
from portal.core.errors import NotAllowed
from portal.web import formats
from portal.web.security import GOAL, Session
from portal.web.services import services

blueprint = Blueprint("customer", __name__)
blueprint.record_once(lambda state: formats.register(state.app.jinja_env))


def current_session() -> Session:
    """Return the visitor's session."""
    return cast(Session, session._get_current_object())  # type: ignore[attr-defined] # a proxy


@blueprint.before_request
def members_only() -> AnyResponse | None:
    """Send everybody who is not signed in as a member to where they can."""
    visitor: Visitor = current_session().visitor
    if visitor.member is not None and visitor.organization is not None:
        _begin_due_period(visitor.organization)
        return None
    page = "operator.customers" if visitor.operator_email else "auth.sign_in"
    if request.headers.get("HX-Request"):
        return Response(status=401, headers={"HX-Redirect": url_for(page)})
    if request.method == "GET":
        current_session()[GOAL] = request.full_path.rstrip("?")
    return redirect(url_for(page))


def _begin_due_period(organization: Organization) -> None:
    """Bring a period that has ended to its next, where no job or spending did so yet."""
    parts = services()
    now = parts.clock()
    if tiers.is_due(organization, now=now):
        found = desk.begin_due(parts.database, organization.organization_id, now=now)
        session_of_reader = current_session()
        session_of_reader.visitor = replace(session_of_reader.visitor, organization=found)


def reader() -> tuple[Organization, Member]:
    """Return who reads this page, and for which organization."""
    visitor = current_session().visitor
    if visitor.organization is None or visitor.member is None:
        raise NotAllowed("This page is for members of an organization.")
    return visitor.organization, visitor.member
