"""Routing: which model did what work, and what one that fits would have cost."""

from __future__ import annotations

from flask import render_template, request

from portal.core.routing import ASSUMPTIONS, RULES
from portal.margin import routing as read
from portal.office.margin import DAY, SPANS, span_of
from portal.web.operator.shell import blueprint
from portal.web.services import services


@blueprint.get("/routing")
def routing() -> str:
    """Show each class of request by model, and what was saved and missed."""
    parts = services()
    now = parts.clock()
    key = request.args.get("span") or "30-days"
    with parts.database.figures() as tx:
        found = read.report(tx, span_of(key, today=now.date()))
    return render_template(
        "operator/routing.html",
        found=found,
        last_day=found.span.end - DAY,
        key=key,
        spans=SPANS,
        rules=RULES,
        assumptions=ASSUMPTIONS,
        as_of=now,
    )
