"""The operator's pages, behind one guard: to anybody else they do not exist."""

from __future__ import annotations

from flask import Blueprint, abort, render_template, request, session

from portal import customers as read
from portal.access import Visitor
from portal.web.services import services

blueprint = Blueprint("operator", __name__, url_prefix="/operator")


@blueprint.before_request
def operators_only() -> None:
    """Answer as if there were nothing here, except to the operator."""
    visitor = getattr(session, "visitor", Visitor())
    if not visitor.operator_email:
        abort(404)


@blueprint.get("/")
def customers() -> str:
    """Show what every customer used, cost and has left."""
    parts = services()
    with parts.database.reading() as tx:
        page = read.customers(tx, after=request.args.get("after", ""), now=parts.clock())
    return render_template("operator/customers.html", page=page)
