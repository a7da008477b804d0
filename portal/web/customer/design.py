"""Every component on one page, to see them together; in the demo and while developing only."""

from __future__ import annotations

from flask import abort, current_app, render_template

from portal.web.customer.shell import blueprint
from portal.web.services import services


@blueprint.get("/design")
def design() -> str:
    """Show every component."""
    if not (current_app.debug or services().settings.demo):
        abort(404)
    return render_template("customer/design.html")
