"""The composition root: puts settings, store, clock and payments together into one application.

The only reader of the wall clock and of the environment. ``app:app`` is what a WSGI server loads.
"""

from __future__ import annotations

import gc
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from flask import Flask
from flask_migrate import Migrate
from werkzeug.middleware.proxy_fix import ProxyFix

from portal import cli, web
from portal.access.openid import Provider
from portal.billing.gateway import Gateway
from portal.clock import Clock
from portal.config import Settings
from portal.core.errors import ConfigError
from portal.db import Database
from portal.notices.mail import Mailer
from portal.web.errands import Errands
from portal.web.services import Services


def wall_clock() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


def create_app(
    settings: Settings, *, clock: Clock = wall_clock, payments: Gateway | None = None
) -> Flask:
    """Build the application. Nothing is read from the environment here, nor any request made."""
    app = Flask(__name__)
    if settings.trusted_proxies:
        # Only who the visitor is: the host is the setting's, whatever a proxy says.
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign] # as Flask documents it
            app.wsgi_app, x_for=settings.trusted_proxies, x_proto=0, x_host=0
        )
    database = Database(settings.database_url)
    services = Services(
        database=database,
        settings=settings,
        clock=clock,
        payments=payments
        or Gateway(
            settings.stripe_secret_key,
            settings.stripe_api_base,
            automatic_tax=settings.stripe_automatic_tax,
        ),
        mailer=Mailer.of(settings, clock),
        provider=Provider(settings),
        errands=Errands(),
    )
    Migrate().init_app(app, directory=str(Path(app.root_path) / "migrations"))
    web.register(app, services)
    cli.register(app)
    return app


def configure_logging(least: str = "info") -> None:
    """Write one JSON object a line to standard error, from the level ``least`` on."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def __getattr__(name: str) -> Any:
    """Make ``app`` when a server or Flask's command line asks for it, and only then."""
    if name != "app":
        raise AttributeError(name)
    try:
        settings = Settings.from_env(os.environ)
    except ConfigError as error:
        raise SystemExit(f"clearmeter: {error}") from None
    configure_logging("warning" if settings.demo else "info")
    application = create_app(settings)
    # What is here now lives as long as the process. To go through it for garbage, again and again,
    # would stop every request for a tenth of a second each time.
    gc.freeze()
    globals()["app"] = application
    return application
