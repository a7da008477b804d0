"""Choosing a plan: the first by Stripe's Checkout, another by a preview that is confirmed."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal.billing import changes, proposals, tier_checkout
from portal.core.errors import InvalidRequest, Unavailable
from portal.web.customer.shell import blueprint, buyer
from portal.web.services import services


@blueprint.get("/plans/tiers/<tier>")
@blueprint.get("/plans/cancel")
@blueprint.get("/plans/undo")
@blueprint.get("/plans/drop")
def choices_are_on_plans(tier: str = "") -> Response:
    """Lead back whoever loads the address a form was sent to."""
    return redirect(url_for(".plans", _anchor=f"tier-{tier}" if tier else None))


@blueprint.post("/plans/tiers/<tier>")
def choose_tier(tier: str) -> Response:
    """Lead to pay for a first plan, or to the preview of another one."""
    organization, member = buyer()
    parts = services()
    if organization.cycle_end is not None:
        return _preview(tier, _seats())
    url = tier_checkout.start(
        parts.database,
        parts.payments,
        organization=organization,
        member=member,
        tier=tier,
        seats=_seats(),
        portal_base_url=parts.settings.portal_base_url,
        now=parts.clock(),
    )
    return redirect(url, 303)


@blueprint.post("/plans/cancel")
def end_plan() -> Response:
    """Lead to the preview of ending the plan."""
    return _preview(None, None)


def _preview(tier: str | None, seats: int | None) -> Response:
    organization, member = buyer()
    parts = services()
    found = changes.preview(
        parts.database,
        parts.payments,
        organization_id=organization.organization_id,
        member=member,
        tier=tier,
        seats=seats,
        now=parts.clock(),
    )
    return redirect(url_for(".change", change_id=found.change_id), 303)


def _seats() -> int | None:
    typed = request.form.get("seats", "").strip()
    if not typed:
        return None
    if not (typed.isascii() and typed.isdigit() and len(typed) <= 6):
        raise InvalidRequest.at("/seats", "must be a whole number")
    return int(typed)


@blueprint.get("/plans/changes/<change_id>")
def change(change_id: str) -> str:
    """Show what a change would do, or what became of it."""
    organization, _ = buyer()
    parts = services()
    page = proposals.look(
        parts.database, parts.payments, organization.organization_id, change_id, now=parts.clock()
    )
    return render_template("customer/change.html", page=page, organization=organization)


@blueprint.post("/plans/changes/<change_id>")
def confirm_change(change_id: str) -> Response:
    """Do what was previewed."""
    organization, member = buyer()
    parts = services()
    try:
        changes.confirm(
            parts.database,
            parts.payments,
            organization_id=organization.organization_id,
            member=member,
            change_id=change_id,
            now=parts.clock(),
        )
    except (Unavailable, InvalidRequest) as error:
        # The page itself says where the change stands: it may have been taken all the same.
        flash(error.detail, "bad")
    return redirect(url_for(".change", change_id=change_id), 303)


@blueprint.post("/plans/undo")
def undo_change() -> Response:
    """Take back what is scheduled."""
    organization, member = buyer()
    parts = services()
    changes.undo(
        parts.database,
        parts.payments,
        organization_id=organization.organization_id,
        member=member,
        now=parts.clock(),
    )
    flash("Taken back. Your plan goes on as it is, and nothing was charged.")
    return redirect(url_for(".billing" if request.form.get("page") == "billing" else ".plans"), 303)


@blueprint.post("/plans/drop")
def drop_change() -> Response:
    """Give up the upgrade that waits for its payment."""
    organization, member = buyer()
    parts = services()
    changes.drop(
        parts.database,
        parts.payments,
        organization_id=organization.organization_id,
        member=member,
        now=parts.clock(),
    )
    flash("Dropped. Your plan stays as it is, and nothing was charged.")
    return redirect(url_for(".billing" if request.form.get("page") == "billing" else ".plans"), 303)
