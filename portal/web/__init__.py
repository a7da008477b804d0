"""What talks HTTP: parse, authorise, call one use case, answer. No SQL, no arithmetic."""

from __future__ import annotations

from flask import Flask

from portal.web import (
    api,
    auth,
    brand,
    customer,
    health,
    invited,
    operator,
    problems,
    security,
    unsubscribing,  # noqa: F401 # a page of auth.blueprint
    webhooks,
)
from portal.web.services import Services


def register(app: Flask, services: Services) -> None:
    """Attach every page and endpoint to the application."""
    app.extensions["clearmeter"] = services
    security.register(app, services)
    problems.register(app)
    for blueprint in (
        health.blueprint,
        brand.blueprint,
        api.blueprint,
        webhooks.blueprint,
        auth.blueprint,
        invited.blueprint,
        customer.blueprint,
        operator.blueprint,
    ):
        app.register_blueprint(blueprint)
    security.close_by_default(app)
