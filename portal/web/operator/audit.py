"""The record of acts: who did what to whom, found by customer, person or kind."""

from __future__ import annotations

from flask import render_template, request

from portal import audit as read
from portal.office import places
from portal.web import record
from portal.web.operator.shell import blueprint
from portal.web.services import services

PAGE = 60


@blueprint.get("/audit")
def audit() -> str:
    """Show acts on record, the latest first."""
    parts = services()
    given = {name: request.args.get(name, "").strip() for name in ("organization", "actor", "act")}
    with parts.database.reading() as tx:
        found = read.listed(
            tx,
            organization_id=given["organization"] or None,
            actor=given["actor"],
            act=given["act"],
            before=places.read(request.args.get("after", "")),
            limit=PAGE + 1,
        )
        kinds = read.kinds(tx)
        shown = found[:PAGE]
        brand = parts.settings.brand.name
        names = record.names_among(tx, shown, brand=brand, now=parts.clock())
    called = record.CALLED | record.OPERATORS_OWN
    last = shown[-1] if len(found) > PAGE else None
    return render_template(
        "operator/audit.html",
        lines=[(one, record.line(one, names(one)), names(one).organization) for one in shown],
        given=given,
        kinds={one: called.get(one, one) for one in kinds},
        following=places.written(last.at, last.audit_id) if last else "",
        as_of=parts.clock(),
    )
