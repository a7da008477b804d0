"""What a view needs: the store, the settings, the clock and the payments of this application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from portal.access.openid import Provider
from portal.billing.gateway import Gateway
from portal.clock import Clock
from portal.config import Settings
from portal.db import Database
from portal.notices.mail import Mailer
from portal.web.errands import Errands


@dataclass(frozen=True)
class Services:
    """The parts an application is made of."""

    database: Database
    settings: Settings
    clock: Clock
    payments: Gateway
    mailer: Mailer
    provider: Provider
    errands: Errands


def services() -> Services:
    """Return the parts of the application that handles this request."""
    return cast(Services, current_app.extensions["clearmeter"])
