"""The customer's pages: what there is, what it went on, what the month comes to, and the limits."""

from __future__ import annotations

from portal.web.customer import (
    account,
    billing,
    changes,
    design,
    overview,
    plans,
    raises,
    settings,
    spending,
    team,
    top_up,
    usage,
)
from portal.web.customer.shell import blueprint

__all__ = [
    "account",
    "billing",
    "blueprint",
    "changes",
    "design",
    "overview",
    "plans",
    "raises",
    "settings",
    "spending",
    "team",
    "top_up",
    "usage",
]
