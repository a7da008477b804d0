"""Whether the process lives and the store answers, what it counted, what the API looks like."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Blueprint, Response, current_app, jsonify, render_template
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import DBAPIError

from portal.core.errors import Unavailable
from portal.db import hasty_setting
from portal.web.api import openapi
from portal.web.services import services

blueprint = Blueprint("health", __name__)
#: Where an application keeps its specification.
_SPECIFICATION = "clearmeter.specification"


@blueprint.get("/healthz")
def alive() -> Response:
    """Answer that the process serves."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def ready() -> Response:
    """Answer whether the store is reachable, keeps what it accepts, and is migrated.

    Raises Unavailable.
    """
    try:
        with services().database.reading() as tx:
            hasty = hasty_setting(tx)
            stored = MigrationContext.configure(tx).get_current_revision()
    except DBAPIError as error:
        raise Unavailable("The store does not answer.") from error
    if hasty:
        raise Unavailable(
            f"PostgreSQL would lose what was answered if the power failed: {hasty} is off for this "
            "database. Turn it on."
        )
    if stored != _newest_revision(current_app.root_path):
        raise Unavailable("The store is not migrated. Run: flask --app app db upgrade")
    return jsonify(status="ok", revision=stored)


@lru_cache(maxsize=1)
def _newest_revision(root: str) -> str | None:
    """Return the revision this code is for: whoever asks often need not have all of them read."""
    return ScriptDirectory(str(Path(root) / "migrations")).get_current_head()


def _specification() -> dict[str, Any]:
    """Return the API's specification, made when first asked for: routes do not change."""
    kept = current_app.extensions
    if _SPECIFICATION not in kept:
        kept[_SPECIFICATION] = openapi.specification(current_app)
    return cast(dict[str, Any], kept[_SPECIFICATION])


@blueprint.get("/openapi.json")
def specification() -> Response:
    """Answer the specification of the API."""
    return jsonify(_specification())


@blueprint.get("/docs")
def reference() -> str:
    """Show the API as a page to read."""
    return render_template("docs.html", spec=_specification())


@blueprint.get("/metrics")
def metrics() -> Response:
    """Answer what was counted, for Prometheus."""
    return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)
