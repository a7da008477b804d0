"""Billing: invoices and receipts, the statement, how the organization pays."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from flask import Response, flash, redirect, render_template, request, stream_with_context, url_for
from werkzeug.wrappers import Response as AnyResponse

from portal import desk, papers, statements
from portal.billing import customers, top_up
from portal.core.errors import NotFound, Unavailable
from portal.web.customer.shell import blueprint, buyer, entitled
from portal.web.customer.top_up import FIELDS
from portal.web.services import services
from portal.web.statement_sheet import rows, sheet


@blueprint.get("/billing")
def billing() -> str:
    """Show the invoices, and the statement of a period."""
    organization, member = entitled("see_billing")
    parts = services()
    now = parts.clock()
    period = papers.period_of(organization, request.args.get("period", ""), now=now)
    before = papers.place_of(request.args.get("before", ""))
    desk.book_due(parts.database, organization.organization_id, now=now)
    with parts.database.reading() as tx:
        page = papers.papers(tx, organization, period, before=before, now=now)
    return render_template(
        "customer/billing.html", page=page, organization=organization, member=member
    )


@blueprint.get("/billing/statement.csv")
def statement_csv() -> Response:
    """Send the statement of a period."""
    organization, _ = entitled("see_billing")
    parts = services()
    now = parts.clock()
    period = papers.period_of(organization, request.args.get("period", ""), now=now)
    desk.book_due(parts.database, organization.organization_id, now=now)
    with parts.database.reading() as tx:
        found = statements.statement(tx, organization, period, now=now)
    body = stream_with_context(sheet(found, rows(found, "days")))
    response = Response(body, content_type="text/csv; charset=utf-8")
    first = papers.begins(organization, period)
    response.headers.set("Content-Disposition", "attachment", filename=f"statement-{first}.csv")
    return response


@blueprint.get("/billing/method")
def method() -> str:
    """Show what is charged; a part of the page that Stripe is asked for."""
    organization, _ = entitled("see_billing")
    parts = services()
    found, known = None, False
    # Stripe may be away, or the customer be deleted there: the rest of the page stands.
    with suppress(Unavailable, NotFound):
        found = customers.method_of_plan(parts.database, parts.payments, organization)
        known = True
    return render_template("customer/_method.html", method=found, known=known)


@blueprint.post("/billing/method")
def change_method() -> AnyResponse:
    """Lead to where the payment method is changed."""
    return _to_stripe("method")


@blueprint.post("/billing/details")
def change_details() -> AnyResponse:
    """Lead to where the address and tax details are changed."""
    return _to_stripe("details")


def _to_stripe(act: Literal["method", "details"]) -> AnyResponse:
    organization, _ = buyer()
    parts = services()
    back = url_for(".returned_from_stripe", **_wished(request.form))
    url = customers.portal_page(
        parts.database,
        parts.payments,
        organization,
        act=act,
        return_url=f"{parts.settings.portal_base_url}{back}",
    )
    return redirect(url, 303)


@blueprint.get("/billing/returned")
def returned_from_stripe() -> AnyResponse:
    """Go on after the payment method may have changed: the plan is charged to the one saved now.

    What waited for another one begins anew.
    """
    organization, _ = buyer()
    parts = services()
    organization_id = organization.organization_id
    # A customer who was deleted at Stripe has nothing to go on with.
    with suppress(Unavailable, NotFound):
        customers.charge_plan_to_default(parts.database, parts.payments, organization_id)
        if top_up.method_changed(
            parts.database, parts.payments, organization_id, now=parts.clock()
        ):
            flash("Credits are bought by themselves again when they run low.")
    wished = _wished(request.args)
    if wished:
        return redirect(url_for(".preview_top_up", **wished))
    return redirect(url_for(".billing"))


def _wished(given: Mapping[str, str]) -> dict[str, Any]:
    """Return what auto top-up was going to be set to, to be gone on with after a detour."""
    return {name: given[name] for name in FIELDS if name in given}
