"""The overview: where everything stands, on one page."""

from __future__ import annotations

from flask import render_template

from portal import overview as read
from portal.web.customer import pictures
from portal.web.customer.shell import blueprint, reader
from portal.web.services import services


@blueprint.get("/")
def overview() -> str:
    """Show the overview."""
    organization, member = reader()
    parts = services()
    with parts.database.reading() as tx:
        page = read.overview(tx, organization, member, now=parts.clock())
    return render_template(
        "customer/overview.html",
        page=page,
        month=pictures.month(page),
        lots=pictures.lots(page.standing),
    )
