"""What every customer page stands in: the blueprint, and the guard that lets members in only."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from flask import Blueprint, Response, flash, redirect, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from portal import desk, tiers
from portal.access import Visitor
from portal.accounts import Member, Organization
from portal.billing import plan
from portal.core import roles
from portal.core.errors import ClearmeterError, InvalidRequest, NotAllowed, Unavailable
from portal.web import formats
from portal.web.problems import answer, error_words
from portal.web.security import Session, remember_goal
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
    page = "operator.margin" if visitor.operator_email else "auth.sign_in"
    if request.headers.get("HX-Request"):
        return Response(status=401, headers={"HX-Redirect": url_for(page)})
    if request.method == "GET":
        remember_goal(current_session())
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


def entitled(right: str) -> tuple[Organization, Member]:
    """Return who reads this page, where their role has a right. Raises NotAllowed."""
    organization, member = reader()
    if not member.may(right):
        raise NotAllowed(f"Your role does not have this. {_ask(right)}")
    return organization, member


def _ask(right: str) -> str:
    """Name who has a right, in words."""
    named = [
        f"an {role}" if role[0] in "oa" else f"a {role} member" for role in roles.having(right)
    ]
    if len(named) == 1:
        return f"Ask {named[0]}."
    return f"Ask {', '.join(named[:-1])} or {named[-1]}."


def buyer() -> tuple[Organization, Member]:
    """Return who reads this page, where they may spend the organization's money."""
    return entitled("buy")


@blueprint.context_processor
def instant() -> dict[str, object]:
    """Give every page the instant its figures are of, for those that keep none of their own."""
    return {"now": services().clock()}


@blueprint.context_processor
def overdue() -> dict[str, object]:
    """Give every page the payment that is late, if one is, and whether new work waits for it."""
    organization = current_session().visitor.organization
    if organization is None or organization.stops_at is None:
        return {"overdue": None}
    parts = services()
    with parts.database.reading() as tx:
        found = plan.payment_standing(tx, organization)
    waits = organization.stops_at <= parts.clock()
    return {"overdue": found if found.past_due_since else None, "work_waits": waits}


#: Where a form that was not taken leads back to, by the first part of its address.
_PAGES = {"plans": ".plans", "billing": ".billing", "spending": ".spending"}
_FIELDS = {"/tier": "This plan", "/pack": "This pack", "/seats": "The number of seats"}


@blueprint.errorhandler(Unavailable)
@blueprint.errorhandler(InvalidRequest)
def say_and_stay(error: ClearmeterError) -> AnyResponse | tuple[Response, int]:
    """Lead back to the page of a form that was not taken, and say why there."""
    page = _PAGES.get(request.path.split("/")[1])
    if request.method != "POST" or page is None:
        return answer(error)
    listed = error.fields.get("errors") or [{"pointer": "", "detail": ""}]
    field = _FIELDS.get(listed[0]["pointer"])
    words = f"{field} {listed[0]['detail']}." if field else error_words(error)
    words = words if "charged" in words else f"{words} Nothing was charged."
    flash(f"{words} Try it again in a minute." if isinstance(error, Unavailable) else words, "bad")
    return redirect(url_for(page), 303)
