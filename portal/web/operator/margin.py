"""The margin: whether each customer pays for what they cost, and whom to talk to about it."""

from __future__ import annotations

from flask import render_template, request

from portal.margin import revenue
from portal.office import margin as read
from portal.web.operator.pictures import scatter
from portal.web.operator.shell import blueprint
from portal.web.services import services


@blueprint.get("/")
def margin() -> str:
    """Answer whether we know what each customer costs, and whether our pricing reflects it."""
    parts = services()
    now = parts.clock()
    late = revenue.bring_up_to_date(parts.database, now=now, most=read.AT_ONCE).waiting
    with parts.database.figures() as tx:
        page = read.margin_page(tx, request.args.get("span") or "30-days", late=late, now=now)
    return render_template(
        "operator/margin.html", page=page, picture=scatter(page.customers), spans=read.SPANS
    )
