"""Organizations, members, teams, projects, grants and portal sessions."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from babel.numbers import is_currency
from flask import Response, request

from portal import access, accounts, audit, limits, onboarding, people
from portal.billing import top_up
from portal.core.catalog import minor_places
from portal.core.errors import InvalidRequest
from portal.core.units import NotExact, format_micro, parse_scaled
from portal.limits import SpendingRequest
from portal.onboarding import GrantRequest, OrganizationRequest
from portal.top_ups.standing import AutoTopUp
from portal.top_ups.terms import TopUpRequest
from portal.wallet import Paid
from portal.web.api import answers, blueprint, cursors
from portal.web.api.access import caller, current, need, need_service, own
from portal.web.api.body import convert, read, read_optional
from portal.web.api.shapes import (
    AutoTopUpBody,
    GrantBody,
    Id,
    MemberBody,
    NameBody,
    OrganizationBody,
    PortalSessionBody,
    SpendingBody,
    VoidBody,
    instant,
    micro,
    money,
)
from portal.web.services import services

LARGEST_PAGE = 200


@blueprint.put("/organizations/<organization_id>")
def put_organization(organization_id: str) -> tuple[Response, int]:
    """Make or change an organization; another time zone takes effect with its next period."""
    need("manage")
    need_service()
    convert(organization_id, Id, at="/id")
    body = read(OrganizationBody)
    if body.currency is not None and not is_currency(body.currency.upper()):
        raise InvalidRequest.at("/currency", 'is not a currency code such as "usd"')
    parts, now = services(), services().clock()
    found, new = onboarding.put_organization(
        parts.database,
        organization_id,
        OrganizationRequest(
            name=body.name,
            email=body.email,
            timezone=body.timezone,
            currency=body.currency,
            tier=body.tier,
            seats=body.seats,
            charging=body.charging,
        ),
        actor=caller().actor,
        now=now,
    )
    return answers.answer(answers.organization(found, now), 201 if new else 200)


@blueprint.get("/organizations/<organization_id>")
def get_organization(organization_id: str) -> tuple[Response, int]:
    """Answer one organization."""
    need("read")
    parts = services()
    with parts.database.reading() as tx:
        found = accounts.find_organization(tx, own(organization_id))
    return answers.answer(answers.organization(found, parts.clock()))


@blueprint.get("/organizations")
def list_organizations() -> tuple[Response, int]:
    """Answer organizations, a page at a time."""
    need("read")
    need_service()
    limit = page_size()
    (after,) = cursors.sent("organizations", parts=1) or [""]
    parts = services()
    with parts.database.reading() as tx:
        found = accounts.list_organizations(tx, after=after, limit=limit + 1)
    now = parts.clock()
    page = found[:limit]
    return answers.answer(
        {
            "data": [answers.organization(one, now) for one in page],
            "next_cursor": cursors.written("organizations", page[-1].organization_id)
            if len(found) > limit
            else None,
        }
    )


def page_size(default: int = 50) -> int:
    """Return the page size a request asks for. Raises InvalidRequest."""
    given = request.args.get("limit", str(default))
    if not re.fullmatch(r"[1-9]\d{0,2}", given, re.ASCII) or int(given) > LARGEST_PAGE:
        raise InvalidRequest.at("/limit", f"is not a whole number from 1 to {LARGEST_PAGE}")
    return int(given)


@blueprint.put("/organizations/<organization_id>/members/<member_id>")
def put_member(organization_id: str, member_id: str) -> tuple[Response, int]:
    """Make or change a member."""
    need("manage")
    convert(member_id, Id, at="/id")
    body = read(MemberBody)
    parts = services()
    found, new = onboarding.put_member(
        parts.database,
        own(organization_id),
        member_id,
        email=body.email,
        name=body.name,
        role=body.role,
        team=body.team,
        actor=caller().actor,
        now=parts.clock(),
    )
    return answers.answer(answers.member(found), 201 if new else 200)


@blueprint.delete("/organizations/<organization_id>/members/<member_id>")
def delete_member(organization_id: str, member_id: str) -> tuple[Response, int]:
    """Remove a member; their sessions end with it."""
    need("manage")
    parts = services()
    found = people.remove(
        parts.database,
        own(organization_id),
        member_id,
        actor=caller().actor,
        now=parts.clock(),
    )
    return answers.answer(answers.member(found))


@blueprint.put("/organizations/<organization_id>/teams/<team_id>")
def put_team(organization_id: str, team_id: str) -> tuple[Response, int]:
    """Make or rename a team."""
    return _put_name(people.put_team, organization_id, team_id)


@blueprint.put("/organizations/<organization_id>/projects/<project_id>")
def put_project(organization_id: str, project_id: str) -> tuple[Response, int]:
    """Make or rename a project."""
    return _put_name(people.put_project, organization_id, project_id)


def _put_name(put: Callable[..., bool], organization_id: str, target: str) -> tuple[Response, int]:
    need("manage")
    convert(target, Id, at="/id")
    body = read(NameBody)
    parts = services()
    new = put(
        parts.database,
        own(organization_id),
        target,
        name=body.name,
        actor=caller().actor,
        now=parts.clock(),
    )
    return answers.answer({"id": target, "name": body.name}, 201 if new else 200)


@blueprint.post("/organizations/<organization_id>/grants")
def post_grant(organization_id: str) -> tuple[Response, int]:
    """Grant credits."""
    need("manage")
    need_service()
    body = read(GrantBody)
    parts = services()
    grant = GrantRequest(
        credits_micro=micro(body.credits, "/credits", positive=True),
        source=body.source,
        reason=body.reason,
        expires_at=_instant(body.expires_at, "/expires_at"),
        effective_at=_instant(body.effective_at, "/effective_at"),
        priority=body.priority,
        paid=_paid(body),
    )
    stored = onboarding.grant_once(
        parts.database,
        organization_id,
        grant,
        key=answers.idempotency_key(),
        actor=caller().actor,
        now=parts.clock(),
    )
    return answers.stored_answer(stored)


def _instant(value: str | None, pointer: str) -> datetime | None:
    return None if value is None else instant(value, pointer)


def _paid(body: GrantBody) -> Paid | None:
    if body.paid is None:
        return None
    places = minor_places(body.paid.currency)
    try:
        amount = parse_scaled(body.paid.amount.sent, places=places, largest=1_000_000)
    except NotExact as error:
        raise InvalidRequest.at("/paid/amount", str(error)) from error
    if amount < 0:
        raise InvalidRequest.at("/paid/amount", "is negative")
    return Paid(amount, body.paid.currency)


@blueprint.post("/organizations/<organization_id>/grants/<grant_id>/void")
def void_grant(organization_id: str, grant_id: str) -> tuple[Response, int]:
    """Take back what is left of a grant."""
    need("manage")
    need_service()
    body = read_optional(VoidBody)
    parts = services()
    taken = onboarding.void_grant(
        parts.database,
        own(organization_id),
        grant_id,
        reason=body.reason,
        actor=caller().actor,
        now=parts.clock(),
    )
    return answers.answer({"id": grant_id, "voided": True, "taken_back": format_micro(taken)})


@blueprint.patch("/organizations/<organization_id>/spending")
def patch_spending(organization_id: str) -> tuple[Response, int]:
    """Set what happens when credits run out; auto top-up buys at once where credits are low."""
    need("manage")
    body = read(SpendingBody)
    parts, organization = services(), current(organization_id)
    currency, limit = organization.currency, body.overage_limit
    found = limits.set_spending(
        parts.database,
        organization_id,
        SpendingRequest(
            body.on_empty,
            None if limit is None else money(limit, "/overage_limit", currency),
            _top_up_request(body.auto_top_up, currency) if body.auto_top_up else None,
        ),
        actor=caller().actor,
        now=parts.clock(),
    )
    if found.on_empty == "top_up":
        top_up.run_now(parts.database, parts.payments, organization_id, now=parts.clock())
    kept = found.overage_limit_minor
    return answers.answer(
        {
            "on_empty": found.on_empty,
            "overage_limit": None if kept is None else answers.money(kept, found.currency),
            "currency": found.currency,
        }
        | _auto_top_up(limits.auto_top_up(parts.database, organization_id), currency)
    )


def _top_up_request(body: AutoTopUpBody, currency: str) -> TopUpRequest:
    return TopUpRequest(
        micro(body.threshold, "/auto_top_up/threshold", positive=True),
        body.pack,
        money(body.monthly_limit, "/auto_top_up/monthly_limit", currency),
    )


def _auto_top_up(mine: AutoTopUp | None, currency: str) -> dict[str, Any]:
    if mine is None:
        return {}
    return {
        "auto_top_up": {
            "threshold": format_micro(mine.threshold_micro),
            "pack": mine.pack,
            "monthly_limit": answers.money(mine.monthly_limit_minor, currency),
            "suspended": mine.rests_because or None,
        }
    }


@blueprint.post("/portal_sessions")
def post_portal_session() -> tuple[Response, int]:
    """Make a single-use link that signs a member in to the portal."""
    need("manage")
    need_service()
    body = read(PortalSessionBody)
    parts, now = services(), services().clock()
    _check_return(body.return_url)
    onboarding.put_member(
        parts.database,
        body.organization,
        body.member.id,
        email=body.member.email,
        name=body.member.name,
        role=body.member.role,
        actor=caller().actor,
        now=now,
    )
    link_id = access.new_link_id()
    with parts.database.transaction() as tx:
        token, expires_at = access.make_link(
            tx,
            now=now,
            organization_id=body.organization,
            member_id=body.member.id,
            page=body.page,
            return_url=body.return_url or "",
            link_id=link_id,
        )
    url = f"{parts.settings.portal_base_url}/sign-in/{token}"
    return answers.answer({"id": link_id, "url": url, "expires_at": answers.when(expires_at)}, 201)


@blueprint.delete("/portal_sessions/<link_id>")
def delete_portal_session(link_id: str) -> tuple[Response, int]:
    """End an unused sign-in link, or the session it became."""
    need("manage")
    need_service()
    parts = services()
    with parts.database.transaction() as tx:
        organization_id = access.revoke_link(tx, link_id)
        audit.note(
            tx,
            organization_id or "",
            actor=caller().actor,
            act="session.ended",
            target=link_id,
            now=parts.clock(),
        )
    return answers.answer({"id": link_id, "ended": True})


def _check_return(url: str | None) -> None:
    if url is None:
        return
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1"}
    if not local and (parts.scheme != "https" or not parts.hostname):
        raise InvalidRequest.at("/return_url", "must begin with https://")
