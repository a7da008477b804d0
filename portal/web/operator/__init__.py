"""The operator's pages, behind one guard: to anybody else they do not exist."""

from __future__ import annotations

from portal.web.operator import (
    acts,
    audit,
    catalogue,
    customers,
    deliveries,
    events,
    keys,
    margin,
    payments,
    refunds,
    routing,
    simulations,
    viewing,
)
from portal.web.operator.shell import blueprint

__all__ = [
    "acts",
    "audit",
    "blueprint",
    "catalogue",
    "customers",
    "deliveries",
    "events",
    "keys",
    "margin",
    "payments",
    "refunds",
    "routing",
    "simulations",
    "viewing",
]
