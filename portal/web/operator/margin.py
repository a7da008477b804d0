"""The margin: whether each customer pays for what they cost."""

from __future__ import annotations

from flask import redirect, url_for
from werkzeug.wrappers import Response

from portal.web.operator.shell import blueprint


@blueprint.get("/")
def margin() -> Response:
    """Lead to the customers."""
    return redirect(url_for(".customers"))
