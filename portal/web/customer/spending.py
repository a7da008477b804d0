"""Spending: the caps with what each has counted, and for admins the making and changing of them.

What happens when credits run out is chosen here as well; buying by itself is in ``top_up``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import balances, limits
from portal import spending as read
from portal.accounts import Member, Organization
from portal.caps import CapChange, CapRequest
from portal.core.caps import MODES, SCOPES, WINDOWS
from portal.core.catalog import currency_sign, minor_places
from portal.core.errors import InvalidRequest, NotFound
from portal.core.units import NotExact, parse_micro, parse_scaled
from portal.limits import SpendingRequest
from portal.notices import spread
from portal.web.customer.shell import blueprint, entitled, reader
from portal.web.services import services

#: What is chosen for somebody who is named beside, where there are too many to list.
ONE_PERSON = "member:"
#: So many of those a name may mean are named back.
_NAMED = 3
TARGETED = ("team", "member", "project")
#: The largest limit of money that can be typed, in the currency's unit.
LARGEST_LIMIT = 1_000_000


@dataclass(frozen=True)
class Refused:
    """A form that was not taken: which one, what was typed, and the words by field."""

    form: str
    typed: Mapping[str, str]
    errors: Mapping[str, str]


@blueprint.get("/spending")
def spending() -> str:
    """Show the caps."""
    return _page(*reader())


def _page(organization: Organization, member: Member, refused: Refused | None = None) -> str:
    parts = services()
    now = parts.clock()
    with parts.database.reading() as tx:
        book = read.book_at(tx, now)
        known = read.choices(tx, organization.organization_id, book)
        balance = balances.balance(tx, organization.organization_id, now=now)
        page = read.spending(
            tx, organization, member, known, available_micro=balance.available_micro, now=now
        )
        empty = read.when_empty(tx, organization, book, now=now)
        told = spread.audience(tx, organization.organization_id) if member.sees_all_use else []
    return render_template(
        "customer/spending.html",
        page=page,
        book=book,
        empty_choice=empty,
        told=told,
        organization=organization,
        member=member,
        refused=refused,
    )


@blueprint.get("/spending/caps")
@blueprint.get("/spending/caps/<cap_id>")
@blueprint.get("/spending/when-empty")
def caps_are_on_spending(cap_id: str = "") -> Response:
    """Lead back whoever loads the address a form was sent to."""
    return redirect(url_for(".spending", _anchor=cap_id or None))


@blueprint.post("/spending/caps")
def make_cap() -> Response | tuple[str, int]:
    """Make a cap."""
    organization, member = entitled("set_limits")
    try:
        limits.set_cap(
            services().database,
            organization.organization_id,
            _asked(_with_person(request.form, organization), organization.currency),
            actor=member.member_id,
            now=services().clock(),
        )
    except InvalidRequest as error:
        return again(organization, member, "new", error)
    flash("The cap is in force. What was used since its window began already counts.")
    return redirect(url_for(".spending"), 303)


@blueprint.post("/spending/caps/<cap_id>")
def change_cap(cap_id: str) -> Response | tuple[str, int]:
    """Raise, lower, harden or soften a cap."""
    organization, member = entitled("set_limits")
    try:
        limits.change_cap(
            services().database,
            organization.organization_id,
            cap_id,
            CapChange(
                *_limit_typed(request.form.get("limit", ""), organization.currency),
                mode=_one_of("mode", request.form, MODES),
            ),
            actor=member.member_id,
            now=services().clock(),
        )
    except InvalidRequest as error:
        return again(organization, member, cap_id, error)
    flash("The cap is changed. What it had counted stays.")
    return redirect(url_for(".spending"), 303)


@blueprint.post("/spending/caps/<cap_id>/remove")
def remove_cap(cap_id: str) -> Response:
    """Remove a cap."""
    organization, member = entitled("set_limits")
    try:
        limits.remove_cap(
            services().database,
            organization.organization_id,
            cap_id,
            actor=member.member_id,
            now=services().clock(),
        )
    except NotFound:
        flash("That cap was removed already.")
        return redirect(url_for(".spending"), 303)
    flash("The cap is removed. You can make it again at any time; it would count from its start.")
    return redirect(url_for(".spending"), 303)


@blueprint.post("/spending/when-empty")
def choose_when_empty() -> Response | tuple[str, int]:
    """Choose what happens when credits run out."""
    organization, member = entitled("set_limits")
    try:
        chosen = _one_of("on_empty", request.form, ("stop", "overage"))
        typed = request.form.get("overage_limit", "").strip()
        limit = money_typed(typed, "/overage_limit", organization.currency) if typed else None
        limits.set_spending(
            services().database,
            organization.organization_id,
            SpendingRequest(chosen, limit if chosen == "overage" else None),
            actor=member.member_id,
            now=services().clock(),
        )
    except InvalidRequest as error:
        return again(organization, member, "empty", error)
    if chosen == "stop":
        flash("Work stops when the credits run out.")
    else:
        flash("Work goes on when the credits run out, up to the limit you set.")
    return redirect(url_for(".spending", _anchor="empty"), 303)


def again(
    organization: Organization,
    member: Member,
    form: str,
    error: InvalidRequest,
    *,
    typed: Mapping[str, str] | None = None,
) -> tuple[str, int]:
    """Show the page with a form that was not taken, as it was typed, and what is wrong with it."""
    listed = error.fields.get("errors", [])
    errors = {one["pointer"].rpartition("/")[2]: one["detail"] for one in listed}
    refused = Refused(form, request.form if typed is None else typed, errors or {"": error.detail})
    return _page(organization, member, refused), 422


def _with_person(form: Mapping[str, str], organization: Organization) -> Mapping[str, str]:
    """Return the form with the member whose name was typed as its subject.

    Raises InvalidRequest where it is nobody's, or that of several.
    """
    if form.get("subject") != ONE_PERSON:
        return form
    parts, typed = services(), form.get("person", "")
    with parts.database.reading() as tx:
        known = read.choices(tx, organization.organization_id, None)
        meant = read.members_meant(tx, organization.organization_id, known, typed)
    if not meant:
        raise InvalidRequest.at("/person", "must be the name or the address of somebody here")
    if len(meant) > 1:
        first = ", ".join(known.members[key] for key in meant[:_NAMED])
        more = f" and {len(meant) - _NAMED} more" if len(meant) > _NAMED else ""
        raise InvalidRequest.at("/person", f"may be {first}{more}; write all of it, or the address")
    return {**form, "subject": ONE_PERSON + meant[0]}


def _asked(form: Mapping[str, str], currency: str) -> CapRequest:
    """Read a cap from the form. Raises InvalidRequest that names the field."""
    scope, _, target = form.get("subject", "").partition(":")
    if scope not in SCOPES or (scope in TARGETED) != bool(target):
        raise InvalidRequest.at("/subject", "must be chosen from the list")
    limit_micro, limit_minor = _limit_typed(form.get("limit", ""), currency)
    return CapRequest(
        scope=scope,
        target=target,
        action=form.get("action", ""),
        window=_one_of("window", form, WINDOWS),
        limit_micro=limit_micro,
        mode=_one_of("mode", form, MODES),
        limit_minor=limit_minor,
    )


def _limit_typed(text: str, currency: str) -> tuple[int | None, int | None]:
    """Return a cap's limit in credits or, where its currency stands with it, in money."""
    sign, code = currency_sign(currency).strip(), currency.upper()
    typed = text.strip()
    for mark in dict.fromkeys((sign, code)):
        if typed.upper().startswith(mark) or typed.upper().endswith(mark):
            plain = typed.upper().replace(mark, "", 1)
            return None, money_typed(plain, "/limit", currency)
    return credits_typed(typed, "/limit"), None


def _one_of(name: str, form: Mapping[str, str], values: tuple[str, ...]) -> str:
    value = form.get(name, "")
    if value not in values:
        raise InvalidRequest.at(f"/{name}", "must be chosen from the list")
    return value


def _plain(text: str, field: str, example: str) -> str:
    """Return a number as it may be typed, without what groups its thousands."""
    typed = text.strip()
    # A comma is taken only where it groups thousands: 1,5 may be meant as one and a half.
    if not re.fullmatch(r"(\d+|\d{1,3}(,\d{3})+)(\.\d+)?", typed, re.ASCII):
        raise InvalidRequest.at(field, f"must be a plain decimal number such as {example}")
    return typed.replace(",", "")


def credits_typed(text: str, field: str) -> int:
    """Return credits as they may be typed, in millionths. Raises InvalidRequest."""
    typed = _plain(text, field, "800 or 12.5")
    try:
        return parse_micro(typed)
    except NotExact as error:
        raise InvalidRequest.at(field, f"{error}") from error


def money_typed(text: str, field: str, currency: str) -> int:
    """Return an amount as it may be typed, in minor units. Raises InvalidRequest."""
    typed = _plain(text, field, "50 or 49.50")
    try:
        return parse_scaled(typed, places=minor_places(currency), largest=LARGEST_LIMIT)
    except NotExact as error:
        raise InvalidRequest.at(field, f"{error}") from error
