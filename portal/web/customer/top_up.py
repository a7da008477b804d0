"""Buying by itself: what it would buy now and at most, and turning it on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import limits
from portal.billing import customers, top_up
from portal.core.errors import InvalidRequest, Unavailable
from portal.limits import SpendingRequest
from portal.top_ups.attempts import Attempt
from portal.top_ups.terms import TopUpRequest
from portal.web.customer.shell import blueprint, entitled
from portal.web.customer.spending import again, credits_typed, money_typed
from portal.web.formats import amount, money
from portal.web.services import services

#: What somebody who turns it on has chosen.
FIELDS = ("pack", "threshold", "monthly_limit")


@blueprint.get("/spending/top-up")
def preview_top_up() -> str | tuple[str, int]:
    """Say what turning it on would buy now, and the most it can cost."""
    organization, member = entitled("set_limits")
    parts = services()
    try:
        asked = _asked(request.args, organization.currency)
        page = top_up.preview(
            parts.database, organization.organization_id, asked, now=parts.clock()
        )
    except InvalidRequest as error:
        return again(organization, member, "top_up", error, typed=request.args)
    method, known = None, False
    with suppress(Unavailable):
        method, known = customers.method_in_words(parts.payments, organization), True
    return render_template(
        "customer/top_up.html",
        page=page,
        asked=asked,
        organization=organization,
        method=method,
        known=known,
        taxed_elsewhere=services().settings.stripe_automatic_tax,
    )


@blueprint.post("/spending/top-up")
def turn_top_up_on() -> Response | tuple[str, int]:
    """Have credits bought by themselves, at once where they are low already.

    What the page did not say would be charged now is not: it is shown again first.
    """
    organization, member = entitled("set_limits")
    parts = services()
    now, organization_id = parts.clock(), organization.organization_id
    try:
        asked = _asked(request.form, organization.currency)
        found = top_up.preview(parts.database, organization_id, asked, now=now)
        if found.charged_now_minor and str(found.charged_now_minor) != request.form.get("shown"):
            flash("Credits were used meanwhile: look again at what is bought now.", "bad")
            wished: dict[str, Any] = {name: request.form[name] for name in FIELDS}
            return redirect(url_for(".preview_top_up", **wished), 303)
        limits.set_spending(
            parts.database,
            organization_id,
            SpendingRequest("top_up", auto_top_up=asked),
            actor=member.member_id,
            now=now,
        )
    except InvalidRequest as error:
        return again(organization, member, "top_up", error)
    made = top_up.run_now(parts.database, parts.payments, organization_id, now=now)
    flash(*_told(made))
    return redirect(url_for(".spending", _anchor="empty"), 303)


def _told(made: Attempt | None) -> tuple[str, str]:
    """Say that it is on, and what was bought at once or why it was not."""
    on = "From now on credits are bought by themselves when they run low."
    if made is None:
        return on, "good"
    price = money(made.amount_minor, made.currency)
    told = {
        "succeeded": (f"{on} {amount(made.credits_micro)} were bought now, for {price}.", "good"),
        "needs_authentication": (
            "It is on, but your bank wants you to confirm the payment. Nothing was charged.",
            "bad",
        ),
        "failed": ("It is on, but the payment was declined. Nothing was charged.", "bad"),
    }
    return told.get(made.status, (f"{on} A pack for {price} is being paid for now.", "good"))


def _asked(typed: Mapping[str, str], currency: str) -> TopUpRequest:
    return TopUpRequest(
        threshold_micro=credits_typed(typed.get("threshold", ""), "/auto_top_up/threshold"),
        pack=typed.get("pack", ""),
        monthly_limit_minor=money_typed(
            typed.get("monthly_limit", ""), "/auto_top_up/monthly_limit", currency
        ),
    )
